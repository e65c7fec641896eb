# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""GTA5: 24,966 rendered frames of streets with labels in Cityscapes' classes."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.cityscapes_ids import raw_id_values
from bkd_core.datasets.image_files import image_size, read_label_picture
from bkd_core.datasets.label_colors import ids_of_colors
from bkd_core.datasets.paired_files import find_pairs, PairedFiles
from bkd_core.labels import CITYSCAPES_RAW_TO_TRAIN, get_label_space
import numpy as np

LAYOUT = 'images/00001.png and labels/00001.png (and so on)'

_LICENSE_PLATE = 34  # GTA5's index for it; Cityscapes says -1
_UNLABELLED = 0
# Frames of the published set whose image and label file have different sizes.
_BROKEN = ('15188', '17705')
# The label files' palette is Cityscapes' (Cordts et al. 2016, labels.py of the data set's
# scripts) but for static, which has a grey of its own. License plates share the cars' colour
# and groups of poles that of poles: only index PNGs tell them apart.
_VOID_COLORS = (
    (0, 0, 0), (20, 20, 20), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140),
    (180, 165, 180), (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110))
_PALETTE = (
    *((color, _UNLABELLED) for color in _VOID_COLORS),
    *((get_label_space('cityscapes19').colors[train_id], raw_id)
      for raw_id, train_id in CITYSCAPES_RAW_TO_TRAIN.items()))


class GTA5(PairedFiles):
    """
    Frames of the game GTA V (Richter et al. 2016, "Playing for Data").

    The published label files are PNGs with a palette, whose indices are Cityscapes' ids. Grey
    PNGs of these ids are read as well, and colours. The two frames whose image and label file
    have different sizes are left out; `skipped` names them.

    :param root: Folder with images/ and labels/.
    :param label_space: What the labels become: cityscapes19, or one that it maps to.
    :param has_labels: False never opens the folder of labels.
    :param ignore_unknown_colors: Take a colour outside the palette for 'no class' instead of
        refusing the file.
    :raises InputError: If a folder is missing, or images and label files don't belong together.
    """

    num_published = 24966

    def __init__(
        self, *, root: Path, label_space: str = 'cityscapes19', has_labels: bool = True,
        ignore_unknown_colors: bool = False,
    ) -> None:
        root = Path(root)
        images, labels = find_pairs(
            root, ('images', '.png'), ('labels', '.png') if has_labels else None, layout=LAYOUT)
        self.skipped = tuple(
            name for name in _BROKEN if labels and name in images
            and image_size(root / images[name]) != image_size(root / labels[name]))
        images = {name: path for name, path in images.items() if name not in self.skipped}
        self._unknown_id = _UNLABELLED if ignore_unknown_colors else None
        space = get_label_space(label_space)
        super().__init__(
            root, images, labels, label_space=space,
            values=raw_id_values(space, ignored=(_LICENSE_PLATE,)))

    def _read_ids(self, path: Path) -> np.ndarray:
        picture = read_label_picture(path)
        if picture.ndim == 2:
            return picture
        return ids_of_colors(picture, _PALETTE, path, unknown_id=self._unknown_id)

