# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A folder of images with, or without, a folder of label PNGs in a declared label space."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bkd_core.datasets.image_files import IMAGE_SUFFIXES
from bkd_core.datasets.paired_files import files_by_name, PairedFiles, value_table
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space, IGNORE_INDEX


class ImageFolder(PairedFiles):
    """
    Images of a folder in the order of their names.

    :param root: Folder that holds the two below.
    :param images: Folder of the images, below root; '.' for root itself.
    :param labels: Folder of STEM.png for each image, below root; None for no labels.
    :param label_space: Name of the label space that the values of the PNGs are in.
    :param first: Number of the first image that is used.
    :param last: Number of the last image that is used; None for the last there is.
    :param ignore_values: Values of the PNGs that mean 'no class'.
    :raises InputError: If a folder or label file is missing, or no image is in the range.
    """

    def __init__(
        self, *, root: Path, label_space: str, images: str = 'images',
        labels: str | None = 'labels', first: int = 0, last: int | None = None,
        ignore_values: Sequence[int] = (IGNORE_INDEX,),
    ) -> None:
        root, space = Path(root), get_label_space(label_space)
        files = list(files_by_name(root, images, IMAGE_SUFFIXES).items())
        end = len(files) if last is None else last + 1
        if not 0 <= first < end <= len(files):
            raise InputError(
                f'{root / images}: got first={first} and last={last}; expected '
                f'0 <= first <= last <= {len(files) - 1}, for the {len(files)} images there')
        super().__init__(
            root, dict(files[first:end]),
            None if labels is None else files_by_name(root, labels, ('.png',)),
            label_space=space, values=value_table(
                {value: value for value in range(space.num_classes)}, ignore_values))
