# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a loader hands a method in one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DomainBatch:
    """
    Crops of both domains.

    :param source_images: (B, 3, H, W) float32, RGB, 0 to 1.
    :param source_labels: (B, H, W) int64, 255 = ignore.
    :param target_images: (B, 3, H, W) float32, RGB, 0 to 1; None if the method needs no target.
    """

    source_images: Tensor
    source_labels: Tensor
    target_images: Tensor | None = None

    def to(self, device: str) -> DomainBatch:
        """
        Return the batch on a device.

        :param device: A torch device.
        """
        target = self.target_images
        return DomainBatch(
            source_images=self.source_images.to(device, non_blocking=True),
            source_labels=self.source_labels.to(device, non_blocking=True),
            target_images=None if target is None else target.to(device, non_blocking=True))
