# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Mix Transformer, the trunk of SegFormer (Xie et al. 2021, arXiv:2105.15203)."""

from __future__ import annotations

from bkd_core.errors import unknown_name
import torch
from torch import nn, Tensor
from torch.nn import functional

# Channels and blocks of the four stages, which end at strides 4, 8, 16 and 32.
VARIANTS = {
    'b0': ((32, 64, 160, 256), (2, 2, 2, 2)),
    'b1': ((64, 128, 320, 512), (2, 2, 2, 2)),
    'b2': ((64, 128, 320, 512), (3, 4, 6, 3)),
    'b3': ((64, 128, 320, 512), (3, 4, 18, 3)),
    'b4': ((64, 128, 320, 512), (3, 8, 27, 3)),
    'b5': ((64, 128, 320, 512), (3, 6, 40, 3)),
}
_HEADS = (1, 2, 5, 8)
_REDUCTIONS = (8, 4, 2, 1)


class MixTransformer(nn.Module):
    """
    Four stages of self-attention with overlapping patches and no positions.

    Its parameters have the names of the authors' weights (`patch_embed1`, `block1`, `norm1`). The
    implementation in transformers is not used: it renames parameters between its versions, and a
    model directory is read back by their names.

    :param variant: 'b0' to 'b5'.
    :param drop_path: Probability that the last block is skipped for an image in training; it
        grows evenly from 0 at the first.
    :raises InputError: If there is no such variant.
    """

    def __init__(self, variant: str = 'b0', *, drop_path: float = 0.1) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise unknown_name('network_options.variant', variant, VARIANTS)
        self.channels, depths = VARIANTS[variant]
        rates = (drop_path * index / (sum(depths) - 1) for index in range(sum(depths)))
        before = 3
        for index, (channels, depth) in enumerate(zip(self.channels, depths), start=1):
            kernel, stride = (7, 4) if index == 1 else (3, 2)
            setattr(self, f'patch_embed{index}', OverlappingPatches(
                before, channels, kernel=kernel, stride=stride))
            setattr(self, f'block{index}', nn.ModuleList(
                MixBlock(
                    channels, heads=_HEADS[index - 1], reduction=_REDUCTIONS[index - 1],
                    drop_path=next(rates)) for _ in range(depth)))
            setattr(self, f'norm{index}', nn.LayerNorm(channels, eps=1e-6))
            before = channels
        self.apply(_initialise)

    def forward(self, images: Tensor) -> list[Tensor]:
        """
        Return the features of the four stages.

        :param images: (B, 3, H, W), normalised; H and W multiples of 32.
        :return: (B, channels, H/4, W/4), then at strides 8, 16 and 32.
        """
        features, stages = images, []
        for index in range(1, 5):
            tokens, size = getattr(self, f'patch_embed{index}')(features)
            for block in getattr(self, f'block{index}'):
                tokens = block(tokens, size)
            features = _as_map(getattr(self, f'norm{index}')(tokens), size)
            stages.append(features)
        return stages


class OverlappingPatches(nn.Module):
    """
    Cut a map into overlapping patches.

    :param before: Channels of the map.
    :param channels: Channels of a patch's token.
    :param kernel: Side of a patch.
    :param stride: Distance of the patches.
    """

    def __init__(self, before: int, channels: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(before, channels, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """
        Return tokens and their (height, width).

        :param features: (B, before, H, W).
        :return: (B, h * w, channels) and (h, w).
        """
        patches = self.proj(features)
        size = patches.size(2), patches.size(3)
        return self.norm(patches.flatten(2).transpose(1, 2)), size


class MixBlock(nn.Module):
    """
    Self-attention and a feed-forward network with a depthwise convolution.

    :param channels: Channels of a token.
    :param heads: Attention heads.
    :param reduction: Keys and values are taken from a map this much smaller, each way.
    :param drop_path: Probability that a branch is skipped for an image in training.
    """

    def __init__(
        self, channels: int, *, heads: int, reduction: int, drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = ReducedAttention(channels, heads=heads, reduction=reduction)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MixFeedForward(channels)
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """
        Return the tokens of the next block.

        :param tokens: (B, h * w, channels).
        :param size: (h, w).
        """
        tokens = tokens + self._skip(self.attn(self.norm1(tokens), size))
        return tokens + self._skip(self.mlp(self.norm2(tokens), size))

    def _skip(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * kept / (1 - self.drop_path)


class ReducedAttention(nn.Module):
    """
    Multi-head self-attention whose keys and values come from a smaller map.

    :param channels: Channels of a token.
    :param heads: Attention heads.
    :param reduction: How much smaller the map is, each way.
    """

    def __init__(self, channels: int, *, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.sr = self.norm = None
        if reduction > 1:
            self.sr = nn.Conv2d(channels, channels, reduction, stride=reduction)
            self.norm = nn.LayerNorm(channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """
        Return what each token takes from the others.

        :param tokens: (B, h * w, channels).
        :param size: (h, w).
        """
        reduced = tokens
        if self.sr is not None:
            reduced = self.norm(self.sr(_as_map(tokens, size)).flatten(2).transpose(1, 2))
        keys, values = self.kv(reduced).chunk(2, dim=2)
        attended = functional.scaled_dot_product_attention(
            self._split(self.q(tokens)), self._split(keys), self._split(values))
        return self.proj(attended.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MixFeedForward(nn.Module):
    """
    Two linear layers, and between them a depthwise convolution that knows the position.

    :param channels: Channels of a token; four times as many between the layers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 4 * channels
        self.fc1 = nn.Linear(channels, hidden)
        self.dwconv = nn.ModuleDict({
            'dwconv': nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)})
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """
        Return new tokens.

        :param tokens: (B, h * w, channels).
        :param size: (h, w).
        """
        features = self.dwconv['dwconv'](_as_map(self.fc1(tokens), size))
        return self.fc2(functional.gelu(features.flatten(2).transpose(1, 2)))


def _as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    # Spelt out: ONNX's tracing keeps these sizes free, those of unflatten it takes for constants.
    return tokens.transpose(1, 2).reshape(tokens.size(0), tokens.size(2), size[0], size[1])


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        kernel = module.kernel_size[0] * module.kernel_size[1]
        nn.init.normal_(
            module.weight, std=(2 / (kernel * module.out_channels / module.groups)) ** 0.5)
        nn.init.zeros_(module.bias)
