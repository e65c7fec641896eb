# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Unlabelled frames of recordings, folders and stores; some to adapt to, some held back."""

from __future__ import annotations

from dataclasses import dataclass
import logging
from pathlib import Path
from typing import Callable, Sequence

from bkd_core import atomic
from bkd_core.adaptation.frame_quality import FrameQuality, QualityConfig
from bkd_core.datasets import build_dataset
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.frame_store import FORMAT_FILE, StoredFrames
from bkd_core.datasets.image_folder import ImageFolder
from bkd_core.datasets.replay import JPEG_QUALITY, shrink_frame
from bkd_core.datasets.subset import Subset
from bkd_core.errors import InputError
from bkd_core.labels import LabelSpace
from bkd_core.visualization import encode_jpeg
import numpy as np

logger = logging.getLogger(__name__)

NUM_BLOCKS = 10
_MIN_FRAMES = 6
# What is given is not judged, but a frame of which next to nothing is neither black nor white
# teaches nothing: a covered or dead camera, which no score without labels tells from a quiet one.
_SHOWS_NOTHING = QualityConfig(min_sharpness=0, max_dark=0.99, max_bright=0.99, min_difference=0)
# A block in the middle of each half of the time, so that what both halves showed is asked for.
_HELD_BACK = (2, 7)
_ADAPTING, _BLOCK = 'adapting', 'held_back_'


@dataclass(frozen=True, kw_only=True)
class TargetFrames:
    """
    The frames of a round.

    :param adapting: Those that are learnt from.
    :param held_back: Those that the gate looks at; each block is a piece of one sequence.
    """

    adapting: SegmentationDataset
    held_back: tuple[SegmentationDataset, ...]


def open_frames(
    path: Path, *, label_space: LabelSpace, topic: str | None = None, stride: int = 1,
) -> list[SegmentationDataset]:
    """
    Open a rosbag, a folder of images or a frame store as sequences without labels.

    :param path: The file or folder.
    :param label_space: The classes that the frames are to be seen in.
    :param topic: Image topic, of a rosbag that holds several or to choose from a store.
    :param stride: Use every n-th frame of a rosbag.
    :return: A data set in the order of time; of a store, one for each topic.
    :raises InputError: If it is none of them or can't be read.
    """
    if not path.exists():
        raise InputError(f'{path}: no such file or folder of target frames')
    settings = {'root': path, 'label_space': label_space.name}
    if (path / FORMAT_FILE).is_file():
        return _by_topic(StoredFrames(topics=topic and (topic,), **settings))
    if path.is_file() or (path / 'metadata.yaml').is_file():
        return [build_dataset('recording', topic=topic, stride=stride, **settings)]
    images = 'images' if (path / 'images').is_dir() else '.'
    return [ImageFolder(images=images, labels=None, **settings)]


def _by_topic(store: StoredFrames) -> list[SegmentationDataset]:
    frames: dict[str, list[tuple[SegmentationDataset, int]]] = {}
    for index in range(len(store)):
        frames.setdefault(store.record(index).metadata.topic, []).append((store, index))
    return [Subset(frames[topic]) for topic in sorted(frames)]


def keep_frames(
    frames: TargetFrames, folder: Path, *, input_height: int,
    hide: Callable[[np.ndarray], np.ndarray] = lambda image: image,
) -> None:
    """
    Copy the frames of a round, so that it can go on while a store takes in others.

    A frame that can't be read, such as one that gave way in a store meanwhile, or that shows
    nothing, is left out.

    A block whose frames differ in size, such as those of two cameras in one folder, becomes a
    block for each size: the gate compares each frame with the one before. A frame that is the
    only one of its size in its block is left out, too.

    :param frames: The frames.
    :param folder: Where they go.
    :param input_height: Short side at which the model sees a frame; larger ones are shrunk.
    :param hide: Makes what must not be stored unrecognisable; (H, W, 3) uint8 to the same.
    :raises InputError: If none is left to adapt to, or less than two of a block, or no two of
        any block have one size.
    """
    with atomic.directory(folder) as temporary:
        _write(temporary / _ADAPTING, _kept_files(
            frames.adapting, _ADAPTING, at_least=1, input_height=input_height, hide=hide))
        sizes = set()
        for number, block in enumerate(frames.held_back):
            name = f'{_BLOCK}{number:03d}'
            files = _kept_files(
                block, name, at_least=2, input_height=input_height, hide=hide)
            sizes.update(file.size for file in files)
            _write_block(temporary / name, files)
        if not any(temporary.glob(f'{_BLOCK}*')):
            raise InputError(
                'no two target frames that are held back together have one size: got '
                f'{", ".join(f"{width} x {height}" for width, height in sorted(sizes))} (as the '
                'model sees them); the gate compares each frame with the one before. Give frames '
                'of one camera and size')


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    size: tuple[int, int]  # width, height
    jpeg: bytes


def _kept_files(
    part: SegmentationDataset, title: str, *, at_least: int, input_height: int,
    hide: Callable[[np.ndarray], np.ndarray],
) -> list[_File]:
    """Return the frames that can be used; too few are refused."""
    files = []
    for index in range(len(part)):
        image = _usable(part, index)
        if image is not None:
            image = shrink_frame(hide(image), input_height)
            files.append(_File(
                name=f'{part.name(index)}.jpg', size=image.shape[1::-1],
                jpeg=encode_jpeg(image, quality=JPEG_QUALITY)))
    if len(files) < at_least:
        raise InputError(
            f'of {len(part)} target frames ({title}) only {len(files)} can be used, the others '
            'cannot be read or show nothing (black or white); the warnings say which')
    return files


def _write(folder: Path, files: Sequence[_File]) -> None:
    folder.mkdir()
    for file in files:
        (folder / file.name).write_bytes(file.jpeg)


def _write_block(folder: Path, files: Sequence[_File]) -> None:
    """Write the frames of a block, those of another size than the first one beside it."""
    for number, size in enumerate(dict.fromkeys(file.size for file in files)):
        alike = [file for file in files if file.size == size]
        if len(alike) > 1:
            _write(folder.with_name(f'{folder.name}_{number}') if number else folder, alike)
        else:
            logger.warning(
                'target frame %s is left out: no other one of %s has its size, %s x %s',
                alike[0].name, folder.name, *size)


def _usable(frames: SegmentationDataset, index: int) -> np.ndarray | None:
    """Return a frame, or None, with a warning, where it can't be used."""
    try:
        image = frames.image(index)
    except InputError as error:
        logger.warning('a target frame is left out: %s', error)
        return None
    fault = FrameQuality(_SHOWS_NOTHING).fault(image, '')
    if fault:
        logger.warning('target frame %s is left out: it is %s', frames.name(index), fault)
        return None
    return image


def frame_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """
    Return the JPEG files that `keep_frames` wrote: those to adapt to, and those held back.

    :param folder: Where they are.
    """
    return tuple(
        sorted(folder.glob(f'{part}/*.jpg')) for part in (_ADAPTING, f'{_BLOCK}*'))


def read_frames(folder: Path, *, label_space: LabelSpace) -> TargetFrames:
    """
    Return the frames that `keep_frames` copied.

    :param folder: Where they are.
    :param label_space: The classes that they are to be seen in.
    """
    def part(name: str) -> ImageFolder:
        return ImageFolder(
            root=folder, images=name, labels=None, label_space=label_space.name)
    blocks = sorted(path.name for path in folder.glob(f'{_BLOCK}*'))
    return TargetFrames(adapting=part(_ADAPTING), held_back=tuple(map(part, blocks)))


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
            f'{_MIN_FRAMES} in one recording, folder or store, so that some can be held back')
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
