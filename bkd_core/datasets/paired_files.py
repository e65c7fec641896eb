# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A data set of image files, each with a label file of the same name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Iterable, Mapping, Sequence

from bkd_core.datasets.file_index import list_tree
from bkd_core.datasets.image_files import image_size, read_image, read_label_ids
from bkd_core.errors import InputError
from bkd_core.labels import IGNORE_INDEX, LabelSpace
import numpy as np

_NUM_NAMED = 5  # of the files that something is wrong with


class PairedFiles:
    """
    Frames in files.

    :param root: Folder that all paths are relative to.
    :param images: Name of each frame -> its image file.
    :param labels: Name of each frame -> its label file; None for a set without labels.
    :param label_space: What `values` leads to.
    :param values: (65536,) int16, the class of each value of a label file, 255 for none, -1 for
        a value that a file must not hold; see `value_table`.
    :raises InputError: If an image has no label file.
    """

    # How many frames the published set has; 0 where it is not known.
    num_published = 0

    def __init__(
        self, root: Path, images: Mapping[str, str], labels: Mapping[str, str] | None, *,
        label_space: LabelSpace, values: np.ndarray,
    ) -> None:
        self.root = root
        self.label_space = label_space
        self.has_labels = labels is not None
        self._names = list(images)
        self._images = list(images.values())
        self._values = values
        if labels is not None:
            refuse_unpaired(root, images, labels, left_over=False)
        self._labels = None if labels is None else [labels[name] for name in self._names]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._names)

    def name(self, index: int) -> str:
        """Return a frame's name."""
        return self._names[index]

    def image(self, index: int) -> np.ndarray:
        """Return a frame, (H, W, 3) uint8 RGB."""
        return read_image(self.root / self._images[index])

    def labels(self, index: int) -> np.ndarray:
        """
        Return a frame's labels, (H, W) uint8 in `label_space`, 255 where there is no class.

        :raises InputError: If the set has no labels, a value is outside the label space, or
            the label file has another size than the image.
        """
        if self._labels is None:
            raise InputError(f'{self.root}: this data set was opened without labels')
        path, image = self.root / self._labels[index], self.root / self._images[index]
        ids = self._read_ids(path)
        labels = self._values[ids]
        if labels.min() < 0:
            raise self._outside(path, ids[labels < 0])
        height, width = image_size(image)
        if ids.shape != (height, width):
            raise InputError(
                f'{path}: is {ids.shape[1]}x{ids.shape[0]} pixels, but its image '
                f'{image.name} is {width}x{height}; expected equal sizes')
        return labels.astype(np.uint8)

    def fingerprint(self) -> str:
        """
        Return a text that changes when a label file does, or what its values mean.

        :raises InputError: If a label file is missing.
        """
        digest = hashlib.sha256(self._values.tobytes())
        digest.update(repr((self.label_space, self._images)).encode(errors='surrogateescape'))
        for path in self._labels or ():
            try:
                state = os.stat(self.root / path)
            except OSError as error:
                raise InputError(
                    f'{error.filename}: cannot be read ({error.strerror})') from error
            digest.update(f'{path} {state.st_size} {state.st_mtime_ns}\n'.encode(
                errors='surrogateescape'))
        return digest.hexdigest()

    def _read_ids(self, path: Path) -> np.ndarray:
        """Return the values of a label file, (H, W)."""
        return read_label_ids(path)

    def _outside(self, path: Path, ids: np.ndarray) -> InputError:
        found = np.unique(ids).tolist()
        listed = ', '.join(str(value) for value in found[:8])
        return InputError(
            f"{path}: holds the values {listed}{', ...' if len(found) > 8 else ''} outside "
            f"label space '{self.label_space.name}'; expected "
            f'{_ranges(np.flatnonzero((self._values >= 0) & (self._values != IGNORE_INDEX)))} '
            f'or, for no class, {_ranges(np.flatnonzero(self._values == IGNORE_INDEX))}')


