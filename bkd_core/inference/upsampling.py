# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
From a network's coarse logits to labels and confidence at the frame's size.

One class is interpolated at a time into the same buffers, which stay in the processor's
cache; all classes at full size would be tens of megabytes that are written and read again.
OpenCV's half-pixel bilinear interpolation is torch's with `align_corners=False`.
"""

from __future__ import annotations

import cv2
import numpy as np


def labels_and_confidence(
    logits: np.ndarray, height: int, width: int, *, with_confidence: bool = True,
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Interpolate logits to the frame's size; return every pixel's winner and its probability.

    :param logits: (C, h, w) float32.
    :param height: The frame's height.
    :param width: The frame's width.
    :param with_confidence: Whether the confidence is wanted; labels alone are cheaper.
    :return: (H, W) uint8, the lowest class id on ties, and (H, W) uint8, 255 times the
        largest probability, rounded; None if it is not wanted.
    """
    labels, largest = _winners(logits, height, width)
    return labels, _confidence(logits, largest) if with_confidence else None


def mean_certainty(logits: np.ndarray) -> tuple[float, float]:
    """
    Return the mean Shannon entropy and the mean confidence of the coarse pixels.

    :param logits: (C, h, w) float32.
    :return: Entropy in nats, from 0 (certain) to log C (no idea), and the probability of the
        likeliest class, 0 to 1.
    """
    shifted = logits - logits.max(axis=0)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=0)
    entropy = np.log(total) - (exponentials * shifted).sum(axis=0) / total
    return float(entropy.mean()), float((1 / total).mean())


def _winners(logits: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (H, W) uint8 and the interpolated winner's logit (H, W) float32."""
    largest = _resize(logits[0], np.empty((height, width), np.float32))
    plane = np.empty_like(largest)
    labels, wins = np.zeros((2, height, width), np.uint8)
    for index in range(1, len(logits)):
        _resize(logits[index], plane)
        np.greater(plane, largest, out=wins.view(bool))
        # 0 or this class, which is above every class before it: no masked copy is needed.
        np.multiply(wins, np.uint8(index), out=wins)
        np.maximum(labels, wins, out=labels)
        np.maximum(largest, plane, out=largest)
    return labels, largest


def _confidence(logits: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return 255 / sum of exp(logit - largest), rounded, (H, W) uint8."""
    total, plane = np.zeros_like(largest), np.empty_like(largest)
    for coarse in logits:
        _resize(coarse, plane)
        np.subtract(plane, largest, out=plane)
        cv2.exp(plane, dst=plane)  # several times as fast as NumPy's
        np.add(total, plane, out=total)
    np.divide(255, total, out=total)
    np.add(total, .5, out=total)
    return total.astype(np.uint8)


def _resize(coarse: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Interpolate (h, w) into the buffer (H, W)."""
    height, width = plane.shape
    return cv2.resize(coarse, (width, height), dst=plane, interpolation=cv2.INTER_LINEAR)
