# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Methods of adaptation: a batch in, named losses out."""

from __future__ import annotations

from typing import Any

from bkd_core.errors import unknown_name
from bkd_core.methods.anchored_self_training import AnchoredSelfTraining
from bkd_core.methods.bilateral_distillation import BilateralDistillation
from bkd_core.methods.fda import FourierDomainAdaptation
from bkd_core.methods.fourier_transfer import swap_low_frequencies
from bkd_core.methods.max_square import MaxSquare
from bkd_core.methods.method import Method
from bkd_core.methods.photometric import PhotometricAugmentation
from bkd_core.methods.rehearsal import Rehearsal
from bkd_core.methods.self_training import SelfTraining
from bkd_core.methods.soft_label_cache import SharedMaps, SoftLabelMemory
from bkd_core.methods.source_only import SourceOnly
from torch import nn

METHODS = {
    'source_only': SourceOnly,
    'max_square': MaxSquare,
    'fda': FourierDomainAdaptation,
    'self_training': SelfTraining,
    'anchored_self_training': AnchoredSelfTraining,
    'bilateral_distillation': BilateralDistillation,
}

__all__ = [
    'build_method', 'Method', 'METHODS', 'PhotometricAugmentation', 'Rehearsal', 'SharedMaps',
    'SoftLabelMemory', 'swap_low_frequencies']


def build_method(
    settings: Any, student: nn.Module, *, teacher: nn.Module | None,
    augment: PhotometricAugmentation, loss_stride: int, batch_statistics: str = 'shared',
) -> Method:
    """
    Build a method by its settings' name.

    :param settings: One of the dataclasses in `bkd_core.method_config.METHOD_CONFIGS`.
    :param student: The network to train: images of 0 to 1 -> logits.
    :param teacher: The fixed teacher, where the method needs one.
    :param augment: Photometric changes of the images that the student sees.
    :param loss_stride: One pixel in this many, each way, is compared.
    :param batch_statistics: 'shared' or 'per_domain'.
    :raises InputError: If there is no method of this name.
    """
    if settings.name not in METHODS:
        raise unknown_name('method', settings.name, METHODS)
    extra = {} if teacher is None else {'teacher': teacher}
    return METHODS[settings.name](
        student, settings, augment=augment, loss_stride=loss_stride,
        batch_statistics=batch_statistics, **extra)
