# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`run.json`: a run's settings, its starts with their environment, and where it stands."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib import metadata
import json
import os
from pathlib import Path
import platform
import shlex
import sys
from typing import Any

import bkd_core
from bkd_core import atomic
from bkd_core.errors import InputError
from bkd_core.runs.files import RUN

FORMAT_VERSION = 1
_MAX_STARTS = 50
_PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'opencv-python-headless', 'onnxruntime')


class Journal:
    """
    Keep `run.json`, which is written when the run starts, saves a checkpoint, and ends.

    :param directory: The run's folder.
    :param settings: The resolved settings, plain values.
    :param start: What `environment` returned, and the step that this start goes on from. The
        first and the newest 49 starts are kept.
    :raises InputError: If the file that is there was not written by this bkd_ros.
    """

    def __init__(
        self, directory: Path, *, settings: dict[str, Any], start: dict[str, Any],
    ) -> None:
        self.directory = directory
        starts = [*read_journal(directory).get('starts', []), start]
        self._values = {
            'format_version': FORMAT_VERSION, 'settings': settings,
            'saved_step': start['first_step'], 'stopped': None,
            'starts': starts[:1] + starts[1:][-(_MAX_STARTS - 1):]}
        self._write()

    def saved(self, step: int) -> None:
        """
        Write down that a checkpoint holds this many steps.

        :param step: Number of steps made.
        """
        self._values['saved_step'] = step
        self._write()

    def stopped(self, step: int, reason: str) -> None:
        """
        Write down that the loop ended before the last step.

        :param step: Number of steps made.
        :param reason: Why, in a sentence.
        """
        self._values['stopped'] = {'step': step, 'time': now(), 'reason': reason}
        self._write()

    def _write(self) -> None:
        atomic.write_text(self.directory / RUN, json.dumps(self._values, indent=1))


def read_journal(directory: Path) -> dict[str, Any]:
    """
    Return what `run.json` holds; nothing if there is none.

    :param directory: The run's folder.
    :raises InputError: If it is damaged or of another format.
    """
    path = directory / RUN
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
        found = values['format_version']
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path}: damaged; expected what a run writes ({error}). Delete it: the run itself '
            'does not need it') from error
    if found != FORMAT_VERSION:
        raise InputError(
            f'{path}: format_version {found}; this bkd_ros reads {FORMAT_VERSION}. Install the '
            'version that wrote it, or delete the file: the run itself does not need it')
    return values


def environment(*, device: str, device_name: str, commit: str) -> dict[str, Any]:
    """
    Return what a run's numbers may depend on beside its settings; the machine is not named.

    :param device: What the run computes on, such as 'cuda:0'.
    :param device_name: What that is, such as 'NVIDIA L4'.
    :param commit: The commit of the code.
    """
    return {
        'time': now(), 'command': shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        'commit': commit, 'bkd_ros': bkd_core.__version__,
        'python': platform.python_version(), 'packages': _versions(),
        'system': f'{platform.system()} {platform.release()} {platform.machine()}',
        'processors': len(os.sched_getaffinity(0)), 'device': device, 'device_name': device_name}


def now() -> str:
    """Return the time in UTC, such as '2026-05-01T12:00:00Z'."""
    return datetime.now(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # it came under another name, or not at all
            continue
    return versions
