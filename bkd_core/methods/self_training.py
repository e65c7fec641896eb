# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Self-training with an averaged teacher and class-wise mixing: DACS."""

from __future__ import annotations

import copy
from typing import Any

from bkd_core.batch import DomainBatch, Part
from bkd_core.labels import IGNORE_INDEX
from bkd_core.losses import cross_entropy, log_probabilities, weighted_mean
from bkd_core.method_config import SelfTrainingConfig
from bkd_core.methods.class_mix import class_mix_masks
from bkd_core.methods.masked_consistency import hide_blocks
from bkd_core.methods.method import Method
from bkd_core.methods.resolution import loss_size, resize_logits, subsample_labels
import torch
from torch import nn, Tensor


class SelfTraining(Method):
    """
    DACS: Tranheden et al. 2021, "DACS: Domain Adaptation via Cross-domain Mixed Sampling".

    https://arxiv.org/abs/2007.08702. A teacher, the moving average of the student, labels the
    target; the student learns from source images and from target images onto which half of a
    source image's classes were pasted. With `masking`, it also learns from target images whose
    blocks are mostly hidden: see `masked_consistency`.

    :param student: Images of 0 to 1 -> logits.
    :param settings: Decay, confidence threshold, weights and masking.
    :param options: `augment`, `loss_stride` and `batch_statistics` of `Method`.
    """

    mixes_classes = True

    def __init__(self, student: nn.Module, settings: SelfTrainingConfig, **options: Any) -> None:
        super().__init__(student, settings, **options)
        self.teacher = copy.deepcopy(student).eval().requires_grad_(False)

    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the source loss and the losses on the mixed and on the masked images.

        :param batch: Both domains.
        """
        pseudo_labels, target_weights = self.pseudo_labels(batch.target_images)
        mixed = self.mix(batch, pseudo_labels, target_weights)
        source_weights = torch.ones_like(target_weights)
        views = [(batch.source_images, batch.source_labels, source_weights), mixed]
        if self.settings.masking.lambda_masked > 0:
            views.append((batch.target_images, pseudo_labels, target_weights))
        images, labels, weights = (torch.cat(parts) for parts in zip(*views))

        # The mixed and the masked images count as the target's.
        num_source = len(batch.source_images)
        logits = self.student_logits(
            self.perturb(images, first_masked=2 * num_source, part=batch.part),
            num_source=num_source)
        logits = resize_logits(logits, loss_size(images, self.loss_stride))
        labels = subsample_labels(labels, self.loss_stride)
        weights = subsample_labels(weights, self.loss_stride)
        loss = cross_entropy(log_probabilities(logits), labels)
        lambdas = {
            'source': 1.0, 'mixed': self.settings.lambda_mixed,
            'masked': self.settings.masking.lambda_masked}
        counts = {'source': batch.part.num_labelled}  # every pixel of the other views has a label
        parts = (part.chunk(len(views)) for part in (loss, labels, weights))
        return {
            name: lambdas[name] * weighted_mean(
                view_loss, valid=view_labels != IGNORE_INDEX, weights=view_weights,
                count=counts.get(name))
            for name, view_loss, view_labels, view_weights in zip(lambdas, *parts)}

    def mix(
        self, batch: DomainBatch, pseudo_labels: Tensor, target_weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """
        Paste half of each source image's classes onto a target image.

        :param batch: Both domains.
        :param pseudo_labels: (B, H, W), int64, of the target images.
        :param target_weights: (B, H, W), of the pseudo-labels; pasted pixels carry ground truth
            and weigh 1.
        :return: Images, labels and weights.
        """
        masks = class_mix_masks(batch.source_labels, part=batch.part)  # (B, H, W)
        return (
            torch.where(masks[:, None], batch.source_images, batch.target_images),
            torch.where(masks, batch.source_labels, pseudo_labels),
            torch.where(masks, torch.ones_like(target_weights), target_weights))

    def perturb(self, images: Tensor, *, first_masked: int, part: Part) -> Tensor:
        """
        Return the images as the student sees them: new colours, then some with hidden blocks.

        :param images: (B, 3, H, W), 0 to 1.
        :param first_masked: Images from this one on are masked.
        :param part: Which part of its step the batch is.
        """
        images = self.augment(images)
        if first_masked == len(images):
            return images
        masking = self.settings.masking
        masked = hide_blocks(
            images[first_masked:], block_size=masking.block_size, ratio=masking.ratio,
            part=part)
        return torch.cat((images[:first_masked], masked))

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
