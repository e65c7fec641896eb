# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Maximum squares loss with image-wise class weighting and multi-level guidance."""

from __future__ import annotations

from functools import partial
import logging
from typing import Any

from bkd_core.batch import DomainBatch
from bkd_core.labels import IGNORE_INDEX
from bkd_core.losses import (
    image_wise_class_weights,
    log_probabilities,
    maximum_squares,
    weighted_mean,
)
from bkd_core.method_config import MaxSquareConfig
from bkd_core.methods.method import mean_cross_entropy, Method
from bkd_core.methods.resolution import loss_size, resize_logits, subsample_labels
import torch
from torch import nn, Tensor

logger = logging.getLogger(__name__)


class MaxSquare(Method):
    """
    MaxSquare: Chen, Xue & Cai 2019.

    "Domain Adaptation for Semantic Segmentation with Maximum Squares Loss",
    https://arxiv.org/abs/1909.13589. On the target the student becomes surer of what it
    predicts; a class counts the more, the less of the image it covers:

        L = CE(y_s, p_s) + lambda_target / N sum_i w_i 1/2 (1 - sum_c p_ic^2)
        w_i = N / (N_c^a N^(1 - a)) = (N / N_c)^a

    where c is the predicted class of pixel i, and N_c of its image's N pixels are predicted so.

    Multi-level guidance, where the network has an auxiliary head at a lower level (`has_levels`
    is true, and `forward_levels(images) -> (logits, auxiliary logits)`): where either level is
    surer than the threshold, the class that is most probable on the average of both is the
    auxiliary head's pseudo-label on the target; on the source the head learns from the ground
    truth. Of `bkd_core.models.MODELS` that is `deeplab_resnet101` with its option `auxiliary`;
    with the others the method is single-level, and the log says so.

    :param student: Images of 0 to 1 -> logits.
    :param settings: Weights, exponent and threshold.
    :param options: `augment`, `loss_stride` and `batch_statistics` of `Method`.
    """

    def __init__(
        self, student: nn.Module, settings: MaxSquareConfig, **options: Any,
    ) -> None:
        super().__init__(student, settings, **options)
        if not has_levels(student):
            logger.info('max_square: the network has no auxiliary head; single level')

    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the source's cross-entropy and the target's maximum squares, at every level.

        :param batch: Both domains.
        """
        images = self.augment(torch.cat((batch.source_images, batch.target_images)))
        size = loss_size(images, self.loss_stride)
        half = len(batch.source_images)
        levels = [
            log_probabilities(resize_logits(logits, size))
            for logits in self.forward_student(
                partial(forward_levels, self.student), images, num_source=half)]
        labels = subsample_labels(batch.source_labels, self.loss_stride)
        count = batch.part.num_labelled
        terms = {
            'source': mean_cross_entropy(levels[0][:half], labels, count=count),
            'target': self.settings.lambda_target * self.target_loss(levels[0][half:]),
        }
        if len(levels) > 1:
            main, auxiliary = levels
            guidance = self.guidance(main[half:], auxiliary[half:])
            weight = self.settings.lambda_auxiliary
            terms['source_auxiliary'] = weight * mean_cross_entropy(
                auxiliary[:half], labels, count=count)
            terms['target_auxiliary'] = weight * self.settings.lambda_target * mean_cross_entropy(
                auxiliary[half:], guidance)
        return terms

    def target_loss(self, target: Tensor) -> Tensor:
        """
        Return the weighted mean of the maximum squares loss.

        :param target: (B, C, h, w), log-probabilities.
        """
        valid = torch.ones_like(target[:, 0], dtype=torch.bool)
        weights = image_wise_class_weights(target, valid=valid, alpha=self.settings.alpha)
        return weighted_mean(maximum_squares(target), valid=valid, weights=weights)

    @torch.no_grad()
    def guidance(self, main: Tensor, auxiliary: Tensor) -> Tensor:
        """
        Return the pseudo-labels that both levels give the auxiliary head.

        :param main: (B, C, h, w), log-probabilities of the network's last level.
        :param auxiliary: (B, C, h, w), those of the auxiliary head.
        :return: (B, h, w), int64; 255 where neither level is sure.
        """
        confidence = torch.maximum(main, auxiliary).amax(1).exp()
        labels = torch.logaddexp(main, auxiliary).argmax(1)  # of the average probability
        return labels.masked_fill(confidence <= self.settings.guidance_threshold, IGNORE_INDEX)


def has_levels(student: nn.Module) -> bool:
    """
    Return whether a network offers an auxiliary head.

    :param student: A network, or one inside `Normalized`.
    """
    return getattr(student, 'has_levels', False)


def forward_levels(student: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """
    Return the logits, and behind them the auxiliary head's where the network offers one.

    :param student: A network, or one inside `Normalized`.
    :param images: (B, 3, H, W), 0 to 1.
    :return: One or two tensors (B, C, h, w); their sizes may differ.
    """
    if not has_levels(student):
        return (student(images),)
    return student.forward_levels(images)
