# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every method offers to the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Callable

from bkd_core.batch import DomainBatch
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.labels import IGNORE_INDEX
from bkd_core.losses import cross_entropy, weighted_mean
from bkd_core.methods.batch_statistics import Forward, forward_by_domain
from bkd_core.methods.soft_label_cache import SharedMaps
from torch import nn, Tensor


class Method(ABC):
    """
    A training step: it names its losses and leaves gradients and steps to the trainer.

    :param student: The network that is trained: images of 0 to 1 -> logits.
    :param settings: The method's settings.
    :param augment: Photometric changes of the images that the student sees.
    :param loss_stride: One pixel in this many, each way, counts.
    :param batch_statistics: 'shared' or 'per_domain', see `forward_by_domain`.

    `before_forward` is called right before the student is: what is random inside the network,
    such as dropout, can be made to differ between the parts of a step.
    """

    uses_target = True
    mixes_classes = False  # then a part of a step must know the classes of the others' crops

    def __init__(
        self, student: nn.Module, settings: Any, *, augment: Callable[[Tensor], Tensor],
        loss_stride: int, batch_statistics: str = 'shared',
    ) -> None:
        self.student = student
        self.settings = settings
        self.augment = augment
        self.loss_stride = loss_stride
        self.batch_statistics = batch_statistics
        self.before_forward: Callable[[], None] | None = None

    @abstractmethod
    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the step's losses, each a scalar; their sum is minimised.

        :param batch: Crops of both domains, on the method's device.
        """

    def student_logits(self, images: Tensor, *, num_source: int) -> Tensor:
        """
        Return the student's logits of images of both domains.

        :param images: (B, 3, H, W), 0 to 1, the source's first.
        :param num_source: How many of them are the source's.
        :return: (B, C, h, w).
        """
        return self.forward_student(
            lambda part: (self.student(part),), images, num_source=num_source)[0]

    def forward_student(
        self, forward: Forward, images: Tensor, *, num_source: int,
    ) -> tuple[Tensor, ...]:
        """
        Call the student on images of both domains, in one call or in one for each domain.

        :param forward: Calls it: images -> one or more tensors.
        :param images: (B, 3, H, W), 0 to 1, the source's first.
        :param num_source: How many of them are the source's.
        :return: What `forward` returns, of all images.
        """
        if self.before_forward is not None:
            self.before_forward()
        if self.batch_statistics == 'shared' or num_source == len(images):
            return forward(images)
        return forward_by_domain(forward, self.student, images, num_source=num_source)

    def prepare(  # noqa: B027
        self, *, source: SegmentationDataset, target: SegmentationDataset | None,
        input_height: int, soft_labels: SharedMaps | None = None,
    ) -> None:
        """
        Take what is wanted beside the crops, before the first step; by default nothing.

        :param source: The frames that the source crops are cut out of.
        :param target: The same for the target; None if the method needs none.
        :param input_height: Short side at which the student sees a frame, pixels.
        :param soft_labels: Those that an earlier run of the same teacher kept.
        """

    def after_step(self, step: int) -> None:  # noqa: B027
        """
        Do what follows the optimizer's step; by default nothing.

        :param step: Number of the step that was made, from 0.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the student and the optimizer."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """
        Restore what `state_dict` returned.

        :param state: From a checkpoint.
        """

    def result(self) -> nn.Module:
        """Return the network that training is for; by default the student."""
        return self.student


def mean_cross_entropy(log_p: Tensor, labels: Tensor, *, count: float | None = None) -> Tensor:
    """
    Return the mean cross-entropy with hard labels over the pixels that have one.

    :param log_p: (B, C, H, W), log-probabilities.
    :param labels: (B, H, W), int64; 255 where a pixel does not count.
    :param count: As of `weighted_mean`.
    """
    return weighted_mean(
        cross_entropy(log_p, labels), valid=labels != IGNORE_INDEX, count=count)
