# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The compact student: EfficientNet-Lite and a feature pyramid, logits at stride 4 or 8."""

from __future__ import annotations

from bkd_core.errors import InputError
from bkd_core.models.lite_trunk import conv_bn_relu, LiteTrunk, SeparableConv
from torch import nn, Tensor
from torch.nn import functional


class LiteFPN(nn.Module):
    """
    Feature pyramid (Lin et al. 2017, arXiv:1612.03144) on EfficientNet-Lite.

    2.4 M parameters by default. The trunk's seventh stage is left out: it holds a fifth of the
    weights and its 320 channels would be reduced to `width` at once. With five stages the
    pyramid has three levels instead of four, ends at stride 16, and 0.7 M parameters are left.
    `bkd benchmark students` measures what each of these choices costs and saves.

    :param num_classes: Channels of the logits.
    :param width: Channels of the pyramid.
    :param variant: Size of the trunk: 'lite0', 'lite1' or 'lite2'.
    :param num_stages: Stages of the trunk: 4, 5, 6 or 7.
    :param logits_stride: 4, or 8: the pyramid then stops one level before the finest, which is
        the one that costs most.
    :param frozen_stages: The trunk's stem and this many stages are not trained.
    :param pretrained: Start the trunk from ImageNet weights.
    :raises InputError: If there is no such variant, number of stages or stride.
    """

    size_multiple = 32

    def __init__(
        self, num_classes: int, *, width: int = 96, variant: str = 'lite0', num_stages: int = 6,
        logits_stride: int = 4, frozen_stages: int = 0, pretrained: bool = True,
    ) -> None:
        super().__init__()
        if logits_stride not in (4, 8):
            raise InputError(
                f'network_options.logits_stride: got {logits_stride}; expected 4 or 8')
        self.trunk = LiteTrunk(
            variant=variant, num_stages=num_stages, frozen_stages=frozen_stages,
            pretrained=pretrained)
        self.first_level = 0 if logits_stride == 4 else 1
        levels = self.trunk.channels[self.first_level:]
        self.laterals = nn.ModuleList(
            nn.Sequential(*conv_bn_relu(channels, width)) for channels in levels)
        self.smooth = nn.ModuleList(SeparableConv(width, width) for _ in levels[1:])
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, H, W), normalised; H and W multiples of 32.
        :return: (B, C, H/s, W/s), s being `logits_stride`.
        """
        levels = self.trunk(images)[self.first_level:]
        features = [lateral(feature) for lateral, feature in zip(self.laterals, levels)]
        merged = features.pop()
        for smooth in self.smooth:
            merged = functional.interpolate(merged, scale_factor=2.0, mode='bilinear')
            merged = smooth(merged + features.pop())
        return self.classifier(merged)
