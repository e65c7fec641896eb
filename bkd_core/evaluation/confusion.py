# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Count which class was taken for which, over any number of images."""

from __future__ import annotations

from typing import Sequence

from bkd_core.errors import InputError
from bkd_core.labels import IGNORE_INDEX
import numpy as np


class ConfusionMatrix:
    """
    Pixels by true class (row) and predicted class (column).

    Pixels whose truth is 255 are ignored. A prediction of 255 on a labelled pixel is an error
    like any other: it is counted in one more column.

    :param num_classes: Number of classes, 1 to 255.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, labels_true: np.ndarray, labels_predicted: np.ndarray) -> None:
        """
        Add an image.

        :param labels_true: Integers of any shape; 255 where there is no truth.
        :param labels_predicted: The same shape.
        :raises InputError: If the shapes differ or a value is no class.
        """
        if labels_true.shape != labels_predicted.shape:
            raise InputError(
                f'labels of shape {labels_true.shape} cannot be compared with a prediction of '
                f'shape {labels_predicted.shape}')
        has_truth = labels_true != IGNORE_INDEX
        true = labels_true[has_truth].astype(np.intp)
        predicted = labels_predicted[has_truth].astype(np.intp)
        predicted[predicted == IGNORE_INDEX] = self.num_classes
        self._check(true, 'truth', self.num_classes)
        self._check(predicted, 'prediction', self.num_classes + 1)
        pairs = np.bincount(
            true * (self.num_classes + 1) + predicted, minlength=self.counts.size)
        self.counts += pairs.reshape(self.counts.shape)

    def _check(self, values: np.ndarray, what: str, limit: int) -> None:
        if values.size and not 0 <= values.min() <= values.max() < limit:
            wrong = sorted(set(values[(values < 0) | (values >= limit)].tolist()))
            raise InputError(
                f'{what}: the values {wrong[:5]} are no classes; expected 0 to '
                f'{self.num_classes - 1} or {IGNORE_INDEX} (ignore)')

    def iou(self) -> np.ndarray:
        """
        Return the intersection over union of each class (Everingham et al. 2010).

        :return: (num_classes,) from 0 to 1; NaN for a class that occurs neither in the truth
            nor in the predictions.
        """
        hits = np.diagonal(self.counts).astype(float)
        predicted = self.counts[:, :self.num_classes].sum(axis=0)
        union = self.counts.sum(axis=1) + predicted - hits
        return np.divide(hits, union, out=np.full(self.num_classes, np.nan), where=union > 0)

    def miou(self, classes: Sequence[int] | None = None) -> float:
        """
        Return the mean IoU over the classes that occur in the truth.

        A class without a true pixel is left out, for its IoU could only be 0 or undefined; but
        where it is predicted, the class that was really there loses.

        :param classes: Ids to average over, such as the 16 classes of SYNTHIA; all by default.
        :return: From 0 to 1; NaN if none of them occurs.
        """
        chosen = np.ones(self.num_classes, bool)
        if classes is not None:
            chosen[:] = False
            chosen[list(classes)] = True
        chosen &= self.counts.sum(axis=1) > 0
        return float(self.iou()[chosen].mean()) if chosen.any() else float('nan')

    @property
    def pixel_accuracy(self) -> float:
        """Return the share of labelled pixels that were right; NaN without any."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float('nan')
