# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Rare class sampling: images that hold rare classes are drawn more often.

DAFormer: Hoyer, Dai and Van Gool 2022, "DAFormer: Improving Network Architectures and Training
Strategies for Domain-Adaptive Semantic Segmentation", https://arxiv.org/abs/2111.14887. With
f_c the share of the source's labelled pixels that are of class c,

    P(c) = exp((1 - f_c) / T) / sum_c' exp((1 - f_c') / T);

a class is drawn by P, then an image evenly from those that hold the class.
"""

from __future__ import annotations

from bkd_core.datasets.class_counts import class_counts
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.errors import InputError
import numpy as np


def count_classes(
    dataset: SegmentationDataset, mapping: np.ndarray, num_classes: int,
) -> np.ndarray:
    """
    Count the pixels of every class in every image; labels that were counted before stay unread.

    :param dataset: Labelled images.
    :param mapping: (256,) uint8, from the data set's classes to those that are counted.
    :param num_classes: Number of classes.
    :return: (N, C) int64; ignored pixels are not counted.
    """
    own = class_counts(dataset)
    counts = np.zeros((len(own), num_classes), np.int64)
    for class_id, wanted in enumerate(mapping[:dataset.label_space.num_classes]):
        if wanted < num_classes:
            counts[:, wanted] += own[:, class_id]
    return counts


def class_probabilities(counts: np.ndarray, temperature: float) -> np.ndarray:
    """
    Return the probability with which each class is drawn; 0 for a class that never occurs.

    :param counts: (C,), pixels of each class, not all 0.
    :param temperature: T > 0; the lower, the more the rarest classes are preferred.
    :return: (C,) float64, summing to 1.
    """
    share = counts / counts.sum()
    exponent = (share[counts > 0].min() - share) / temperature  # at most 0: nothing overflows
    weights = np.where(counts > 0, np.exp(exponent), 0.0)
    return weights / weights.sum()


class RareClassSampler:
    """
    Draw images by their rare classes.

    :param counts: (N, C), from `count_classes`.
    :param temperature: T > 0.
    :param min_share: An image holds a class from this share of its labelled pixels on; where no
        image has as much of a class, any pixel will do.
    :raises InputError: If no pixel has a label.
    """

    def __init__(self, counts: np.ndarray, *, temperature: float, min_share: float) -> None:
        if not counts.any():
            raise InputError(
                'rare_class_sampling: the source has no labelled pixel of any class of '
                'label_space; check source and label_space')
        self.probabilities = class_probabilities(counts.sum(0), temperature)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        self._images = [
            np.flatnonzero(share >= min_share) if (share >= min_share).any() and min_share > 0
            else np.flatnonzero(share) for share in shares.T]

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """
        Return the index of an image, and the class that it was drawn for.

        :param rng: Source of randomness.
        """
        wanted = int(rng.choice(len(self.probabilities), p=self.probabilities))
        return int(rng.choice(self._images[wanted])), wanted
