# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""CamVid in the preparation of the SegNet authors: eleven classes, index PNGs."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bkd_core.datasets.image_files import IMAGE_SUFFIXES
from bkd_core.datasets.paired_files import files_by_name, PairedFiles, value_table
from bkd_core.errors import InputError, unknown_name
from bkd_core.labels import get_label_space, IGNORE_INDEX

SPLITS = ('train', 'val', 'test')
_UNLABELLED = 11
_LAYOUT = 'images/SPLIT/NAME.png (or .jpg) and labels/SPLIT/NAME.png'


class CamVid(PairedFiles):
    """
    Frames of a car's drive through Cambridge (Brostow et al. 2009).

    The labels' values 0 to 10 are the train ids of label space camvid11, in which 8 is car, 9
    pedestrian and 10 bicyclist; 11 is unlabelled.

    :param root: Folder with images/SPLIT/NAME.jpg (or .png) and labels/SPLIT/NAME.png; it may
        also be the folder that holds these two in a folder `camvid`.
    :param split: 'train', 'val' or 'test'.
    :param sequence: Keep only names with this prefix, or one of these, such as '0001TP' (dusk).
    :param has_labels: False never opens the folder of labels.
    :raises InputError: If the split, a folder, a label file or the sequence is missing.
    """

    def __init__(
        self, *, root: Path, split: str, sequence: str | Sequence[str] | None = None,
        has_labels: bool = True,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name('split of CamVid', split, SPLITS)
        root = Path(root)
        if not (root / 'images').is_dir() and (root / 'camvid').is_dir():
            root = root / 'camvid'
        images = f'images/{split}'
        files = files_by_name(root, images, IMAGE_SUFFIXES, layout=_LAYOUT)
        if sequence is not None:
            prefixes = (sequence,) if isinstance(sequence, str) else tuple(sequence)
            present = sorted({name.split('_')[0] for name in files})
            files = {name: path for name, path in files.items() if name.startswith(prefixes)}
            if not files:
                raise InputError(
                    f'{root / images}: no image of sequence {sequence!r}; the '
                    f'sequences there are {present}')
        space = get_label_space('camvid11')
        super().__init__(
            root, files,
            files_by_name(root, f'labels/{split}', ('.png',), layout=_LAYOUT)
            if has_labels else None,
            label_space=space, values=value_table(
                {value: value for value in range(space.num_classes)},
                (_UNLABELLED, IGNORE_INDEX)))
