# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Who watches a training."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Called by the trainer; must change neither the networks nor what they are trained on."""

    def after_step(self, losses: dict[str, float], seconds: float) -> None:
        """
        Take note of a step, before a checkpoint of it may be written.

        :param losses: The value of each loss term.
        :param seconds: How long the step took, with waiting for its images.
        """

    def after_save(self) -> None:
        """Take note that a checkpoint holds the steps made so far."""
