# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder."""

from __future__ import annotations

from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import time
from typing import Iterator, TextIO

from bkd_core.errors import InputError
from bkd_core.runs.files import LOCK
from bkd_core.training.processes import Processes

# One who only asks for a run's state holds its lock for less than this.
_PATIENCE_S = 0.2
# Loader processes of a killed process hold its lock until they notice, every 5 s.
_RESTARTED_PATIENCE_S = 30.0


@contextmanager
def only_run(directory: Path, processes: Processes) -> Iterator[None]:
    """
    Hold the folder of a run; a killed process lets go of it by itself.

    :param directory: Made by the first process if it is missing.
    :param processes: Those of the run; the first holds the folder and must come first.
    :raises InputError: If another run holds it, or not all processes see it.
    """
    if not processes.is_first:
        if not (directory / LOCK).exists():
            raise InputError(
                f'{directory}: process {processes.rank} does not find what the first one put '
                'there; the output folder must be on a disk that all machines share')
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open('w') as lock:
        _hold(lock, directory)
        try:
            yield
        finally:
            (directory / LOCK).unlink(missing_ok=True)


def _hold(lock: TextIO, directory: Path) -> None:
    is_restarted = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'
    deadline = time.monotonic() + (_RESTARTED_PATIENCE_S if is_restarted else _PATIENCE_S)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if time.monotonic() >= deadline:
                raise InputError(
                    f'{directory}: another process is training here. Wait for it, stop it, or '
                    'give another --output') from error
        time.sleep(0.1)
