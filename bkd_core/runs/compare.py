# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs side by side: where their settings differ, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
import json
from typing import Any, Sequence

from bkd_core.errors import InputError
from bkd_core.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    Runs side by side; each value is a list with one entry for each run, None where it has none.

    :param runs: The runs' folders.
    :param settings: Settings in which they differ, by dotted name.
    :param results: State, steps, losses, mIoU (0 to 1), speed and memory.
    :param iou: IoU by class, 0 to 1.
    """

    runs: list[str]
    settings: dict[str, list[Any]]
    results: dict[str, list[Any]]
    iou: dict[str, list[float | None]]


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """
    Compare runs.

    :param runs: Two or more.
    :raises InputError: If there are fewer.
    """
    if len(runs) < 2:
        raise InputError(f'bkd runs compare: expected two or more runs; got {len(runs)}')
    settings = [_dotted(run.settings) for run in runs]
    names = dict.fromkeys(name for values in settings for name in values)
    rows = {name: [values.get(name) for values in settings] for name in names}
    terms = dict.fromkeys(term for run in runs for term in run.losses)
    measured = dict.fromkeys(name for run in runs for name in run.resources if name != 'step')
    classes = dict.fromkeys(name for run in runs for name in run.iou)
    return Comparison(
        runs=[str(run.directory) for run in runs],
        settings={
            name: values for name, values in rows.items()
            if len({json.dumps(value, sort_keys=True) for value in values}) > 1},
        results={
            'state': [run.state for run in runs],
            'made': [run.made for run in runs],
            'steps': [run.steps for run in runs],
            'loss': [run.loss for run in runs],
            **{f'loss.{term}': [run.losses.get(term) for run in runs] for term in terms},
            'miou': [run.score for run in runs],
            'best.miou': [run.best.get('miou') for run in runs],
            'best.step': [run.best.get('step') for run in runs],
            **{name: [run.resources.get(name) for run in runs] for name in measured}},
        iou={name: [run.iou.get(name) for run in runs] for name in classes})


def _dotted(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Return nested settings as one mapping of dotted names."""
    flat = {}
    for key, value in values.items():
        name = f'{prefix}{key}'
        if isinstance(value, dict) and value:
            flat.update(_dotted(value, f'{name}.'))
        else:
            flat[name] = value
    return flat
