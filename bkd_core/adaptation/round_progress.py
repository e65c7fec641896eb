# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
How a round tells the process that started it how far it is: a JSON object a line, on a pipe.

A pipe leaves nothing behind when either side is killed, and its end tells the reader so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import json
import time
from typing import Callable, TextIO

STAGES = ('input', 'teacher', 'student', 'gate', 'report')
_PERIOD_S = 0.25  # between two lines of one stage

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class RoundProgress:
    """
    How far a round is.

    :param stage: One of `STAGES`.
    :param step: Steps, or frames, of the stage that are done.
    :param steps: How many it has; 0 if that is not known.
    :param seconds_left: Until the end of the stage, about; None if it is not known.
    """

    stage: str
    step: int
    steps: int
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """
    What a round came to.

    :param version: Name of its version.
    :param state: The version's state, one of `bkd_core.adaptation.versions.STATES`.
    :param reason: The gate's reason, or why the version was rolled back before or is not used.
    """

    version: str
    state: str
    reason: str


class ProgressLines:
    """
    Write progress and result as lines.

    :param stream: Where to; flushed after each line.
    :param clock: Seconds of a clock that never jumps.
    """

    def __init__(
        self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._stage = ''
        self._begun = (0.0, 0)  # seconds and steps when the stage began, or was taken up again
        self._due_s = 0.0

    def report(self, stage: str, step: int, steps: int) -> None:
        """
        Tell how far the round is; within a stage four times a second at most.

        :param stage: One of `STAGES`.
        :param step: Steps that are done.
        :param steps: How many there are; 0 if that is not known.
        """
        now = self._clock()
        if stage != self._stage:
            self._stage, self._begun, self._due_s = stage, (now, step), now
        if now < self._due_s and step != steps:
            return
        self._due_s = now + _PERIOD_S
        seconds, done = now - self._begun[0], step - self._begun[1]
        left = round(seconds / done * (steps - step), 1) if done and steps else None
        self._write(asdict(RoundProgress(
            stage=stage, step=step, steps=steps, seconds_left=left)))

    def result(self, result: RoundResult) -> None:
        """
        Tell what the round came to.

        :param result: Its result.
        """
        self._write(asdict(result))

    def _write(self, values: dict[str, object]) -> None:
        print(json.dumps(values), file=self._stream, flush=True)


def read_line(line: str) -> RoundProgress | RoundResult | None:
    """
    Return what a line says; None for one that a library printed, or that was cut off.

    :param line: The line.
    """
    try:
        values = json.loads(line)
        return RoundResult(**values) if 'version' in values else RoundProgress(**values)
    except (ValueError, TypeError):
        return None
