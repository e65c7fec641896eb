# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Unlabelled frames of recordings, folders and stores; some to adapt to, some held back."""

from __future__ import annotations

from dataclasses import dataclass
import inspect
from pathlib import Path
from typing import Sequence

from bkd_core.datasets import build_dataset, DATASETS
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.subset import Subset
from bkd_core.errors import InputError
from bkd_core.labels import LabelSpace
import numpy as np

NUM_BLOCKS = 10
_MIN_FRAMES = 6
# A block in the middle of each half of the time, so that what both halves showed is asked for.
_HELD_BACK = (2, 7)
_STORE = 'frame_store'


@dataclass(frozen=True, kw_only=True)
class TargetFrames:
    """
    The frames of a round.

    :param adapting: Those that are learnt from.
    :param held_back: Those that the gate looks at; each block is a piece of one sequence.
    """

    adapting: Subset
    held_back: tuple[Subset, ...]


def open_frames(
    path: Path, *, label_space: LabelSpace, topic: str | None = None, stride: int = 1,
) -> SegmentationDataset:
    """
    Open a rosbag, a folder of images or a frame store as a data set without labels.

    :param path: The file or folder.
    :param label_space: The classes that the frames are to be seen in.
    :param topic: Image topic of a rosbag that holds several.
    :param stride: Use every n-th frame of a rosbag.
    :raises InputError: If it is none of them or can't be read.
    """
    if not path.exists():
        raise InputError(f'{path}: no such file or folder of target frames')
    if _STORE in DATASETS and (path / f'{_STORE}.json').is_file():
        name, options = _STORE, {}
    elif path.is_file() or (path / 'metadata.yaml').is_file():
        name, options = 'recording', {'topic': topic, 'stride': stride}
    else:
        images = 'images' if (path / 'images').is_dir() else '.'
        name, options = 'image_folder', {'images': images, 'labels': None}
    known = inspect.signature(DATASETS[name]).parameters
    options = {key: value for key, value in options.items() if key in known}
    return build_dataset(name, root=path, label_space=label_space.name, **options)


def split_frames(
    datasets: Sequence[SegmentationDataset], *, max_adapting: int, max_held_back: int,
) -> TargetFrames:
    """
    Hold back two tenths of each sequence of frames, in blocks of time.

    Frames next to each other are nearly the same, so single frames would leak; a tenth of a
    block is left out on both of its sides.

    :param datasets: Each in the order of time.
    :param max_adapting: Of more frames to adapt to, evenly spaced ones are taken.
    :param max_held_back: Of more frames to hold back, each block keeps its first ones.
    :raises InputError: If no sequence is long enough.
    """
    adapting: list[tuple[SegmentationDataset, int]] = []
    blocks: list[list[tuple[SegmentationDataset, int]]] = []
    for dataset in datasets:
        train, held_back = split_indices(len(dataset))
        adapting.extend((dataset, index) for index in train)
        blocks.extend([(dataset, index) for index in block] for block in held_back)
    if not blocks:
        raise InputError(
            f'the target has {[len(dataset) for dataset in datasets]} frames; expected at least '
            f'{_MIN_FRAMES} in one recording, folder or store, to hold some back for the gate')
    size = max(2, max_held_back // len(blocks))
    kept = np.linspace(0, len(adapting) - 1, min(max_adapting, len(adapting)))
    return TargetFrames(
        adapting=Subset([adapting[index] for index in kept.round().astype(int)]),
        held_back=tuple(Subset(block[:size]) for block in blocks))


def split_indices(length: int) -> tuple[list[int], list[range]]:
    """
    Return the numbers of the frames to adapt to, and the blocks that are held back.

    :param length: Number of frames of a sequence.
    """
    if length < _MIN_FRAMES:
        return list(range(length)), []
    count = min(NUM_BLOCKS, length // 2)
    borders = np.linspace(0, length, count + 1).round().astype(int).tolist()
    blocks = [range(borders[k], borders[k + 1]) for k in _HELD_BACK if k < count]
    taken = set()
    for block in blocks:
        gap = max(1, len(block) // 10)
        taken.update(range(block.start - gap, block.stop + gap))
    return [index for index in range(length) if index not in taken], blocks
