# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of trees and bushes with leaves."""

from __future__ import annotations

from functools import lru_cache

from bkd_core.datasets.streets.look import Look, LOOKS
from bkd_core.datasets.streets.texture import Texture
import cv2
import numpy as np

_NUM_TREES, _NUM_BUSHES = 12, 6
_SIZE = 288  # pixels, the side of a picture
_BARK = (84, 66, 52)


def tree(look: Look, variant: int) -> Texture:
    """
    Return a tree 8 m high.

    :param look: Look of the domain.
    :param variant: Any number.
    """
    return _make_tree(look.name, variant % _NUM_TREES)


def bush(look: Look, variant: int) -> Texture:
    """
    Return a bush 1.4 m high.

    :param look: Look of the domain.
    :param variant: Any number.
    """
    return _make_bush(look.name, variant % _NUM_BUSHES)


@lru_cache(maxsize=None)
def _make_tree(look_name: str, number: int) -> Texture:
    look = LOOKS[look_name]
    color = np.array(look.foliage_colors[number % len(look.foliage_colors)], float)
    rng = np.random.default_rng([12, len(look_name), number])
    shape = int(rng.integers(0, 3))
    picture, alpha = _blank(color)
    _draw_trunk(picture, alpha, rng, reach=0.04 if shape == 1 else 0.22)
    for x, y, radius in _crown(rng, shape):
        _draw_leaves(picture, alpha, rng, color, (x, y), radius)
    return Texture(picture, pixels_per_metre=_SIZE / 8, alpha=alpha)


@lru_cache(maxsize=None)
def _make_bush(look_name: str, number: int) -> Texture:
    look = LOOKS[look_name]
    rng = np.random.default_rng([13, len(look_name), number])
    color = np.array(look.foliage_colors[int(rng.integers(len(look.foliage_colors)))], float)
    picture, alpha = _blank(color)
    for _ in range(9):
        x = rng.uniform(0.25, 0.75) * _SIZE
        y = rng.uniform(0.45, 0.85) * _SIZE
        _draw_leaves(picture, alpha, rng, color * 0.9, (x, y), 0.18 * _SIZE)
    alpha[int(0.97 * _SIZE):] = 0
    return Texture(picture, pixels_per_metre=_SIZE / 1.4, alpha=alpha)


def _blank(color: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    picture = np.empty((_SIZE, _SIZE, 3), np.uint8)
    picture[:] = color * 0.7
    return picture, np.zeros((_SIZE, _SIZE), np.uint8)


def _draw_trunk(
    picture: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, *, reach: float,
) -> None:
    middle = _SIZE / 2
    lines = [((middle, _SIZE), (middle + rng.uniform(-6, 6), 0.45 * _SIZE), 9)]
    for _ in range(5):
        start = rng.uniform(0.4, 0.62) * _SIZE
        side = rng.uniform(-reach, reach) * _SIZE
        lines.append(((middle, start), (middle + side, start - rng.uniform(40, 80)), 4))
    for (x0, y0), (x1, y1), width in lines:
        side = np.array([[x0 - width, y0], [x0 + width, y0], [x1 + 2, y1], [x1 - 2, y1]])
        light = side.copy()
        light[1:3, 0] -= width * 0.9
        for polygon, shade in ((side, 0.75), (light, 1.1)):
            corners = [np.rint(polygon * 16).astype(np.int32)]
            cv2.fillPoly(picture, corners, tuple(v * shade for v in _BARK), cv2.LINE_AA, 4)
            cv2.fillPoly(alpha, corners, 255, cv2.LINE_AA, 4)


def _crown(rng: np.random.Generator, shape: int) -> list[tuple[float, float, float]]:
    """Return (x, y, radius) of the clumps of leaves, pixels, from back to front."""
    clumps = []
    for _ in range(22):
        share = rng.random()
        if shape == 0:  # round
            angle, reach = rng.uniform(0, 2 * np.pi), 0.3 * np.sqrt(share)
            x, y = 0.5 + reach * np.cos(angle), 0.36 + 0.85 * reach * np.sin(angle)
            radius = 0.13
        elif shape == 1:  # high and narrow
            x, y = 0.5 + rng.uniform(-0.12, 0.12) * (0.4 + share), 0.12 + 0.6 * share
            radius = 0.07 + 0.05 * share
        else:  # wide
            x, y = 0.5 + rng.uniform(-0.34, 0.34), 0.3 + rng.uniform(-0.12, 0.14)
            y += 0.8 * (x - 0.5) ** 2
            radius = 0.12
        clumps.append((x * _SIZE, y * _SIZE, radius * _SIZE))
    return sorted(clumps, key=lambda clump: clump[1])


def _draw_leaves(
    picture: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, color: np.ndarray,
    middle: tuple[float, float], radius: float,
) -> None:
    """Draw a clump: dark leaves behind, lighter ones towards the light at the upper left."""
    count = 130
    angle = rng.uniform(0, 2 * np.pi, count)
    reach = radius * np.sqrt(rng.random(count)) * 1.05
    x = middle[0] + reach * np.cos(angle)
    y = middle[1] + reach * np.sin(angle)
    towards_light = (-(x - middle[0]) * 0.5 - (y - middle[1])) / radius
    light = 0.82 + 0.3 * towards_light + rng.uniform(-0.12, 0.12, count)
    light *= 1.08 - 0.45 * y / _SIZE
    colors = color * light[:, None] + rng.uniform(-6, 6, (count, 3))
    colors = np.clip(colors, 0, 255).tolist()
    places = np.rint(np.stack([x, y], axis=1) * 16).astype(int).tolist()
    sizes = (rng.uniform(1.8, 4.2, count) * 16).astype(int).tolist()
    for index in np.argsort(towards_light + rng.normal(0, 0.4, count)):
        cv2.circle(picture, places[index], sizes[index], colors[index], -1, cv2.LINE_AA, 4)
        cv2.circle(alpha, places[index], sizes[index], 255, -1, cv2.LINE_AA, 4)
