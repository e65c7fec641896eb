# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of an adaptation round."""

from __future__ import annotations

from dataclasses import dataclass, field

from bkd_core.adaptation.gate import GateSettings
from bkd_core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """
    How a round adapts; the defaults are for about ten minutes on two processor cores.

    What is not named here (crops, batch size, the network's input) is as the model was trained.

    :param teacher_steps: Steps of self-training, from the weights of the model in use.
    :param teacher_learning_rate: Its peak rate; low, since the network is trained already.
    :param ema_decay: Decay of the teacher's average; it looks back over 1 / (1 - decay) steps,
        which must be fewer than it makes.
    :param confidence_threshold: Of pseudo-labels, see `self_training`.
    :param anchor_weight: Share of the fixed original model in the pseudo-labels' probabilities.
    :param student_steps: Steps of distillation, from the weights of the model in use.
    :param student_learning_rate: Its peak rate.
    :param max_frames: Target frames that are learnt from, at most, evenly spaced in time.
    :param max_held_back: Target frames that the gate looks at, at most.
    :param checkpoint_steps: A stopped round loses fewer steps than this.
    :param cache_megabytes: Memory for the teacher's soft labels.
    :param seed: Everything random follows from it.
    :param device: auto, cpu, cuda or cuda:N.
    :param max_megabytes: What all versions together may take up on the disk.
    :param gate: What the student must fulfil.
    """

    teacher_steps: int = 60
    teacher_learning_rate: float = 1e-4
    ema_decay: float = 0.95
    confidence_threshold: float = 0.9
    anchor_weight: float = 0.5
    student_steps: int = 120
    student_learning_rate: float = 2e-4
    max_frames: int = 200
    max_held_back: int = 40
    checkpoint_steps: int = 10
    cache_megabytes: int = 500
    seed: int = 0
    device: str = 'auto'
    max_megabytes: int = 500
    gate: GateSettings = field(default_factory=GateSettings)

    def __post_init__(self) -> None:
        """Check what the training's own settings do not."""
        for name, least in (
                ('teacher_steps', 1), ('student_steps', 1), ('max_frames', 1),
                ('max_held_back', 2), ('max_megabytes', 1)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f'{name}: got {value}; expected at least {least}')
