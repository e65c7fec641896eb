# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which frame gives way when a store is full."""

from __future__ import annotations

from typing import Protocol

from bkd_core.datasets.frame_record import FrameRecord


class Selection(Protocol):
    """A set of frames that can name the one it could best do without."""

    def add(self, record: FrameRecord) -> None:
        """Take a frame into the set."""

    def remove(self, name: str) -> None:
        """Take a frame out of the set."""

    def victim(self) -> str:
        """Return the name of the frame that should give way; the set has at least one."""


class KeepLatest:
    """The oldest frame gives way."""

    def __init__(self, *, seed: int = 0) -> None:
        self._stamps: dict[str, int] = {}

    def add(self, record: FrameRecord) -> None:
        """Take a frame into the set."""
        self._stamps[record.name] = record.metadata.stamp_ns

    def remove(self, name: str) -> None:
        """Take a frame out of the set."""
        del self._stamps[name]

    def victim(self) -> str:
        """Return the name of the frame with the earliest stamp."""
        return min(self._stamps, key=lambda name: (self._stamps[name], name))


SELECTIONS = {
    'keep_latest': KeepLatest,
}
