# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a data set's settings to the data set."""

from __future__ import annotations

from pathlib import Path

from bkd_core.config import DataConfig
from bkd_core.datasets import build_dataset
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.errors import InputError


def open_dataset(config: DataConfig, data_root: Path | None) -> SegmentationDataset:
    """
    Open a data set.

    :param config: Its name, folder and options.
    :param data_root: Folder that a relative root starts from.
    :raises InputError: If it needs a folder and there is none.
    """
    if not config.root:
        return build_dataset(config.name, root=None, **config.options)
    root = Path(config.root).expanduser()
    if not root.is_absolute():
        if data_root is None:
            raise InputError(
                f"data set '{config.name}' lies in '{config.root}' below the data root, which is "
                'not set. Give --data-root DIR or set BKD_DATA_ROOT')
        root = data_root / root
    return build_dataset(config.name, root=root, **config.options)
