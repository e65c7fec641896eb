# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which versions that the gate accepted are set aside, and why; a file for each kind of mark."""

from __future__ import annotations

import json
from pathlib import Path

from bkd_core import atomic
from bkd_core.errors import InputError

ROLLED_BACK, NOT_USED = 'rolled back', 'not used'
# The state of the version -> the file beside the versions.
FILES = {ROLLED_BACK: 'rolled_back.json', NOT_USED: 'not_used.json'}


def read_marks(folder: Path, state: str) -> dict[str, str]:
    """
    Return name of the version -> why it is set aside.

    :param folder: The folder of versions.
    :param state: The kind of mark, a key of `FILES`.
    :raises InputError: If the file is damaged.
    """
    path = folder / FILES[state]
    try:
        reasons = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(_damaged(path)) from error
    if not isinstance(reasons, dict) or not all(
            isinstance(reason, str) for reason in reasons.values()):
        raise InputError(_damaged(path))
    return reasons


def mark(folder: Path, state: str, name: str, reason: str) -> None:
    """
    Set a version aside; marks of versions that are gone go, too.

    A kill leaves the marks before or these.

    :param folder: The folder of versions.
    :param state: The kind of mark.
    :param name: Name of the version.
    :param reason: Why, in a sentence.
    """
    _write(folder, state, {
        marked: why for marked, why in {**read_marks(folder, state), name: reason}.items()
        if (folder / marked).is_dir()})


def unmark(folder: Path, name: str) -> None:
    """
    Take away every mark of a version.

    :param folder: The folder of versions.
    :param name: Name of the version.
    """
    for state in FILES:
        reasons = read_marks(folder, state)
        if reasons.pop(name, None) is not None:
            _write(folder, state, reasons)


def _write(folder: Path, state: str, reasons: dict[str, str]) -> None:
    atomic.write_text(folder / FILES[state], json.dumps(reasons, indent=1))


def _damaged(path: Path) -> str:
    return (
        f'{path}: damaged; expected {{"VERSION": "reason"}}. Delete it: the versions that it '
        'marked count as accepted then')
