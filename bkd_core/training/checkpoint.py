# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints from which a run goes on exactly as if it had not been interrupted."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
import pickle
from typing import Any

from bkd_core import atomic
from bkd_core.errors import InputError
from bkd_core.runs.files import CHECKPOINT
import torch

FORMAT = 1  # of what a checkpoint holds; those without a number came before it and are alike


def fingerprint(text: str) -> str:
    """
    Return a short hash of a resolved configuration.

    :param text: The configuration as YAML.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """
    Write a checkpoint atomically: a kill leaves the one before or this one.

    :param directory: The run's folder.
    :param state: Tensors, numbers, strings and containers of them.
    """
    buffer = io.BytesIO()
    torch.save({'format': FORMAT, **state}, buffer)
    atomic.write_bytes(directory / CHECKPOINT, buffer.getvalue())


def load_checkpoint(directory: Path, *, config_hash: str) -> dict[str, Any] | None:
    """
    Read the checkpoint of a run, if there is one.

    :param directory: The run's folder.
    :param config_hash: `fingerprint` of the present configuration.
    :return: What was saved, on the CPU, or None.
    :raises InputError: If it is damaged, of a newer program, or of a run with other settings.
    """
    path = directory / CHECKPOINT
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = str(error).split('\n')[0]
        raise InputError(
            f'{path}: the checkpoint is damaged ({reason}); delete it to start again') from error
    if isinstance(state, dict) and state.get('format', 0) > FORMAT:
        raise InputError(
            f"{path}: this checkpoint was written by a newer version of bkd_ros: its format is "
            f"{state['format']}, this version reads up to {FORMAT}. Update bkd_ros to go on, or "
            'give another --output')
    if not isinstance(state, dict) or state.get('config_hash') != config_hash:
        raise InputError(
            f'{path}: this checkpoint belongs to a run with other settings. Give another '
            '--output, restore the settings, or delete the folder to start again')
    return state
