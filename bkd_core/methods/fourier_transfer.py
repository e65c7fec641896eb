# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Give one image the low-frequency amplitudes of another."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def swap_low_frequencies(images: Tensor, styles: Tensor, *, beta: float) -> Tensor:
    """
    Return the images with the amplitudes of the styles' low frequencies and their own phases.

    Yang and Soatto 2020, https://arxiv.org/abs/2004.05498: in every channel,

        x_st = F^-1[ M_beta |F(x_t)| + (1 - M_beta) |F(x_s)|, phase F(x_s) ],

    where M_beta is 1 for the frequencies -floor(beta H) to floor(beta H) down the image and
    -floor(beta W) to floor(beta W) across it. The phases carry what is seen, the low amplitudes
    how bright and how coloured it is. The result is cut to the range of an image [inferred: the
    authors leave it as it comes].

    :param images: (B, 3, H, W), 0 to 1.
    :param styles: (B, 3, H, W), 0 to 1.
    :param beta: 0 (only the mean colours are swapped) to 0.5 (all amplitudes are).
    :return: (B, 3, H, W), 0 to 1.
    """
    height, width = images.shape[-2:]
    # The spectrum of a real image is symmetric: the left half, 0 to W / 2, is all of it.
    down = torch.fft.fftfreq(height, 1 / height, device=images.device).abs()
    across = torch.fft.rfftfreq(width, 1 / width, device=images.device)
    is_low = (down[:, None] <= int(beta * height)) & (across <= int(beta * width))
    spectrum = torch.fft.rfft2(images.float())
    amplitudes = torch.where(is_low, torch.fft.rfft2(styles.float()).abs(), spectrum.abs())
    swapped = torch.polar(amplitudes, spectrum.angle())
    return torch.fft.irfft2(swapped, s=(height, width)).clamp(0, 1).to(images.dtype)
