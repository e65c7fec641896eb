# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Which frame gives way when a store is full.

None of them needs a state of its own on the disk: all follows from the records, so a store
goes on after a restart as if nothing had been.
"""

from __future__ import annotations

from collections import Counter
import hashlib
from typing import Protocol

from bkd_core.adaptation.embedding import distances
from bkd_core.datasets.frame_record import FrameRecord
import numpy as np

STRATUM_NS = 60 * 10**9


class Selection(Protocol):
    """A set of frames that can name the one it could best do without."""

    needs_embedding: bool

    def add(self, record: FrameRecord) -> None:
        """Take a frame into the set."""

    def remove(self, name: str) -> None:
        """Take a frame out of the set."""

    def victim(self) -> str:
        """Return the name of the frame that should give way; the set has at least one."""


class KeepLatest:
    """
    The oldest frame gives way.

    :param seed: Not used.
    """

    needs_embedding = False

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


class Reservoir:
    """
    Every frame has the same chance to stay.

    Keeping the largest of independent random numbers is a reservoir sample (Vitter 1985); drawn
    from the frame's name and a seed, they are the same after a restart.

    :param seed: Of the random numbers.
    """

    needs_embedding = False

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._numbers: dict[str, int] = {}

    def add(self, record: FrameRecord) -> None:
        """Take a frame into the set."""
        self._numbers[record.name] = random_number(self._seed, record.name)

    def remove(self, name: str) -> None:
        """Take a frame out of the set."""
        del self._numbers[name]

    def victim(self) -> str:
        """Return the name of the frame with the smallest random number."""
        return min(self._numbers, key=self._numbers.__getitem__)


class KCenter:
    """
    One of the two frames that are most alike gives way, so that what is left covers the most.

    An incremental form of the greedy k-center algorithm (Gonzalez 1985): of the closest pair,
    the one that is also closer to a third frame goes. A frame without an embedding, or with one
    of another network's size, cannot be compared and goes first, the oldest at the head.

    :param seed: Not used: nothing is drawn.
    """

    needs_embedding = True

    def __init__(self, *, seed: int = 0) -> None:
        self._records: dict[str, FrameRecord] = {}
        self._size = 0
        self._names: list[str] = []
        self._embeddings = np.zeros((0, 0), np.float32)
        # Of every frame the nearest other one and how far it is.
        self._nearest = np.zeros(0, np.int64)
        self._radius = np.zeros(0, np.float32)

    def add(self, record: FrameRecord) -> None:
        """Take a frame into the set."""
        self._records[record.name] = record
        size = record.embedding.size
        if size and size != self._size:
            self._start_anew(size)
        if not size:
            return
        row = record.embedding.astype(np.float32)
        away = distances(row, self._embeddings)
        number = len(self._names)
        closer = away < self._radius
        self._nearest[closer], self._radius[closer] = number, away[closer]
        nearest = int(away.argmin()) if number else -1
        self._nearest = np.append(self._nearest, nearest)
        self._radius = np.append(self._radius, away[nearest] if number else np.float32(np.inf))
        self._embeddings = np.vstack([self._embeddings, row])
        self._names.append(record.name)

    def remove(self, name: str) -> None:
        """Take a frame out of the set."""
        del self._records[name]
        if name not in self._names:
            return
        gone = self._names.index(name)
        orphans = [index for index in np.flatnonzero(self._nearest == gone) if index != gone]
        del self._names[gone]
        self._embeddings = np.delete(self._embeddings, gone, axis=0)
        self._nearest = np.delete(self._nearest, gone)
        self._radius = np.delete(self._radius, gone)
        self._nearest[self._nearest > gone] -= 1
        for index in orphans:
            self._find_nearest(index - (index > gone))

    def victim(self) -> str:
        """Return the name of the frame that is best covered by the others."""
        if len(self._names) < len(self._records):
            known = set(self._names)
            return min(
                (record for record in self._records.values() if record.name not in known),
                key=lambda record: (record.metadata.stamp_ns, record.name)).name
        if len(self._names) == 1:
            return self._names[0]
        one = int(self._radius.argmin())
        other = int(self._nearest[one])
        return self._names[min(one, other, key=lambda index: self._second(index, one, other))]

    def _start_anew(self, size: int) -> None:
        """Compare only frames of this size from now on: another network has come."""
        self._size = size
        self._names = []
        self._embeddings = np.zeros((0, size), np.float32)
        self._nearest, self._radius = np.zeros(0, np.int64), np.zeros(0, np.float32)

    def _second(self, index: int, one: int, other: int) -> tuple[float, str]:
        away = distances(self._embeddings[index], self._embeddings)
        away[[one, other]] = np.inf
        return float(away.min()), self._names[index]

    def _find_nearest(self, index: int) -> None:
        away = distances(self._embeddings[index], self._embeddings)
        away[index] = np.inf
        self._nearest[index] = away.argmin()
        self._radius[index] = away.min()


class Stratified:
    """
    A frame of the fullest minute of a topic gives way, by another selection's choice.

    So every minute keeps its share, a short dusk beside a long day too. Of minutes that are
    equally full a random one is taken: once there are more minutes than room, those that stay
    are a random sample.

    :param seed: Of the random numbers.
    """

    needs_embedding = False
    inside: type[Selection] = Reservoir

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._strata: dict[tuple[str, int], Selection] = {}
        self._sizes: Counter[tuple[str, int]] = Counter()
        self._places: dict[str, tuple[str, int]] = {}

    def add(self, record: FrameRecord) -> None:
        """Take a frame into the set."""
        place = record.metadata.topic, record.metadata.stamp_ns // STRATUM_NS
        if place not in self._strata:
            self._strata[place] = self.inside(seed=self._seed)
        self._strata[place].add(record)
        self._sizes[place] += 1
        self._places[record.name] = place

    def remove(self, name: str) -> None:
        """Take a frame out of the set."""
        place = self._places.pop(name)
        self._strata[place].remove(name)
        self._sizes[place] -= 1
        if not self._sizes[place]:
            del self._sizes[place], self._strata[place]

    def victim(self) -> str:
        """Return the choice in the fullest stratum."""
        most = max(self._sizes.values())
        fullest = (place for place, size in self._sizes.items() if size == most)
        return self._strata[
            min(fullest, key=lambda place: random_number(self._seed, *place))].victim()


class StratifiedReservoir(Stratified):
    """Within a minute, every frame has the same chance to stay."""


class StratifiedKCenter(Stratified):
    """Within a minute, one of the two frames that are most alike gives way."""

    needs_embedding = True
    inside = KCenter


SELECTIONS = {
    'k_center': KCenter,
    'keep_latest': KeepLatest,
    'stratified_k_center': StratifiedKCenter,
    'stratified_reservoir': StratifiedReservoir,
}


def random_number(*words: object) -> int:
    """
    Return a number that is the same for the same words everywhere, and otherwise random.

    :param words: Texts and numbers.
    :return: 0 to 2^64 - 1.
    """
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8], 'big')
