# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Dark Zurich: streets at night, in twilight and by day."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.cityscapes_ids import train_id_values
from bkd_core.datasets.paired_files import find_pairs, PairedFiles
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space

# Frames of each split and time of day.
PARTS = {
    ('train', 'night'): 2416, ('train', 'twilight'): 2920, ('train', 'day'): 3041,
    ('val', 'night'): 50, ('test', 'night'): 151, ('val_ref', 'day'): 50, ('test_ref', 'day'): 151}
LAYOUT = (
    'rgb_anon/SPLIT/TIME/SEQUENCE/NAME_rgb_anon.png and, for val, '
    'gt/val/night/SEQUENCE/NAME_gt_labelTrainIds.png')


class DarkZurich(PairedFiles):
    """
    Frames from dusk to night, of which 50 have public labels (Sakaridis et al. 2019).

    :param root: Folder with rgb_anon/ and gt/.
    :param split: 'train', 'val' or 'test'; 'val_ref' and 'test_ref' are views of the same places
        by day.
    :param time: 'night', 'twilight' or 'day'; the last two only in 'train' and the views by day.
    :param label_space: What the labels become: cityscapes19, or one that it maps to.
    :param has_labels: False never opens the folder of labels, which only 'val' has.
    :raises InputError: If the part or a folder is missing, or images and label files don't
        belong together.
    """

    def __init__(
        self, *, root: Path, split: str, time: str = 'night',
        label_space: str = 'cityscapes19', has_labels: bool = True,
    ) -> None:
        if (split, time) not in PARTS:
            raise InputError(
                f"Dark Zurich: got split '{split}' at time '{time}'; expected one of "
                f'{", ".join(" ".join(part) for part in PARTS)}')
        root, space = Path(root), get_label_space(label_space)
        images, labels = find_pairs(
            root, (f'rgb_anon/{split}/{time}', '_rgb_anon.png'),
            (f'gt/{split}/{time}', '_gt_labeltrainids.png')
            if has_labels and split == 'val' else None,
            depth=1, layout=LAYOUT)
        self.num_published = PARTS[split, time]
        super().__init__(
            root, images, labels, label_space=space, values=train_id_values(space))
