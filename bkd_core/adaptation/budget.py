# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Keep a round from disturbing what else a robot computes."""

from __future__ import annotations

from contextlib import contextmanager
import ctypes
import os
from pathlib import Path
import resource
import signal
import time
from types import FrameType
from typing import Iterator

from bkd_core.errors import InputError

NICENESS = 10
_LOWEST_NICENESS = 19
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OUT_OF_MEMORY = ('allocate', 'out of memory')


def lower_priority(*, is_idle: bool = False) -> None:
    """
    Let every other process go first; threads that begin later do, too.

    :param is_idle: Take only what the others leave of the processors (SCHED_IDLE), nearly
        nothing where they leave none; else a tenth of a normal process' share (nice).
    """
    for thread in map(int, os.listdir('/proc/self/task')):
        lowered = max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread))
        os.setpriority(os.PRIO_PROCESS, thread, lowered)
        if is_idle:
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    if os.getsid(0) == os.getpid():  # else the session is also that of others
        _lower_autogroup(_LOWEST_NICENESS if is_idle else NICENESS)


def _lower_autogroup(niceness: int) -> None:
    """
    Lower the share of this process' session, where the kernel shares between sessions first.

    Between sessions neither nice nor SCHED_IDLE counts, only their own nice value: sched(7),
    "The autogroup feature".
    """
    path = Path('/proc/self/autogroup')
    for _ in range(10):
        try:
            path.write_text(str(niceness))
            return
        except FileNotFoundError:
            return  # the kernel does not group
        except OSError:  # it takes one change in a tenth of a second
            time.sleep(0.1)


def end_with(parent: int) -> None:
    """
    Let the kernel kill this process when the one that started it ends, even if it is halted.

    :param parent: Process id of the one that started it.
    :raises InputError: If it has ended already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        raise InputError(f'--supervisor: process {parent} did not start this one, or has ended')


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
