# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""SegFormer's trunk with the head of DAFormer, or with its own."""

from __future__ import annotations

from typing import Literal

from bkd_core.errors import unknown_name
from bkd_core.models.mix_transformer import MixTransformer
from bkd_core.models.pretrained_files import download, read_state
import torch
from torch import nn, Tensor
from torch.nn import functional

_HEADS = ('daformer', 'segformer')


class SegFormer(nn.Module):
    """
    Mix Transformer and a head that merges its four stages.

    With the head of DAFormer (Hoyer et al. 2022, arXiv:2111.14887) and 'b5' it is that paper's
    network: 85.2 M parameters. With its own (Xie et al. 2021), 'b0' has 3.7 M.

    :param num_classes: Channels of the logits.
    :param variant: Size of the trunk, 'b0' to 'b5'.
    :param head: 'daformer' merges by dilated separable convolutions, 'segformer' by a 1 x 1 one.
    :param drop_path: Probability that the trunk's last block is skipped in training.
    :param pretrained: Start from `weights` if they are given, else from the authors' trunk of
        ImageNet on the Hugging Face hub (NVIDIA's licence: not for commercial use), which needs a
        network connection once.
    :param weights: Path of a state dict: a trunk trained on ImageNet or a whole published network,
        in the names of its authors, of DAFormer, mmsegmentation or transformers.
    :raises InputError: If the weights are missing or of another network.
    """

    size_multiple = 32

    def __init__(
        self, num_classes: int, *, variant: str = 'b0',
        head: Literal['daformer', 'segformer'] = 'daformer', drop_path: float = 0.1,
        pretrained: bool = True, weights: str | None = None,
    ) -> None:
        super().__init__()
        if head not in _HEADS:
            raise unknown_name('network_options.head', head, _HEADS)
        self.backbone = MixTransformer(variant, drop_path=drop_path)
        build_head = DAFormerHead if head == 'daformer' else SegFormerHead
        self.decode_head = build_head(self.backbone.channels, num_classes)
        if pretrained:
            self._start_from(weights, variant)

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, H, W), normalised; H and W multiples of 32.
        :return: (B, C, H/4, W/4).
        """
        return self.decode_head(self.backbone(images))

    def _start_from(self, weights: str | None, variant: str) -> None:
        from bkd_core.models.published_weights import load_segformer
        if weights is None:
            from huggingface_hub import hf_hub_download
            weights = download('segformer', lambda: hf_hub_download(
                f'nvidia/mit-{variant}', 'pytorch_model.bin'))
        load_segformer(self, read_state(weights), where=weights)


class DAFormerHead(nn.Module):
    """
    Embed the stages, bring them to stride 4 and merge them with context, as in DAFormer.

    :param stages: Channels of the four stages.
    :param num_classes: Channels of the logits.
    :param width: Channels of an embedded stage.
    """

    def __init__(
        self, stages: tuple[int, ...], num_classes: int, *, width: int = 256,
    ) -> None:
        super().__init__()
        self.embed_layers = nn.ModuleDict({
            str(index): nn.ModuleDict({'proj': nn.Linear(channels, width)})
            for index, channels in enumerate(stages)})
        self.fuse_layer = SeparablePyramid(width * len(stages), width)
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(width, num_classes, 1)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """
        Return logits.

        :param stages: Features at strides 4, 8, 16 and 32.
        :return: (B, C, h, w) in the size of the first.
        """
        embedded = [
            self.embed_layers[str(index)]['proj'](stage.movedim(1, 3)).movedim(3, 1)
            for index, stage in enumerate(stages)]
        merged = self.fuse_layer(torch.cat(_in_one_size(embedded), dim=1))
        return self.conv_seg(self.dropout(merged))


class SeparablePyramid(nn.Module):
    """
    Atrous spatial pyramid pooling by depthwise separable convolutions, without image pooling.

    :param before: Channels in.
    :param width: Channels of a branch, and out.
    """

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.aspp_modules = nn.ModuleList([
            ConvNorm(before, width, kernel=1),
            *(SeparableConvNorm(before, width, dilation=dilation) for dilation in (6, 12, 18))])
        self.bottleneck = ConvNorm(width * len(self.aspp_modules), width, kernel=3)

    def forward(self, features: Tensor) -> Tensor:
        """
        Return features with context.

        :param features: (B, before, h, w).
        :return: (B, width, h, w).
        """
        branches = [branch(features) for branch in self.aspp_modules]
        return self.bottleneck(torch.cat(branches, dim=1))


class SegFormerHead(nn.Module):
    """
    SegFormer's own head as mmsegmentation builds it: 1 x 1 convolutions only.

    :param stages: Channels of the four stages.
    :param num_classes: Channels of the logits.
    :param width: Channels of an embedded stage.
    """

    def __init__(
        self, stages: tuple[int, ...], num_classes: int, *, width: int = 256,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ConvNorm(channels, width, kernel=1) for channels in stages)
        self.fusion_conv = ConvNorm(width * len(stages), width, kernel=1)
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(width, num_classes, 1)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """
        Return logits.

        :param stages: Features at strides 4, 8, 16 and 32.
        :return: (B, C, h, w) in the size of the first.
        """
        embedded = [conv(stage) for conv, stage in zip(self.convs, stages)]
        merged = self.fusion_conv(torch.cat(_in_one_size(embedded), dim=1))
        return self.conv_seg(self.dropout(merged))


class ConvNorm(nn.Module):
    """
    Convolution, batch normalisation, ReLU, in mmsegmentation's names.

    :param before: Channels in.
    :param channels: Channels out.
    :param kernel: Side of the kernel; the size stays.
    :param dilation: Distance of the kernel's taps.
    :param groups: Groups of channels.
    """

    def __init__(
        self, before: int, channels: int, *, kernel: int, dilation: int = 1, groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            before, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation,
            groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """
        Return new features.

        :param features: (B, before, h, w).
        :return: (B, channels, h, w).
        """
        return functional.relu(self.bn(self.conv(features)))


class SeparableConvNorm(nn.Module):
    """
    A dilated depthwise 3 x 3 convolution, then a pointwise one.

    :param before: Channels in.
    :param channels: Channels out.
    :param dilation: Distance of the kernel's taps.
    """

    def __init__(self, before: int, channels: int, *, dilation: int) -> None:
        super().__init__()
        self.depthwise_conv = ConvNorm(
            before, before, kernel=3, dilation=dilation, groups=before)
        self.pointwise_conv = ConvNorm(before, channels, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        """
        Return new features.

        :param features: (B, before, h, w).
        :return: (B, channels, h, w).
        """
        return self.pointwise_conv(self.depthwise_conv(features))


def _in_one_size(stages: list[Tensor]) -> list[Tensor]:
    size = stages[0].shape[2:]
    return [stages[0], *(
        functional.interpolate(stage, size=size, mode='bilinear') for stage in stages[1:])]
