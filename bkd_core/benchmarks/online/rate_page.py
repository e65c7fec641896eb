# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The section of the page that tells what a round takes from the cameras."""

from __future__ import annotations

from typing import Any, Sequence

from bkd_core.benchmarks.frame_quality import table
from bkd_core.benchmarks.online.rate import mean_over_turns, rate_run, RateSettings

MIN_KEPT = 0.8  # of the rate without a round


def rate_section(lines: Sequence[dict[str, Any]], settings: RateSettings) -> list[str]:
    """
    Return the section's lines; none if nothing was measured with these settings.

    :param lines: The record.
    :param settings: The settings.
    """
    own = sorted(
        (line for line in lines if line['run'] == rate_run(settings)),
        key=lambda line: line['number'])
    if not own:
        return []
    worst = min(turn['kept'] for line in own for turn in line['turns'])
    words = 'it holds' if worst >= MIN_KEPT else 'it does **not** hold'
    return [
        '## The rate of the labels while a round trains', '',
        f'`segmentation_node` with {_model(settings)} and `adaptation_node` under real ROS 2, '
        f'{own[0]["num_cores"]} cores. A camera shows generated streets at '
        f'{settings.camera_rate:g} Hz, without a round and while one trains (the first stage, '
        f'which trains a network and runs two more; priority {settings.priority}), '
        f'{settings.turns} times each, {settings.seconds:g} s each time, by turns. Latency: from '
        'the stamp to the listener. Means over the turns.', '',
        *table(
            ['frames', 'runtime', 'labels a second, no round', 'p50 / p95 (ms)',
             'labels a second, round', 'p50 / p95 (ms)', 'kept, each turn',
             'steps a second, no camera', 'with camera', 'load before'],
            [_row(line) for line in own]), '',
        f'Of its rate the node keeps at least {100 * worst:.0f} %; at least '
        f'{100 * MIN_KEPT:g} % is asked for: {words}.', '']


def _model(settings: RateSettings) -> str:
    return 'the shipped student' if settings.model == 'default' else f'`{settings.model}`'


def _row(line: dict[str, Any]) -> list[str]:
    height, width = line['size']
    cells = [f'{width}x{height}', line['runtime']]
    for kind in ('without', 'during'):
        cells += [
            f'{mean_over_turns(line, kind, "labels_per_s"):.1f}',
            f'{mean_over_turns(line, kind, "latency_p50_ms"):.1f} / '
            f'{mean_over_turns(line, kind, "latency_p95_ms"):.1f}']
    return [
        *cells, ', '.join(f'{100 * turn["kept"]:.0f} %' for turn in line['turns']),
        f'{mean_over_turns(line, "steps_per_s_alone"):.2f}',
        f'{mean_over_turns(line, "steps_per_s"):.2f}', f'{line["load"]:.1f}']
