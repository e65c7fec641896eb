# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The table and the chart of the students' design space, from the record."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
import statistics
from typing import Any, Sequence

from bkd_core.benchmarks.latency.contestant import PEER, PLAIN
from bkd_core.benchmarks.students.designs import PEER_HEIGHT
from bkd_core.benchmarks.svg import document, GRID, INK, line, MUTED, text

PAGE, CHART = 'students.md', 'students.svg'
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 460, 60, 190, 52, 60
_NAME_WIDTH = 180
_COLORS = {'onnxruntime': '#00629b', 'openvino': '#b35900'}
# Labels that are those of the plain way; what the project asks of a fast student.
_AGREEMENT = .999


@dataclass(frozen=True, kw_only=True)
class Point:
    """
    A design by one runtime.

    :param score: The newest line of its score.
    :param mious: mIoU of its seeds, 0 to 1.
    :param rows: Its times, of `measure`, one for each size of frame.
    :param ratios: How many times as fast as the same network's plain way it is, by size.
    :param peer_ratios: The same, compared with the plain way of LR-ASPP.
    :param is_best: No other point labels as well in less time, or better in the same, at the first
        size.
    """

    score: dict[str, Any]
    mious: tuple[float, ...]
    rows: tuple[dict[str, Any], ...]
    ratios: tuple[float, ...]
    peer_ratios: tuple[float, ...]
    is_best: bool = False

    @property
    def miou(self) -> float:
        """Return the mean over the seeds."""
        return statistics.fmean(self.mious)

    @property
    def row(self) -> dict[str, Any]:
        """Return the times of the first size."""
        return self.rows[0]


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
    plain = {
        (row['model'], *row['size']): row['total_ms'] for row in rows if row['runtime'] == PLAIN}
    ways: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row['runtime'] != PLAIN and row['model'] in newest:
            ways.setdefault((row['model'], row['runtime']), []).append(row)
    points = []
    for (design, _), found in ways.items():
        score = newest[design]
        by_seed = {
            item['seed']: item['miou'] for item in lines if item['kind'] == 'score'
            and all(item[key] == score[key] for key in ('design', 'steps', 'options'))}
        ratios, peer_ratios = (
            tuple(plain[(model, *row['size'])] / row['total_ms'] for row in found)
            for model in (design, PEER))
        points.append(Point(
            score=score, mious=tuple(by_seed.values()), rows=tuple(found), ratios=ratios,
            peer_ratios=peer_ratios))
    return [_with_mark(point, points) for point in points]


def page(lines: Sequence[dict[str, Any]]) -> str:
    """
    Return the page.

    :param lines: The record, with at least one line of times.
    """
    times = [item for item in lines if item['kind'] == 'times'][-1]
    points = points_of(lines)
    steps = sorted({point.score['steps'] for point in points})
    sizes = [f'{row["size"][1]}x{row["size"][0]}' for row in points[0].rows] if points else []
    head = ''.join(
        f' {size}: ms | p95 | times as fast | LR-ASPP | agreement |' for size in sizes)
    text_lines = [
        '# Students: what a design costs and what it sees', '',
        'Written by `bkd benchmark students`; do not edit. Every design is trained on the '
        'labelled frames of CamVid (the',
        f'ceiling of the design, {" or ".join(map(str, steps))} steps) and scored on its '
        'validation split, of which nothing is learnt. The',
        'times are those of the whole way from a frame to labels, by one thread, medians of '
        f'{times["rounds"]} turns in which all',
        'designs and ways took part one after the other. *times as fast* compares with the plain '
        'way of the same',
        'network (NumPy, eager float32 torch, torch argmax), *LR-ASPP* with the plain way of '
        "torchvision's LR-ASPP",
        f'MobileNetV3-Large at height {PEER_HEIGHT} (random weights: its time counts), '
        '*agreement* is the share of labels that are',
        "those of the network's plain way. **Bold**: at the first size no other line is better "
        'without being slower; ways that',
        f'change more than {1 - _AGREEMENT:.1%} of the labels are left out of that comparison, '
        'since the mIoU was measured by ONNX Runtime in float32.',
        '', f'![mIoU over milliseconds]({CHART})', '',
        f'| design | M parameters | mIoU (%) | way |{head}',
        f'| --- | ---: | ---: | --- |{" ---: |" * 5 * len(sizes)}']
    text_lines += [_row(point) for point in points]
    timed = {point.score['design'] for point in points}
    others = {
        item['design']: f'{item["design"]} {100 * item["miou"]:.1f}' for item in lines
        if item['kind'] == 'score' and item['design'] not in timed}
    if others:
        text_lines += ['', f'Scored, but not timed here (mIoU, %): {"; ".join(others.values())}.']
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
    lowest = beside = 0.0  # of the last name
    for point in shown:
        x, y = place(point.row['total_ms'], 100 * point.miou)
        color = _COLORS[point.row['runtime']]
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{color}"/>')
        if point.is_best:
            below = max(y + 14, lowest + 13) if x < beside else y + 14
            parts.append(text(x + 8, below, point.score['design'], size=11))
            lowest, beside = below, x + _NAME_WIDTH
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
    return replace(point, is_best=is_best)


def _row(point: Point) -> str:
    score = point.score
    name = f'**{score["design"]}**' if point.is_best else score['design']
    spread = f' ± {100 * statistics.stdev(point.mious):.1f}' if len(point.mious) > 1 else ''
    cells = [
        f'{row["total_ms"]:.1f} | {row["p95_ms"]:.1f} | {ratio:.1f} | {peer_ratio:.1f} | '
        f'{row["agreement"]:.2%}'
        for row, ratio, peer_ratio in zip(point.rows, point.ratios, point.peer_ratios)]
    return (
        f'| {name} | {score["parameters"] / 1e6:.2f} | {100 * point.miou:.1f}{spread} | '
        f'{point.row["runtime"]} | {" | ".join(cells)} |')
