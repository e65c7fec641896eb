# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy with the teacher's soft labels."""

from __future__ import annotations

from bkd_core.losses.shapes import check_probability_maps
from torch import Tensor


def soft_cross_entropy(student_log_probabilities: Tensor, teacher_probabilities: Tensor) -> Tensor:
    """
    Return CE(q, p) = -sum_c q_c log p_c at every pixel, in nats.

    The second term of Source-Flow Distillation (Wang and Li, IROS 2022); the form of Hinton et
    al. 2015, https://arxiv.org/abs/1503.02531. Together with the first it is label smoothing by
    the teacher: CE(y, p) + l CE(q, p) = (1 + l) CE((y + l q) / (1 + l), p). Gradient with respect
    to the logits of p: p - q.

    :param student_log_probabilities: (B, C, H, W), float32 or float64, from `log_probabilities`.
    :param teacher_probabilities: (B, C, H, W), 0 to 1, summing to 1 over C (the exponential of
        `log_probabilities`); no gradient flows into it.
    :return: (B, H, W), at least the entropy of q.
    :raises ValueError: If the shapes disagree.
    """
    check_probability_maps(student_log_probabilities, teacher_probabilities)
    return -(teacher_probabilities.detach() * student_log_probabilities).sum(dim=1)
