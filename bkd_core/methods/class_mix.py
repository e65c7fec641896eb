# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ClassMix: paste half of one image's classes onto another image."""

from __future__ import annotations

from bkd_core.labels import IGNORE_INDEX
import torch
from torch import Tensor


def class_mix_masks(labels: Tensor) -> Tensor:
    """
    Choose, in every image, the pixels of a random half of its classes.

    Olsson et al. 2021, https://arxiv.org/abs/2007.07936; half rounded up, as in DACS.

    :param labels: (B, H, W), int64; ignored pixels are never chosen.
    :return: (B, H, W), bool, True where the image is pasted onto the other.
    """
    masks = []
    for label in labels:
        classes = label.unique()
        classes = classes[classes != IGNORE_INDEX]
        order = torch.randperm(len(classes))[:(len(classes) + 1) // 2]
        masks.append(torch.isin(label, classes[order.to(label.device)]))
    return torch.stack(masks)
