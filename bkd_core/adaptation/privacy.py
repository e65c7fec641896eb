# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Make people and cars unrecognisable before a frame touches the disk.

A region is replaced by the means of at most 6 by 6 blocks, then smoothed. A mean says nothing of
how the pixels under it were arranged, so no filter brings them back: what is left of a face or a
number plate is a few colours. A Gaussian blur alone is linear and nearly invertible.

It is as good as the network: what that does not see as a person stays as it is. `blind_spots`
names the classes that a model is known not to find.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Sequence

from bkd_core import model_directory
from bkd_core.errors import unknown_name
from bkd_core.labels import LabelSpace
import cv2
import numpy as np

BLOCKS = 6  # along the longer side of a region
MIN_BLOCK = 8  # pixels
MARGIN = 0.01  # of the frame's height, around what the network found
RELIABLE_IOU = 0.5
THRESHOLD = 0.3  # probability of the classes, all together, from which on a pixel is hidden


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


def blind_spots(names: Sequence[str], directory: Path) -> dict[str, float | None]:
    """
    Return the classes that a model is not known to find reliably, with their measured IoU.

    :param names: Class names.
    :param directory: The model directory.
    :return: Class -> IoU on the model's validation set, below 0.5; None if it was not measured.
    """
    file = directory / model_directory.METRICS
    try:
        measured = json.loads(file.read_bytes())['scores']['iou']
    except (OSError, ValueError, TypeError, KeyError):
        measured = {}
    found = {name: measured.get(name) for name in names}
    return {
        name: iou for name, iou in found.items() if iou is None or not iou >= RELIABLE_IOU}


def warnings_of(names: Sequence[str], directory: Path) -> list[str]:
    """
    Return what a user should know who relies on a model to find classes, a sentence each.

    :param names: Class names.
    :param directory: The model directory.
    """
    return [
        f"blur_classes: this model is not known to find '{name}' reliably (IoU "
        f'{"not measured" if iou is None else f"{iou:.2f}"} on its validation set), so it '
        'may be stored as it is. Use a better model'
        for name, iou in blind_spots(names, directory).items()]


def hide(
    image: np.ndarray, logits: np.ndarray, ids: Sequence[int], *, threshold: float = THRESHOLD,
) -> np.ndarray:
    """
    Return a frame in which some classes are unrecognisable where a network sees them.

    :param image: (H, W, 3) uint8; it is not changed.
    :param logits: (C, h, w) float32 for it, from `Segmenter.logits`.
    :param ids: The classes.
    :param threshold: Their probability, all together, from which on a pixel is hidden.
    :return: (H, W, 3) uint8.
    """
    return blur_regions(image, mask_of(logits, ids, *image.shape[:2], threshold=threshold))


def mask_of(
    logits: np.ndarray, ids: Sequence[int], height: int, width: int, *, threshold: float,
) -> np.ndarray:
    """
    Return where some classes may be.

    :param logits: (C, h, w) float32, from `Segmenter.logits`.
    :param ids: The classes.
    :param height: The frame's height.
    :param width: The frame's width.
    :param threshold: Their probability, all together, from which on a pixel is hidden.
    :return: (H, W) bool.
    """
    exponentials = np.exp(logits - logits.max(axis=0))
    probability = exponentials[list(ids)].sum(axis=0) / exponentials.sum(axis=0)
    return cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR) >= threshold


def blur_regions(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """
    Return a frame in which some regions show a few blocks of colour.

    :param image: (H, W, 3) uint8; it is not changed.
    :param mask: (H, W) bool, the regions; a margin around them is added.
    :return: (H, W, 3) uint8.
    """
    if not mask.any():
        return image
    margin = max(2, round(MARGIN * len(image)))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    _, regions, boxes, _ = cv2.connectedComponentsWithStats(
        cv2.dilate(mask.astype(np.uint8), around))
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
