# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bilateral Knowledge Distillation: the student learns from a fixed, adapted teacher."""

from __future__ import annotations

from functools import partial
from typing import Any, Sequence

from bkd_core.batch import DomainBatch
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.labels import IGNORE_INDEX
from bkd_core.losses import (
    cross_entropy,
    entropy,
    kl_divergence,
    log_probabilities,
    mine_hard_pixels,
    soft_cross_entropy,
    target_class_probability,
    weighted_mean,
)
from bkd_core.method_config import BilateralDistillationConfig
from bkd_core.methods.method import Method
from bkd_core.methods.resolution import loss_size, resize_logits, subsample_labels
from bkd_core.methods.soft_label_cache import SharedMaps, SoftLabelCache
from bkd_core.methods.soft_labels import adjust_logits, mean_of, soft_labels
import torch
from torch import nn, Tensor


class BilateralDistillation(Method):
    """
    BKD: Wang & Li 2022, IROS, pp. 10177-10184.

    Source-flow distillation: cross-entropy with the ground truth and with the teacher's soft
    label. Target-flow distillation: Kullback-Leibler divergence to the teacher's soft label and
    the student's entropy. Image-wise hard pixel mining weighs both. The weights' values and the
    mining's formula are inferred, the paper's are not known to us: see the settings.

    :param student: Images of 0 to 1 -> logits.
    :param teacher: The same, of any architecture, stride and input size; it is fixed and sees
        unchanged images, whole or cropped. A ModuleList of several is averaged.
    :param settings: Weights and switches.
    :param options: `augment`, `loss_stride` and `batch_statistics` of `Method`.
    """

    def __init__(
        self, student: nn.Module, settings: BilateralDistillationConfig, *, teacher: nn.Module,
        **options: Any,
    ) -> None:
        super().__init__(student, settings, **options)
        self.teacher = teacher.eval().requires_grad_(False)
        self.caches: tuple[SoftLabelCache, ...] = ()
        self.target_shares: Tensor | None = None

    def prepare(
        self, *, source: SegmentationDataset, target: SegmentationDataset | None,
        input_height: int, soft_labels: SharedMaps | None = None,
    ) -> None:
        """
        Make room for whole frames' soft labels; look at the target's if they are to be adjusted.

        Teachers see whole frames at the scale that they know, whatever the student's is.

        :param source: The frames that the source crops are cut out of.
        :param target: The same for the target.
        :param input_height: Short side at which the student sees a frame, pixels.
        :param soft_labels: Those that an earlier run of the same teacher kept.
        """
        device = next(self.student.parameters()).device
        teachers, height = _for_frames(self._teachers(), input_height)
        caches = tuple(SoftLabelCache(
            dataset, partial(self.soft_labels, teachers=teachers), frame_height=height,
            device=device, maps=maps,
            max_bytes=self.settings.cache_megabytes * 500_000,  # half for each domain
        ) for dataset, maps in zip((source, target), soft_labels or (None, None)))
        if self.settings.teacher_view == 'frame':
            self.caches = caches
        if self.settings.logit_adjustment > 0:
            self.target_shares = caches[1].class_shares()

    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the terms of both flows.

        :param batch: Both domains.
        """
        images = torch.cat((batch.source_images, batch.target_images))
        size = loss_size(images, self.loss_stride)
        teacher = self.soft_labels_of(batch, images, size)  # (2B, C, h, w), log-probabilities
        half = len(batch.source_images)
        logits = self.student_logits(self.augment(images), num_source=half)
        student = log_probabilities(resize_logits(logits, size))
        terms = {}
        if self.settings.source_flow:
            labels = subsample_labels(batch.source_labels, self.loss_stride)
            terms.update(self.source_flow(
                student[:half], teacher[:half], labels, count=batch.part.num_labelled))
        if self.settings.lambda_target > 0:
            terms.update(self.target_flow(student[half:], teacher[half:]))
        return terms

    def soft_labels_of(
        self, batch: DomainBatch, images: Tensor, size: tuple[int, int],
    ) -> Tensor:
        """
        Return the soft labels of a batch's crops.

        :param batch: Both domains.
        :param images: (2B, 3, H, W), its images, 0 to 1.
        :param size: (h, w) of the loss.
        :return: (2B, C, h, w), log-probabilities.
        """
        if self.settings.teacher_view == 'crop':
            source, target = self.soft_labels(images, size).chunk(2)
        else:
            source, target = (
                cache.crops(windows, size) for cache, windows in zip(
                    self.caches, (batch.source_windows, batch.target_windows)))
        if self.target_shares is not None:
            target = adjust_logits(
                target, self.target_shares, power=self.settings.logit_adjustment)
        return torch.cat((source, target))

    @torch.no_grad()
    def soft_labels(
        self, images: Tensor, size: tuple[int, int], *, teachers: Sequence[nn.Module] = (),
    ) -> Tensor:
        """
        Return the teacher's, or the teachers' mean, soft labels of images.

        :param images: (B, 3, H, W), 0 to 1.
        :param size: (h, w) of the result.
        :param teachers: Who is asked; none for those that know the scale of the crops.
        :return: (B, C, h, w), log-probabilities at the teacher's temperature.
        """
        settings = {'size': size, 'temperature': self.settings.temperature}
        maps = []
        for teacher in teachers or self._teachers():
            maps.append(soft_labels(teacher, images, **settings))
            if self.settings.teacher_flip:
                maps.append(soft_labels(teacher, images.flip(-1), **settings).flip(-1))
        return mean_of(maps)

    def _teachers(self) -> list[nn.Module]:
        return [*self.teacher] if isinstance(self.teacher, nn.ModuleList) else [self.teacher]

    def source_flow(
        self, student: Tensor, teacher: Tensor, labels: Tensor, *, count: float | None = None,
    ) -> dict[str, Tensor]:
        """
        Return source-flow distillation, L_SD: ground truth and the teacher's soft label.

        :param student: (B, C, h, w), log-probabilities.
        :param teacher: (B, C, h, w), log-probabilities.
        :param labels: (B, h, w), int64.
        :param count: As of `weighted_mean`.
        """
        valid = labels != IGNORE_INDEX
        hard = cross_entropy(student, labels)
        soft = self.settings.lambda_soft * soft_cross_entropy(student, teacher.exp())
        weights = self.mining_weights(student, labels, hard + soft, valid)
        return {
            'source_hard': weighted_mean(hard, valid=valid, weights=weights, count=count),
            'source_soft': weighted_mean(soft, valid=valid, weights=weights, count=count),
        }

    def target_flow(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """
        Return target-flow distillation, L_TD: divergence to the teacher, and entropy.

        :param student: (B, C, h, w), log-probabilities.
        :param teacher: (B, C, h, w), log-probabilities.
        """
        settings = self.settings
        log_confidence, teacher_class = teacher.max(1)
        valid = torch.ones_like(teacher_class, dtype=torch.bool)
        divergence = kl_divergence(student, teacher, direction=settings.kl_direction)
        uncertainty = settings.lambda_entropy * entropy(student)
        # The hardest target pixels are also the noisiest: the teacher's doubt caps the mining.
        trust = (settings.confidence_cap * log_confidence).exp()
        weights = self.mining_weights(
            student, teacher_class, divergence + uncertainty, valid, trust=trust)
        return {
            'target_soft': settings.lambda_target * weighted_mean(
                divergence, valid=valid, weights=weights),
            'target_entropy': settings.lambda_target * weighted_mean(
                uncertainty, valid=valid, weights=weights),
        }

    @torch.no_grad()
    def mining_weights(
        self, student: Tensor, classes: Tensor, loss: Tensor, valid: Tensor, *,
        trust: Tensor | float = 1.0,
    ) -> Tensor:
        """
        Return the weight of every pixel by image-wise hard pixel mining.

        :param student: (B, C, h, w), log-probabilities.
        :param classes: (B, h, w), the class that each pixel should get.
        :param loss: (B, h, w), what ranks the pixels.
        :param valid: (B, h, w), bool.
        :param trust: (B, h, w), 0 to 1, caps a pixel's mining weight.
        :return: (B, h, w), at least 0.
        """
        mining = self.settings.mining
        weights = mine_hard_pixels(
            loss.detach(), target_class_probability(student, classes), valid=valid,
            form=mining.form, ratio=mining.ratio, min_pixels=mining.min_pixels,
            gamma=mining.gamma)
        return mining.share * trust * weights + (1 - mining.share)


def _for_frames(
    teachers: Sequence[nn.Module], input_height: int,
) -> tuple[list[nn.Module], int]:
    """Return teachers for whole frames, and the short side at which they take these."""
    heights = [getattr(teacher, 'frame_height', None) for teacher in teachers]
    height = max(input_height if known is None else known for known in heights)
    return [
        teacher if known is None else teacher.at(height)
        for teacher, known in zip(teachers, heights)], height
