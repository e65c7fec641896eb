# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How sure a few labelled frames make us that one network is better than another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Gain:
    """
    A gain in mIoU, and how sure it is.

    :param before: mIoU of the first network on all frames, 0 to 1.
    :param after: mIoU of the second one.
    :param confidence: Share of the resamples in which the second one is better; ties count half.
    :param low: 5th percentile of the gain over the resamples.
    :param high: 95th percentile.
    """

    before: float
    after: float
    confidence: float
    low: float
    high: float


def bootstrap_gain(
    before: np.ndarray, after: np.ndarray, *, num_resamples: int, seed: int,
) -> Gain:
    """
    Resample the frames, the same ones for both networks, and compare their mIoU each time.

    The paired bootstrap (Efron & Tibshirani 1993, "An Introduction to the Bootstrap"). Frames
    of one drive resemble each other, which makes it surer than it should be: take frames from
    different places.

    :param before: (N, C, C + 1) counts, a confusion matrix a frame: true class by predicted one.
    :param after: The same of the second network, on the same frames.
    :param num_resamples: How often.
    :param seed: Of the resampling.
    :return: The gain; NaN if no class has a true pixel.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(before), (num_resamples, len(before)))
    weights = np.stack([np.bincount(row, minlength=len(before)) for row in drawn])
    means = [miou_of(np.tensordot(weights, counts, axes=1)) for counts in (before, after)]
    gains = means[1] - means[0]
    total = [float(miou_of(counts.sum(axis=0))) for counts in (before, after)]
    ties_half = np.where(np.isnan(gains), np.nan, (np.sign(gains) + 1) / 2)
    low, high = np.percentile(gains, [5, 95])
    return Gain(
        before=total[0], after=total[1], confidence=float(ties_half.mean()), low=float(low),
        high=float(high))


def miou_of(counts: np.ndarray) -> np.ndarray:
    """
    Return the mean IoU over the classes that occur in the truth, as `ConfusionMatrix.miou`.

    :param counts: (..., C, C + 1) numbers of pixels.
    :return: (...) from 0 to 1; NaN where no class has a true pixel.
    """
    num_classes = counts.shape[-2]
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    truth = counts.sum(axis=-1)
    union = truth + counts[..., :num_classes].sum(axis=-2) - hits
    iou = np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)
    occurs = truth > 0
    number = occurs.sum(axis=-1)
    total = (iou * occurs).sum(axis=-1)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
