# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""HRDA (Hoyer et al. 2022, arXiv:2204.13132): context in low, detail in high resolution."""

from __future__ import annotations

from bkd_core.errors import InputError
from bkd_core.models.segformer import SegFormer, SegFormerHead
import torch
from torch import nn, Tensor
from torch.nn import functional

# Detail crops start at multiples of this many pixels, so that their logits lie on the context's.
_GRID = 8


class HRDA(nn.Module):
    """
    One SegFormer sees the whole image at half its size and a part of it at full size.

    A second head on the context's features says for every class and place how far the detail is
    to be trusted. In training the part is one random crop of half the height and
    width; outside of it the context alone counts. In use, overlapping crops cover the image, and
    their logits are averaged: nine crops and the context are ten forward passes of a
    quarter of the image.

    The paper's extra loss on the detail alone (lambda_d = 0.1) is left out: here a method sees one
    prediction.

    :param num_classes: Channels of the logits.
    :param variant: As of `SegFormer`.
    :param head: As of `SegFormer`.
    :param drop_path: As of `SegFormer`.
    :param pretrained: As of `SegFormer`.
    :param weights: As of `SegFormer`.
    """

    size_multiple = 64

    def __init__(
        self, num_classes: int, *, variant: str = 'b5', head: str = 'daformer',
        drop_path: float = 0.1, pretrained: bool = True, weights: str | None = None,
    ) -> None:
        super().__init__()
        self.network = SegFormer(
            num_classes, variant=variant, head=head, drop_path=drop_path, pretrained=pretrained,
            weights=weights)
        self.scale_attention = SegFormerHead(self.network.backbone.channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, H, W), normalised; H and W multiples of 64.
        :return: (B, C, H/4, W/4).
        :raises InputError: If crops of a training step have another size.
        """
        if self.training and (images.shape[2] % 64 or images.shape[3] % 64):
            raise InputError(
                f'augmentation.crop_size: got {tuple(images.shape[2:])}; hrda needs multiples of '
                '64, since it sees images at half their size, too')
        small = functional.avg_pool2d(images, 2)
        stages = self.network.backbone(small)
        context = _double(self.network.decode_head(stages))
        attention = _double(torch.sigmoid(self.scale_attention(stages)))
        detail, is_seen = self._detail(images)
        attention = attention * is_seen
        return (1 - attention) * context + attention * detail

    def _detail(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean logits of crops in their places, and 1 where there is one, else 0."""
        height, width = images.shape[2] // 2, images.shape[3] // 2
        if self.training:
            corners = [tuple(
                _GRID * int(torch.randint(side // _GRID + 1, ())) for side in (height, width))]
        else:
            corners = [
                (top, left)
                for top in (0, height // 2, height) for left in (0, width // 2, width)]
        total, count = 0, 0
        for top, left in corners:
            logits = self.network(images[:, :, top:top + height, left:left + width])
            borders = (  # left, right, above, below
                left // 4, (width - left) // 4, top // 4, (height - top) // 4)
            total = total + functional.pad(logits, borders)
            count = count + functional.pad(torch.ones_like(logits), borders)
        return total / count.clamp(min=1), count.clamp(max=1)


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode='bilinear')
