# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a loader hands a method in one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Window:
    """
    Where in its frame a crop was cut out.

    :param index: Number of the frame in its data set.
    :param frame_size: (height, width) of the frame, pixels.
    :param top: First row of the window, in the frame's pixels.
    :param left: First column.
    :param height: Rows.
    :param width: Columns.
    :param is_mirrored: The crop shows the window mirrored left to right.
    """

    index: int
    frame_size: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    is_mirrored: bool


@dataclass(frozen=True, kw_only=True)
class Part:
    """
    Which part of a step's whole batch a batch is; by default the whole.

    Processes that train together, and the accumulation of gradients, divide a step into equal
    parts. What is here lets a part count and draw as the whole would, so that the mean of the
    parts' losses is the loss of the whole. Means over pixels that are chosen by what a network
    says (the pseudo-labels of `fda`, the guidance of `max_square`) are those of the part.

    :param index: Number of the part, from 0.
    :param count: Number of parts.
    :param size: Crops of each domain in the part; 0 in a whole.
    :param num_labelled: Labelled source pixels, of those that the losses look at, in a part on
        average; None in a whole.
    :param num_classes: How many classes each source crop of the whole step holds, where the
        method wants to know; empty in a whole.
    """

    index: int = 0
    count: int = 1
    size: int = 0
    num_labelled: float | None = None
    num_classes: tuple[int, ...] = ()


WHOLE = Part()


@dataclass(frozen=True, kw_only=True)
class DomainBatch:
    """
    Crops of both domains.

    :param source_images: (B, 3, H, W) float32, RGB, 0 to 1.
    :param source_labels: (B, H, W) int64, 255 = ignore.
    :param target_images: (B, 3, H, W) float32, RGB, 0 to 1; None if the method needs no target.
    :param source_windows: Where each source crop lies in its frame.
    :param target_windows: Where each target crop lies in its frame.
    :param part: Which part of its step's whole batch it is.
    """

    source_images: Tensor
    source_labels: Tensor
    target_images: Tensor | None = None
    source_windows: tuple[Window, ...] = ()
    target_windows: tuple[Window, ...] = ()
    part: Part = WHOLE

    def to(self, device: str) -> DomainBatch:
        """
        Return the batch on a device.

        :param device: A torch device.
        """
        target = self.target_images
        return replace(
            self,
            source_images=self.source_images.to(device, non_blocking=True),
            source_labels=self.source_labels.to(device, non_blocking=True),
            target_images=None if target is None else target.to(device, non_blocking=True))
