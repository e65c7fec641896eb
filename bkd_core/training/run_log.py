# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The run's record of its losses: one JSON line a step."""

from __future__ import annotations

import os
from pathlib import Path

from bkd_core.runs.files import LOG
from bkd_core.runs.lines import iterate_lines, StepLines


class RunLog(StepLines):
    """
    Append to `log.jsonl`; steps after the checkpoint that a run resumes from are dropped.

    :param directory: The run's folder.
    :param first_step: The step with which the run begins or goes on.
    """

    def __init__(self, directory: Path, *, first_step: int) -> None:
        super().__init__(directory / LOG, first_step=first_step)


class NoLog(RunLog):
    """Write nothing: of several processes only the first keeps the record."""

    def __init__(self) -> None:
        self._file = open(os.devnull, 'wb')


def read_log(directory: Path) -> list[dict[str, float]]:
    """
    Return a run's lines; a last line that a kill left torn is dropped.

    :param directory: The run's folder.
    """
    return list(iterate_lines(Path(directory) / LOG))
