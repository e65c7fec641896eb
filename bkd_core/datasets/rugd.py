# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RUGD: a small robot's drives along trails, creeks, parks and a village."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.image_files import read_image
from bkd_core.datasets.label_colors import ids_of_colors
from bkd_core.datasets.paired_files import find_pairs, PairedFiles, value_table
from bkd_core.errors import InputError, unknown_name
from bkd_core.labels import get_label_space
import cv2
import numpy as np

# Sequences of each split of the paper.
SPLITS = {
    'train': (
        'park-2', 'trail', 'trail-3', 'trail-4', 'trail-6', 'trail-9', 'trail-10', 'trail-11',
        'trail-12', 'trail-14', 'trail-15', 'village'),
    'val': ('park-8', 'trail-5'),
    'test': ('creek', 'park-1', 'trail-7', 'trail-13')}
LAYOUT = (
    'RUGD_frames-with-annotations/SEQUENCE/NAME.png and RUGD_annotations/SEQUENCE/NAME.png')

_VOID = 0
_PALETTE = (((0, 0, 0), _VOID), *(
    (color, value) for value, color in enumerate(get_label_space('rugd24').colors, start=1)))


class RUGD(PairedFiles):
    """
    Frames off the road in 24 classes (Wigness et al. 2019); the label files are colours.

    :param root: Folder with RUGD_frames-with-annotations/ and RUGD_annotations/.
    :param split: 'train', 'val' or 'test'; None for all frames.
    :param has_labels: False never opens the folder of labels.
    :raises InputError: If the split or a folder is missing, or images and label files don't
        belong together.
    """

    def __init__(
        self, *, root: Path, split: str | None = None, has_labels: bool = True,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise unknown_name('split of RUGD', split, SPLITS)
        root, space = Path(root), get_label_space('rugd24')
        images, labels = find_pairs(
            root, ('RUGD_frames-with-annotations', '.png'),
            ('RUGD_annotations', '.png') if has_labels else None, depth=1, layout=LAYOUT)
        if split is not None:
            images = {
                name: path for name, path in images.items()
                if path.split('/')[1] in SPLITS[split]}
            if not images:
                raise InputError(
                    f"{root / 'RUGD_frames-with-annotations'}: holds no sequence of split "
                    f"'{split}'; expected {', '.join(SPLITS[split])}")
        super().__init__(root, images, labels, label_space=space, values=value_table(
            {value + 1: value for value in range(space.num_classes)}, (_VOID,)))

    def _read_ids(self, path: Path) -> np.ndarray:
        # By its colours even where they lie in a palette, whose order nobody promises.
        picture = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
        return ids_of_colors(picture, _PALETTE, path)
