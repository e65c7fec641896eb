# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading every frame of a data set once: what is broken, and what its labels hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Sequence

from bkd_core.datasets.class_counts import count_pixels, counts_path, keep_counts, map_frames
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.errors import InputError
from bkd_core.labels import LabelSpace
from bkd_core.progress import Advance
import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetStatistics:
    """
    What was found.

    :param label_space: Classes of the labels.
    :param indices: The sound frames among those that were read.
    :param faults: Frame's name -> why it cannot be used.
    :param counts: (N, C + 1) int64, pixels of each class in each sound frame, then pixels without
        one; None for a data set without labels.
    :param sizes: (height, width), pixels -> number of sound frames.
    """

    label_space: LabelSpace
    indices: list[int]
    faults: dict[str, str]
    counts: np.ndarray | None
    sizes: dict[tuple[int, int], int]

    @property
    def shares(self) -> np.ndarray:
        """Return the share of each class among the pixels with one, (C,); 0 where none has."""
        pixels = self.counts[:, :-1].sum(0)
        return pixels / max(pixels.sum(), 1)

    @property
    def frames_with_class(self) -> np.ndarray:
        """Return the number of frames that hold each class, (C,)."""
        return (self.counts[:, :-1] > 0).sum(0)

    @property
    def unlabelled_share(self) -> float:
        """Return the share of pixels without a class."""
        return float(self.counts[:, -1].sum() / max(self.counts.sum(), 1))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts for JSON."""
        values: dict[str, Any] = {
            'label_space': self.label_space.name,
            'sound_frames': len(self.indices),
            'sizes': {f'{width}x{height}': count for (height, width), count in self.sizes.items()},
            'faults': self.faults}
        if self.counts is not None:
            values['unlabelled_share'] = self.unlabelled_share
            values['classes'] = {
                name: {'pixels': int(pixels), 'share': float(share), 'frames': int(frames)}
                for name, pixels, share, frames in zip(
                    self.label_space.classes, self.counts.sum(0), self.shares,
                    self.frames_with_class)}
        return values


def check_frames(
    dataset: SegmentationDataset, indices: Sequence[int], progress: Advance,
) -> DatasetStatistics:
    """
    Read frames and their labels.

    Where all frames of a data set were read and are sound, its counts of classes are kept, so
    that rare class sampling need not read the labels again.

    :param dataset: The frames.
    :param indices: Numbers of those that are read.
    :param progress: Is told how many are done.
    """
    path = counts_path(dataset) if dataset.has_labels else None
    sound, faults, counts, sizes = [], {}, [], Counter()
    results = map_frames(dataset, lambda index: _read(dataset, index), indices)
    for done, (index, result) in enumerate(zip(indices, results), start=1):
        if isinstance(result, InputError):
            faults[dataset.name(index)] = str(result)
        else:
            sound.append(index)
            sizes[result[0]] += 1
            counts.append(result[1])
        progress(done, f'{len(faults)} faults' if faults else '')
    table = None
    if dataset.has_labels:
        table = np.array(counts, np.int64).reshape(-1, dataset.label_space.num_classes + 1)
        if len(sound) == len(dataset):
            keep_counts(path, table)
    return DatasetStatistics(
        label_space=dataset.label_space, indices=sound, faults=faults, counts=table,
        sizes=dict(sizes.most_common()))


def _read(
    dataset: SegmentationDataset, index: int,
) -> tuple[tuple[int, int], np.ndarray | None] | InputError:
    """Return a frame's size and pixels of each class, or what is wrong with it."""
    try:
        size = dataset.image(index).shape[:2]
        if not dataset.has_labels:
            return size, None
        return size, count_pixels(dataset.labels(index), dataset.label_space.num_classes)
    except InputError as error:
        return error
