# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Soft labels in the student's classes, from one teacher or the average of several."""

from __future__ import annotations

from typing import Sequence

from bkd_core.losses import log_probabilities
from bkd_core.methods.resolution import resize_logits
import torch
from torch import nn, Tensor


def soft_labels(
    teacher: nn.Module, images: Tensor, *, size: tuple[int, int], temperature: float,
) -> Tensor:
    """
    Return a teacher's soft labels.

    Logits are interpolated to the loss's size in the teacher's own classes and softened there;
    then probabilities are summed over the classes that make up one of the student's, and
    renormalised over those that have a counterpart.

    :param teacher: Images of 0 to 1 -> logits of any stride; its `class_groups`, if it has
        some, say which of its classes make up each class of the student.
    :param images: (B, 3, H, W), 0 to 1.
    :param size: (h, w) of the loss.
    :param temperature: T > 0.
    :return: (B, C, h, w), log-probabilities, finite.
    """
    logits = resize_logits(teacher(images), size)
    groups = getattr(teacher, 'class_groups', None)
    if groups is None:
        return log_probabilities(logits, temperature=temperature)
    # log(sum of q) over a group is the logsumexp of its logits up to a constant of the pixel,
    # which the softmax over groups takes away: no probability is lost to rounding.
    return log_probabilities(merge_classes(logits.float() / temperature, groups))


def merge_classes(logits: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """
    Return one logit a group: that of the sum of the classes' probabilities.

    :param logits: (B, C, h, w), float32.
    :param groups: Class ids, one sequence a group, none empty.
    :return: (B, number of groups, h, w).
    """
    return torch.stack([logits[:, list(ids)].logsumexp(1) for ids in groups], 1)


def adjust_logits(log_probability: Tensor, shares: Tensor, *, power: float) -> Tensor:
    """
    Divide probabilities by their classes' shares, and renormalise.

    Post-hoc logit adjustment, Menon et al. 2021 (ICLR), equation 9, for each pixel.

    :param log_probability: (B, C, h, w).
    :param shares: (C,), share of each class, above 0.
    :param power: 0 changes nothing, 1 assumes that all classes are equally frequent.
    :return: (B, C, h, w), log-probabilities.
    """
    return (log_probability - power * shares.log().view(1, -1, 1, 1)).log_softmax(1)


def mean_of(maps: Sequence[Tensor]) -> Tensor:
    """
    Return the log of the mean of probability maps.

    :param maps: Log-probabilities, each (B, C, h, w).
    :return: (B, C, h, w).
    """
    if len(maps) == 1:
        return maps[0]
    total = maps[0]
    for each in maps[1:]:
        total = torch.logaddexp(total, each)
    return total - torch.log(total.new_tensor(float(len(maps))))
