# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""DeepLabv2 on ResNet-101 as papers on domain adaptation use it."""

from __future__ import annotations

from typing import Literal

from bkd_core.errors import InputError, unknown_name
from bkd_core.model_directory import IMAGENET_MEAN, IMAGENET_STD
from bkd_core.models.pretrained_files import download, read_state
from bkd_core.models.published_weights import adapt_input, INPUTS, load_deeplabv2
from bkd_core.models.torchvision_guard import ensure_torchvision_imports
import torch
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm

# Dilations of the branches of a head, which are summed (Chen et al. 2018, ASPP-L).
DILATIONS = (6, 12, 18, 24)
_HEADS = ('summed', 'proda')
_BATCH_NORMS = ('affine_fixed', 'fixed', 'trained')


class DeepLabV2ResNet101(nn.Module):
    """
    DeepLabv2 (Chen et al. 2018, arXiv:1606.00915) as in AdaptSegNet (Tsai et al. 2018).

    ResNet-101 with output stride 8: `layer3` and `layer4` dilate by 2 and 4 in all their blocks,
    and a block strides in its first convolution, as in the original weights. The head sums
    dilated convolutions; a second one on `layer3` is the multi-level one. 43.9 M parameters
    for 19 classes.

    One thing differs: the published network's max pooling rounds up, so that its logits have
    H/8 + 1 rows; here it rounds down, and a pixel of the logits is 8 of the image.

    :param num_classes: Channels of the logits.
    :param pretrained: Start from `weights` if they are given, else from torchvision's own download
        of ImageNet weights, which needs a network connection once.
    :param weights: Path of a state dict: a ResNet-101 in torchvision's names, or a whole published
        network (`bkd_core.models.published_weights`).
    :param auxiliary: Add the head on `layer3`.
    :param head: 'summed' as in AdaptSegNet, or 'proda' (Zhang et al. 2021): the branches are
        concatenated, weighed by channel and merged, with group normalisation.
    :param features_norm: Normalise the features in front of the head (ProDA's `bn_clr`).
    :param weights_input: What the network in `weights` was trained on: 'imagenet' is RGB
        normalised by ImageNet's mean and deviation, as here; 'caffe' BGR minus a mean, for the
        networks of AdaptSegNet and others that start from the same weights; 'unit' RGB of 0 to 1,
        for those of ProDA. The first layer is converted.
    :param summed_branches: How many of the four branches (dilations 6, 12, 18, 24) 'summed' has.
        AdaptSegNet's code returns after the second, so weights that it trained need 2.
    :param batch_norm: 'affine_fixed' normalises by the step's statistics and does not train scale
        and shift, as AdaptSegNet does; 'fixed' neither; 'trained' is plain batch normalisation.
    :raises InputError: If the weights are missing or of another network.
    """

    size_multiple = 32

    def __init__(
        self, num_classes: int, *, pretrained: bool = True, weights: str | None = None,
        auxiliary: bool = False, head: Literal['summed', 'proda'] = 'summed',
        summed_branches: int = 4, features_norm: bool = False,
        weights_input: Literal['imagenet', 'caffe', 'unit'] = 'imagenet',
        batch_norm: Literal['affine_fixed', 'fixed', 'trained'] = 'affine_fixed',
    ) -> None:
        super().__init__()
        if batch_norm not in _BATCH_NORMS:
            raise unknown_name('network_options.batch_norm', batch_norm, _BATCH_NORMS)
        if head not in _HEADS:
            raise unknown_name('network_options.head', head, _HEADS)
        if weights_input not in INPUTS:
            raise unknown_name('network_options.weights_input', weights_input, INPUTS)
        if not 1 <= summed_branches <= len(DILATIONS):
            raise InputError(
                f'network_options.summed_branches: got {summed_branches}; expected 1 to '
                f'{len(DILATIONS)}')
        self.backbone = _dilated_resnet101()
        self.classifier = (
            SummedDilations(2048, num_classes, branches=summed_branches) if head == 'summed'
            else WeighedDilations(2048, num_classes))
        self.aux_classifier = (
            SummedDilations(1024, num_classes, branches=summed_branches) if auxiliary else None)
        self.features_norm = nn.BatchNorm2d(2048) if features_norm else None
        self.has_fixed_statistics = batch_norm == 'fixed'
        if pretrained:
            self._start_from(weights, weights_input)
        if batch_norm != 'trained':
            for module in self._norms():
                module.requires_grad_(False)

    @property
    def has_levels(self) -> bool:
        """Tell whether there is a second head."""
        return self.aux_classifier is not None

    def train(self, mode: bool = True) -> DeepLabV2ResNet101:
        """
        Switch to training; fixed batch-norm statistics stay fixed.

        :param mode: False switches to evaluation.
        """
        super().train(mode)
        if self.has_fixed_statistics:
            for module in self._norms():
                module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, H, W), normalised; H and W multiples of 8.
        :return: (B, C, H/8, W/8).
        """
        return self.classifier(self._features(images)[1])

    def forward_levels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return logits and the second head's.

        :param images: (B, 3, H, W), normalised; H and W multiples of 8.
        :return: Twice (B, C, H/8, W/8).
        :raises InputError: If the network was built without a second head.
        """
        if self.aux_classifier is None:
            raise InputError(
                'network_options.auxiliary: this deeplabv2_resnet101 was built without a second '
                'head; set it to true')
        third, fourth = self._features(images)
        return self.classifier(fourth), self.aux_classifier(third)

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.backbone
        features = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(images))))
        third = trunk.layer3(trunk.layer2(trunk.layer1(features)))
        fourth = trunk.layer4(third)
        return third, fourth if self.features_norm is None else self.features_norm(fourth)

    def _norms(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]

    def _start_from(self, weights: str | None, weights_input: str) -> None:
        from torchvision.models import ResNet101_Weights
        state = read_state(weights) if weights else download(
            'deeplabv2_resnet101', ResNet101_Weights.IMAGENET1K_V1.get_state_dict)
        load_deeplabv2(self, state, where=weights or 'ResNet101_Weights.IMAGENET1K_V1')
        adapt_input(self.backbone, weights_input, mean=IMAGENET_MEAN, std=IMAGENET_STD)


