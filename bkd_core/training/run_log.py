# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The run's record: one JSON line a step."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bkd_core import atomic

LOG = 'log.jsonl'


class RunLog:
    """
    Append to `log.jsonl`; steps after the checkpoint that a run resumes from are dropped.

    :param directory: The run's folder.
    :param first_step: The step with which the run begins or goes on.
    """

    def __init__(self, directory: Path, *, first_step: int) -> None:
        self.path = directory / LOG
        kept = [line for line in read_log(directory) if line['step'] < first_step]
        atomic.write_text(self.path, ''.join(json.dumps(line) + '\n' for line in kept))
        self._file = self.path.open('a', encoding='utf-8')

    def write(self, line: dict[str, float]) -> None:
        """
        Append a line.

        :param line: Must hold 'step'.
        """
        self._file.write(json.dumps(line) + '\n')

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class NoLog(RunLog):
    """Write nothing: of several processes only the first keeps the record."""

    def __init__(self) -> None:
        self._file = open(os.devnull, 'w', encoding='utf-8')


def read_log(directory: Path) -> list[dict[str, float]]:
    """
    Return a run's lines; a last line that a kill left torn is dropped.

    :param directory: The run's folder.
    """
    path = Path(directory) / LOG
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding='utf-8').splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
