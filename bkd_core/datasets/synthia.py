# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""SYNTHIA-RAND-CITYSCAPES: 9,400 rendered frames with labels in 16 of Cityscapes' classes."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.cityscapes_ids import class_values
from bkd_core.datasets.image_files import read_label_picture
from bkd_core.datasets.paired_files import find_pairs, PairedFiles
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
import numpy as np

LAYOUT = 'RGB/0000000.png and GT/LABELS/0000000.png (and so on)'

# Ids of the README of SYNTHIA_RAND_CITYSCAPES: void 0, parking slot 13, road work 14 and lane
# marking 22 have no counterpart; terrain 16, truck 18 and train 20 don't occur. The papers of
# domain adaptation (from AdaptSegNet, Tsai et al. 2018, on) use the same correspondences.
_CLASSES = {
    1: 'sky', 2: 'building', 3: 'road', 4: 'sidewalk', 5: 'fence', 6: 'vegetation', 7: 'pole',
    8: 'car', 9: 'traffic sign', 10: 'person', 11: 'bicycle', 12: 'motorcycle',
    15: 'traffic light', 16: 'terrain', 17: 'rider', 18: 'truck', 19: 'bus', 20: 'train',
    21: 'wall'}
_IGNORED = (0, 13, 14, 22)
_RED = 2  # OpenCV stores blue first, so the file's first channel comes last


class Synthia(PairedFiles):
    """
    Frames of random views of a rendered city (Ros et al. 2016).

    The label files are PNGs of 16 bits whose first channel holds the class, and whose second one
    tells instances apart.

    :param root: Folder with RGB/ and GT/LABELS/; it may also be the folder that holds these in
        a folder RAND_CITYSCAPES, as the archive does.
    :param label_space: What the labels become: cityscapes16, cityscapes13, cityscapes19, or one
        that these map to.
    :param has_labels: False never opens the folder of labels.
    :raises InputError: If a folder is missing, or images and label files don't belong together.
    """

    num_published = 9400

    def __init__(
        self, *, root: Path, label_space: str = 'cityscapes16', has_labels: bool = True,
    ) -> None:
        root = Path(root)
        if not (root / 'RGB').is_dir() and (root / 'RAND_CITYSCAPES').is_dir():
            root = root / 'RAND_CITYSCAPES'
        images, labels = find_pairs(
            root, ('RGB', '.png'), ('GT/LABELS', '.png') if has_labels else None, layout=LAYOUT)
        space = get_label_space(label_space)
        super().__init__(
            root, images, labels, label_space=space,
            values=class_values(_CLASSES, space, ignored=_IGNORED))

    def _read_ids(self, path: Path) -> np.ndarray:
        picture = read_label_picture(path)
        if picture.dtype != np.uint16 or picture.ndim != 3:
            raise InputError(
                f'{path}: is {picture.dtype} of shape {picture.shape}; expected the published '
                'PNG of 16 bits, with the class in the first of three channels. GT/COLOR and '
                'converted files do not hold it')
        return picture[..., _RED]
