# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Supervised training on the source: the floor, and on a labelled target the oracle."""

from __future__ import annotations

from bkd_core.batch import DomainBatch
from bkd_core.losses import log_probabilities
from bkd_core.methods.method import mean_cross_entropy, Method
from bkd_core.methods.resolution import loss_size, resize_logits, subsample_labels
from torch import Tensor


class SourceOnly(Method):
    """Minimise the cross-entropy on labelled source images; the target is not looked at."""

    uses_target = False

    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the cross-entropy with the ground truth.

        :param batch: Only its source is used.
        """
        images = batch.source_images
        logits = self.student_logits(self.augment(images), num_source=len(images))
        logits = resize_logits(logits, loss_size(images, self.loss_stride))
        labels = subsample_labels(batch.source_labels, self.loss_stride)
        return {'source': mean_cross_entropy(
            log_probabilities(logits), labels, count=batch.part.num_labelled)}
