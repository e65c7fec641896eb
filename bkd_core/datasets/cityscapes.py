# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cityscapes: frames of a car's drives through 50 cities, with fine or coarse labels."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.cityscapes_ids import raw_id_values
from bkd_core.datasets.paired_files import find_pairs, PairedFiles
from bkd_core.errors import unknown_name
from bkd_core.labels import get_label_space, IGNORE_INDEX

# Frames in each split (README of the data set's scripts).
SPLITS = {'train': 2975, 'val': 500, 'test': 1525, 'train_extra': 19998}
ANNOTATIONS = ('gtFine', 'gtCoarse')
LAYOUT = (
    'leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png')


class Cityscapes(PairedFiles):
    """
    Frames of streets in Germany and its neighbours (Cordts et al. 2016).

    The label files hold the set's own ids, 0 to 33; the official table leads to the train ids.

    :param root: Folder with leftImg8bit/ and gtFine/.
    :param split: 'train', 'val', 'test' or 'train_extra'.
    :param label_space: What the labels become: cityscapes19, cityscapes16, cityscapes13, or one
        that these map to.
    :param has_labels: None for all splits but 'test', whose labels are not public: the files
        there are fillers. False never opens the folder of labels.
    :param annotations: 'gtFine' or 'gtCoarse'; 'train_extra' has only the latter.
    :raises InputError: If the split or a folder is missing, or images and label files don't
        belong together.
    """

    def __init__(
        self, *, root: Path, split: str, label_space: str = 'cityscapes19',
        has_labels: bool | None = None, annotations: str = 'gtFine',
    ) -> None:
        if split not in SPLITS:
            raise unknown_name('split of Cityscapes', split, SPLITS)
        if annotations not in ANNOTATIONS:
            raise unknown_name('annotations of Cityscapes', annotations, ANNOTATIONS)
        self.num_published = SPLITS[split]
        root, space = Path(root), get_label_space(label_space)
        is_labelled = split != 'test' if has_labels is None else has_labels
        images, labels = find_pairs(
            root, (f'leftImg8bit/{split}', '_leftimg8bit.png'),
            (f'{annotations}/{split}', f'_{annotations.lower()}_labelids.png')
            if is_labelled else None,
            depth=1, layout=LAYOUT.replace('gtFine', annotations))
        super().__init__(
            root, images, labels, label_space=space,
            values=raw_id_values(space, ignored=(IGNORE_INDEX,)))
