# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A data set of image files, each with a label file of the same name."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.image_files import read_image, read_label_ids
from bkd_core.errors import InputError
from bkd_core.labels import IGNORE_INDEX, LabelSpace
import numpy as np


class PairedFiles:
    """
    Frames in files.

    :param images: Image files; their stems are the frames' names.
    :param labels: Folder with STEM.png for each image; None for a set without labels.
    :param label_space: What the label files' values mean.
    :param ignore_values: Values of the label files that mean 'no class'.
    :raises InputError: If two images have one name, or an image has no label file.
    """

    def __init__(
        self, images: list[Path], labels: Path | None, *, label_space: LabelSpace,
        ignore_values: tuple[int, ...] = (IGNORE_INDEX,),
    ) -> None:
        self.label_space = label_space
        self.has_labels = labels is not None
        self._images = images
        self._labels = labels
        self._table = _value_table(label_space, ignore_values)
        self._sizes: dict[int, tuple[int, int]] = {}
        self._check_names()

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._images)

    def name(self, index: int) -> str:
        """Return the stem of a frame's file."""
        return self._images[index].stem

    def image(self, index: int) -> np.ndarray:
        """Return a frame, (H, W, 3) uint8 RGB."""
        image = read_image(self._images[index])
        self._sizes[index] = image.shape[:2]
        return image

    def labels(self, index: int) -> np.ndarray:
        """
        Return a frame's labels, (H, W) uint8 in `label_space`, 255 where there is no class.

        :raises InputError: If the set has no labels, a value is outside the label space, or
            the label file has another size than the image.
        """
        if self._labels is None:
            raise InputError(
                f'{self._images[index].parent}: this data set was opened without labels')
        path = self._label_path(index)
        ids = read_label_ids(path)
        labels = self._table[ids]
        if labels.min() < 0:
            raise self._outside(path, ids[labels < 0])
        if index not in self._sizes:
            self.image(index)
        if ids.shape != self._sizes[index]:
            height, width = self._sizes[index]
            raise InputError(
                f'{path}: is {ids.shape[1]}x{ids.shape[0]} pixels, but its image '
                f'{self._images[index].name} is {width}x{height}; expected equal sizes')
        return labels.astype(np.uint8)

    def _label_path(self, index: int) -> Path:
        return self._labels / f'{self._images[index].stem}.png'

    def _check_names(self) -> None:
        seen: dict[str, Path] = {}
        for path in self._images:
            if path.stem in seen:
                raise InputError(
                    f'{path}: has the same name as {seen[path.stem].name}; expected one image '
                    'a name')
            seen[path.stem] = path
        if self._labels is None:
            return
        if not self._labels.is_dir():
            raise InputError(f'{self._labels}: no such folder of labels')
        present = {path.name for path in self._labels.iterdir()}
        missing = [stem for stem in seen if f'{stem}.png' not in present]
        if missing:
            raise InputError(
                f'{self._labels / missing[0]}.png: the label file of image '
                f'{seen[missing[0]].name} is missing ({len(missing)} of {len(seen)} images '
                'have none)')

    def _outside(self, path: Path, ids: np.ndarray) -> InputError:
        values = np.unique(ids).tolist()
        listed = ', '.join(str(value) for value in values[:8])
        ignored = np.flatnonzero(self._table == IGNORE_INDEX).tolist()
        return InputError(
            f"{path}: holds the values {listed}{', ...' if len(values) > 8 else ''} outside "
            f"label space '{self.label_space.name}'; expected 0 to "
            f'{self.label_space.num_classes - 1} or, for no class, {ignored}')


def _value_table(space: LabelSpace, ignore_values: tuple[int, ...]) -> np.ndarray:
    """Return what each value of a file means; -1 where it means nothing."""
    table = np.full(65536, -1, np.int16)
    table[:space.num_classes] = np.arange(space.num_classes)
    for value in ignore_values:
        if not isinstance(value, int) or not 0 <= value < len(table):
            raise InputError(f'ignore_values: got {value!r}; expected numbers from 0 to 65535')
        table[value] = IGNORE_INDEX
    return table
