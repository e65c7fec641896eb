# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Keep a round from disturbing what else a robot computes."""

from __future__ import annotations

from contextlib import contextmanager
import os
import resource
import signal
from types import FrameType
from typing import Iterator

from bkd_core.errors import InputError

NICENESS = 10
_OUT_OF_MEMORY = ('allocate', 'out of memory')


def lower_priority() -> None:
    """Let every other process go first."""
    os.nice(max(0, NICENESS - os.nice(0)))


@contextmanager
def memory_limit(megabytes: int) -> Iterator[None]:
    """
    Let this process ask for no more memory than this, instead of the system killing another.

    What counts is the memory that it may write to (RLIMIT_DATA), not the libraries' code and
    not the memory of a GPU.

    :param megabytes: The limit, all of the process included; 0 sets none.
    :raises InputError: If the block within needs more.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if megabytes:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 1_000_000, before[1]))
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError) or any(
            words in str(error) for words in _OUT_OF_MEMORY)
        if not is_memory:
            raise
        raise InputError(
            f'the round needs more memory than it may have (--memory-megabytes {megabytes}, 0 is '
            'no limit). Give it more, or lower --cache-megabytes; the same command goes on'
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Let SIGTERM stop the block as Ctrl-C does: with what was reached on the disk."""
    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
