# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Supervised training on the source: the floor, and on a labelled target the oracle."""

from __future__ import annotations

from typing import Callable

from bkd_core.batch import DomainBatch
from bkd_core.config import SourceOnlyConfig
from bkd_core.labels import IGNORE_INDEX
from bkd_core.losses import cross_entropy, log_probabilities, weighted_mean
from bkd_core.methods.resolution import loss_size, resize_logits, subsample_labels
from torch import nn, Tensor


class SourceOnly:
    """
    Minimise the cross-entropy on labelled source images; the target is not looked at.

    :param student: Images of 0 to 1 -> logits.
    :param settings: This method has none.
    :param augment: Photometric changes of the images that the student sees.
    :param loss_stride: One pixel in this many, each way, counts.
    """

    uses_target = False

    def __init__(
        self, student: nn.Module, settings: SourceOnlyConfig, *,
        augment: Callable[[Tensor], Tensor], loss_stride: int,
    ) -> None:
        self.student = student
        self.augment = augment
        self.loss_stride = loss_stride

    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the cross-entropy with the ground truth.

        :param batch: Only its source is used.
        """
        images = batch.source_images
        logits = self.student(self.augment(images))
        logits = resize_logits(logits, loss_size(images, self.loss_stride))
        labels = subsample_labels(batch.source_labels, self.loss_stride)
        loss = cross_entropy(log_probabilities(logits), labels)
        return {'source': weighted_mean(loss, valid=labels != IGNORE_INDEX)}

    def after_step(self, step: int) -> None:
        """
        Do nothing.

        :param step: Number of the step.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing: the student is the whole state."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """
        Restore nothing.

        :param state: Empty.
        """

    def result(self) -> nn.Module:
        """Return the student."""
        return self.student
