# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Streets without pictures: where buildings, trees, poles, people and cars are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import math

from bkd_core.datasets.streets.look import Look
import numpy as np

BLOCK = 32.0  # metres of street that are laid out together
CROSS_HALF_WIDTH = 3.6  # metres
PARKING_WIDTH = 2.1
LEFT, RIGHT = -1, 1


@dataclass(frozen=True, kw_only=True)
class Building:
    """
    A house; the lot in front of it reaches to the sidewalk.

    :param side: LEFT or RIGHT.
    :param start: Where it begins along the street, metres.
    :param end: Where it ends.
    :param front: Distance of its facade from the road's middle, metres.
    :param depth: Metres away from the street.
    :param facade: Number of its facade.
    :param is_gabled: It has a gabled roof.
    :param has_lawn: Its lot is a lawn.
    """

    side: int
    start: float
    end: float
    front: float
    depth: float
    facade: int
    is_gabled: bool
    has_lawn: bool


@dataclass(frozen=True, kw_only=True)
class Prop:
    """
    A thing that stands at a point or walks from it.

    :param kind: 'tree', 'bush', 'lamp', 'sign', 'traffic_light', 'pedestrian', 'crossing'
        (a pedestrian who crosses the road), 'parked_car'.
    :param along: Position along the street, metres.
    :param across: Position right of the road's middle, metres.
    :param variant: Number that its looks follow from.
    :param size: Factor on its usual size.
    :param speed: Metres a second, along the street ('crossing': across it).
    """

    kind: str
    along: float
    across: float
    variant: int
    size: float = 1.0
    speed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Block:
    """
    A stretch of street.

    :param start: Where it begins, metres.
    :param cross_street: Middle of a street that crosses, or None.
    :param buildings: Houses on both sides.
    :param props: Things that stand or walk there.
    """

    start: float
    cross_street: float | None
    buildings: tuple[Building, ...]
    props: tuple[Prop, ...]


