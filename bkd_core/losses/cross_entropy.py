# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy with the ground truth."""

from __future__ import annotations

from bkd_core.losses.probabilities import target_log_probability
from torch import Tensor


def cross_entropy(student_log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """
    Return CE(y, p) = -log p[y] at every pixel, in nats; 0 where the label is ignored.

    The first term of Source-Flow Distillation (Wang and Li, IROS 2022). Gradient with respect to
    the logits of p: p - onehot(y); 0 where ignored.

    :param student_log_probabilities: (B, C, H, W), float32 or float64, from `log_probabilities`.
    :param labels: (B, H, W), int64, 0 to C - 1, or 255 where there is no label.
    :return: (B, H, W), at least 0.
    :raises ValueError: If the shapes disagree.
    :raises RuntimeError: If a label is neither below C nor 255 (on the CPU; CUDA asserts).
    """
    return -target_log_probability(student_log_probabilities, labels)
