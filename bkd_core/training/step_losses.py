# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A step's losses as a module, which torch can wrap."""

from __future__ import annotations

from typing import Callable

from bkd_core.batch import DomainBatch
from torch import nn, Tensor


class StepLosses(nn.Module):
    """
    Compute the losses of a batch; the parameters are the student's.

    :param student: The network that is trained.
    :param losses: Batch -> named losses; calls the student as often as it likes.
    """

    def __init__(
        self, student: nn.Module, losses: Callable[[DomainBatch], dict[str, Tensor]],
    ) -> None:
        super().__init__()
        self.student = student
        self._losses = losses

    def forward(self, batch: DomainBatch) -> dict[str, Tensor]:
        """
        Return the named losses.

        :param batch: Crops of both domains, on the student's device.
        """
        return self._losses(batch)
