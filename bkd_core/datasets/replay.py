# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
A few labelled source frames that travel inside a model directory.

    replay/images/NAME.jpg    frames
    replay/labels/NAME.png    their classes in the model's label space, 255 = none
    replay/replay.yaml        label space, number of frames, whose images they are, licences

With them a robot can adapt its model further without the data set that it was trained on, and
can measure what the model forgets.
"""

from __future__ import annotations

from pathlib import Path

from bkd_core import atomic
from bkd_core.config_file import read_yaml
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.image_folder import ImageFolder
from bkd_core.errors import InputError
from bkd_core.labels import id_mapping, LabelSpace
from bkd_core.visualization import encode_jpeg, encode_png
import cv2
import numpy as np
import yaml

REPLAY = 'replay'
_DESCRIPTION = 'replay.yaml'
JPEG_QUALITY = 95
# Training enlarges crops by this much at most, as the configurations have it.
_SCALE = 1.5


def write_replay(
    directory: Path, source: SegmentationDataset, *, label_space: LabelSpace, num_frames: int,
    input_height: int, licences: str,
) -> None:
    """
    Write evenly spaced frames of a labelled data set into a model directory.

    :param directory: The model directory.
    :param source: The data set.
    :param label_space: The model's classes.
    :param num_frames: How many, at most.
    :param input_height: Short side at which the model sees a frame; larger frames are shrunk
        to one and a half times that.
    :param licences: Whose images these are and under which licence they may be passed on.
    :raises InputError: If nothing is said about the licences.
    """
    check_licences(licences)
    mapping = id_mapping(source.label_space, label_space)
    count = min(num_frames, len(source))
    with atomic.directory(Path(directory) / REPLAY) as folder:
        (folder / 'images').mkdir()
        (folder / 'labels').mkdir()
        for index in np.linspace(0, len(source) - 1, count).round().astype(int).tolist():
            image = shrink_frame(source.image(index), input_height)
            labels = cv2.resize(
                mapping[source.labels(index)], image.shape[1::-1],
                interpolation=cv2.INTER_NEAREST_EXACT)
            name = source.name(index)
            (folder / 'images' / f'{name}.jpg').write_bytes(
                encode_jpeg(image, quality=JPEG_QUALITY))
            (folder / 'labels' / f'{name}.png').write_bytes(encode_png(labels))
        (folder / _DESCRIPTION).write_text(yaml.safe_dump({
            'label_space': label_space.name, 'num_frames': count, 'licences': licences.strip(),
        }, sort_keys=False), encoding='utf-8')


def check_licences(licences: str) -> None:
    """
    Refuse to let images travel that nothing is said about.

    :param licences: Whose images these are and under which licence they may be passed on.
    :raises InputError: If it says nothing.
    """
    if not licences.strip():
        raise InputError(
            'a replay puts images into the model directory that travel with it: say in '
            'data_licences whose images these are and under which licence, such as '
            "data_licences: 'Source: photos of our own, CC0.' in the configuration file")


def open_replay(folder: Path, *, label_space: LabelSpace) -> ImageFolder:
    """
    Open a replay, or any folder with `images` and `labels`.

    :param folder: The folder; its `replay.yaml` names the label space.
    :param label_space: That of a folder without such a file.
    :raises InputError: If the folder or a file in it is missing or damaged.
    """
    name = label_space.name
    if (folder / _DESCRIPTION).exists():
        name = str(read_yaml(folder / _DESCRIPTION).get('label_space'))
    return ImageFolder(root=folder, label_space=name)


def shrink_frame(image: np.ndarray, input_height: int) -> np.ndarray:
    """
    Return a frame without the pixels that neither training nor the network would see.

    :param image: (H, W, 3) uint8.
    :param input_height: Short side at which the network sees a frame.
    :return: The frame, shrunk to one and a half times that if it was larger.
    """
    scale = int(_SCALE * input_height) / min(image.shape[:2])
    if scale >= 1:
        return image
    size = tuple(round(side * scale) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
