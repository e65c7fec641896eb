# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A network together with the normalisation of its input."""

from __future__ import annotations

import torch
from torch import nn, Tensor


class Normalized(nn.Module):
    """
    Feed a network with images of 0 to 1; methods then mix and colour plain images.

    :param network: Takes normalised images.
    :param mean: RGB mean, in units of 0 to 255.
    :param std: RGB standard deviation, in units of 0 to 255.
    """

    def __init__(
        self, network: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1) / 255, persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1) / 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """
        Return the network's logits.

        :param images: (B, 3, H, W), RGB, 0 to 1.
        :return: (B, C, h, w).
        """
        return self.network(self._normalise(images))

    @property
    def has_levels(self) -> bool:
        """Tell whether the network has an auxiliary head."""
        return getattr(self.network, 'has_levels', False)

    def forward_levels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return the network's logits and its auxiliary head's; only where it has one.

        :param images: (B, 3, H, W), RGB, 0 to 1.
        :return: Two tensors (B, C, h, w); their sizes may differ.
        """
        return self.network.forward_levels(self._normalise(images))

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std
