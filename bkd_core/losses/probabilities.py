# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From logits to log-probabilities, the form in which every loss takes the student's map."""

from __future__ import annotations

from bkd_core.labels import IGNORE_INDEX
from bkd_core.losses.shapes import check_pixel_maps
import torch
from torch import Tensor


def log_probabilities(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """
    Return log softmax(logits / T) over the classes, in full precision.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531, Eq. 1, softens a teacher by T. In half
    precision a log-probability would lose its small differences, so float16 and bfloat16 become
    float32 first, under autocast too; float64 stays.

    With T other than 1 on the student's side, gradients shrink by 1/T; multiplying the loss by
    T^2 (Hinton et al., section 2) is up to the caller. [Inferred: BKD's value of T is not known.]

    :param logits: (B, C, H, W), any floating type, finite.
    :param temperature: T > 0, no unit; above 1 the map becomes softer.
    :return: (B, C, H, W), float32 (float64 for float64), finite, at most 0; exp sums to 1 over C.
    :raises ValueError: If the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f'temperature must be above 0; got {temperature}')
    if logits.dtype != torch.float64:
        logits = logits.float()
    return torch.log_softmax(logits / temperature, dim=1)


def target_log_probability(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """
    Return log p[target class] at every pixel; 0 where there is no target class.

    It gathers instead of calling nll_loss, which has no deterministic form for images on CUDA.

    :param log_probabilities: (B, C, H, W), float32 or float64.
    :param target: (B, H, W), int64, 0 to C - 1, or 255 where there is none.
    :return: (B, H, W), at most 0.
    :raises ValueError: If the shapes disagree.
    :raises RuntimeError: If a target is neither below C nor 255 (on the CPU; CUDA asserts).
    """
    check_pixel_maps(log_probabilities, target)
    ignored = target == IGNORE_INDEX
    index = target.masked_fill(ignored, 0).unsqueeze(1)  # (B, 1, H, W)
    return log_probabilities.gather(1, index).squeeze(1).masked_fill(ignored, 0.0)
