# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every data set offers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from bkd_core.labels import LabelSpace
import numpy as np


@runtime_checkable
class SegmentationDataset(Protocol):
    """
    Numbered frames, with or without a class for each pixel.

    A data set may be used from several processes at once (loader workers), so it opens files
    when it is asked for a frame and holds no handle that a copy of it would share.
    """

    label_space: LabelSpace
    has_labels: bool

    def __len__(self) -> int:
        """Return the number of frames."""

    def name(self, index: int) -> str:
        """
        Return the name of a frame, unique in the set and usable as a file's stem.

        :param index: Number of the frame, from 0.
        """

    def image(self, index: int) -> np.ndarray:
        """
        Return a frame.

        :param index: Number of the frame, from 0.
        :return: (H, W, 3) uint8, RGB, C-contiguous.
        """

    def labels(self, index: int) -> np.ndarray:
        """
        Return the classes of a frame's pixels.

        :param index: Number of the frame, from 0.
        :return: (H, W) uint8 in `label_space`; 255 where a pixel has no class.
        :raises InputError: If the set has no labels.
        """
