# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of one JSON object a line, each with a 'step', of any length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator

_TAIL_BYTES = 64 * 1024


class StepLines:
    """
    Append lines to a file; those from a step on are dropped first, since they are made again.

    However long the file is, one line of it is in memory.

    :param path: The file; its folder must exist.
    :param first_step: The step with which the run begins or goes on.
    """

    def __init__(self, path: Path, *, first_step: int) -> None:
        self.path = path
        self._file = path.open('a+b')
        self._file.truncate(_bytes_before(self._file, first_step))

    def write(self, line: dict[str, Any]) -> None:
        """
        Append a line.

        :param line: Must hold 'step'.
        """
        self._file.write(json.dumps(line).encode() + b'\n')

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def iterate_lines(path: Path) -> Iterator[dict[str, Any]]:
    """
    Yield a file's lines, from the first to one that a kill left torn; none if there is no file.

    :param path: The file.
    """
    if not path.exists():
        return
    with path.open('rb') as file:
        for text in file:
            line = _parsed(text)
            if line is None:
                return
            yield line


def last_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """
    Return the last lines of a file, read from its end, without a torn one.

    :param path: The file; a missing one has no lines.
    :param count: How many; fewer where they take more than 64 KiB.
    """
    if not path.exists():
        return []
    with path.open('rb') as file:
        size = file.seek(0, 2)
        start = file.seek(max(0, size - _TAIL_BYTES))
        texts = file.read().splitlines(keepends=True)
    lines = map(_parsed, texts[1:] if start else texts)  # the first may have lost its beginning
    return [line for line in lines if line is not None][-count:]


def _bytes_before(file: Any, first_step: int) -> int:
    """Return where the first line begins that is torn or belongs to a later step."""
    file.seek(0)
    place = 0
    for text in file:
        line = _parsed(text)
        if line is None or line['step'] >= first_step:
            break
        place += len(text)
    return place


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text) if text.endswith(b'\n') else None
    except ValueError:
        return None
    return line if isinstance(line, dict) and 'step' in line else None
