# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of house fronts, drawn once and then seen in perspective."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from bkd_core.datasets.streets.facade_parts import draw_floors, RESOLUTION, Style
from bkd_core.datasets.streets.look import Look, LOOKS
from bkd_core.datasets.streets.noise import fractal_tile
from bkd_core.datasets.streets.texture import Texture
import cv2
import numpy as np

_NUM_FACADES = 28
_ROOFS = ((150, 72, 52), (98, 60, 50), (84, 84, 92), (120, 92, 76))


@dataclass(frozen=True, kw_only=True, eq=False)
class Facade:
    """
    A house's pictures.

    :param front: Seen from the street.
    :param side: Seen along the street.
    :param roof: Colour of the roof.
    :param wall: Colour of the walls.
    """

    front: Texture
    side: Texture
    roof: tuple[int, int, int]
    wall: tuple[int, int, int]


def choose_facade(look: Look, number: int, width: float) -> Facade:
    """
    Return a facade about as wide as a house.

    :param look: Look of the domain.
    :param number: The house's own number.
    :param width: Metres.
    """
    candidates = [(number >> shift) % _NUM_FACADES for shift in (0, 7, 14)]
    facades = [make_facade(look.name, candidate) for candidate in candidates]
    return min(facades, key=lambda facade: abs(facade.front.width - width))


@lru_cache(maxsize=2 * _NUM_FACADES)
def make_facade(look_name: str, number: int) -> Facade:
    """
    Draw a facade.

    :param look_name: Name of the look.
    :param number: Number of the facade.
    """
    look = LOOKS[look_name]
    rng = np.random.default_rng([len(look_name), number, 5])
    wall = look.wall_colors[int(rng.integers(len(look.wall_colors)))]
    wall = tuple(int(np.clip(value + rng.integers(-14, 15), 0, 255)) for value in wall)
    is_brick = bool(rng.random() < look.brick)
    style = Style(rng, look, wall)
    floors = int(rng.integers(look.floors[0], look.floors[1] + 1))
    bays = int(rng.integers(3, 6))
    floor_height = rng.uniform(2.9, 3.4)
    front = _wall(rng, look, wall, is_brick, bays * style.bay, floors * floor_height + 0.7)
    draw_floors(front, rng, style, bays, floors, floor_height)
    side = _wall(rng, look, wall, is_brick, 11.0, floors * floor_height + 0.7)
    draw_floors(side, rng, style, 3, floors, floor_height, is_side=True)
    return Facade(
        front=Texture(front, pixels_per_metre=RESOLUTION),
        side=Texture(side, pixels_per_metre=RESOLUTION),
        roof=_ROOFS[int(rng.integers(len(_ROOFS)))], wall=wall)


def _wall(
    rng: np.random.Generator, look: Look, color: tuple, is_brick: bool, width: float,
    height: float,
) -> np.ndarray:
    rows, columns = int(height * RESOLUTION), int(width * RESOLUTION)
    picture = np.empty((rows, columns, 3), np.float32)
    picture[:] = color
    if is_brick:
        picture *= _bricks(rng, rows, columns)[..., None]
    noise = fractal_tile(512, int(rng.integers(0, 4)), coarsest=8)
    noise = np.tile(noise, (2, 2))[:rows, :columns]
    noise = cv2.resize(noise, (columns, rows))
    picture *= (1 + (0.1 + 0.5 * look.grain) * (noise - 0.5))[..., None]
    soil = np.linspace(0.04, 1, rows, dtype=np.float32)[:, None, None]
    picture *= 1 - 0.18 * soil ** 6
    return np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))


def _bricks(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    high, wide = 3, 8
    grid = rng.uniform(0.8, 1.12, (rows // high + 1, columns // wide + 2)).astype(np.float32)
    bricks = np.repeat(np.repeat(grid, high, axis=0), wide, axis=1)
    bricks[::high] *= 0.82
    bricks[:, ::wide] *= 0.88
    shifted = np.roll(bricks, wide // 2, axis=1)
    odd = (np.arange(len(bricks)) // high) % 2 == 1
    bricks[odd] = shifted[odd]
    return bricks[:rows, :columns]
