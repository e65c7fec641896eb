# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Changes of colour and sharpness that leave the labels as they are."""

from __future__ import annotations

from typing import Any

from bkd_core.batch import WHOLE
from bkd_core.models.torchvision_guard import ensure_torchvision_imports
import torch
from torch import Tensor


class PhotometricAugmentation:
    """
    Colour jitter and blur, drawn anew for every image (as in DACS, Tranheden et al. 2021).

    :param color_jitter: Strength of brightness, contrast and saturation changes, 0 to 1; the
        hue changes by a quarter of it. 0 switches the jitter off.
    :param blur: Probability of a Gaussian blur of 0.15 to 1.15 pixels.

    `part` says which part of its step the next images are: for the others' images as much is
    drawn as for the own, so that an image looks the same however a step is divided.
    """

    def __init__(self, *, color_jitter: float, blur: float) -> None:
        ensure_torchvision_imports()
        from torchvision.transforms import v2
        strength = color_jitter
        self.jitter = v2.ColorJitter(strength, strength, strength, strength / 4) if (
            strength > 0) else None
        self.blur = v2.GaussianBlur(7, (0.15, 1.15))
        self.blur_probability = blur
        self.part = WHOLE

    def __call__(self, images: Tensor) -> Tensor:
        """
        Return changed images.

        :param images: (B, 3, H, W), 0 to 1; left as they are.
        :return: (B, 3, H, W), 0 to 1, channels last.
        """
        changed = []
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 has 8 bits a colour
            for view in images.split(self.part.size or len(images)):
                for index in range(self.part.count):
                    if index == self.part.index:
                        changed.extend(map(self._change, view))
                    else:
                        for _ in view:
                            self._draw()
        return torch.stack(changed).contiguous(memory_format=torch.channels_last)

    def _change(self, image: Tensor) -> Tensor:
        if self.jitter is not None:
            image = self.jitter(image)
        return self.blur(image) if torch.rand(()) < self.blur_probability else image

    def _draw(self) -> None:
        """Draw what the change of an image draws."""
        if self.jitter is not None:
            _draw_parameters(self.jitter)
        if torch.rand(()) < self.blur_probability:
            _draw_parameters(self.blur)


def _draw_parameters(transform: Any) -> None:
    draw = getattr(transform, 'make_params', None) or transform._get_params  # torchvision 0.19
    draw([])
