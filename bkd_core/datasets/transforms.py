# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Geometry of training crops: a random window, cut out of an image and out of its labels."""

from __future__ import annotations

from bkd_core.batch import Window
import cv2
import numpy as np


def draw_window(
    frame_size: tuple[int, int], *, index: int, rng: np.random.Generator,
    crop_size: tuple[int, int], input_height: int, scale: tuple[float, float], flip: bool,
) -> Window:
    """
    Draw the part of a frame that a crop shows.

    A scale at which the window would be larger than the frame is raised until it fits, so that
    the aspect is kept.

    :param frame_size: (height, width), pixels.
    :param index: Number of the frame.
    :param rng: Source of randomness.
    :param crop_size: (height, width) of the crop, pixels.
    :param input_height: Short side of the frame at scale 1, pixels.
    :param scale: Range of the random scale.
    :param flip: Mirror with probability one half.
    """
    height, width = frame_size
    factor = input_height / min(height, width) * rng.uniform(*scale)
    factor = max(factor, crop_size[0] / height, crop_size[1] / width)
    window_height = min(height, max(1, int(round(crop_size[0] / factor))))
    window_width = min(width, max(1, int(round(crop_size[1] / factor))))
    return Window(
        index=index, frame_size=(height, width),
        top=int(rng.integers(0, height - window_height + 1)),
        left=int(rng.integers(0, width - window_width + 1)),
        height=window_height, width=window_width, is_mirrored=flip and bool(rng.random() < 0.5))


def cut_image(image: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """
    Cut a window out of an image; its cost does not depend on the image's size.

    :param image: (H, W, 3) uint8.
    :param window: From `draw_window`.
    :param size: (height, width) of the result.
    :return: (h, w, 3) uint8, C-contiguous.
    """
    return _cut(
        image, window, size,
        cv2.INTER_AREA if window.height > 1.5 * size[0] else cv2.INTER_LINEAR)


def cut_labels(labels: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """
    Cut a window out of a label map, by the nearest pixel.

    :param labels: (H, W) uint8.
    :param window: From `draw_window`.
    :param size: (height, width) of the result.
    :return: (h, w) uint8, C-contiguous.
    """
    return _cut(labels, window, size, cv2.INTER_NEAREST_EXACT)


def _cut(
    array: np.ndarray, window: Window, size: tuple[int, int], interpolation: int,
) -> np.ndarray:
    array = array[
        window.top:window.top + window.height, window.left:window.left + window.width]
    array = cv2.resize(array, (size[1], size[0]), interpolation=interpolation)
    return np.ascontiguousarray(array[:, ::-1] if window.is_mirrored else array)
