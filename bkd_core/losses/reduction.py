# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one way from a map of losses to a number."""

from __future__ import annotations

from bkd_core.losses.shapes import check_same_pixels
import torch
from torch import Tensor


def weighted_mean(
    loss: Tensor, *, valid: Tensor, weights: Tensor | None = None, count: float | None = None,
) -> Tensor:
    """
    Return 1/|O| sum_{i in O} w_i l_i over the valid pixels O of the whole batch.

    The divisor is the number of valid pixels, not the sum of weights (Wang and Li, IROS 2022, as
    we write L_SD and L_TD); with the weights of `mine_hard_pixels`, whose mean is 1 in every
    image, the two are equal. What an invalid pixel holds, NaN included, does not reach the value.

    :param loss: (B, H, W), floating.
    :param valid: (B, H, W), bool.
    :param weights: (B, H, W), at least 0, or None for 1 everywhere.
    :param count: What to divide by, where the batch is one of several parts: the valid pixels of
        a part on average, so that the mean over the parts is the mean of the whole batch. None
        for the valid pixels that are here.
    :return: Scalar; 0, still differentiable, if no pixel is valid.
    :raises ValueError: If the shapes disagree.
    """
    if weights is None:
        check_same_pixels(loss=loss, valid=valid)
    else:
        check_same_pixels(loss=loss, valid=valid, weights=weights)
        loss = weights * loss
    kept = torch.where(valid, loss, torch.zeros_like(loss))
    if count is not None:
        return kept.sum() / (count or 1.0)
    return kept.sum() / valid.sum().clamp(min=1)
