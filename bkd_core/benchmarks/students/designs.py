# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The design points: one network each, from the default student towards faster and larger ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Sequence

from bkd_core.config import (
    AugmentationConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from bkd_core.errors import unknown_name

# Nothing of the validation split is learnt from.
_TRAIN = DataConfig(name='camvid', root='camvid', options={'split': 'train'})
_VALIDATION = DataConfig(name='camvid', root='camvid', options={'split': 'val'})
# As the oracle of the protocols' budget for a processor.
_LEARNING_RATE = 1e-3
# Short side at which LR-ASPP sees a frame, in pixels: the default student's.
PEER_HEIGHT = 352


@dataclass(frozen=True, kw_only=True)
class Design:
    """
    A student.

    :param name: What it is called in the table.
    :param options: Options of `lite_fpn`.
    :param input_height: Short side at which it sees a frame, in pixels.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    input_height: int = 352

    def config(self, *, steps: int, seed: int) -> TrainingConfig:
        """
        Return its training on the labelled frames of CamVid: the ceiling of the design.

        :param steps: Optimizer steps.
        :param seed: Everything random follows from it.
        """
        return TrainingConfig(
            source=_TRAIN, validation=_VALIDATION, steps=steps, seed=seed, device='cpu',
            model=ModelConfig(options=self.options, input_height=self.input_height),
            augmentation=AugmentationConfig(crop_size=(192, 192)),
            optimizer=OptimizerConfig(learning_rate=_LEARNING_RATE))


# The first one is the default network.
DESIGNS = (
    Design(name='default'),
    Design(name='width 64', options={'width': 64}),
    Design(name='stride 8', options={'logits_stride': 8}),
    Design(name='height 256', input_height=256),
    Design(name='height 480', input_height=480),
    Design(name='lite2', options={'variant': 'lite2'}),
    Design(name='5 stages', options={'num_stages': 5}),
    Design(name='5 stages, width 64', options={'num_stages': 5, 'width': 64}),
    Design(name='5 stages, width 64, stride 8',
           options={'num_stages': 5, 'width': 64, 'logits_stride': 8}),
    Design(name='5 stages, width 64, height 256',
           options={'num_stages': 5, 'width': 64}, input_height=256),
    Design(name='5 stages, width 64, height 224',
           options={'num_stages': 5, 'width': 64}, input_height=224),
    Design(name='5 stages, width 64, height 192',
           options={'num_stages': 5, 'width': 64}, input_height=192),
    Design(name='5 stages, width 48, height 192',
           options={'num_stages': 5, 'width': 48}, input_height=192),
    Design(name='5 stages, width 32, height 192',
           options={'num_stages': 5, 'width': 32}, input_height=192),
    Design(name='5 stages, width 32, height 256',
           options={'num_stages': 5, 'width': 32}, input_height=256),
    Design(name='5 stages, width 64, stride 8, height 256',
           options={'num_stages': 5, 'width': 64, 'logits_stride': 8}, input_height=256),
    Design(name='width 64, height 192', options={'width': 64}, input_height=192),
    Design(name='4 stages, width 64', options={'num_stages': 4, 'width': 64}),
    Design(name='4 stages, width 64, stride 8',
           options={'num_stages': 4, 'width': 64, 'logits_stride': 8}),
    Design(name='4 stages, width 64, stride 8, height 480',
           options={'num_stages': 4, 'width': 64, 'logits_stride': 8}, input_height=480),
)


def choose_designs(names: Sequence[str]) -> list[Design]:
    """
    Return the designs of these names, in the table's order.

    :param names: Of `DESIGNS`; none for all.
    :raises InputError: If there is no such design.
    """
    known = [design.name for design in DESIGNS]
    for name in names:
        if name not in known:
            raise unknown_name('design', name, known)
    return [design for design in DESIGNS if not names or design.name in names]
