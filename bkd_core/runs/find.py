# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Find runs below a folder, and tell whether there is one to go on with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable

from bkd_core.errors import InputError
from bkd_core.model_directory import METRICS
from bkd_core.runs.files import CHECKPOINT, LOG
from bkd_core.runs.run import damaged_run, is_run, read_run, Run


def find_runs(folder: str | Path) -> list[Run]:
    """
    Return the runs in a folder and below it, by their paths; damaged ones have that state.

    :param folder: Such as 'runs'.
    :raises InputError: If it is no folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder. Give the one that 'bkd train --output' wrote into")
    found = []
    for path, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith('.'))
        if is_run(Path(path)):
            names.clear()  # what lies in a run is a part of it
            found.append(Path(path))
    return [_read_or_damaged(path) for path in found]


def _read_or_damaged(directory: Path) -> Run:
    try:
        return read_run(directory)
    except InputError as error:
        return damaged_run(directory, str(error))


def require_begun(output: Path, stages: Iterable[str]) -> list[str]:
    """
    Refuse to go on with an experiment of which nothing is there.

    :param output: Its folder.
    :param stages: Names of the stages that are to be trained.
    :return: A sentence for each stage that is finished or has a checkpoint.
    :raises InputError: If there is no such stage.
    """
    found, begun = [], []
    for name in stages:
        directory = output / name
        if (directory / METRICS).exists():
            found.append(f'{name}: finished')
        elif (directory / CHECKPOINT).exists():
            saved = read_run(directory).saved_step
            found.append(f'{name}: goes on' + ('' if saved is None else f' from step {saved}'))
        elif (directory / LOG).exists():
            begun.append(name)
    if not found:
        reason = f'{begun[0]} was begun, but stopped before its first checkpoint' if begun else (
            'no stage has a checkpoint or is finished')
        raise InputError(
            f'--resume: nothing to go on with in {output}: {reason}. Check --output, or leave '
            '--resume out to begin')
    return found
