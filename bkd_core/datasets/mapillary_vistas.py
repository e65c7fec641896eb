# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Mapillary Vistas: 25,000 street views from all over the world, in Cityscapes' classes."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.cityscapes_ids import class_values
from bkd_core.datasets.paired_files import find_pairs, PairedFiles
from bkd_core.errors import unknown_name
from bkd_core.labels import get_label_space

SPLITS = {'training': 18000, 'validation': 2000, 'testing': 5000}
LAYOUT = (
    'SPLIT/images/NAME.jpg and SPLIT/v1.2/labels/NAME.png (or SPLIT/labels/NAME.png, as '
    'versions before 2.0 have them)')

_NUM_CLASSES = 66
# Class ids of version 1.2 (its config.json) and the classes of Cityscapes that they count as in
# Kerssies et al. 2024, "How to Benchmark Vision Foundation Models for Semantic Segmentation?",
# https://arxiv.org/abs/2404.12172; all others count as none.
_CLASSES = {
    2: 'sidewalk',  # curb
    3: 'fence', 6: 'wall', 13: 'road', 15: 'sidewalk', 17: 'building', 19: 'person',
    20: 'rider', 21: 'rider', 22: 'rider',  # bicyclist, motorcyclist, other rider
    24: 'road',  # lane marking
    27: 'sky', 29: 'terrain', 30: 'vegetation',
    41: 'road',  # manhole
    45: 'pole', 47: 'pole',  # pole, utility pole
    48: 'traffic light', 50: 'traffic sign', 52: 'bicycle', 54: 'bus', 55: 'car',
    57: 'motorcycle',
    58: 'train',  # on rails
    61: 'truck'}


class MapillaryVistas(PairedFiles):
    """
    Street views of many cameras (Neuhold et al. 2017), by their labels of version 1.2.

    :param root: Folder with training/, validation/ and testing/.
    :param split: 'training', 'validation' or 'testing'; the labels of 'testing' are not public.
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
            raise unknown_name('split of Mapillary Vistas', split, SPLITS)
        root, space = Path(root), get_label_space(label_space)
        folder = f'{split}/v1.2/labels'
        if (root / split / 'labels').is_dir():
            folder = f'{split}/labels'
        self.num_published = SPLITS[split]
        super().__init__(
            root, *find_pairs(
                root, (f'{split}/images', '.jpg'),
                (folder, '.png') if has_labels and split != 'testing' else None, layout=LAYOUT),
            label_space=space, values=class_values(
                _CLASSES, space,
                ignored=[value for value in range(_NUM_CLASSES) if value not in _CLASSES]))
