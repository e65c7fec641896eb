# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Lamps, signs and traffic lights."""

from __future__ import annotations

from functools import lru_cache
import math

from bkd_core.datasets.streets.canvas import Canvas, POLE, SIGN
import numpy as np

_STEEL, _DARK = (128, 130, 132), (62, 66, 66)
_WHITE, _RED, _BLUE, _YELLOW = (236, 236, 232), (196, 28, 30), (28, 78, 164), (238, 190, 40)
_LAMP_LIGHT = (255, 214, 150)
_SIGNALS = ((220, 40, 30), (236, 170, 40), (40, 200, 90))


def draw_lamp(
    canvas: Canvas, base: np.ndarray, side: int, light: float, *, is_on: bool,
) -> None:
    """
    Paint a street lamp whose arm reaches over the road.

    :param canvas: Where.
    :param base: (3,) foot.
    :param side: -1 left of the road, 1 right of it.
    :param light: Factor.
    :param is_on: It shines.
    """
    canvas.bar(base, 1.0, 0.13, _DARK, POLE, light=light)
    canvas.bar(base, 6.2, 0.075, _DARK, POLE, light=light)
    top = base + np.array([0, 6.2, 0])
    arm = np.array([-side * 1.7, 0.35, 0.0])
    thick = np.array([0, 0.09, 0])
    canvas.polygon(np.stack([top - thick, top + arm - thick, top + arm, top]), _DARK, POLE,
                   light=light)
    head = top + arm
    wide, deep = np.array([side * 0.75, -0.04, 0]), np.array([0, -0.16, 0])
    canvas.polygon(
        np.stack([head, head + wide, head + wide + deep, head + deep * 0.7]),
        _LAMP_LIGHT if is_on else _STEEL, POLE, light=1.0 if is_on else light)
    if is_on:
        canvas.glow(head + wide * 0.5 + deep, _LAMP_LIGHT, 1.3, 0.75)


def draw_sign(
    canvas: Canvas, base: np.ndarray, variant: int, size: float, light: float,
) -> None:
    """
    Paint a traffic sign on its post.

    :param canvas: Where.
    :param base: (3,) foot.
    :param variant: Number of the sign.
    :param size: Factor.
    :param light: Factor.
    """
    canvas.bar(base, 2.9 * size, 0.04, _STEEL, POLE, light=light)
    middle = base + np.array([0, 2.55 * size, -0.05])
    points, parts, colors = _sign_mesh(variant % 42)
    distance = float(base[2] - canvas.camera.position[2])
    if distance > 55:
        parts, colors = parts[:2], colors[:2]
    seen = [canvas.shade(color, light * 1.08, distance) for color in colors]
    canvas.mesh(points * size + middle, parts, seen, [True] + [False] * len(parts), SIGN)


def draw_traffic_light(
    canvas: Canvas, base: np.ndarray, signal: int, light: float, *, is_glowing: bool,
) -> None:
    """
    Paint a traffic light.

    :param canvas: Where.
    :param base: (3,) foot.
    :param signal: 0 red, 1 amber, 2 green.
    :param light: Factor.
    :param is_glowing: Add a halo, as at dusk.
    """
    canvas.bar(base, 3.4, 0.07, _DARK, POLE, light=light)
    bottom = base + np.array([0, 2.5, -0.1])
    distance = float(base[2] - canvas.camera.position[2])
    points, parts = _signal_mesh()
    colors = [canvas.shade(color, light, distance) for color in ((34, 36, 36), (52, 54, 54))]
    for number, color in enumerate(_SIGNALS):
        strength = 1.1 if number == signal else 0.22 * light
        colors.append(canvas.shade(color, strength, distance))
    canvas.mesh(points + bottom, parts, colors, [True] + [False] * 4, SIGN)
    if is_glowing:
        canvas.glow(bottom + (0, 0.92 - 0.36 * signal, 0), _SIGNALS[signal], 0.5, 0.6)


@lru_cache(maxsize=None)
def _signal_mesh() -> tuple[np.ndarray, list[tuple[int, int]]]:
    polygons = [_box(0, 0.55, 0.24, 0.61), _box(0, 0.55, 0.19, 0.55)]
    for number in range(3):
        polygons.append([(x, y + 0.92 - 0.36 * number) for x, y in _ring(0.13, 12)])
    ends = np.cumsum([len(polygon) for polygon in polygons]).tolist()
    points = [(x, y, 0.0) for polygon in polygons for x, y in polygon]
    return np.array(points), list(zip([0, *ends[:-1]], ends))


