# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Kullback-Leibler divergence between teacher and student."""

from __future__ import annotations

from bkd_core.errors import unknown_name
from bkd_core.losses.shapes import check_probability_maps
import torch
from torch import Tensor

DIRECTIONS = ('forward', 'reverse')


def kl_divergence(
        student_log_probabilities: Tensor, teacher_log_probabilities: Tensor, *,
        direction: str = 'forward') -> Tensor:
    """
    Return the divergence between the teacher's map q and the student's map p, in nats per pixel.

    The first term of Target-Flow Distillation (Wang and Li, IROS 2022):

        forward: KL(q || p) = sum_c q_c (log q_c - log p_c), gradient to the logits of p: p - q
        reverse: KL(p || q) = sum_c p_c (log p_c - log q_c)

    Forward makes the student cover all that the teacher holds possible; reverse makes it settle
    on one of the teacher's peaks. [Inferred: the abstract does not name the direction; forward,
    the usual one of distillation, is the default.] Both arguments are logarithms: probabilities
    in the place of either give a different quantity without any error.

    :param student_log_probabilities: (B, C, H, W), float32 or float64, from `log_probabilities`.
    :param teacher_log_probabilities: (B, C, H, W), likewise; -inf (a class ruled out) is allowed
        in the forward direction only; no gradient flows into it.
    :param direction: 'forward' or 'reverse'.
    :return: (B, H, W), at least 0 (up to rounding); 0 where the maps agree.
    :raises ValueError: If the shapes disagree or the direction is unknown.
    """
    if direction not in DIRECTIONS:
        raise unknown_name('direction of the KL divergence', direction, DIRECTIONS)
    check_probability_maps(student_log_probabilities, teacher_log_probabilities)
    log_p, log_q = student_log_probabilities, teacher_log_probabilities.detach()
    if direction == 'reverse':
        return (log_p.exp() * (log_p - log_q)).sum(dim=1)
    q = log_q.exp()
    log_q = torch.where(q > 0, log_q, 0.0)  # the limit of q log q at 0 is 0, not NaN
    return (q * (log_q - log_p)).sum(dim=1)
