# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of the benchmark of adaptation rounds: one JSON line each round, appended to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bkd_core.benchmarks.adaptation.results import append_line, read_lines
from bkd_core.checkout import commit

LINES = 'online.jsonl'
FIELDS = ('kind', 'run', 'number', 'budget', 'seed', 'seconds', 'commit')


class Journal:
    """
    Lines by run and number; a run's name ends in the hash of its settings.

    :param results: Folder of the record.
    :param budget: Name of the budget.
    """

    def __init__(self, results: Path, budget: str) -> None:
        self.path = results / LINES
        self.budget = budget

    def lines(self, kind: str = '') -> list[dict[str, Any]]:
        """
        Return the budget's lines, oldest first; of one that was written twice, the last.

        :param kind: 'round', 'trial' or 'rate'; all by default.
        """
        newest = {
            (line['run'], line['number']): line for line in read_lines(self.path, FIELDS)
            if line['budget'] == self.budget and kind in ('', line['kind'])}
        return list(newest.values())

    def has(self, run: str, number: int) -> bool:
        """
        Return whether a line is there.

        :param run: Name of the run.
        :param number: Of the round or trial.
        """
        return any((line['run'], line['number']) == (run, number) for line in self.lines())

    def add(self, **values: Any) -> None:
        """
        Append a line.

        :param values: `FIELDS` without budget and commit, and whatever the kind has beside.
        """
        line = {**values, 'budget': self.budget, 'commit': commit()}
        append_line(self.path, {key: plain(value) for key, value in line.items()})


def plain(value: Any) -> Any:
    """
    Return a value for JSON; None stands for a number that is not finite.

    :param value: A number, a text, or a dict or list of them.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
