# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RELLIS-3D: a robot's drives through fields and mud, the colour camera's part."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.paired_files import (
    files_by_name,
    PairedFiles,
    refuse_unpaired,
    value_table,
)
from bkd_core.errors import InputError, unknown_name
from bkd_core.labels import get_label_space

SPLITS = ('train', 'val', 'test')
SEQUENCES = ('00000', '00001', '00002', '00003', '00004')
IMAGES, LABELS = 'pylon_camera_node', 'pylon_camera_node_label_id'
LAYOUT = f'SEQUENCE/{IMAGES}/NAME.jpg and SEQUENCE/{LABELS}/NAME.png, SEQUENCE 00000 to 00004'

# Ids of the ontology; the authors' benchmark also counts 29 and 30 as grass and 32 as water.
_CLASSES = {
    1: 'dirt', 3: 'grass', 4: 'tree', 5: 'pole', 6: 'water', 7: 'sky', 8: 'vehicle',
    9: 'object', 10: 'asphalt', 12: 'building', 15: 'log', 17: 'person', 18: 'fence',
    19: 'bush', 23: 'concrete', 27: 'barrier', 29: 'grass', 30: 'grass', 31: 'puddle',
    32: 'water', 33: 'mud', 34: 'rubble'}
_VOID = 0


class Rellis3D(PairedFiles):
    """
    Frames off the road in 19 classes (Jiang et al. 2021); the label files hold ids.

    :param root: Folder with the sequences, 00000/ to 00004/, as many as there are.
    :param split: 'train', 'val' or 'test', as train.lst, val.lst or test.lst in the root name
        its frames; None for all frames that have a label file.
    :param has_labels: False never opens a folder of labels.
    :raises InputError: If a folder, a split's list or a file that it names is missing, or label
        files have no image.
    """

    def __init__(
        self, *, root: Path, split: str | None = None, has_labels: bool = True,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise unknown_name('split of RELLIS-3D', split, SPLITS)
        root, space = Path(root), get_label_space('rellis19')
        images = _of_all_sequences(root, IMAGES, '.jpg')
        labels = _of_all_sequences(root, LABELS, '.png') if has_labels else None
        if split is not None:
            images = _listed(root / f'{split}.lst', images)
        elif labels is not None:
            images = {name: path for name, path in images.items() if name in labels}
            refuse_unpaired(root, images, labels)
        super().__init__(root, images, labels, label_space=space, values=value_table(
            {value: space.classes.index(name) for value, name in _CLASSES.items()}, (_VOID,)))


def _of_all_sequences(root: Path, folder: str, suffix: str) -> dict[str, str]:
    files: dict[str, str] = {}
    present = [name for name in SEQUENCES if (root / name).is_dir()]
    if not present:
        raise InputError(f'{root}: holds no sequence; expected {LAYOUT}')
    for sequence in present:
        files.update(files_by_name(root, f'{sequence}/{folder}', (suffix,), layout=LAYOUT))
    return files


def _listed(path: Path, images: dict[str, str]) -> dict[str, str]:
    """Return the images that a list names, one a line before its label file."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', 'is no text')
        raise InputError(
            f"{path}: cannot be read ({reason}); expected the set's image split file with "
            "'IMAGE LABEL' in each line. Without split, all frames are used") from error
    names = [Path(line.split()[0]).stem for line in lines if line.split()]
    missing = [name for name in names if name not in images]
    if missing or not names:
        raise InputError(
            f'{path}: {len(missing)} of the {len(names)} images that it names are not there '
            f'({", ".join(missing[:5])}); expected {LAYOUT}')
    return {name: images[name] for name in names}
