# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of an adaptation round."""

from __future__ import annotations

from dataclasses import dataclass, field

from bkd_core.adaptation.gate import GateSettings
from bkd_core.errors import InputError

# Of fewer frames none is left for the gate.
_MIN_MEMORY = 8


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """
    How a round adapts; the defaults are for about ten minutes on two processor cores.

    What is not named here (crops, batch size, the network's input) is as the model was trained.

    :param teacher_steps: Steps of self-training, from the weights of the original model.
    :param teacher_learning_rate: Its peak rate; low, since the network is trained already.
    :param ema_decay: Decay of the teacher's average; it looks back over 1 / (1 - decay) steps,
        which must be fewer than it makes.
    :param confidence_threshold: Of pseudo-labels, see `self_training`.
    :param anchor_weight: Share of the fixed original model in the pseudo-labels' probabilities.
    :param student_steps: Steps of distillation, from the weights of the original model.
    :param student_learning_rate: Its peak rate.
    :param lambda_target: Weight of target-flow distillation, whatever the model was trained with.
    :param logit_adjustment: Of the teacher's soft labels on the target, see
        `bilateral_distillation`, as well; the gate measures the agreement with labels that are
        adjusted like them.
    :param max_frames: Target frames that are learnt from, at most, evenly spaced in time.
    :param max_held_back: Target frames that the gate looks at, at most.
    :param memory_frames: Frames of all domains so far that travel with an accepted version, as
        equally many of each round as there are; the next round learns on three quarters of them
        from the soft labels of the version in use (see `bkd_core.methods.rehearsal`), its gate
        looks at the others. 0, the default, stores none and uses none: they are pictures that
        the robot's camera took, a version is made to be passed on, and to have that is for its
        owner to decide. 40 is a start.
    :param memory_disk_megabytes: What these frames may take up in a version.
    :param lambda_memory: Weight of the divergence from the version in use on them; with 1 a
        stored frame weighs as much as one of the new domain.
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
    lambda_target: float = 4.0
    logit_adjustment: float = 0.5
    max_frames: int = 200
    max_held_back: int = 40
    memory_frames: int = 0
    memory_disk_megabytes: int = 20
    lambda_memory: float = 1.0
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
                ('max_held_back', 2), ('max_megabytes', 1), ('memory_disk_megabytes', 1),
                ('lambda_memory', 0), ('lambda_target', 0), ('logit_adjustment', 0)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f'{name}: got {value}; expected at least {least}')
        if self.memory_frames != 0 and self.memory_frames < _MIN_MEMORY:
            raise InputError(
                f'memory_frames: got {self.memory_frames}; expected 0, for none, or at least '
                f'{_MIN_MEMORY}')
