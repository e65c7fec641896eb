# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Self-training whose pseudo-labels a fixed model holds in place, round after round."""

from __future__ import annotations

from typing import Any

from bkd_core.losses import log_probabilities
from bkd_core.method_config import AnchoredSelfTrainingConfig
from bkd_core.methods.resolution import resize_logits
from bkd_core.methods.self_training import SelfTraining
from bkd_core.methods.soft_labels import soft_labels
import torch
from torch import nn, Tensor


class AnchoredSelfTraining(SelfTraining):
    """
    `SelfTraining` for a model that was already adapted, on a robot without its source data.

    Over many rounds the averaged teacher learns from itself only, and its errors grow. So its
    probabilities are averaged with those of a fixed model, the anchor, which never saw a
    pseudo-label of these rounds: a pixel is a confident pseudo-label only if both agree. CoTTA
    (Wang et al. 2022, https://arxiv.org/abs/2203.13591) restores random weights of the source
    model for the same reason; to average predictions instead is our choice.

    :param student: Images of 0 to 1 -> logits.
    :param teacher: The anchor, the same in any architecture; it is fixed.
    :param settings: Those of `SelfTraining`, and the anchor's weight.
    :param options: `augment`, `loss_stride` and `batch_statistics` of `Method`.
    """

    def __init__(
        self, student: nn.Module, settings: AnchoredSelfTrainingConfig, *, teacher: nn.Module,
        **options: Any,
    ) -> None:
        super().__init__(student, settings, **options)
        self.anchor = teacher.eval().requires_grad_(False)

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """
        Label target images by the averaged teacher and the anchor together.

        :param images: (B, 3, H, W), 0 to 1, without photometric changes.
        :return: As `SelfTraining.pseudo_labels`.
        """
        size = images.shape[-2:]
        own = log_probabilities(resize_logits(self.teacher(images), size)).exp()
        anchored = soft_labels(self.anchor, images, size=size, temperature=1.0).exp()
        confidence, labels = torch.lerp(own, anchored, self.settings.anchor_weight).max(1)
        share = (confidence > self.settings.confidence_threshold).float().mean(
            (1, 2), keepdim=True)
        return labels, share.expand(labels.shape)
