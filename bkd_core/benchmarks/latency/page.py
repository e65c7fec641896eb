# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The page and the chart that tell how fast the ways from a frame to labels are."""

from __future__ import annotations

import math
from typing import Any, Sequence

from bkd_core.benchmarks.latency.contestant import PEER_AS_SHIPPED, PEER_HEIGHT, PLAIN
from bkd_core.benchmarks.svg import document, GRID, INK, line, MUTED, text

CHART = 'latency.svg'
_WIDTH, _LEFT, _STEP, _TOP = 840, 370, 24, 52


def add_ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Add how many times as fast as the plain ways each row is.

    :param rows: Of `measure`.
    :return: The rows with `ratio` (of the medians' wall time) and `cpu_ratio` to the same
        network's plain way, and `peer_ratio` to that of LR-ASPP as torchvision ships it; NaN if
        it was not measured.
    """
    plain = {_place(row): row for row in rows if row['runtime'] == PLAIN}

    def peer_ms(row: dict[str, Any]) -> float:
        peer = plain.get(_place({**row, 'model': PEER_AS_SHIPPED}))
        return peer['total_ms'] if peer else math.nan

    return [
        {**row, 'ratio': plain[_place(row)]['total_ms'] / row['total_ms'],
         'cpu_ratio': plain[_place(row)]['cpu_ms'] / row['cpu_ms'],
         'peer_ratio': peer_ms(row) / row['total_ms']} for row in rows]


def page(numbers: dict[str, Any]) -> str:
    """
    Return the page that tells the numbers.

    :param numbers: What `run_latency_benchmark` stored.
    """
    rows = add_ratios(numbers['rows'])
    lines = [
        '# From a frame to labels', '',
        'Written by `bkd benchmark latency`; do not edit. Every way is a process of its own; they',
        f'label generated streets in turn, {numbers["rounds"]} times each, so that what else the '
        'machine does meets',
        'all of them: trust the ratios, not the milliseconds. *plain* is what a tutorial shows: '
        'NumPy',
        "normalisation, eager float32 torch, torch's upsampling and argmax. The other ways are "
        "this package's:",
        'resize, a runtime, and labels interpolated only where classes are in question. '
        '*agreement* is the share',
        'of labels that equal those of the plain way. LR-ASPP MobileNetV3-Large is '
        "torchvision's, with random",
        'weights and the same number of classes: its times count, its labels mean nothing. It '
        'runs at the height',
        f"of this package's student, and the plain way also at {PEER_HEIGHT} pixels, to which "
        "torchvision's own",
        f'preprocessing for it resizes; *LR-ASPP, {PEER_HEIGHT}* is the ratio to the latter. '
        '*CPU* is what the',
        'process itself computed for a frame; on a busy machine it is the steadier number. *post* '
        "is by Numba's",
        'loop, if Numba is among the versions below; *by NumPy* is the same without it, timed '
        'apart.', '',
        f'![Times as fast as the plain way]({CHART})']
    for threads, neighbour in dict.fromkeys((row['threads'], row['neighbour']) for row in rows):
        chosen = [
            row for row in rows if (row['threads'], row['neighbour']) == (threads, neighbour)]
        beside = 'beside a process that keeps one core busy' if neighbour else 'alone'
        lines += ['', f'## {threads} thread{"s" if threads > 1 else ""}, {beside}', '',
                  '| frame | network | way | p50 / p95 (ms) | times as fast | '
                  f'LR-ASPP, {PEER_HEIGHT} | CPU (ms), times | pre / network / post (ms) | '
                  'by NumPy (ms) | agreement |',
                  '| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |']
        lines += [_row(row) for row in chosen]
    lines += ['', '## Start', '',
              'From the start of a fresh process to its first labels, and its resident memory at '
              'the end.', '',
              '| threads | network | way | load (s) | first labels (s) | memory (MB) |',
              '| ---: | --- | --- | ---: | ---: | ---: |']
    lines += [
        f'| {start["threads"]} | {start["model"]} | {start["runtime"]} | {start["load_s"]:.2f} | '
        f'{start["start_s"]:.2f} | {start["memory_mb"]:.0f} |' for start in numbers['starts']]
    lines += ['', f'Machine: {numbers["machine"]}; load {numbers["load"]:.1f}. '
              f'{numbers["versions"]}. Commit: {numbers["commit"]}.', '']
    return '\n'.join(lines)


def chart(rows: Sequence[dict[str, Any]]) -> str:
    """
    Draw how many times as fast as plain each way is, by one thread and alone.

    :param rows: Of `measure`.
    :return: An SVG file's text.
    """
    least = min(row['threads'] for row in rows)
    shown = [
        row for row in add_ratios(rows)
        if row['threads'] == least and not row['neighbour'] and row['runtime'] != PLAIN]
    longest = max([1.0, *(row['ratio'] for row in shown)])
    scale = (_WIDTH - _LEFT - 60) / longest
    bottom = _TOP + _STEP * len(shown)
    title = 'Times as fast as NumPy and eager torch (1: the same)'
    parts = [line(round(_LEFT + scale, 1), _TOP, round(_LEFT + scale, 1), bottom, GRID)]
    for number, row in enumerate(shown):
        y = _TOP + _STEP * number
        name = f'{row["model"]}, {row["runtime"]}, {row["size"][1]}x{row["size"][0]}'
        width = round(scale * row['ratio'], 1)
        parts += [
            text(_LEFT - 10, y + 16, name, anchor='end', color=MUTED),
            f'<rect x="{_LEFT}" y="{y + 4}" width="{width}" height="16" fill="#00629b"/>',
            text(_LEFT + width + 6, y + 16, f'{row["ratio"]:.1f}', color=INK)]
    return document(title, parts, width=_WIDTH, height=bottom + 20)


def _row(row: dict[str, Any]) -> str:
    peer = f'{row["peer_ratio"]:.2f}' if math.isfinite(row['peer_ratio']) else '-'
    return (
        f'| {row["size"][1]}x{row["size"][0]} | {row["model"]} | {row["runtime"]} | '
        f'{row["total_ms"]:.1f} / {row["p95_ms"]:.1f} | {row["ratio"]:.2f} | {peer} | '
        f'{row["cpu_ms"]:.1f}, {row["cpu_ratio"]:.2f} | {row["pre_ms"]:.2f} / '
        f'{row["network_ms"]:.2f} / {row["post_ms"]:.2f} | '
        f'{row["post_numpy_ms"]:.2f} | {row["agreement"]:.2%} |')


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row['model'], tuple(row['size']), row['threads'], row['neighbour']
