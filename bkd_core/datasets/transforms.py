# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Geometry of training crops: scale, crop and mirror an image together with its labels."""

from __future__ import annotations

import cv2
import numpy as np


def random_crop(
    image: np.ndarray, labels: np.ndarray | None, *, rng: np.random.Generator,
    crop_size: tuple[int, int], input_height: int, scale: tuple[float, float], flip: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Cut a random window out of an image and bring it to the crop's size.

    The window is cut before it is resized, so the cost does not depend on the image's size. A
    scale at which the window would be larger than the image is raised until it fits, so that
    the aspect is kept.

    :param image: (H, W, 3) uint8.
    :param labels: (H, W) uint8, or None.
    :param rng: Source of randomness.
    :param crop_size: (height, width) of the result, pixels.
    :param input_height: Short side at scale 1, pixels.
    :param scale: Range of the random scale.
    :param flip: Mirror with probability one half.
    :return: (h, w, 3) uint8 and (h, w) uint8 or None, C-contiguous.
    """
    height, width = image.shape[:2]
    factor = input_height / min(height, width) * rng.uniform(*scale)
    factor = max(factor, crop_size[0] / height, crop_size[1] / width)
    window_height = min(height, max(1, int(round(crop_size[0] / factor))))
    window_width = min(width, max(1, int(round(crop_size[1] / factor))))
    top = int(rng.integers(0, height - window_height + 1))
    left = int(rng.integers(0, width - window_width + 1))
    window = np.s_[top:top + window_height, left:left + window_width]
    is_mirrored = flip and rng.random() < 0.5
    method = cv2.INTER_AREA if window_height > 1.5 * crop_size[0] else cv2.INTER_LINEAR
    return (
        _resize(image[window], crop_size, method, is_mirrored),
        None if labels is None
        else _resize(labels[window], crop_size, cv2.INTER_NEAREST_EXACT, is_mirrored))


def _resize(
    array: np.ndarray, size: tuple[int, int], method: int, is_mirrored: bool,
) -> np.ndarray:
    array = cv2.resize(array, (size[1], size[0]), interpolation=method)
    return np.ascontiguousarray(array[:, ::-1] if is_mirrored else array)
