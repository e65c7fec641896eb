# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label files: an image, a folder of images, a video or a rosbag."""

from __future__ import annotations

from collections import Counter
import itertools
from pathlib import Path
from typing import Iterator

from bkd_core import atomic
from bkd_core.datasets.image_files import IMAGE_SUFFIXES, list_files, read_image
from bkd_core.errors import InputError
from bkd_core.inference.segmenter import Segmenter
from bkd_core.progress import progress_bar
from bkd_core.visualization import encode_jpeg, encode_png, overlay as draw_overlay
import cv2
import numpy as np

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v')
BAG_SUFFIXES = ('.mcap', '.db3', '.bag')

Frames = Iterator['tuple[str, np.ndarray]']


def predict(
    segmenter: Segmenter, source: Path, *, output: Path, topic: str | None = None,
    overlay: bool = False,
) -> int:
    """
    Write the labels of every frame as a PNG of class ids.

    :param segmenter: The network.
    :param source: Image, folder of images, video or rosbag.
    :param output: Folder for NAME.png; it is made if it is missing.
    :param topic: Image topic of a rosbag that holds several.
    :param overlay: Also write NAME_overlay.jpg.
    :return: Number of frames labelled.
    :raises InputError: If the input is missing, unreadable, empty or of an unknown kind.
    """
    total, frames = open_frames(Path(source), topic)
    first = next(frames, None)  # before anything is written: most mistakes show here
    if first is None:
        raise InputError(f'{source}: it holds no frame')
    folder = source.parent if source.suffix.lower() in IMAGE_SUFFIXES else source
    if output.resolve() == folder.resolve():
        raise InputError(
            f'--output {output}: the images themselves lie there and their labels could '
            'overwrite them. Give another folder')
    output.mkdir(parents=True, exist_ok=True)
    count = 0
    with progress_bar('predict', total) as advance:
        for name, frame in itertools.chain([first], frames):
            labels = segmenter(frame).labels
            atomic.write_bytes(output / f'{name}.png', encode_png(labels))
            if overlay:
                picture = draw_overlay(frame, labels, segmenter.label_space)
                atomic.write_bytes(output / f'{name}_overlay.jpg', encode_jpeg(picture))
            count += 1
            advance(count)
    return count


def open_frames(source: Path, topic: str | None) -> tuple[int, Frames]:
    """
    Return the number of frames, 0 if it is not known, and the frames with their names.

    :param source: Image, folder of images, video or rosbag.
    :param topic: Image topic of a rosbag.
    :raises InputError: If the input is missing or of an unknown kind.
    """
    suffix = source.suffix.lower()
    if not source.exists():
        raise InputError(f'{source}: no such file or folder')
    if suffix in BAG_SUFFIXES or (source / 'metadata.yaml').is_file():
        return _bag_frames(source, topic)
    if topic is not None:
        raise InputError(f'{source}: --topic only goes with a rosbag')
    if source.is_dir():
        paths = list_files(source, IMAGE_SUFFIXES, what='images')
        _require_unique_names(source, paths)
        return len(paths), ((path.stem, read_image(path)) for path in paths)
    if suffix in IMAGE_SUFFIXES:
        return 1, iter([(source.stem, read_image(source))])
    if suffix in VIDEO_SUFFIXES:
        return _video_frames(source)
    raise InputError(
        f"{source}: unknown kind of input '{suffix}'; expected an image {IMAGE_SUFFIXES}, a "
        f'folder of images, a video {VIDEO_SUFFIXES} or a rosbag {BAG_SUFFIXES}')


def _require_unique_names(folder: Path, paths: list[Path]) -> None:
    stems = [path.stem for path in paths]
    for stem in set(stems):
        if stems.count(stem) > 1:
            raise InputError(
                f"{folder}: two images are called '{stem}' with different endings; their labels "
                'would overwrite each other. Rename one')


def _bag_frames(source: Path, topic: str | None) -> tuple[int, Frames]:
    from bkd_core.datasets.recording import read_frames

    def frames() -> Frames:
        counts: Counter[int] = Counter()
        for frame in read_frames(source, topic=topic):
            repeated = counts[frame.stamp_ns]  # a driver without a clock stamps all with 0
            counts[frame.stamp_ns] += 1
            yield f'{frame.stamp_ns}_{repeated}' if repeated else str(frame.stamp_ns), frame.image

    return 0, frames()


def _video_frames(source: Path) -> tuple[int, Frames]:
    capture = cv2.VideoCapture(str(source))
    if not capture.isOpened():
        raise InputError(f'{source}: not readable as a video')

    def frames() -> Frames:
        index = 0
        while True:
            is_read, frame = capture.read()
            if not is_read:
                capture.release()
                return
            yield f'{index:06d}', cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            index += 1

    return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), frames()
