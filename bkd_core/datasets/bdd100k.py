# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""BDD100K: frames of many cars' windscreens in the United States, 10,000 for segmentation."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.cityscapes_ids import train_id_values
from bkd_core.datasets.paired_files import find_pairs, PairedFiles
from bkd_core.errors import unknown_name
from bkd_core.labels import get_label_space

SPLITS = {'train': 7000, 'val': 1000, 'test': 2000}
LAYOUT = (
    'images/10k/SPLIT/NAME.jpg and labels/sem_seg/masks/SPLIT/NAME.png, or as it was first '
    'published seg/images/SPLIT/NAME.jpg and seg/labels/SPLIT/NAME_train_id.png')


class BDD100K(PairedFiles):
    """
    Frames of all weathers and times of day, with Cityscapes' classes (Yu et al. 2020).

    :param root: Folder with images/10k/ and labels/sem_seg/, or with seg/.
    :param split: 'train', 'val' or 'test'; the labels of 'test' are not public.
    :param label_space: What the labels become: cityscapes19, or one that it maps to.
    :param has_labels: False never opens the folder of labels.
    :raises InputError: If the split or a folder is missing, or images and label files don't
        belong together.
    """

    def __init__(
        self, *, root: Path, split: str, label_space: str = 'cityscapes19',
        has_labels: bool = True,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name('split of BDD100K', split, SPLITS)
        root, space = Path(root), get_label_space(label_space)
        images, labels = (f'images/10k/{split}', '.jpg'), (
            f'labels/sem_seg/masks/{split}', '.png')
        if (root / 'seg').is_dir():
            images, labels = (f'seg/images/{split}', '.jpg'), (
                f'seg/labels/{split}', '_train_id.png')
        self.num_published = SPLITS[split]
        super().__init__(
            root, *find_pairs(
                root, images, labels if has_labels and split != 'test' else None, layout=LAYOUT),
            label_space=space, values=train_id_values(space))
