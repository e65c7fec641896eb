# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of the training benchmark, from its numbers."""

from __future__ import annotations

import statistics
import textwrap
from typing import Any

from bkd_core.benchmarks.adaptation.table import markdown
from bkd_core.benchmarks.training.stopwatch import PARTS


def page(numbers: dict[str, Any]) -> str:
    """
    Return the page.

    :param numbers: What `run_training_benchmark` stored.
    """
    methods = {name: summary(method) for name, method in numbers['methods'].items()}
    images = 2 * numbers['batch']
    speed = [[
        name, f'{1000 * found["ours"]:.0f}', f'{1000 * found["plain"]:.0f}',
        f'{images / found["ours"]:.1f}', f'{images / found["plain"]:.1f}',
        f'{found["ratio"]:.2f}'] for name, found in methods.items()]
    shares = [
        [name, *(f'{100 * found["parts"][part]:.1f} %' for part in PARTS)]
        for name, found in methods.items()]
    intro = (
        "Written by `bkd benchmark training`; do not edit. The trainer's step beside the same "
        'step written plainly: a call of the networks for each domain, losses at the size of the '
        'crops, the teacher labelling the crops in every step, an optimizer and an average that '
        'go from parameter to parameter, memory as the system gives it. Both in turn on the same '
        f'{images} crops of {numbers["crop"]} pixels, each in its own process; medians of '
        f'{numbers["rounds"]} steps, loading included. The trainer counts one pixel in two each '
        "way in its losses (`loss_stride: 2`, the default), and BKD's teacher has seen every "
        'frame (`teacher_view: frame`), as after the first pass over the data.')
    return '\n'.join([
        '# Training speed', '', *textwrap.wrap(intro, 99), '',
        *markdown(
            ['method', 'ours (ms)', 'plain (ms)', 'ours (images/s)', 'plain (images/s)',
             'times as fast'], speed, num_texts=1),
        '', 'Where the time of our step goes:', '',
        *markdown(['method', *PARTS], shares, num_texts=1),
        '',
        f'Device: {numbers["device"]}; {numbers["threads"]} threads. Machine: '
        f'{numbers["machine"]}; load {numbers["load"]:.1f}. Python {numbers["python"]}, torch '
        f'{numbers["torch"]}. Commit: {numbers["commit"]}.', ''])


def summary(method: dict[str, Any]) -> dict[str, Any]:
    """
    Return the medians of a method's steps.

    :param method: Seconds of each step by parts, 'ours' and 'plain'.
    :return: Seconds of 'ours' and 'plain', their 'ratio' (the median over pairs of steps on the
        same crops), and the share of each of the 'parts' of our step.
    """
    ours, plain = (
        [sum(parts.values()) for parts in method[name]] for name in ('ours', 'plain'))
    medians = {
        part: statistics.median(parts[part] for parts in method['ours']) for part in PARTS}
    total = sum(medians.values())
    return {
        'ours': statistics.median(ours), 'plain': statistics.median(plain),
        'ratio': statistics.median(p / o for p, o in zip(plain, ours)),
        'parts': {part: seconds / total for part, seconds in medians.items()}}