def files_by_name(
    root: Path, folder: str, suffixes: Sequence[str], *, depth: int = 0, layout: str = '',
) -> dict[str, str]:
    """
    Return the files of a folder by what stands before their suffix, in the order of their paths.

    :param root: The data set's folder.
    :param folder: Folder below it.
    :param suffixes: Ends of the files' names in lower case, such as '.png'; others are left out.
    :param depth: How many levels of subfolders are searched.
    :param layout: How the whole set lies on the disk, for the errors.
    :return: Name -> path below root.
    :raises InputError: If the folder is missing, holds no such file, or two of one name.
    """
    place = root / folder
    expected = f'expected {layout or "a folder of files that end in " + " ".join(suffixes)}'
    if not place.is_dir():
        state = 'is a file' if place.exists() else 'does not exist'
        raise InputError(f'{place}: {state}; {expected}')
    files: dict[str, str] = {}
    for path in list_tree(place, depth=depth):
        stem = path.rpartition('/')[2]
        suffix = next((end for end in suffixes if stem.lower().endswith(end)), None)
        if suffix is None:
            continue
        name = stem[:-len(suffix)]
        if name in files:
            raise InputError(
                f'{place / path}: has the same name as {Path(files[name]).name}; expected one '
                'file a name')
        files[name] = f'{folder}/{path}' if folder != '.' else path
    if not files:
        raise InputError(f'{place}: holds no file that ends in {" ".join(suffixes)}; {expected}')
    return files


def find_pairs(
    root: Path, images: tuple[str, ...], labels: tuple[str, ...] | None, *, layout: str,
    depth: int = 0,
) -> tuple[dict[str, str], dict[str, str] | None]:
    """
    Find the images of a published set and a label file for each.

    :param root: The data set's folder.
    :param images: Folder below it, and how the image files' names may end, in lower case.
    :param labels: The same for the label files; None never opens their folder. Files that other
        programs put beside them, NAME_labelTrainIds.png, are left out unless they are asked for.
    :param layout: How the whole set lies on the disk, for the errors.
    :param depth: How many levels of subfolders are searched.
    :return: Name -> path below root, of the images and of the label files.
    :raises InputError: If a folder is missing, or a file of one kind has none of the other.
    """
    found = files_by_name(root, images[0], images[1:], depth=depth, layout=layout)
    if labels is None:
        return found, None
    label_files = {
        name: path for name, path in files_by_name(
            root, labels[0], labels[1:], depth=depth, layout=layout).items()
        if not name.lower().endswith('_labeltrainids')}
    refuse_unpaired(root, found, label_files)
    return found, label_files


def refuse_unpaired(
    root: Path, images: Mapping[str, str], labels: Mapping[str, str], *, left_over: bool = True,
) -> None:
    """
    Refuse a set whose images and label files don't belong together.

    :param root: The data set's folder.
    :param images: Name -> image file.
    :param labels: Name -> label file.
    :param left_over: Whether label files without an image are refused too.
    :raises InputError: With the number and the first names of the files.
    """
    faults = []
    without = [path for name, path in images.items() if name not in labels]
    if without:
        faults.append(f'{len(without)} of {len(images)} images have no label file '
                      f'({_first(without)})')
    extra = [path for name, path in labels.items() if name not in images] if left_over else []
    if extra:
        faults.append(f'{len(extra)} of {len(labels)} label files have no image '
                      f'({_first(extra)})')
    if faults:
        raise InputError(
            f'{root}: {" and ".join(faults)}; expected one label file for each image. Unpack what '
            'is missing, or remove what is left over')


def value_table(classes: Mapping[int, int], ignored: Iterable[int]) -> np.ndarray:
    """
    Return what each value of a label file means.

    :param classes: Value -> class, 0 to 254.
    :param ignored: Values that mean 'no class'.
    :return: (65536,) int16; 255 for no class, -1 for all other values.
    :raises InputError: If a value is out of range.
    """
    table = np.full(65536, -1, np.int16)
    for value, class_id in [*classes.items(), *((value, IGNORE_INDEX) for value in ignored)]:
        if not isinstance(value, int) or not 0 <= value < len(table):
            raise InputError(f'ignore_values: got {value!r}; expected numbers from 0 to 65535')
        table[value] = class_id
    return table


def _first(paths: list[str]) -> str:
    return ', '.join(paths[:_NUM_NAMED]) + (', ...' if len(paths) > _NUM_NAMED else '')


def _ranges(values: np.ndarray) -> str:
    """Return numbers as text, such as '0 to 18, 255'."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ', '.join(
        str(run[0]) if len(run) == 1 else f'{run[0]} to {run[-1]}' for run in runs if len(run))
