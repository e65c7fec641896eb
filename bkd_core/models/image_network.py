# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A network together with what turns a camera image into its input."""

from __future__ import annotations

from bkd_core.model_directory import ModelSpec
import torch
from torch import nn, Tensor


class ImageNetwork(nn.Module):
    """
    A network that takes camera images: what the runtimes of torch run, and what is exported.

    :param network: Normalised images in, logits out.
    :param spec: Its mean and standard deviation.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.register_buffer('mean', torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(spec.std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """
        Return logits.

        :param image: (B, h, w, 3) uint8 RGB; h and w multiples of the spec's size_multiple.
        :return: (B, C, h / stride, w / stride) float32.
        """
        pixels = image.permute(0, 3, 1, 2).float()
        return self.network((pixels - self.mean) / self.std)
