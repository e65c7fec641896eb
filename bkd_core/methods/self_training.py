# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Self-training with an averaged teacher and class-wise mixing: DACS."""

from __future__ import annotations

import copy
from typing import Callable

from bkd_core.batch import DomainBatch
from bkd_core.config import SelfTrainingConfig
from bkd_core.labels import IGNORE_INDEX
from bkd_core.losses import cross_entropy, log_probabilities, weighted_mean
from bkd_core.methods.class_mix import class_mix_masks
from bkd_core.methods.resolution import loss_size, resize_logits, subsample_labels
import torch
from torch import nn, Tensor


class SelfTraining:
    """
    DACS: Tranheden et al. 2021, "DACS: Domain Adaptation via Cross-domain Mixed Sampling".

    https://arxiv.org/abs/2007.08702. A teacher, the moving average of the student, labels the
    target; the student learns from source images and from target images onto which half of a
    source image's classes were pasted.

    :param student: Images of 0 to 1 -> logits.
    :param settings: Decay, confidence threshold and weight.
    :param augment: Photometric changes of the images that the student sees.
    :param loss_stride: One pixel in this many, each way, counts.
    """

    uses_target = True

    def __init__(
        self, student: nn.Module, settings: SelfTrainingConfig, *,
        augment: Callable[[Tensor], Tensor], loss_stride: int,
    ) -> None:
        self.student = student
        self.settings = settings
        self.augment = augment
        self.loss_stride = loss_stride
        self.teacher = copy.deepcopy(student).eval().requires_grad_(False)

    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the source loss and the loss on the mixed images.

        :param batch: Both domains.
        """
        pseudo_labels, weights = self.pseudo_labels(batch.target_images)
        masks = class_mix_masks(batch.source_labels)  # (B, H, W)
        mixed_images = torch.where(
            masks[:, None], batch.source_images, batch.target_images)
        mixed_labels = torch.where(masks, batch.source_labels, pseudo_labels)
        # Pasted pixels carry ground truth and weigh 1.
        mixed_weights = torch.where(masks, torch.ones_like(weights), weights)

        images = self.augment(torch.cat((batch.source_images, mixed_images)))
        logits = resize_logits(self.student(images), loss_size(images, self.loss_stride))
        labels = subsample_labels(
            torch.cat((batch.source_labels, mixed_labels)), self.loss_stride)
        loss = cross_entropy(log_probabilities(logits), labels)
        valid = labels != IGNORE_INDEX
        half = len(batch.source_images)
        mixed = weighted_mean(
            loss[half:], valid=valid[half:],
            weights=subsample_labels(mixed_weights, self.loss_stride))
        return {
            'source': weighted_mean(loss[:half], valid=valid[:half]),
            'mixed': self.settings.lambda_mixed * mixed,
        }

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """
        Label target images by the averaged teacher.

        :param images: (B, 3, H, W), 0 to 1, without photometric changes.
        :return: Labels (B, H, W) int64, and weights (B, H, W) float32: in each image the share
            of its pixels whose confidence is above the threshold.
        """
        logits = resize_logits(self.teacher(images), images.shape[-2:])
        log_confidence, labels = log_probabilities(logits).max(1)
        is_confident = log_confidence.exp() > self.settings.confidence_threshold
        share = is_confident.float().mean((1, 2), keepdim=True)
        return labels, share.expand(labels.shape)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """
        Move the teacher towards the student; normalisation statistics are copied.

        :param step: Number of the step that was made, from 0.
        """
        decay = min(1 - 1 / (step + 1), self.settings.ema_decay)
        averages = list(self.teacher.parameters())
        torch._foreach_lerp_(averages, list(self.student.parameters()), 1 - decay)
        for average, buffer in zip(self.teacher.buffers(), self.student.buffers()):
            average.copy_(buffer)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged teacher."""
        return self.teacher.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """
        Restore the averaged teacher.

        :param state: From a checkpoint.
        """
        self.teacher.load_state_dict(state)

    def result(self) -> nn.Module:
        """Return the averaged teacher, which is better than the student."""
        return self.teacher
