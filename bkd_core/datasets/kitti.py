# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""KITTI: 200 frames of streets in Karlsruhe with labels, and 200 without."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.cityscapes_ids import raw_id_values
from bkd_core.datasets.paired_files import find_pairs, PairedFiles
from bkd_core.errors import unknown_name
from bkd_core.labels import get_label_space, IGNORE_INDEX

SPLITS = ('training', 'testing')
LAYOUT = 'training/image_2/000000_10.png and training/semantic/000000_10.png (and so on)'


class KITTI(PairedFiles):
    """
    Frames of KITTI's semantic segmentation benchmark (Alhaija et al. 2018).

    The label files hold Cityscapes' own ids.

    :param root: Folder with training/ and testing/.
    :param split: 'training' or 'testing'; the labels of 'testing' are not public.
    :param label_space: What the labels become: cityscapes19, or one that it maps to.
    :param has_labels: False never opens the folder of labels.
    :raises InputError: If the split or a folder is missing, or images and label files don't
        belong together.
    """

    num_published = 200

    def __init__(
        self, *, root: Path, split: str = 'training', label_space: str = 'cityscapes19',
        has_labels: bool = True,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name('split of KITTI', split, SPLITS)
        root, space = Path(root), get_label_space(label_space)
        super().__init__(
            root, *find_pairs(
                root, (f'{split}/image_2', '.png'),
                (f'{split}/semantic', '.png') if has_labels and split == 'training' else None,
                layout=LAYOUT),
            label_space=space, values=raw_id_values(space, ignored=(IGNORE_INDEX,)))
