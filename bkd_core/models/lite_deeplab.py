# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A larger network that still trains on a CPU: DeepLabv3+ on EfficientNet-Lite."""

from __future__ import annotations

from bkd_core.models.lite_trunk import conv_bn_relu, LiteTrunk, SeparableConv
import torch
from torch import nn, Tensor
from torch.nn import functional


class LiteDeepLab(nn.Module):
    """
    DeepLabv3+ (Chen et al. 2018, arXiv:1802.02611) with separable convolutions.

    3.9 M parameters by default, 5.3 M with the trunk 'lite2'.

    :param num_classes: Channels of the logits.
    :param width: Channels of each branch of the spatial pyramid and of the decoder.
    :param dilations: Dilations of the pyramid's three 3x3 branches at stride 16.
    :param variant: Size of the trunk: 'lite0', 'lite1' or 'lite2'.
    :param frozen_stages: The trunk's stem and this many stages are not trained.
    :param pretrained: Start the trunk from ImageNet weights.
    """

    size_multiple = 32

    def __init__(
        self, num_classes: int, *, width: int = 256, dilations: tuple[int, ...] = (3, 6, 9),
        variant: str = 'lite0', frozen_stages: int = 0, pretrained: bool = True,
    ) -> None:
        super().__init__()
        self.trunk = LiteTrunk(
            variant=variant, output_stride=16, frozen_stages=frozen_stages,
            pretrained=pretrained)
        low, _, _, high = self.trunk.channels
        self.branches = nn.ModuleList([
            nn.Sequential(*conv_bn_relu(high, width)),
            *(SeparableConv(high, width, dilation=dilation) for dilation in dilations)])
        # No batch-norm behind the pooled branch: its one pixel an image has no statistics.
        self.pooled = nn.Sequential(nn.Conv2d(high, width, 1), nn.ReLU(inplace=True))
        self.project = nn.Sequential(
            *conv_bn_relu(width * (len(dilations) + 2), width), nn.Dropout2d(.1))
        self.low = nn.Sequential(*conv_bn_relu(low, 48))
        self.refine = nn.Sequential(
            SeparableConv(width + 48, width), SeparableConv(width, width))
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, H, W), normalised; H and W multiples of 32.
        :return: (B, C, H/4, W/4).
        """
        low, _, _, high = self.trunk(images)
        context = [branch(high) for branch in self.branches]
        pooled = self.pooled(high.mean((2, 3), keepdim=True))
        context.append(pooled.expand_as(context[0]))
        merged = self.project(torch.cat(context, 1))
        merged = functional.interpolate(merged, scale_factor=4.0, mode='bilinear')
        return self.classifier(self.refine(torch.cat((merged, self.low(low)), 1)))
