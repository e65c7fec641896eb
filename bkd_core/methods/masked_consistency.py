# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Masked image consistency, an option of self-training.

MIC: Hoyer, Dai, Wang and Van Gool 2023, "MIC: Masked Image Consistency for Context-Enhanced
Domain Adaptation", https://arxiv.org/abs/2212.01322. The student sees a target image with most
of its blocks hidden and must still predict what the averaged teacher sees in the whole image,
so it learns to tell a class from its surroundings:

    M_i = 1[v > r] for every b x b block, v ~ U(0, 1)          x_M = M x_t
    L_M = 1/N sum_i q CE(y', p_i(x_M)),  y' the teacher's class, q the share of the image's pixels
                                         that it is confident of
    L = L_source + L_mixed + lambda_masked L_M

b = 64 pixels, r = 0.7 and lambda_masked = 1 in the paper, on crops of 512 to 1024 pixels. The
pseudo-labels and their weights are self-training's own, as in the authors' code, and so are the
photometric changes before masking. Hidden pixels take the mean colour of ImageNet: 0 after the
normalisation.
"""

from __future__ import annotations

from bkd_core.batch import Part, WHOLE
from bkd_core.model_directory import IMAGENET_MEAN
import torch
from torch import Tensor


def block_masks(
    num_images: int, size: tuple[int, int], *, block_size: int, ratio: float,
) -> Tensor:
    """
    Draw which blocks of each image stay visible.

    :param num_images: B.
    :param size: (H, W), pixels; blocks at the right and lower edge may be cut.
    :param block_size: Side of a block, pixels.
    :param ratio: Probability that a block is hidden.
    :return: (B, H, W), bool, on the CPU, True where the image stays visible.
    """
    height, width = size
    rows, columns = -(-height // block_size), -(-width // block_size)
    is_visible = torch.rand(num_images, rows, columns) >= ratio
    pixels = is_visible.repeat_interleave(block_size, 1).repeat_interleave(block_size, 2)
    return pixels[:, :height, :width]


def hide_blocks(
    images: Tensor, *, block_size: int, ratio: float, part: Part = WHOLE,
) -> Tensor:
    """
    Return images with random blocks replaced by the mean colour.

    :param images: (B, 3, H, W), 0 to 1.
    :param block_size: Side of a block, pixels.
    :param ratio: Probability that a block is hidden.
    :param part: Which part of its step the images are; the whole step's blocks are drawn.
    :return: (B, 3, H, W).
    """
    masks = block_masks(
        part.count * len(images), tuple(images.shape[-2:]), block_size=block_size, ratio=ratio)
    masks = masks[part.index * len(images):][:len(images)]
    mean = images.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1) / 255
    return torch.where(masks[:, None].to(images.device), images, mean)
