# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The maximum squares loss and its image-wise class weights."""

from __future__ import annotations

from bkd_core.losses.shapes import check_pixel_maps
import torch
from torch import Tensor


def maximum_squares(log_probabilities: Tensor) -> Tensor:
    """
    Return 1/2 (1 - sum_c p_c^2) at every pixel.

    Chen, Xue and Cai 2019, https://arxiv.org/abs/1909.13589, minimise -1/2 sum_c p_c^2; the
    constant 1/2 changes no gradient and makes the smallest value 0. Unlike the entropy's,
    its gradient does not grow the surer a pixel becomes, so easy pixels don't outvote hard ones:
    with respect to the logits it is p_k (sum_c p_c^2 - p_k).

    :param log_probabilities: (B, C, H, W), float32 or float64.
    :return: (B, H, W), 0 (one class certain) to (1 - 1/C) / 2 (all classes alike).
    :raises ValueError: If it is not a map over classes.
    """
    if log_probabilities.dim() != 4:
        raise ValueError(
            f'expected a map of shape (B, C, H, W); got {tuple(log_probabilities.shape)}')
    return (1 - (2 * log_probabilities).exp().sum(dim=1)) / 2


@torch.no_grad()
def image_wise_class_weights(log_probabilities: Tensor, *, valid: Tensor, alpha: float) -> Tensor:
    """
    Return the weight of every pixel by how much of its image has its predicted class.

    Chen, Xue and Cai 2019: a pixel counts 1 / (n_c^alpha n^(1 - alpha)), where n_c
    of the image's n pixels are predicted as the pixel's class c. Divided by 1/n, the weight of a
    plain mean, as `weighted_mean` expects it, that is (n / n_c)^alpha. As in the authors' code,
    one weight goes to all of a pixel's probabilities, by its most probable class.

    :param log_probabilities: (B, C, H, W).
    :param valid: (B, H, W), bool; pixels outside it are not counted.
    :param alpha: 0 (all pixels alike) to 1 (all predicted classes of an image alike).
    :return: (B, H, W), at least 1; 0 outside `valid`; no gradient.
    :raises ValueError: If the shapes disagree or alpha is out of its range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must be 0 to 1; got {alpha}')
    check_pixel_maps(log_probabilities, valid)
    classes = log_probabilities.argmax(1).flatten(1)  # (B, H * W)
    counted = valid.flatten(1).to(log_probabilities.dtype)
    shape = (len(classes), log_probabilities.shape[1])
    counts = counted.new_zeros(shape).scatter_add(1, classes, counted)  # n_c, (B, C)
    ratio = counted.sum(1, keepdim=True) / counts.gather(1, classes).clamp(min=1)
    return (ratio.pow(alpha) * counted).view(valid.shape)
