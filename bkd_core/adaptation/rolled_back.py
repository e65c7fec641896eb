# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which versions of a model were left by a rollback, and why; a file beside the versions."""

from __future__ import annotations

import json
from pathlib import Path

from bkd_core import atomic
from bkd_core.errors import InputError

FILE = 'rolled_back.json'


def read_reasons(folder: Path) -> dict[str, str]:
    """
    Return name of the version -> why it was left.

    :param folder: The folder of versions.
    :raises InputError: If the file is damaged.
    """
    path = folder / FILE
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


def write_reasons(folder: Path, reasons: dict[str, str]) -> None:
    """
    Write them; a kill leaves the reasons before or these.

    :param folder: The folder of versions.
    :param reasons: Name of the version -> why it was left.
    """
    atomic.write_text(folder / FILE, json.dumps(reasons, indent=1))


def _damaged(path: Path) -> str:
    return (
        f'{path}: damaged; expected {{"VERSION": "reason"}}. Delete it: versions that were rolled '
        'back count as accepted then')
