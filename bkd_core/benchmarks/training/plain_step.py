# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Self-training and BKD as one writes them down first; what the trainer's steps are compared with.

Each image goes through the networks in a call of its domain, losses are computed by torch's own
functions at the size of the crops, the teacher labels the crops in every step, and the averaged
teacher and the optimizer are updated one parameter after the other. Network, crops,
augmentation, schedule of the loss terms and their meaning are those of the trainer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
import copy

from bkd_core.batch import DomainBatch
from bkd_core.labels import IGNORE_INDEX
from bkd_core.method_config import BilateralDistillationConfig, SelfTrainingConfig
from bkd_core.methods import PhotometricAugmentation
from bkd_core.methods.class_mix import class_mix_masks
import torch
from torch import nn, Tensor
from torch.nn import functional


class PlainStep(ABC):
    """
    One optimizer step, written plainly.

    :param student: Images of 0 to 1 -> logits; it is trained.
    :param augment: The photometric changes of the images that it sees.
    :param clip_norm: Largest L2 norm of the gradient.
    """

    def __init__(
        self, student: nn.Module, *, augment: PhotometricAugmentation, clip_norm: float,
    ) -> None:
        self.student = student.train()
        self.augment = augment
        self.clip_norm = clip_norm
        self.optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, foreach=False)

    def __call__(self, batch: DomainBatch) -> float:
        """
        Make a step.

        :param batch: Crops of both domains, on the student's device.
        :return: The loss.
        """
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), self.clip_norm, foreach=False)
        self.optimizer.step()
        self.after_step()
        return loss.item()

    @abstractmethod
    def loss(self, batch: DomainBatch) -> Tensor:
        """
        Return the step's loss, a scalar.

        :param batch: Crops of both domains.
        """

    def after_step(self) -> None:  # noqa: B027
        """Do what follows the optimizer's step; by default nothing."""

    def logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """
        Return a network's logits at the images' size.

        :param network: Student or teacher.
        :param images: (B, 3, H, W), 0 to 1.
        :return: (B, C, H, W).
        """
        return functional.interpolate(
            network(images), size=images.shape[-2:], mode='bilinear', align_corners=False)


class PlainSelfTraining(PlainStep):
    """
    DACS (Tranheden et al. 2021) without masking.

    :param student: As above.
    :param settings: Decay and threshold.
    :param options: `augment` and `clip_norm`.
    """

    def __init__(
        self, student: nn.Module, settings: SelfTrainingConfig, **options: object,
    ) -> None:
        super().__init__(student, **options)
        self.settings = settings
        self.teacher = copy.deepcopy(student).eval().requires_grad_(False)

    def loss(self, batch: DomainBatch) -> Tensor:
        """
        Return the loss on source images and on mixed images.

        :param batch: Crops of both domains.
        """
        source = functional.cross_entropy(
            self.logits(self.student, self.augment(batch.source_images)), batch.source_labels,
            ignore_index=IGNORE_INDEX)
        with torch.no_grad():
            probabilities = self.logits(self.teacher, batch.target_images).softmax(1)
            confidence, pseudo_labels = probabilities.max(1)
            is_sure = (confidence > self.settings.confidence_threshold).float()
            weights = is_sure.mean((1, 2), keepdim=True).expand_as(confidence)
            masks = class_mix_masks(batch.source_labels)
            images = torch.where(masks[:, None], batch.source_images, batch.target_images)
            labels = torch.where(masks, batch.source_labels, pseudo_labels)
            weights = torch.where(masks, torch.ones_like(weights), weights)
        mixed = functional.cross_entropy(
            self.logits(self.student, self.augment(images)), labels, reduction='none',
            ignore_index=IGNORE_INDEX)
        return source + self.settings.lambda_mixed * (weights * mixed).mean()

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the teacher towards the student."""
        decay = self.settings.ema_decay
        student = self.student.state_dict()
        for name, average in self.teacher.state_dict().items():
            if average.is_floating_point():
                average.copy_(decay * average + (1 - decay) * student[name])


class PlainDistillation(PlainStep):
    """
    BKD (Wang & Li 2022) with focal mining, its teacher looking at every crop and its mirror.

    :param student: As above.
    :param teacher: The fixed teacher.
    :param settings: Weights.
    :param options: `augment` and `clip_norm`.
    """

    def __init__(
        self, student: nn.Module, settings: BilateralDistillationConfig, *, teacher: nn.Module,
        **options: object,
    ) -> None:
        super().__init__(student, **options)
        self.settings = settings
        self.teacher = teacher.eval().requires_grad_(False)

    def loss(self, batch: DomainBatch) -> Tensor:
        """
        Return source-flow and target-flow distillation.

        :param batch: Crops of both domains.
        """
        return self._source_flow(batch) + self._target_flow(batch)

    def _source_flow(self, batch: DomainBatch) -> Tensor:
        soft = self._soft_labels(batch.source_images)
        logits = self.logits(self.student, self.augment(batch.source_images))
        hard_loss = functional.cross_entropy(
            logits, batch.source_labels, reduction='none', ignore_index=IGNORE_INDEX)
        soft_loss = functional.cross_entropy(logits, soft, reduction='none')
        is_valid = batch.source_labels != IGNORE_INDEX
        labels = torch.where(is_valid, batch.source_labels, 0)
        weights = self._mining(logits, labels, is_valid)
        loss = weights * (hard_loss + self.settings.lambda_soft * soft_loss)
        return (loss * is_valid).sum() / is_valid.sum().clamp(min=1)

    def _target_flow(self, batch: DomainBatch) -> Tensor:
        soft = self._soft_labels(batch.target_images)
        logits = self.logits(self.student, self.augment(batch.target_images))
        divergence = functional.kl_div(
            functional.log_softmax(logits, 1), soft, reduction='none').sum(1)
        probabilities = functional.softmax(logits, 1)
        entropy = -(probabilities * functional.log_softmax(logits, 1)).sum(1)
        confidence, labels = soft.max(1)
        is_valid = torch.ones_like(labels, dtype=torch.bool)
        trust = confidence ** self.settings.confidence_cap
        weights = self._mining(logits, labels, is_valid, trust)
        loss = weights * (divergence + self.settings.lambda_entropy * entropy)
        return self.settings.lambda_target * loss.mean()

    @torch.no_grad()
    def _soft_labels(self, images: Tensor) -> Tensor:
        straight = self.logits(self.teacher, images).softmax(1)
        if not self.settings.teacher_flip:
            return straight
        mirrored = self.logits(self.teacher, images.flip(-1)).softmax(1).flip(-1)
        return (straight + mirrored) / 2

    @torch.no_grad()
    def _mining(
        self, logits: Tensor, labels: Tensor, is_valid: Tensor, trust: Tensor | float = 1.0,
    ) -> Tensor:
        mining = self.settings.mining
        of_class = functional.softmax(logits, 1).gather(1, labels[:, None])[:, 0]
        hardness = (1 - of_class) ** mining.gamma * is_valid
        mean = hardness.sum((1, 2), keepdim=True) / is_valid.sum(
            (1, 2), keepdim=True).clamp(min=1)
        return mining.share * trust * hardness / mean.clamp(min=1e-12) + 1 - mining.share
