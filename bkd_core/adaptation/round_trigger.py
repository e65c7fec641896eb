# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""When a round is to begin by itself."""

from __future__ import annotations

import os
from pathlib import Path
import time
from typing import Callable

from bkd_core.datasets.frame_store import FRAMES

# By request alone, by new frames in the store, or by those when the scene has shifted.
START_ON = ('request', 'frames', 'shift')
# Its time of change is when the newest round began.
BEGAN = '.round.began'
# A shift that nobody confirmed for so long is no longer known.
_SILENCE_S = 5.0


class RoundTrigger:
    """
    Know whether a round is due.

    :param start_on: One of `START_ON`.
    :param store: Folder of the frame store.
    :param versions: Folder of the versions.
    :param min_frames: New frames without which no round begins by itself.
    :param shift_seconds: How long the shift of one camera must last.
    :param clock: Seconds of a clock that never jumps.
    """

    def __init__(
        self, start_on: str, *, store: Path, versions: Path, min_frames: int,
        shift_seconds: float, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start_on = start_on
        self._store = store
        self._versions = versions
        self._min_frames = min_frames
        self._shift_seconds = shift_seconds
        self._clock = clock
        self._shifted: dict[str, tuple[float, float]] = {}  # camera -> since when, last heard

    def begin(self) -> None:
        """
        Remember that a round begins now, also beyond the end of this process.

        :raises OSError: If it cannot be written down: the frames count as new then.
        """
        (self._versions / BEGAN).touch()

    def on_shift(self, camera: str, is_shifted: bool) -> None:
        """
        Take what is known of a camera's scene now.

        :param camera: The camera; each has a state of its own.
        :param is_shifted: Whether its scene has shifted.
        """
        if is_shifted:
            now = self._clock()
            since, _ = self._shifted.get(camera, (now, now))
            self._shifted[camera] = since, now
        else:
            self._shifted.pop(camera, None)

    def num_new_frames(self) -> int:
        """Return how many frames in the store were written since the newest round began."""
        try:
            began = (self._versions / BEGAN).stat().st_mtime_ns
        except OSError:  # none has begun
            began = 0
        try:
            with os.scandir(self._store / FRAMES) as entries:
                return sum(
                    _is_newer(entry, began) for entry in entries if entry.name.endswith('.json'))
        except OSError:  # the collector has not begun yet, or a round will say what is wrong
            return 0

    @property
    def is_due(self) -> bool:
        """Return whether a round is to begin now."""
        if self._start_on == 'request' or self._start_on == 'shift' and not self._is_shifted:
            return False
        return self.num_new_frames() >= self._min_frames

    @property
    def _is_shifted(self) -> bool:
        now = self._clock()
        return any(
            now - heard <= _SILENCE_S and now - since >= self._shift_seconds
            for since, heard in self._shifted.values())


def _is_newer(entry: os.DirEntry[str], time_ns: int) -> bool:
    try:
        return entry.stat().st_mtime_ns > time_ns
    except OSError:  # it gave way to another one in this moment
        return False
