# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of trees and bushes with leaves."""

from __future__ import annotations

from functools import lru_cache

from bkd_core.datasets.streets.canvas import Texture
from bkd_core.datasets.streets.look import LOOKS
import cv2
import numpy as np

_SIZE = 288  # pixels, the side of a picture
_BARK = (84, 66, 52)


@lru_cache(maxsize=64)
def make_tree(look_name: str, variant: int) -> Texture:
    """
    Draw a tree 8 m high.

    :param look_name: Name of the look.
    :param variant: Number of the tree; shape and colour follow from variant // 4.
    """
    look = LOOKS[look_name]
    kind = np.random.default_rng([11, len(look_name), variant // 4 % 12])
    color = np.array(look.foliage_colors[int(kind.integers(len(look.foliage_colors)))], float)
    shape = int(kind.integers(0, 3))
    rng = np.random.default_rng([12, len(look_name), variant % 48])
    picture, alpha = _blank(color)
    _draw_trunk(picture, alpha, rng)
    for x, y, radius in _crown(rng, shape):
        _draw_leaves(picture, alpha, rng, color, (x, y), radius)
    return Texture(picture, pixels_per_metre=_SIZE / 8, alpha=alpha)


@lru_cache(maxsize=24)
def make_bush(look_name: str, variant: int) -> Texture:
    """
    Draw a bush 1.4 m high.

    :param look_name: Name of the look.
    :param variant: Number of the bush.
    """
    look = LOOKS[look_name]
    rng = np.random.default_rng([13, len(look_name), variant % 12])
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


def _draw_trunk(picture: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> None:
    middle = _SIZE / 2
    lines = [((middle, _SIZE), (middle + rng.uniform(-6, 6), 0.45 * _SIZE), 9)]
    for _ in range(5):
        start = rng.uniform(0.4, 0.62) * _SIZE
        reach = rng.uniform(-0.25, 0.25) * _SIZE
        lines.append(((middle, start), (middle + reach, start - rng.uniform(40, 80)), 4))
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
    count = 90
    angle = rng.uniform(0, 2 * np.pi, count)
    reach = radius * np.sqrt(rng.random(count)) * 1.05
    x = middle[0] + reach * np.cos(angle)
    y = middle[1] + reach * np.sin(angle)
    towards_light = (-(x - middle[0]) * 0.5 - (y - middle[1])) / radius
    order = np.argsort(towards_light + rng.normal(0, 0.4, count))
    height = 1.08 - 0.45 * y / _SIZE
    for index in order:
        light = (0.82 + 0.3 * towards_light[index] + rng.uniform(-0.12, 0.12)) * height[index]
        leaf = tuple(np.clip(color * light + rng.uniform(-6, 6, 3), 0, 255))
        place = (int(x[index] * 16), int(y[index] * 16))
        size = int(rng.uniform(2.2, 5.0) * 16)
        cv2.circle(picture, place, size, leaf, -1, cv2.LINE_AA, 4)
        cv2.circle(alpha, place, size, 255, -1, cv2.LINE_AA, 4)
