# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ACDC: streets in fog, at night, in rain and in snow, each with a view of it in clear weather."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.cityscapes_ids import train_id_values
from bkd_core.datasets.paired_files import find_pairs, PairedFiles
from bkd_core.errors import unknown_name
from bkd_core.labels import get_label_space

CONDITIONS = ('fog', 'night', 'rain', 'snow')
# Frames of each condition; there are six more of the night in 'val'.
SPLITS = {'train': 400, 'val': 100, 'test': 500}
_MORE_NIGHTS = 6
LAYOUT = (
    'rgb_anon/CONDITION/SPLIT/SEQUENCE/NAME_rgb_anon.png and '
    'gt/CONDITION/SPLIT/SEQUENCE/NAME_gt_labelTrainIds.png')


class ACDC(PairedFiles):
    """
    Frames in adverse conditions with Cityscapes' classes (Sakaridis et al. 2021).

    A frame's name begins with its condition.

    :param root: Folder with rgb_anon/ and gt/.
    :param split: 'train', 'val' or 'test'; the labels of 'test' are not public.
    :param condition: 'fog', 'night', 'rain' or 'snow'; None for all four.
    :param is_reference: Take the views of the same places in clear weather instead, which have
        no labels here (SPLIT_ref, NAME_rgb_ref_anon.png).
    :param label_space: What the labels become: cityscapes19, or one that it maps to.
    :param has_labels: False never opens the folder of labels.
    :raises InputError: If the split, condition or a folder is missing, or images and label files
        don't belong together.
    """

    def __init__(
        self, *, root: Path, split: str, condition: str | None = None, is_reference: bool = False,
        label_space: str = 'cityscapes19', has_labels: bool = True,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name('split of ACDC', split, SPLITS)
        if condition is not None and condition not in CONDITIONS:
            raise unknown_name('condition of ACDC', condition, CONDITIONS)
        root, space = Path(root), get_label_space(label_space)
        chosen = CONDITIONS if condition is None else (condition,)
        is_labelled = has_labels and split != 'test' and not is_reference
        folder, suffix = (f'{split}_ref', '_rgb_ref_anon.png') if is_reference else (
            split, '_rgb_anon.png')
        images, labels = {}, {}
        for name in chosen:
            frames, label_files = find_pairs(
                root, (f'rgb_anon/{name}/{folder}', suffix),
                (f'gt/{name}/{split}', '_gt_labeltrainids.png') if is_labelled else None,
                depth=1, layout=LAYOUT)
            images.update({f'{name}_{stem}': path for stem, path in frames.items()})
            labels.update({f'{name}_{stem}': path for stem, path in (label_files or {}).items()})
        self.num_published = SPLITS[split] * len(chosen) + (
            _MORE_NIGHTS if split == 'val' and 'night' in chosen else 0)
        super().__init__(
            root, images, labels if is_labelled else None, label_space=space,
            values=train_id_values(space))
