# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Make people and cars unrecognisable before a frame touches the disk.

A region is replaced by the means of at most 6 by 6 blocks, then smoothed. A mean says nothing of
how the pixels under it were arranged, so no filter brings them back: what is left of a face or a
number plate is a few colours. A Gaussian blur alone is linear and nearly invertible.

It is as good as the network: what that does not see as a person stays as it is.
"""

from __future__ import annotations

from typing import Sequence

from bkd_core.errors import unknown_name
from bkd_core.labels import LabelSpace
import cv2
import numpy as np

BLOCKS = 6  # along the longer side of a region
MIN_BLOCK = 8  # pixels
MARGIN = 0.01  # of the frame's height, around what the network found


def class_ids(names: Sequence[str], label_space: LabelSpace) -> tuple[int, ...]:
    """
    Return the train ids of classes.

    :param names: Class names of the label space.
    :param label_space: The network's.
    :raises InputError: If there is no such class.
    """
    for name in names:
        if name not in label_space.classes:
            raise unknown_name(
                f"class to blur of label space '{label_space.name}'", name, label_space.classes)
    return tuple(label_space.classes.index(name) for name in names)


def blur_classes(image: np.ndarray, labels: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """
    Return a frame in which the regions of some classes show a few blocks of colour.

    :param image: (H, W, 3) uint8; it is not changed.
    :param labels: (H, W) uint8, what the network sees in it.
    :param ids: The classes.
    :return: (H, W, 3) uint8.
    """
    mask = np.isin(labels, np.array(ids, np.uint8)).astype(np.uint8)
    if not mask.any():
        return image
    margin = max(2, round(MARGIN * len(image)))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    _, regions, boxes, _ = cv2.connectedComponentsWithStats(cv2.dilate(mask, around))
    result = image.copy()
    for number, (left, top, width, height, _) in enumerate(boxes[1:], start=1):
        box = np.s_[top:top + height, left:left + width]
        inside = regions[box] == number
        result[box][inside] = _blocks_of(image[box])[inside]
    return result


def _blocks_of(part: np.ndarray) -> np.ndarray:
    height, width = part.shape[:2]
    block = max(MIN_BLOCK, max(height, width) / BLOCKS)
    size = max(1, int(width / block)), max(1, int(height / block))
    means = cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_AREA)
    blocks = cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.GaussianBlur(blocks, (0, 0), block / 3)
