# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Data sets by name; nothing here imports torch or ROS."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from bkd_core.datasets.acdc import ACDC
from bkd_core.datasets.bdd100k import BDD100K
from bkd_core.datasets.camvid import CamVid
from bkd_core.datasets.cityscapes import Cityscapes
from bkd_core.datasets.dark_zurich import DarkZurich
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.frame_store import StoredFrames
from bkd_core.datasets.gta5 import GTA5
from bkd_core.datasets.image_folder import ImageFolder
from bkd_core.datasets.kitti import KITTI
from bkd_core.datasets.mapillary_vistas import MapillaryVistas
from bkd_core.datasets.recording import Recording
from bkd_core.datasets.rellis3d import Rellis3D
from bkd_core.datasets.rugd import RUGD
from bkd_core.datasets.streets import Streets
from bkd_core.datasets.synthia import Synthia
from bkd_core.errors import InputError, unknown_name

DATASETS = {
    'acdc': ACDC,
    'bdd100k': BDD100K,
    'camvid': CamVid,
    'cityscapes': Cityscapes,
    'dark_zurich': DarkZurich,
    'frame_store': StoredFrames,
    'gta5': GTA5,
    'image_folder': ImageFolder,
    'kitti': KITTI,
    'mapillary_vistas': MapillaryVistas,
    'recording': Recording,
    'rellis3d': Rellis3D,
    'rugd': RUGD,
    'streets': Streets,
    'synthia': Synthia,
}


def build_dataset(name: str, *, root: Path | None = None, **settings: Any) -> SegmentationDataset:
    """
    Open a data set.

    :param name: One of `DATASETS`.
    :param root: Where its files are; None for a generated one.
    :param settings: The data set's own settings.
    :raises InputError: If the name or a setting is unknown, or one is missing.
    """
    if name not in DATASETS:
        raise unknown_name('data set', name, DATASETS)
    known = inspect.signature(DATASETS[name]).parameters
    for setting in settings:
        if setting not in known:
            raise unknown_name(f"setting of data set '{name}'", setting, set(known) - {'root'})
    if root is not None:
        if 'root' not in known:
            raise InputError(
                f"data set '{name}' is generated and reads no files; got root '{root}', "
                'expected none')
        settings['root'] = Path(root)
    missing = [
        setting for setting, parameter in known.items()
        if parameter.default is inspect.Parameter.empty and setting not in settings]
    if missing:
        raise InputError(
            f"data set '{name}' needs {', '.join(missing)}; got "
            f'{", ".join(sorted(settings)) or "nothing"}')
    return DATASETS[name](**settings)
