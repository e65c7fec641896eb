# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Some frames of one or more data sets, as a data set."""

from __future__ import annotations

from typing import Sequence

from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.errors import InputError
import numpy as np


class Subset:
    """
    Chosen frames in a chosen order.

    :param frames: (data set, number of the frame in it) pairs.
    :raises InputError: If there is none, or their label spaces differ.
    """

    def __init__(self, frames: Sequence[tuple[SegmentationDataset, int]]) -> None:
        if not frames:
            raise InputError('subset: expected at least one frame; got none')
        self._frames = list(frames)
        self.label_space = frames[0][0].label_space
        self.has_labels = all(dataset.has_labels for dataset, _ in frames)
        spaces = {dataset.label_space.name for dataset, _ in frames}
        if len(spaces) > 1:
            raise InputError(
                f'subset: the data sets have different label spaces {sorted(spaces)}')

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._frames)

    def name(self, index: int) -> str:
        """Return a frame's place and its name in its own data set; the place makes it unique."""
        dataset, number = self._frames[index]
        return f'{index:06d}_{dataset.name(number)}'

    def image(self, index: int) -> np.ndarray:
        """Return a frame, (H, W, 3) uint8 RGB."""
        dataset, number = self._frames[index]
        return dataset.image(number)

    def labels(self, index: int) -> np.ndarray:
        """Return a frame's labels, (H, W) uint8 in `label_space`."""
        dataset, number = self._frames[index]
        return dataset.labels(number)