@lru_cache(maxsize=None)
def _sign_mesh(variant: int) -> tuple[np.ndarray, list[tuple[int, int]], list]:
    """Return the corners of a sign of usual size around its middle, its parts and colours."""
    kinds = (_round_red, _triangle, _round_blue, _stop, _square, _board, _diamond)
    points, parts, colors = [], [], []
    for polygon, color in kinds[variant % len(kinds)](0.42, variant):
        parts.append((len(points), len(points) + len(polygon)))
        points += [(x, y, 0.0) for x, y in polygon]
        colors.append(color)
    return np.array(points), parts, colors


def _ring(radius: float, count: int, turn: float = 0.0) -> list[tuple[float, float]]:
    angles = [turn + 2 * math.pi * number / count for number in range(count)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _box(x: float, y: float, wide: float, high: float) -> list[tuple[float, float]]:
    return [(x - wide, y - high), (x + wide, y - high), (x + wide, y + high), (x - wide, y + high)]


def _round_red(size: float, variant: int) -> list:
    digits = [(_box(-0.3 * size, 0, 0.14 * size, 0.32 * size), (30, 30, 30)),
              (_box(0.25 * size, 0, 0.17 * size, 0.32 * size), (30, 30, 30)),
              (_box(0.25 * size, 0, 0.07 * size, 0.2 * size), _WHITE)]
    bar = [(_box(0, 0, 0.7 * size, 0.16 * size), _WHITE)]
    if variant % 3 == 0:  # no entry
        return [(_ring(size, 20), _RED), *bar]
    return [(_ring(size, 20), _RED), (_ring(0.76 * size, 20), _WHITE), *digits]


def _triangle(size: float, variant: int) -> list:
    turn = math.pi / 2 if variant % 2 else -math.pi / 2
    return [(_ring(1.15 * size, 3, turn), _RED), (_ring(0.74 * size, 3, turn), _WHITE),
            (_box(0, 0, 0.09 * size, 0.24 * size), (30, 30, 30))]


def _round_blue(size: float, variant: int) -> list:
    arrow = [(-0.5 * size, -0.12 * size), (0.1 * size, -0.12 * size), (0.1 * size, -0.4 * size),
             (0.62 * size, 0), (0.1 * size, 0.4 * size), (0.1 * size, 0.12 * size),
             (-0.5 * size, 0.12 * size)]
    return [(_ring(size, 20), _WHITE), (_ring(0.93 * size, 20), _BLUE), (arrow, _WHITE)]


def _stop(size: float, variant: int) -> list:
    letters = [(_box(x * size, 0, 0.12 * size, 0.24 * size), _WHITE)
               for x in (-0.54, -0.18, 0.18, 0.54)]
    turn = math.pi / 8
    return [(_ring(1.05 * size, 8, turn), _WHITE), (_ring(0.97 * size, 8, turn), _RED), *letters]


def _square(size: float, variant: int) -> list:
    return [(_box(0, 0, 0.85 * size, 0.85 * size), _WHITE),
            (_box(0, 0, 0.78 * size, 0.78 * size), _BLUE),
            (_box(-0.15 * size, -0.1 * size, 0.12 * size, 0.5 * size), _WHITE),
            (_box(0.1 * size, 0.2 * size, 0.3 * size, 0.22 * size), _WHITE),
            (_box(0.1 * size, 0.2 * size, 0.16 * size, 0.1 * size), _BLUE)]


def _board(size: float, variant: int) -> list:
    color = (20, 110, 70) if variant % 2 else _BLUE
    lines = [(_box(-0.2 * size, y * size, 0.8 * size, 0.1 * size), _WHITE) for y in (0.35, 0.0)]
    lines.append((_box(-0.4 * size, -0.35 * size, 0.55 * size, 0.1 * size), _WHITE))
    return [(_box(0, 0, 1.3 * size, 0.75 * size), _WHITE),
            (_box(0, 0, 1.22 * size, 0.67 * size), color), *lines]


def _diamond(size: float, variant: int) -> list:
    return [(_ring(1.1 * size, 4), _WHITE), (_ring(0.78 * size, 4), _YELLOW)]
