# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every method offers to the trainer."""

from __future__ import annotations

from typing import Protocol

from bkd_core.batch import DomainBatch
from torch import nn, Tensor


class Method(Protocol):
    """A training step: it names its losses and leaves gradients and steps to the trainer."""

    uses_target: bool
    student: nn.Module

    def losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the step's losses, each a scalar; their sum is minimised.

        :param batch: Crops of both domains, on the method's device.
        """

    def after_step(self, step: int) -> None:
        """
        Do what follows the optimizer's step.

        :param step: Number of the step that was made, from 0.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the student and the optimizer."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """
        Restore what `state_dict` returned.

        :param state: From a checkpoint.
        """

    def result(self) -> nn.Module:
        """Return the network that training is for."""
