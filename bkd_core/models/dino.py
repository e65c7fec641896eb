# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A vision transformer of DINOv2 or DINOv3 as a teacher's network."""

from __future__ import annotations

from types import MethodType

from bkd_core.errors import InputError, unknown_name
from bkd_core.models.pretrained_files import download as download_weights, read_state
from bkd_core.models.torchvision_guard import ensure_torchvision_imports
import torch
from torch import nn, Tensor
from torch.nn import functional

# timm's names; the second part of the first names its weights for a download.
VARIANTS = {
    'dinov2_small': 'vit_small_patch14_dinov2.lvd142m',
    'dinov2_base': 'vit_base_patch14_dinov2.lvd142m',
    'dinov2_large': 'vit_large_patch14_dinov2.lvd142m',
    'dinov3_small': 'vit_small_patch16_dinov3.lvd1689m',
    'dinov3_base': 'vit_base_patch16_dinov3.lvd1689m',
    'dinov3_large': 'vit_large_patch16_dinov3.lvd1689m',
}
# Blocks whose features are merged: the last four, as in DINOv2's segmentation with a linear head.
_LEVELS = 4


class Dino(nn.Module):
    """
    DINOv2 (Oquab et al. 2023) or DINOv3 (Simeoni et al. 2025) by timm, and a small head.

    The features of the last four blocks side by side, reduced to `width` channels and brought
    from stride 16 to stride 8. DINOv2's patches are 14 pixels wide: images are made smaller by
    14/16, so that logits have a whole stride.

    :param num_classes: Channels of the logits.
    :param variant: One of `VARIANTS`.
    :param width: Channels of the head.
    :param frozen_trunk: Train the head only.
    :param pretrained: Start the trunk from `weights` if they are given, else from timm's download,
        which needs a network connection once.
    :param weights: Path of a state dict in timm's names.
    :raises InputError: If there is no such variant, or its weights can't be had.
    """

    size_multiple = 32

    def __init__(
        self, num_classes: int, *, variant: str = 'dinov2_small', width: int = 256,
        frozen_trunk: bool = False, pretrained: bool = True, weights: str | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise unknown_name('network_options.variant', variant, VARIANTS)
        ensure_torchvision_imports()
        self.trunk = _build_trunk(VARIANTS[variant], download=pretrained and weights is None)
        if pretrained and weights is not None:
            _load_trunk(self.trunk, read_state(weights), where=weights)
        self.patch = self.trunk.patch_embed.patch_size[0]
        self.is_trunk_frozen = frozen_trunk
        self.trunk.requires_grad_(not frozen_trunk)
        self.merge = nn.Sequential(
            nn.BatchNorm2d(_LEVELS * self.trunk.embed_dim),
            nn.Conv2d(_LEVELS * self.trunk.embed_dim, width, 1), nn.GELU(),
            nn.ConvTranspose2d(width, width, 2, stride=2), nn.GELU())
        self.classifier = nn.Conv2d(width, num_classes, 3, padding=1)

    def train(self, mode: bool = True) -> Dino:
        """
        Switch to training; a frozen trunk stays as it is.

        :param mode: False switches to evaluation.
        """
        super().train(mode)
        if self.is_trunk_frozen:
            self.trunk.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, H, W), normalised; H and W multiples of 16.
        :return: (B, C, H/8, W/8).
        """
        if self.patch != 16:
            images = functional.interpolate(
                images, scale_factor=self.patch / 16, mode='bilinear',
                recompute_scale_factor=True)
        levels = self.trunk.forward_intermediates(
            images, indices=_LEVELS, norm=True, intermediates_only=True, output_fmt='NCHW')
        return self.classifier(self.merge(torch.cat(levels, dim=1)))


def _build_trunk(name: str, *, download: bool) -> nn.Module:
    import timm
    if not timm.is_model(name.partition('.')[0]):
        raise InputError(
            f"network_options.variant: timm {timm.__version__} has no '{name}'; get a newer one: "
            'pip install -U timm')

    def build() -> nn.Module:
        # Without the class token's head, and with positions for images of any size.
        return timm.create_model(name, pretrained=download, num_classes=0, dynamic_img_size=True)

    trunk = download_weights('dino', build) if download else build()
    if trunk.pos_embed is not None:  # DINOv3 has none: it turns queries and keys instead
        trunk._pos_embed = MethodType(_add_positions, trunk)
    return trunk


def _add_positions(trunk: nn.Module, patches: Tensor) -> Tensor:
    """
    Return a class token and the patches with their positions.

    In place of timm's function: as in DINOv2's own code, positions are brought to the image's size
    by bicubic interpolation without antialiasing, which ONNX knows.

    :param trunk: timm's vision transformer.
    :param patches: (B, h, w, C).
    """
    batch, height, width, channels = (patches.size(axis) for axis in range(4))
    grid = trunk.pos_embed[:, 1:].reshape(1, *trunk.patch_embed.grid_size, channels)
    grid = grid.permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(height, width), mode='bicubic')
    tokens = patches.flatten(1, 2) + grid.flatten(2).transpose(1, 2)
    first = (trunk.cls_token + trunk.pos_embed[:, :1]).expand(batch, -1, -1)
    return torch.cat([first, tokens], dim=1)


def _load_trunk(trunk: nn.Module, state: dict[str, Tensor], *, where: str) -> None:
    expected = trunk.state_dict()
    wrong = [
        name for name, value in expected.items()
        if name not in state or state[name].shape != value.shape]
    if wrong:
        name = wrong[0]
        got = tuple(state[name].shape) if name in state else 'nothing'
        raise InputError(
            f"{where}: these are not the weights of this variant in timm's names: {name}: got "
            f'{got}, expected {tuple(expected[name].shape)} (and {len(wrong) - 1} more)')
    trunk.load_state_dict({name: state[name] for name in expected})
