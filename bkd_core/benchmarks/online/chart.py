# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A chart of mIoU from round to round, as SVG."""

from __future__ import annotations

import math
from typing import Sequence

from bkd_core.benchmarks.svg import document, GRID, INK, line, MUTED, text

Series = Sequence[tuple[int, float]]  # (round, mIoU in percent)
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 380, 60, 200, 56, 60
_COLORS = ('#00629b', '#b35900', '#6b7a1f', '#7b3f8c')


def draw_rounds(title: str, curves: dict[str, list[Series]], *, ticks: Sequence[str]) -> str:
    """
    Return a chart with one curve for each seed, in a colour for each name.

    :param title: What stands above it.
    :param curves: Curves of the seeds, by name; none empty.
    :param ticks: What stands under each round, from 0.
    :return: An SVG file's text.
    """
    values = [value for seeds in curves.values() for curve in seeds for _, value in curve]
    low, high = 5 * math.floor(min(values) / 5), 5 * math.ceil(max(values) / 5 + 0.01)

    def across(number: float) -> float:
        return round(
            _LEFT + number / max(1, len(ticks) - 1) * (_WIDTH - _LEFT - _RIGHT), 1)

    def up(value: float) -> float:
        return round(
            _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts: list[str] = []

    for tick in range(low, high + 1, 5):
        parts += [
            line(_LEFT, up(tick), _WIDTH - _RIGHT, up(tick), GRID),
            text(_LEFT - 8, up(tick) + 4, str(tick), anchor='end', color=MUTED)]
    for number, words in enumerate(ticks):
        parts.append(text(
            across(number), _HEIGHT - _BOTTOM + 20, words, anchor='middle', color=MUTED,
            size=12))
    for seeds, color in zip(curves.values(), _COLORS):
        for curve in seeds:
            parts += _curve([(across(number), up(value)) for number, value in curve], color)
    parts += _legend(list(curves))
    return document(title, parts, width=_WIDTH, height=_HEIGHT)


def _curve(points: Sequence[tuple[float, float]], color: str) -> list[str]:
    path = ' '.join(f'{x},{y}' for x, y in points)
    return [
        f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>',
        *(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{color}"/>' for x, y in points)]


def _legend(names: Sequence[str]) -> list[str]:
    x, parts = _WIDTH - _RIGHT + 20, []
    for number, (name, color) in enumerate(zip(names, _COLORS)):
        y = _TOP + 24 * number + 8
        parts += [line(x, y, x + 24, y, color, width=2), text(x + 32, y + 4, name, color=INK)]
    return [*parts, text(16, _HEIGHT - 14, 'mIoU, percent; a curve a seed', color=MUTED)]
