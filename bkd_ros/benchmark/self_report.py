# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a node under test notes of itself: its overhead, its CPU time and its memory."""

from __future__ import annotations

import json
from pathlib import Path
import resource
import threading
import time

from bkd_ros.process_memory import resident_memory_mb

_PERIOD_S = 1.0


class SelfReport:
    """
    Note a process's use of the machine from its first frame on.

    :param path: Where `write` puts the numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.overheads_ms: list[float] = []
        self._memory_mb: list[float] = []
        self._begin: tuple[float, float] | None = None
        self._end = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def answered(self, *, received_s: float, network_s: float) -> None:
        """
        Note that a frame was answered now.

        :param received_s: `time.perf_counter` when its callback began.
        :param network_s: What the network took of the time since.
        """
        if self._begin is None:
            self._begin = time.perf_counter(), _cpu_s()
            self._sampler.start()
        self.overheads_ms.append(
            1000 * (time.perf_counter() - received_s - network_s))

    def write(self) -> None:
        """Write the numbers as JSON."""
        self._end.set()
        began, cpu = self._begin or (time.perf_counter(), _cpu_s())
        self.path.write_text(json.dumps({
            'overheads_ms': self.overheads_ms, 'memory_mb': self._memory_mb,
            'cpu_s': _cpu_s() - cpu, 'seconds': time.perf_counter() - began}))

    def _sample(self) -> None:
        while not self._end.wait(_PERIOD_S):
            self._memory_mb.append(resident_memory_mb())


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
