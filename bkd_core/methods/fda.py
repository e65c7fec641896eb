# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fourier domain adaptation: source images in the target's style, and robust entropy."""

from __future__ import annotations

from typing import Any

from bkd_core.batch import DomainBatch
from bkd_core.labels import IGNORE_INDEX
from bkd_core.losses import log_probabilities, robust_entropy
from bkd_core.method_config import FourierDomainAdaptationConfig
from bkd_core.methods.fourier_transfer import swap_low_frequencies
from bkd_core.methods.method import mean_cross_entropy, Method
from bkd_core.methods.resolution import loss_size, resize_logits, subsample_labels
from bkd_core.methods.soft_labels import mean_of, soft_labels
import torch
from torch import nn, Tensor


class FourierDomainAdaptation(Method):
    """
    FDA: Yang & Soatto 2020, "FDA: Fourier Domain Adaptation for Semantic Segmentation".

    https://arxiv.org/abs/2004.05498. Each source image takes the low-frequency amplitudes of a
    target image (`swap_low_frequencies`); on the target an entropy loss bears harder on uncertain
    pixels (`robust_entropy`):

        L = CE(y_s, p(x_s in t)) + lambda_entropy 1/N sum_i rho(H(p_i(x_t)) / log C)
            + lambda_pseudo CE(y', p(x_t))                      only in a self-training round

    In a self-training round, y' is the class that an earlier stage's model, or the average of
    several trained with different beta (the paper's M = 3: 0.01, 0.05 and 0.09), finds most
    probable; of each class only the most confident pixels count. [Inferred: the thresholds are
    those of the step's target crops, the paper's those of the whole target set.]

    :param student: Images of 0 to 1 -> logits.
    :param settings: Weights and switches.
    :param teacher: What labels the target in a self-training round, or a ModuleList of several;
        it is fixed and sees unchanged images. None in the first round.
    :param options: `augment`, `loss_stride` and `batch_statistics` of `Method`.
    """

    def __init__(
        self, student: nn.Module, settings: FourierDomainAdaptationConfig, *,
        teacher: nn.Module | None = None, **options: Any,
    ) -> None:
        super().__init__(student, settings, **options)
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)

    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the source's cross-entropy, the target's entropy and its pseudo-labels' loss.

        :param batch: Both domains, as many images of each.
        """
        settings = self.settings
        styled = swap_low_frequencies(
            batch.source_images, batch.target_images, beta=settings.beta)
        images = self.augment(torch.cat((styled, batch.target_images)))
        logits = self.student_logits(images, num_source=len(styled))
        student = log_probabilities(resize_logits(logits, loss_size(images, self.loss_stride)))
        labels = subsample_labels(batch.source_labels, self.loss_stride)
        source, target = student[:len(labels)], student[len(labels):]
        uncertainty = robust_entropy(target, eta=settings.eta)
        terms = {
            'source': mean_cross_entropy(source, labels, count=batch.part.num_labelled),
            'target_entropy': settings.lambda_entropy * uncertainty.mean(),
        }
        if self.teacher is not None:
            terms['target_pseudo'] = settings.lambda_pseudo * mean_cross_entropy(
                target, self.pseudo_labels(batch.target_images))
        return terms

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor) -> Tensor:
        """
        Label target images by the fixed teachers' mean, the least confident pixels left out.

        :param images: (B, 3, H, W), 0 to 1.
        :return: (B, h, w), int64; 255 where a pixel does not count.
        """
        teachers = self.teacher if isinstance(self.teacher, nn.ModuleList) else [self.teacher]
        size = loss_size(images, self.loss_stride)
        log_confidence, labels = mean_of([
            soft_labels(teacher, images, size=size, temperature=1.0)
            for teacher in teachers]).max(1)
        is_kept = most_confident(
            log_confidence.exp(), labels, share=self.settings.pseudo_share,
            threshold=self.settings.pseudo_threshold)
        return labels.masked_fill(~is_kept, IGNORE_INDEX)


def most_confident(
    confidence: Tensor, labels: Tensor, *, share: float, threshold: float,
) -> Tensor:
    """
    Choose, of each class, the pixels in the top share by confidence, or above a threshold.

    By the paper: within the top 66 % of its class, or above 0.9. (The authors' code
    takes the top 34 %: it cuts at the 66th percentile.)

    :param confidence: (B, H, W), 0 to 1.
    :param labels: (B, H, W), int64.
    :param share: Above 0, at most 1; the number of pixels is rounded up.
    :param threshold: Confidence above which a pixel is always chosen.
    :return: (B, H, W), bool.
    """
    is_kept = confidence > threshold
    for index in labels.unique():
        of_class = confidence[labels == index]
        rank = int(len(of_class) * (1 - share))  # this many lie below the cut
        cut = of_class.sort().values[rank]
        is_kept |= (labels == index) & (confidence >= cut)
    return is_kept
