# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ClassMix: paste half of one image's classes onto another image."""

from __future__ import annotations

from bkd_core.batch import Part, WHOLE
from bkd_core.labels import IGNORE_INDEX
import torch
from torch import Tensor


def class_mix_masks(labels: Tensor, *, part: Part = WHOLE) -> Tensor:
    """
    Choose, in every image, the pixels of a random half of its classes.

    Olsson et al. 2021, https://arxiv.org/abs/2007.07936; half rounded up, as in DACS.

    :param labels: (B, H, W), int64; ignored pixels are never chosen.
    :param part: Which part of its step the images are; what the others draw is drawn here, too.
    :return: (B, H, W), bool, True where the image is pasted onto the other.
    """
    first = part.index * len(labels)
    _draw(part.num_classes[:first])
    masks = []
    for label in labels:
        classes = label.unique()
        classes = classes[classes != IGNORE_INDEX]
        order = torch.randperm(len(classes))[:(len(classes) + 1) // 2]
        masks.append(torch.isin(label, classes[order.to(label.device)]))
    _draw(part.num_classes[first + len(labels):])
    return torch.stack(masks)


def _draw(num_classes: tuple[int, ...]) -> None:
    for number in num_classes:
        torch.randperm(number)
