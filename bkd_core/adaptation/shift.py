# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Notice that a camera shows something else than its network was trained for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bkd_core.errors import InputError
from bkd_core.evaluation import FrameDescription, ShiftReference
import numpy as np

_SMALLEST_THRESHOLD = 1e-9  # of a network that is sure of everything


@dataclass(frozen=True, kw_only=True)
class ShiftSettings:
    """
    When the frames of a window count as shifted.

    :param quantile: A frame is unusual if any of its scores is above this quantile of the
        reference's: a network may doubt what it sees, or be sure of it for strange reasons.
    :param window: Number of the newest frames that are looked at.
    :param min_share: They are shifted if this share of them is unusual. Without a shift,
        1 - `quantile` of independent frames are, by each score; frames of a video depend on
        each other, and unseen ones are less certain than those of the training, so the distance
        is large.
    """

    quantile: float = 0.95
    window: int = 20
    min_share: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, is_right, expected in (
                ('quantile', 0 < self.quantile < 1, 'between 0 and 1'),
                ('window', self.window >= 1, 'at least 1'),
                ('min_share', 0 < self.min_share <= 1, 'above 0, at most 1')):
            if not is_right:
                raise InputError(f'shift.{name}: got {getattr(self, name)}; expected {expected}')


class ShiftDetector:
    """
    Watch the newest frames of one camera.

    :param reference: How the network answers to what it was trained for.
    :param settings: When it counts as a shift.
    """

    def __init__(
        self, reference: ShiftReference, settings: ShiftSettings = ShiftSettings(),
    ) -> None:
        self.settings = settings
        self.thresholds = {
            name: max(float(np.quantile(scores, settings.quantile)), _SMALLEST_THRESHOLD)
            for name, scores in reference.scores.items()}
        self._reference = reference
        self._unusual: deque[bool] = deque(maxlen=settings.window)

    def update(self, description: FrameDescription) -> bool:
        """
        Take a frame; return whether the newest ones are shifted.

        :param description: The network's answer to the frame.
        """
        self._unusual.append(not self.strangeness(description) <= 1)  # NaN is unusual, too
        return self.is_shifted

    def strangeness(self, description: FrameDescription) -> float:
        """
        Return the largest of a frame's scores, relative to its threshold: above 1 is unusual.

        :param description: The network's answer to the frame.
        """
        scores = self._reference.score(description)
        return float(np.max([scores[name] / limit for name, limit in self.thresholds.items()]))

    @property
    def share(self) -> float:
        """Return the share of unusual frames in the window, 0 to 1; 0 before the first frame."""
        return sum(self._unusual) / len(self._unusual) if self._unusual else 0.0

    @property
    def is_shifted(self) -> bool:
        """Return whether the window is full and enough of it is unusual."""
        is_full = len(self._unusual) == self.settings.window
        return is_full and self.share >= self.settings.min_share
