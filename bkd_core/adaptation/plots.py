# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The drawings of a round's report, as SVG in the colours of the page around them."""

from __future__ import annotations

from html import escape
from typing import Sequence

from bkd_core.labels import LabelSpace

_WIDTH = 720
_LEFT, _RIGHT = 110, 60
_ROW, _BAR = 30, 11
# An outline keeps bars of dark classes visible on a dark page and of light ones on a light one.
_OUTLINE = 'stroke="currentColor" stroke-width="0.6"'


def class_share_plot(
    before: Sequence[float], after: Sequence[float], space: LabelSpace,
) -> str:
    """
    Draw two bars a class: its share of the pixels before (pale) and after.

    :param before: Shares, 0 to 1, one a class.
    :param after: The same.
    :param space: Names and colours.
    """
    longest = max(*before, *after, 1e-9)
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    height = _ROW * space.num_classes + 8
    parts = [_open(height, 'Share of the pixels of each class, before and after')]
    for index, (name, color) in enumerate(zip(space.classes, space.colors)):
        top = _ROW * index + 6
        fill = f'rgb{tuple(color)}'
        parts.append(_text(_LEFT - 8, top + _BAR + 4, name, anchor='end'))
        for row, (share, opacity) in enumerate(((before[index], 0.35), (after[index], 1))):
            y = top + row * (_BAR + 1)
            parts += [
                f'<rect x="{_LEFT}" y="{y}" width="{share * scale:.1f}" height="{_BAR}" '
                f'fill="{fill}" fill-opacity="{opacity}" {_OUTLINE}/>',
                _text(_LEFT + share * scale + 6, y + _BAR - 1, f'{100 * share:.1f}', size=10)]
    return '\n'.join([*parts, '</svg>'])


def loss_plot(losses: Sequence[float], *, title: str) -> str:
    """
    Draw the loss of each step and its mean over a tenth of the steps around it.

    :param losses: One a step, at least one.
    :param title: For those who can't see it.
    """
    height, bottom, top = 190, 160, 12
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(losses) - 1)

    def line(values: Sequence[float], opacity: float, width: float) -> str:
        points = ' '.join(
            f'{_LEFT + step * index:.1f},{bottom - (value - low) / span * (bottom - top):.1f}'
            for index, value in enumerate(values))
        return (
            f'<polyline points="{points}" fill="none" stroke="currentColor" '
            f'stroke-opacity="{opacity}" stroke-width="{width}"/>')
    reach = max(1, len(losses) // 20)
    smooth = []
    for index in range(len(losses)):
        around = losses[max(0, index - reach):index + reach + 1]
        smooth.append(sum(around) / len(around))
    axis = (
        f'<path d="M{_LEFT} {top}V{bottom}H{_WIDTH - _RIGHT}" fill="none" '
        'stroke="currentColor" stroke-opacity="0.5"/>')
    return '\n'.join([
        _open(height, title), axis, line(losses, 0.35, 1), line(smooth, 1, 2),
        _text(_LEFT - 8, top + 8, f'{high:.2f}', anchor='end'),
        _text(_LEFT - 8, bottom, f'{low:.2f}', anchor='end'),
        _text(_LEFT, bottom + 18, '1'),
        _text(_WIDTH - _RIGHT, bottom + 18, f'{len(losses)} steps', anchor='end'), '</svg>'])


def _open(height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">'
        f'<title>{escape(title)}</title>')


def _text(x: float, y: float, text: str, *, anchor: str = 'start', size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="currentColor">{escape(text)}</text>')