class Street:
    """
    An endless street; each block follows from the seed and its number alone.

    :param look: What it is drawn from.
    :param seed: Seed of the data set.
    :param number: Number of the street.
    """

    def __init__(self, look: Look, seed: int, number: int) -> None:
        self.look = look
        self._key = [seed, len(look.name), sum(map(ord, look.name)), number]
        rng = np.random.default_rng(self._key)
        self.number = number
        self.half_width = rng.uniform(*look.road_half_width)
        self.sidewalk_width = rng.uniform(*look.sidewalk_width)
        self.lane = (self.half_width - PARKING_WIDTH) / 2
        self.sun_side = _sign(rng)
        self.sun_height = rng.uniform(0.75, 1.2)  # radians
        self.tree_kinds = rng.integers(0, 1000, 3)
        self._bends = [
            (rng.uniform(2.0, 6.0), 2 * math.pi / rng.uniform(240, 420), rng.uniform(0, 6.28)),
            (rng.uniform(0.5, 2.0), 2 * math.pi / rng.uniform(110, 180), rng.uniform(0, 6.28))]
        self._cross_offset = int(rng.integers(0, look.cross_street_every))
        self.block = lru_cache(maxsize=24)(self._block)

    def center(self, along: np.ndarray | float) -> np.ndarray | float:
        """
        Return x of the road's middle.

        :param along: Position along the street, metres.
        """
        sine = np.sin if isinstance(along, np.ndarray) else math.sin
        (size, turn, phase), (size_2, turn_2, phase_2) = self._bends
        return size * sine(turn * along + phase) + size_2 * sine(turn_2 * along + phase_2)

    def slope(self, along: float) -> float:
        """
        Return how fast the road's middle moves sideways, metres a metre.

        :param along: Position along the street, metres.
        """
        return float(self.center(along + 0.5) - self.center(along - 0.5))

    def point(self, along: float, across: float, height: float = 0.0) -> np.ndarray:
        """
        Return a point of the world, (3,).

        :param along: Position along the street, metres.
        :param across: Position right of the road's middle, metres.
        :param height: Metres above the road.
        """
        return np.array([self.center(along) + across, height, along])

    def _block(self, number: int) -> Block:
        rng = np.random.default_rng([*self._key, number + 1_000_000])
        start = number * BLOCK
        is_crossed = (number + self._cross_offset) % self.look.cross_street_every == 0
        cross = start + CROSS_HALF_WIDTH + 1.5 if is_crossed else None
        first = start if cross is None else cross + CROSS_HALF_WIDTH + 1.5
        buildings, props = [], []
        for side in (LEFT, RIGHT):
            houses = self._houses(rng, side, first, start + BLOCK, number)
            buildings += houses
            props += self._trees(rng, side, first, start + BLOCK)
            props += self._furniture(rng, side, first, start + BLOCK)
            props += self._people(rng, side, first, start + BLOCK)
            props += self._parked_cars(rng, side, first, start + BLOCK)
            props += self._gardens(rng, houses)
        if cross is not None:
            props += self._junction(rng, cross)
        return Block(
            start=start, cross_street=cross, buildings=tuple(buildings), props=tuple(props))

    def _houses(
        self, rng: np.random.Generator, side: int, first: float, end: float, number: int,
    ) -> list[Building]:
        line = self.half_width + self.sidewalk_width
        has_lawn = rng.random() < self.look.lawn
        houses, position = [], first
        while end - position > 6:
            width = rng.uniform(8.5, 14.0)
            if end - position - width < 6.5:
                width = end - position
            setback = rng.uniform(3.0, 5.5) if has_lawn else rng.uniform(0.0, 0.3)
            gap = rng.uniform(1.5, 4.0) if has_lawn and rng.random() < 0.6 else 0.0
            houses.append(Building(
                side=side, start=position, end=position + width - gap, front=line + setback,
                depth=rng.uniform(9, 14), facade=int(rng.integers(0, 1 << 30)),
                is_gabled=bool(rng.random() < self.look.gable), has_lawn=has_lawn))
            position += width
        return houses

    def _trees(
        self, rng: np.random.Generator, side: int, first: float, end: float,
    ) -> list[Prop]:
        trees, position = [], first + rng.uniform(1, 6)
        while position < end - 1:
            if rng.random() < 0.8:
                kind = int(self.tree_kinds[int(rng.random() < 0.25)])
                trees.append(Prop(
                    kind='tree', along=position,
                    across=side * (self.half_width + rng.uniform(0.6, 0.9)),
                    variant=kind * 4 + int(rng.integers(0, 4)), size=rng.uniform(0.75, 1.25)))
            position += rng.uniform(*self.look.tree_spacing)
        return trees

    def _gardens(self, rng: np.random.Generator, houses: list[Building]) -> list[Prop]:
        plants = []
        for house in houses:
            if not house.has_lawn:
                continue
            line = self.half_width + self.sidewalk_width
            for position in np.arange(house.start + 0.5, house.end, 1.9):
                if rng.random() < 0.6:
                    plants.append(Prop(
                        kind='bush', along=float(position),
                        across=house.side * (line + rng.uniform(0.3, 0.7)),
                        variant=int(rng.integers(0, 1000)), size=rng.uniform(0.7, 1.3)))
            if rng.random() < 0.5:
                plants.append(Prop(
                    kind='tree', along=rng.uniform(house.start, house.end),
                    across=house.side * (line + 1.6),
                    variant=int(rng.integers(0, 4000)), size=rng.uniform(0.6, 0.9)))
        return plants

    def _furniture(
        self, rng: np.random.Generator, side: int, first: float, end: float,
    ) -> list[Prop]:
        edge = side * (self.half_width + 0.45)
        things = [Prop(
            kind='lamp', along=first + (4.0 if side == RIGHT else 18.0) + rng.uniform(0, 2),
            across=edge, variant=int(rng.integers(0, 1000)))]
        for _ in range(int(rng.integers(1, 4))):
            things.append(Prop(
                kind='sign', along=rng.uniform(first + 1, end - 1), across=edge + side * 0.1,
                variant=int(rng.integers(0, 1000)), size=rng.uniform(0.9, 1.25)))
        return things

    def _people(
        self, rng: np.random.Generator, side: int, first: float, end: float,
    ) -> list[Prop]:
        people = []
        for _ in range(rng.poisson(self.look.pedestrians / 2)):
            along = rng.uniform(first, end)
            across = self.half_width + rng.uniform(1.1, self.sidewalk_width - 0.3)
            speed = _sign(rng) * rng.uniform(0.9, 1.6)
            company = 2 if rng.random() < 0.3 else 1
            for member in range(company):
                people.append(Prop(
                    kind='pedestrian', along=along + 0.35 * member,
                    across=side * (across - 0.6 * member), variant=int(rng.integers(0, 10000)),
                    size=rng.uniform(0.9, 1.08), speed=speed if rng.random() < 0.85 else 0.0))
        return people

    def _parked_cars(
        self, rng: np.random.Generator, side: int, first: float, end: float,
    ) -> list[Prop]:
        places = np.arange(first + 3.2, end - 2.6, 5.9)
        return [
            Prop(kind='parked_car', along=float(place) + rng.uniform(-0.3, 0.3),
                 across=side * (self.half_width - 1.05 + rng.uniform(-0.1, 0.1)),
                 variant=int(rng.integers(0, 10000)), speed=float(side))
            for place in places if rng.random() < self.look.parked]

    def _junction(self, rng: np.random.Generator, cross: float) -> list[Prop]:
        things = []
        for side in (LEFT, RIGHT):
            near = cross - CROSS_HALF_WIDTH - 1.2
            far = cross + CROSS_HALF_WIDTH + 1.0
            for along in (near, far):
                things.append(Prop(
                    kind='traffic_light', along=along,
                    across=side * (self.half_width + 0.5), variant=int(rng.integers(0, 1000))))
        for _ in range(int(rng.integers(0, 3))):
            things.append(Prop(
                kind='crossing', along=cross - CROSS_HALF_WIDTH - 2.6 + rng.uniform(-0.8, 0.8),
                across=rng.uniform(-1, 1) * (self.half_width + 2),
                variant=int(rng.integers(0, 10000)),
                speed=_sign(rng) * rng.uniform(0.9, 1.5)))
        return things


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1
