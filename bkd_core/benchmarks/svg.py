# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Lines and words of the charts, as SVG."""

from __future__ import annotations

from typing import Sequence
from xml.sax.saxutils import escape

INK, MUTED, GRID = '#1f2933', '#5f6b7a', '#d7dde4'


def line(
    x1: float, y1: float, x2: float, y2: float, color: str, *, width: int = 1, dash: str = '',
) -> str:
    """Return a line from (x1, y1) to (x2, y2), in pixels."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ''
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{color}" '
        f'stroke-width="{width}"{dashes}/>')


def text(
    x: float, y: float, words: str, *, anchor: str = 'start', color: str = INK, size: int = 13,
    weight: str = 'normal',
) -> str:
    """Return text at (x, y), the baseline; `anchor` is start, middle or end."""
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{color}" font-family="sans-serif" '
        f'font-size="{size}" font-weight="{weight}">{escape(words)}</text>')


def document(title: str, parts: Sequence[str], *, width: int, height: int) -> str:
    """
    Return a whole chart: parts on white paper, below a title.

    :param title: Headline, also for readers who cannot see it.
    :param parts: Elements, such as those of `line` and `text`; later ones lie on top.
    :param width: Pixels.
    :param height: Pixels.
    """
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">', f'<title>{escape(title)}</title>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(16, 28, title, size=16, weight='bold')]
    return '\n'.join([*head, *parts, '</svg>', ''])
