# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
From a network's coarse logits to labels and confidence at the frame's size.

`cells` interpolates only where the winner is in question, and so does `loops`, by Numba, where
that is installed and no confidence is wanted. Where that doesn't pay, and as its
reference, every class is interpolated everywhere, one at a time into the same buffers: all
classes at full size would be tens of megabytes that are written and read again.
OpenCV's half-pixel bilinear interpolation is torch's with `align_corners=False`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bkd_core.inference import cells
from bkd_core.inference.compiled import COMPILED, Compiled
import cv2
import numpy as np

# exp of anything within this range below the winner is a normal float32.
RANGE = 80


def labels_and_confidence(
    logits: np.ndarray, height: int, width: int, *, with_confidence: bool = True,
    compiled: Compiled = COMPILED,
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Interpolate logits to the frame's size; return every pixel's winner and its probability.

    :param logits: (C, h, w) float32.
    :param height: The frame's height.
    :param width: The frame's width.
    :param with_confidence: Whether the confidence is wanted; labels alone are cheaper.
    :param compiled: Numba's loops, if they are there.
    :return: (H, W) uint8, the lowest class id on ties, and (H, W) uint8, 255 times the
        largest probability, rounded; None if it is not wanted.
    """
    loops = None if with_confidence else compiled.loops()
    labels = loops.settle_labels(logits, height, width) if loops else None
    if labels is not None:
        return labels, None
    winner, largest = _first_largest(logits)
    shifted = logits - largest if with_confidence else None
    if with_confidence and not shifted.min() > -RANGE:
        return dense_labels_and_confidence(logits, height, width)
    settled = cells.settle(
        logits, winner, largest, height, width, with_lead=with_confidence)
    if settled is None:
        return dense_labels_and_confidence(
            logits, height, width, with_confidence=with_confidence)
    labels, mixed = settled
    return labels, _confidence_of_cells(shifted, mixed, labels.shape) if with_confidence else None


def dense_labels_and_confidence(
    logits: np.ndarray, height: int, width: int, *, with_confidence: bool = True,
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Do the same by interpolating every class everywhere.

    As `labels_and_confidence`, whose reference this is.
    """
    labels, largest = _first_largest(_resized(logits, (height, width)))
    return labels, _confidence(logits, largest) if with_confidence else None


def mean_certainty(
    logits: np.ndarray, *, compiled: Compiled = COMPILED,
) -> tuple[float, float]:
    """
    Return the mean Shannon entropy and the mean confidence of the coarse pixels.

    :param logits: (C, h, w) float32.
    :param compiled: Numba's loops, if they are there.
    :return: Entropy in nats, from 0 (certain) to log C (no idea), and the probability of the
        likeliest class, 0 to 1.
    """
    loops = compiled.loops()
    if loops:
        return loops.mean_certainty(logits)
    shifted = (logits - logits.max(axis=0)).reshape(len(logits), -1)
    np.maximum(shifted, -RANGE, out=shifted)  # of a logit of -inf too: 0 * inf is no number
    exponentials = cv2.exp(shifted)
    total = exponentials.sum(axis=0)
    shifted *= exponentials
    entropy = np.log(total) - shifted.sum(axis=0) / total
    return float(entropy.mean()), float((1 / total).mean())


def _first_largest(planes: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return each pixel's winner, uint8, and its logit; a plane may overwrite the one before."""
    planes = iter(planes)
    largest = next(planes).copy()
    labels, wins = np.zeros((2, *largest.shape), np.uint8)
    for index, plane in enumerate(planes, 1):
        np.greater(plane, largest, out=wins.view(bool))
        # 0 or this class, which is above every class before it: no masked copy is needed.
        np.multiply(wins, np.uint8(index), out=wins)
        np.maximum(labels, wins, out=labels)
        np.maximum(largest, plane, out=largest)
    return labels, largest


def _confidence(logits: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return 255 / sum of exp(logit - largest), rounded, (H, W) uint8."""
    total = np.zeros_like(largest)
    for plane in _resized(logits, largest.shape):
        np.subtract(plane, largest, out=plane)
        cv2.exp(plane, dst=plane)  # several times as fast as NumPy's
        np.add(total, plane, out=total)
    return _rounded(total)


def _confidence_of_cells(
    shifted: np.ndarray, mixed: cells.Mixed | None, size: tuple[int, int],
) -> np.ndarray:
    """
    Return the same from coarse logits less their largest.

    Subtracting the interpolated largest from all classes leaves probabilities as they are, and
    the winner of a cell that isn't mixed at exactly 0.
    """
    total = np.zeros(size, np.float32)
    for plane in _resized(shifted, size):
        cv2.exp(plane, dst=plane)
        np.add(total, plane, out=total)
    if mixed is not None:
        flat = total.reshape(-1)
        flat[mixed.index] = np.maximum(flat[mixed.index] * np.exp(-mixed.lead), 1)
    return _rounded(total)


def _rounded(total: np.ndarray) -> np.ndarray:
    """Return 255 / total, rounded, as uint8; the total is overwritten."""
    np.divide(255, total, out=total)
    np.add(total, .5, out=total)
    return total.astype(np.uint8)


def _resized(logits: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Interpolate one class after the other into the same buffer (H, W)."""
    buffer = np.empty(size, np.float32)
    for plane in logits:
        yield cv2.resize(plane, size[::-1], dst=buffer, interpolation=cv2.INTER_LINEAR)
