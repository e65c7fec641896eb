# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Entropy under a Charbonnier penalty."""

from __future__ import annotations

import math

from bkd_core.losses.entropy import entropy
from torch import Tensor

_EPSILON = 0.001


def robust_entropy(log_probabilities: Tensor, *, eta: float) -> Tensor:
    """
    Return rho(H(p) / log C) at every pixel, with rho(x) = (x^2 + 0.001^2)^eta.

    Yang and Soatto 2020, https://arxiv.org/abs/2004.05498 (Charbonnier's penalty, after Bruhn
    and Weickert 2005). Above eta = 0.5 it weighs uncertain pixels more than sure ones, so
    that sure ones, right or wrong, are left in peace. The division by log C, which makes x run
    from 0 to 1, is the authors' code's.

    :param log_probabilities: (B, C, H, W), float32 or float64, finite; C at least 2.
    :param eta: Exponent, above 0.
    :return: (B, H, W), about 0 (one class certain) to about 1 (all classes alike).
    :raises ValueError: If it is no map over two or more classes, or eta is not above 0.
    """
    if not eta > 0:
        raise ValueError(f'eta must be above 0; got {eta}')
    uncertainty = entropy(log_probabilities)
    num_classes = log_probabilities.shape[1]
    if num_classes < 2:
        raise ValueError(f'expected at least 2 classes; got {num_classes}')
    return ((uncertainty / math.log(num_classes)) ** 2 + _EPSILON ** 2) ** eta
