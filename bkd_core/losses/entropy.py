# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Shannon entropy of a map of class probabilities."""

from __future__ import annotations

from torch import Tensor


def entropy(log_probabilities: Tensor) -> Tensor:
    """
    Return H(p) = -sum_c p_c log p_c at every pixel, in nats.

    The second term of Target-Flow Distillation (Wang and Li, IROS 2022), which sharpens the
    student; as a loss for domain adaptation first in Vu et al. 2019 (ADVENT),
    https://arxiv.org/abs/1811.12833, Eq. 2 (there divided by log C; here not).
    Gradient with respect to the logits: dH/dz_k = -p_k (log p_k + H).

    :param log_probabilities: (B, C, H, W), float32 or float64, finite.
    :return: (B, H, W), 0 (one class certain) to log C (all classes alike).
    :raises ValueError: If it is not a map over classes.
    """
    if log_probabilities.dim() != 4:
        raise ValueError(
            f'expected a map of shape (B, C, H, W); got {tuple(log_probabilities.shape)}')
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)
