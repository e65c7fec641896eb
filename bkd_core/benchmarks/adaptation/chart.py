# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A chart a protocol: from each teacher to its student, every seed shown, as SVG."""

from __future__ import annotations

from dataclasses import replace
import math
import statistics
from typing import Sequence

from bkd_core.benchmarks.adaptation.plan import ABLATIONS, ORACLE
from bkd_core.benchmarks.adaptation.rows import gains, Row, teacher_of
from bkd_core.benchmarks.svg import document, GRID, INK, line, MUTED, text

_WIDTH, _LEFT, _RIGHT, _TOP, _STEP = 760, 210, 40, 56, 44
_TEACHER, _STUDENT = '#b35900', '#00629b'


def draw_chart(title: str, rows: Sequence[Row]) -> str | None:
    """
    Return a chart of mIoU in percent: a line for each student, from its teacher to itself.

    :param title: What stands above it.
    :param rows: Of one protocol and budget.
    :return: An SVG file's text; None if there is no student with its teacher.
    """
    pairs = [
        _common_seeds(teacher, row) for row in rows for teacher in [teacher_of(row, rows)]
        if row.method not in ABLATIONS and gains(row, teacher, by_run=True)]
    if not pairs:
        return None
    oracle = next((row for row in rows if row.method == ORACLE), None)
    values = [
        100 * value for pair in (*pairs, *([(oracle,)] if oracle else []))
        for row in pair for value in row.mious()]
    low, high = 5 * math.floor(min(values) / 5), 5 * math.ceil(max(values) / 5 + 0.01)

    def across(value: float) -> float:
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    bottom = _TOP + _STEP * len(pairs)
    height = bottom + 62
    parts: list[str] = []

    for tick in range(low, high + 1, 5):
        parts += [
            line(across(tick), _TOP, across(tick), bottom, GRID),
            text(across(tick), bottom + 18, str(tick), anchor='middle', color=MUTED)]
    if oracle is not None:
        place = across(100 * statistics.fmean(oracle.mious()))
        parts += [
            line(place, _TOP, place, bottom, MUTED, dash='4 4'),
            text(place, _TOP - 6, 'oracle', anchor='middle', color=MUTED)]
    for number, (teacher, student) in enumerate(pairs):
        parts += _pair(teacher, student, _TOP + _STEP * (number + 0.5), across)
    parts += _legend(bottom + 44)
    return document(title, parts, width=_WIDTH, height=height)


def _common_seeds(teacher: Row, student: Row) -> tuple[Row, Row]:
    """Return both rows with the seeds of which a student stands beside its very teacher."""
    seeds = [
        seed for seed, line in student.lines.items()
        if seed in teacher.lines and teacher.lines[seed]['run'] == line['teacher_run']]
    both = (
        replace(row, lines={seed: row.lines[seed] for seed in seeds})
        for row in (teacher, student))
    return tuple(both)


def _pair(teacher: Row, student: Row, y: float, across) -> list[str]:
    means = [across(100 * statistics.fmean(row.mious())) for row in (teacher, student)]
    parts = [
        text(_LEFT - 14, y + 4, student.teacher, anchor='end'),
        line(means[0], y, means[1], y, INK, width=2)]
    for row, color, mean in zip((teacher, student), (_TEACHER, _STUDENT), means):
        parts += [
            f'<circle cx="{across(100 * value)}" cy="{y}" r="3" fill="{color}" '
            'fill-opacity="0.35"/>' for value in row.mious()]
        parts.append(f'<circle cx="{mean}" cy="{y}" r="6" fill="{color}"/>')
    return parts


def _legend(y: float) -> list[str]:
    parts, x = [], float(_LEFT)
    for color, name in ((_TEACHER, 'teacher'), (_STUDENT, 'its BKD student')):
        parts += [
            f'<circle cx="{x}" cy="{y - 4}" r="6" fill="{color}"/>', text(x + 12, y, name)]
        x += 90
    return [*parts, text(
        x + 50, y, 'mIoU, percent; small dots: seeds, large: mean', color=MUTED)]
