# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Changes of colour and sharpness that leave the labels as they are."""

from __future__ import annotations

from bkd_core.models.torchvision_guard import ensure_torchvision_imports
import torch
from torch import Tensor


class PhotometricAugmentation:
    """
    Colour jitter and blur, drawn anew for every image (as in DACS, Tranheden et al. 2021).

    :param color_jitter: Strength of brightness, contrast and saturation changes, 0 to 1; the
        hue changes by a quarter of it. 0 switches the jitter off.
    :param blur: Probability of a Gaussian blur of 0.15 to 1.15 pixels.
    """

    def __init__(self, *, color_jitter: float, blur: float) -> None:
        ensure_torchvision_imports()
        from torchvision.transforms import v2
        strength = color_jitter
        self.jitter = v2.ColorJitter(strength, strength, strength, strength / 4) if (
            strength > 0) else None
        self.blur = v2.GaussianBlur(7, (0.15, 1.15))
        self.blur_probability = blur

    def __call__(self, images: Tensor) -> Tensor:
        """
        Return changed images.

        :param images: (B, 3, H, W), 0 to 1; left as they are.
        :return: (B, 3, H, W), 0 to 1, channels last.
        """
        changed = []
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 has 8 bits a colour
            for image in images:
                if self.jitter is not None:
                    image = self.jitter(image)
                if torch.rand(()) < self.blur_probability:
                    image = self.blur(image)
                changed.append(image)
        return torch.stack(changed).contiguous(memory_format=torch.channels_last)
