# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a confidence of 80 % means that 80 % of the labels are right."""

from __future__ import annotations

from bkd_core.errors import InputError
from bkd_core.labels import IGNORE_INDEX
import numpy as np

NUM_BINS = 15


class Calibration:
    """
    Expected calibration error over any number of images.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, Eq. 3, with
    bins of equal width, open below and closed above:

        ECE = sum_m |B_m| / n * |acc(B_m) - conf(B_m)|,    B_m = {i: (m-1)/M < conf_i <= m/M}

    Every labelled pixel is a sample. A confidence stored as uint8 is 255 times the probability,
    rounded; with 15 bins its borders fall on whole numbers, and the error moves by at most
    1/510 through rounding.

    :param num_bins: M.
    """

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self.num_bins = num_bins
        self.counts, self.hits = np.zeros((2, num_bins), np.int64)
        self.confidences = np.zeros(num_bins)

    def update(
        self, labels_true: np.ndarray, labels_predicted: np.ndarray, confidence: np.ndarray,
    ) -> None:
        """
        Add an image.

        :param labels_true: Integers of any shape; 255 where there is no truth.
        :param labels_predicted: The same shape.
        :param confidence: The same shape: uint8, 255 times the winner's probability, or floats
            from 0 to 1.
        :raises InputError: If the shapes differ or a confidence lies outside its range.
        """
        if not labels_true.shape == labels_predicted.shape == confidence.shape:
            raise InputError(
                f'labels of shape {labels_true.shape}, predictions of shape '
                f'{labels_predicted.shape} and confidences of shape {confidence.shape} do not '
                'belong together')
        has_truth = labels_true != IGNORE_INDEX
        is_hit = labels_true[has_truth] == labels_predicted[has_truth]
        values = confidence[has_truth]
        if values.dtype == np.uint8:  # whole numbers: (c * M) / 255 is rounded up exactly
            bins = (values.astype(np.int64) * self.num_bins + 254) // 255 - 1
            values = values / 255
        else:
            values = values.astype(float)
            if not ((values >= 0) & (values <= 1)).all():
                raise InputError('confidence: expected values from 0 to 1, or uint8 up to 255')
            bins = np.ceil(values * self.num_bins).astype(np.int64) - 1
        bins = bins.clip(0)
        self.counts += np.bincount(bins, minlength=self.num_bins)
        self.hits += np.bincount(bins[is_hit], minlength=self.num_bins)
        self.confidences += np.bincount(bins, weights=values, minlength=self.num_bins)

    @property
    def error(self) -> float:
        """Return the expected calibration error, 0 to 1; NaN without a labelled pixel."""
        total = self.counts.sum()
        return float(np.abs(self.hits - self.confidences).sum() / total) if total else np.nan