class SummedDilations(nn.Module):
    """
    A head of dilated 3 x 3 convolutions; the logits are their sum.

    :param channels: Channels of the features.
    :param num_classes: Channels of the logits.
    :param branches: How many convolutions, by `DILATIONS`.
    """

    def __init__(self, channels: int, num_classes: int, *, branches: int) -> None:
        super().__init__()
        self.conv2d_list = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=dilation, dilation=dilation)
            for dilation in DILATIONS[:branches])
        for convolution in self.conv2d_list:
            nn.init.normal_(convolution.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """
        Return logits.

        :param features: (B, channels, h, w).
        :return: (B, C, h, w).
        """
        return torch.stack([convolution(features) for convolution in self.conv2d_list]).sum(0)


class WeighedDilations(nn.Module):
    """
    ProDA's head: branches side by side, squeeze and excitation, a bottleneck, logits.

    :param channels: Channels of the features.
    :param num_classes: Channels of the logits.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv2d_list = nn.ModuleList([
            _conv_group_norm(channels, kernel=1, dilation=1),
            *(_conv_group_norm(channels, kernel=3, dilation=dilation) for dilation in DILATIONS)])
        merged = 256 * len(self.conv2d_list)
        self.bottleneck = nn.Sequential(
            SqueezeExcitation(merged), *list(_conv_group_norm(merged, kernel=3, dilation=1))[:2])
        self.head = nn.Sequential(
            nn.Dropout2d(0.1), nn.Conv2d(256, num_classes, 1, bias=False))
        nn.init.normal_(self.head[1].weight, std=0.001)

    def forward(self, features: Tensor) -> Tensor:
        """
        Return logits.

        :param features: (B, channels, h, w).
        :return: (B, C, h, w).
        """
        branches = [branch(features) for branch in self.conv2d_list]
        return self.head(self.bottleneck(torch.cat(branches, dim=1)))


class SqueezeExcitation(nn.Module):
    """
    Weigh channels by what the whole image holds (Hu et al. 2018), reduced by 16.

    :param channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.se = nn.Sequential(
            nn.Linear(channels, channels // 16), nn.ReLU(),
            nn.Linear(channels // 16, channels), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        """
        Return the weighed features.

        :param features: (B, channels, h, w).
        """
        return features * self.se(features.mean((2, 3)))[:, :, None, None]


def _conv_group_norm(channels: int, *, kernel: int, dilation: int) -> nn.Sequential:
    convolution = nn.Conv2d(
        channels, 256, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    nn.init.kaiming_normal_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, nn.GroupNorm(32, 256), nn.ReLU())


def _dilated_resnet101() -> nn.Module:
    ensure_torchvision_imports()
    from torchvision.models import resnet101
    network = resnet101(weights=None, replace_stride_with_dilation=[False, True, True])
    del network.fc, network.avgpool
    first = network.layer2[0]
    first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
    for layer, dilation in ((network.layer3, 2), (network.layer4, 4)):
        for block in layer:  # torchvision leaves the first block with the dilation before
            block.conv2.dilation = block.conv2.padding = (dilation, dilation)
    return network
