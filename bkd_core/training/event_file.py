# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's event files; only this file needs its package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bkd_core.errors import InputError
import numpy as np


class EventFile:
    """
    Write numbers and pictures for TensorBoard.

    TensorBoard's package names the files, and puts the machine's name into their names.

    :param directory: Folder of the event files; it is made.
    :param first_step: Number of steps made before: what earlier files say of more steps than these
        is made again, so it is not shown.
    :raises InputError: If the package is missing.
    """

    def __init__(self, directory: Path, *, first_step: int) -> None:
        if importlib.util.find_spec('tensorboard') is None:
            raise InputError(
                "records.tensorboard: the package 'tensorboard' is not installed: "
                "pip install 'bkd_ros[tensorboard]', or leave the setting at false")
        from torch.utils.tensorboard import SummaryWriter
        # What was written at this very step was written before the checkpoint; it stays.
        self._writer = SummaryWriter(str(directory), purge_step=first_step + 1)

    def numbers(self, values: dict[str, float], *, step: int) -> None:
        """
        Write numbers.

        :param values: By TensorBoard's tag, such as 'loss/source'.
        :param step: Number of steps made.
        """
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def picture(self, tag: str, image: np.ndarray, *, step: int) -> None:
        """
        Write a picture.

        :param tag: Its name.
        :param image: (H, W, 3) uint8 RGB.
        :param step: Number of steps made.
        """
        self._writer.add_image(tag, image, step, dataformats='HWC')

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
