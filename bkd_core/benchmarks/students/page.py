# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The table and the chart of the students' design space, from the record."""

from __future__ import annotations

from dataclasses import dataclass
import math
import statistics
from typing import Any, Sequence

from bkd_core.benchmarks.latency.contestant import PLAIN
from bkd_core.benchmarks.svg import document, GRID, INK, line, MUTED, text

PAGE, CHART = 'students.md', 'students.svg'
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 460, 60, 190, 52, 60
_COLORS = {'onnxruntime': '#00629b', 'openvino': '#b35900'}
# Labels that are those of the plain way; what the project asks of a fast student.
_AGREEMENT = .999


@dataclass(frozen=True, kw_only=True)
class Point:
    """
    A design by one runtime.

    :param score: The newest line of its score.
    :param mious: mIoU of its seeds, 0 to 1.
    :param row: Its times, of `measure`.
    :param ratio: How many times as fast as the same network's plain way it is.
    :param is_best: No other point labels as well in less time, or better in the same.
    """

    score: dict[str, Any]
    mious: tuple[float, ...]
    row: dict[str, Any]
    ratio: float
    is_best: bool = False

    @property
    def miou(self) -> float:
        """Return the mean over the seeds."""
        return statistics.fmean(self.mious)


def points_of(lines: Sequence[dict[str, Any]]) -> list[Point]:
    """
    Join the scores with the newest times.

    :param lines: The record, oldest first. Of a design only the lines with the steps of its
        newest one count.
    :return: One point for each timed design and runtime, without the plain ways.
    """
    times = [item for item in lines if item['kind'] == 'times']
    if not times:
        return []
    newest = {item['design']: item for item in lines if item['kind'] == 'score'}
    rows = times[-1]['rows']
    plain = {row['model']: row for row in rows if row['runtime'] == PLAIN}
    points = []
    for row in rows:
        if row['runtime'] == PLAIN or row['model'] not in newest:
            continue
        score = newest[row['model']]
        by_seed = {
            item['seed']: item['miou'] for item in lines if item['kind'] == 'score'
            and all(item[key] == score[key] for key in ('design', 'steps', 'options'))}
        points.append(Point(
            score=score, mious=tuple(by_seed.values()), row=row,
            ratio=plain[row['model']]['total_ms'] / row['total_ms']))
    return [_with_mark(point, points) for point in points]


def page(lines: Sequence[dict[str, Any]]) -> str:
    """
    Return the page.

    :param lines: The record, with at least one line of times.
    """
    times = [item for item in lines if item['kind'] == 'times'][-1]
    points = points_of(lines)
    steps = sorted({point.score['steps'] for point in points})
    size = times['rows'][0]['size']
    text_lines = [
        '# Students: what a design costs and what it sees', '',
        'Written by `bkd benchmark students`; do not edit. Every design is trained on the '
        'labelled frames of CamVid (the',
        f'ceiling of the design, {" or ".join(map(str, steps))} steps) and scored on its '
        'validation split, of which nothing is learnt. The',
        f'times are those of the whole way from a {size[1]}x{size[0]} frame to labels, by one '
        f'thread, medians of {times["rounds"]} turns in which all',
        'designs and ways took part one after the other. *times as fast* compares with the plain '
        'way of the same',
        'network (NumPy, eager float32 torch, torch argmax), *agreement* is the share of labels '
        'that are those of',
        'that way. **Bold**: no other line is better without being slower; ways that change more '
        f'than {1 - _AGREEMENT:.1%} of the labels',
        'are left out of that comparison, since the mIoU was measured by ONNX Runtime in float32.',
        '', f'![mIoU over milliseconds]({CHART})', '',
        '| design | M parameters | mIoU (%) | way | ms | p95 | times as fast | agreement |',
        '| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |']
    text_lines += [_row(point) for point in points]
    text_lines += [
        '', f'Machine: {times["machine"]}; load {times["load"]:.1f}. {times["versions"]}. '
        f'Commit of the times: {times["commit"]}.', '']
    return '\n'.join(text_lines)


def chart(points: Sequence[Point]) -> str:
    """
    Draw mIoU over milliseconds of the ways in float32; the best points are joined.

    :param points: Of `points_of`.
    :return: An SVG file's text.
    """
    shown = sorted(
        (point for point in points if point.row['runtime'] in _COLORS),
        key=lambda point: point.row['total_ms'])
    scores = [100 * point.miou for point in shown] or [0.0]
    low, high = 5 * math.floor(min(scores) / 5), 5 * math.floor(max(scores) / 5) + 5
    longest = max([1.0, *(point.row['total_ms'] for point in shown)])
    step = 10 ** math.floor(math.log10(longest))
    step = step if longest / step >= 3 else step / 4
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(milliseconds: float, score: float) -> tuple[float, float]:
        return (
            round(_LEFT + milliseconds / longest * (right - _LEFT), 1),
            round(bottom - (score - low) / (high - low) * (bottom - _TOP), 1))

    title = 'mIoU on CamVid (percent) over milliseconds per frame, one thread'
    parts: list[str] = []

    for score in range(low, high + 1, 5):
        _, y = place(0, score)
        parts += [line(_LEFT, y, right, y, GRID),
                  text(_LEFT - 8, y + 4, str(score), anchor='end', color=MUTED)]
    for number in range(int(longest / step) + 1):
        x, _ = place(number * step, low)
        parts.append(text(x, bottom + 18, f'{number * step:g}', anchor='middle', color=MUTED))
    best = [place(point.row['total_ms'], 100 * point.miou) for point in shown if point.is_best]
    parts += [line(*start, *end, INK) for start, end in zip(best, best[1:])]
    for point in shown:
        x, y = place(point.row['total_ms'], 100 * point.miou)
        color = _COLORS[point.row['runtime']]
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{color}"/>')
        if point.is_best:
            parts.append(text(x + 8, y + 14, point.score['design'], size=11))
    for number, (name, color) in enumerate(_COLORS.items()):
        x = _LEFT + 120 * number
        parts += [f'<circle cx="{x}" cy="{_HEIGHT - 20}" r="5" fill="{color}"/>',
                  text(x + 10, _HEIGHT - 16, name, color=MUTED)]
    return document(title, parts, width=_WIDTH, height=_HEIGHT)


def _with_mark(point: Point, points: Sequence[Point]) -> Point:
    rivals = [other for other in points if other.row['agreement'] >= _AGREEMENT]
    is_best = point in rivals and not any(
        other.miou >= point.miou and other.row['total_ms'] <= point.row['total_ms']
        and (other.miou, other.row['total_ms']) != (point.miou, point.row['total_ms'])
        for other in rivals)
    return Point(
        score=point.score, mious=point.mious, row=point.row, ratio=point.ratio, is_best=is_best)


def _row(point: Point) -> str:
    row, score = point.row, point.score
    name = f'**{score["design"]}**' if point.is_best else score['design']
    spread = f' ± {100 * statistics.stdev(point.mious):.1f}' if len(point.mious) > 1 else ''
    return (
        f'| {name} | {score["parameters"] / 1e6:.2f} | {100 * point.miou:.1f}{spread} | '
        f'{row["runtime"]} | {row["total_ms"]:.1f} | {row["p95_ms"]:.1f} | {point.ratio:.2f} | '
        f'{row["agreement"]:.2%} |')
