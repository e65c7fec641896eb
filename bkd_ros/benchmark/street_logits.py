# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a network might say of a street, for nodes whose network only waits."""

from __future__ import annotations

import cv2
import numpy as np

STRIDE = 4
# Coarse pixels from one knot to the next: regions meet in a fifth of all 2 x 2 coarse pixels. Of
# the shipped student's answers to CamVid it is 16 %.
_KNOTS = 16


def street_logits(num_classes: int, height: int, width: int) -> np.ndarray:
    """
    Return random logits whose classes form regions, as in a street, not noise.

    What brings them to the frame's size may be faster inside of regions, as it is in real use.

    :param num_classes: C.
    :param height: Height of what the network sees, pixels.
    :param width: Width of it.
    :return: (C, height / 4, width / 4) float32, the same for every call.
    """
    size = height // STRIDE, width // STRIDE
    knots = np.random.default_rng(0).normal(
        size=(size[0] // _KNOTS + 2, size[1] // _KNOTS + 2, num_classes))
    # Spread like the logits of a trained network.
    planes = cv2.resize(4 * knots.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(planes.reshape(*size, num_classes).transpose(2, 0, 1))
