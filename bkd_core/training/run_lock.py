# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder."""

from __future__ import annotations

from contextlib import contextmanager
import fcntl
from pathlib import Path
from typing import Iterator

from bkd_core.errors import InputError
from bkd_core.training.processes import Processes

LOCK = '.lock'


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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f'{directory}: another process is training here. Wait for it, stop it, or give '
                'another --output') from error
        try:
            yield
        finally:
            (directory / LOCK).unlink(missing_ok=True)
