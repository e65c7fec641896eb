# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one resolution at which a step compares logits, labels and soft labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """
    Bring logits to a size by bilinear interpolation.

    :param logits: (B, C, h, w).
    :param size: (H, W).
    :return: (B, C, H, W).
    """
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return functional.interpolate(logits, size=size, mode='bilinear', align_corners=False)


def loss_size(images: Tensor, stride: int) -> tuple[int, int]:
    """
    Return (height, width) of the loss for a batch of images.

    :param images: (B, 3, H, W).
    :param stride: One pixel in this many, each way, is compared.
    """
    return images.shape[-2] // stride, images.shape[-1] // stride


def subsample_labels(labels: Tensor, stride: int) -> Tensor:
    """
    Take the label nearest to the middle of each stride x stride block.

    :param labels: (B, H, W), H and W multiples of the stride.
    :param stride: Block size.
    :return: (B, H / stride, W / stride).
    """
    middle = stride // 2
    return labels[:, middle::stride, middle::stride]
