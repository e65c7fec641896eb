# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of people who walk."""

from __future__ import annotations

from functools import lru_cache
import math

from bkd_core.datasets.streets.texture import Texture
import cv2
import numpy as np

_HEIGHT, _WIDTH = 256, 144  # pixels
_PERSON = 1.75  # metres
NUM_PHASES = 6
_NUM_PEOPLE = 20
_SKIN = ((240, 205, 180), (222, 178, 145), (178, 128, 96), (120, 82, 60), (92, 62, 48))
_HAIR = ((40, 30, 26), (86, 58, 36), (150, 112, 66), (110, 104, 100), (24, 22, 22))
_TROUSERS = ((42, 52, 82), (36, 36, 40), (92, 84, 70), (120, 112, 96), (58, 44, 40))
_TOPS = (
    (170, 40, 44), (46, 82, 140), (36, 38, 44), (196, 190, 178), (74, 104, 70), (190, 132, 44),
    (120, 66, 110), (88, 92, 100), (224, 224, 226), (52, 110, 118))


def person(variant: int, phase: int) -> Texture:
    """
    Return a person 1.75 m high.

    :param variant: Any number.
    :param phase: Part of the step, 0 to NUM_PHASES - 1; -1 stands.
    """
    return _make_person(variant % _NUM_PEOPLE, phase)


@lru_cache(maxsize=None)
def _make_person(number: int, phase: int) -> Texture:
    rng = np.random.default_rng([21, number])
    figure = _Figure(rng)
    swing = math.sin(2 * math.pi * phase / NUM_PHASES) if phase >= 0 else 0.12
    picture = np.empty((_HEIGHT, _WIDTH, 3), np.uint8)
    picture[:] = figure.top
    alpha = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    _draw_figure(_Brush(picture, alpha), figure, swing)
    return Texture(picture, pixels_per_metre=_HEIGHT / _PERSON, alpha=alpha)


class _Figure:
    """What a person looks like."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.skin = _SKIN[int(rng.integers(len(_SKIN)))]
        self.hair = _HAIR[int(rng.integers(len(_HAIR)))]
        self.trousers = _TROUSERS[int(rng.integers(len(_TROUSERS)))]
        self.top = _TOPS[int(rng.integers(len(_TOPS)))]
        self.is_seen_from_side = bool(rng.random() < 0.35)
        self.has_coat = bool(rng.random() < 0.4)
        self.has_skirt = bool(rng.random() < 0.2)
        self.has_backpack = bool(rng.random() < 0.3)
        self.has_long_hair = bool(rng.random() < 0.4)
        self.is_seen_from_front = bool(rng.random() < 0.5)
        self.girth = rng.uniform(0.88, 1.15)
        self.bag = tuple(int(value) for value in rng.integers(30, 170, 3))


class _Brush:
    """Draws rounded limbs with light from the upper left."""

    def __init__(self, picture: np.ndarray, alpha: np.ndarray) -> None:
        self.picture = picture
        self.alpha = alpha

    def limb(
        self, start: tuple[float, float], end: tuple[float, float], widths: tuple[float, float],
        color: tuple,
    ) -> None:
        """Draw a tapered limb."""
        for shrink, shift, light in ((1.0, 0.0, 0.72), (0.72, -0.12, 1.0), (0.34, -0.3, 1.15)):
            shade = tuple(min(255.0, value * light) for value in color)
            moved = [(x + shift * width, y) for (x, y), width in zip((start, end), widths)]
            self._capsule(moved[0], moved[1], [w * shrink for w in widths], shade, shrink == 1.0)

    def _capsule(
        self, start: tuple, end: tuple, widths: list[float], color: tuple, is_outline: bool,
    ) -> None:
        (x0, y0), (x1, y1), (wide, narrow) = start, end, widths
        length = math.hypot(x1 - x0, y1 - y0) + 1e-6
        x, y = (y0 - y1) / length, (x1 - x0) / length
        corners = np.array([
            (x0 + x * wide, y0 + y * wide), (x1 + x * narrow, y1 + y * narrow),
            (x1 - x * narrow, y1 - y * narrow), (x0 - x * wide, y0 - y * wide)])
        fixed = [(corners * 16).astype(np.int32)]
        targets = [(self.picture, color)] + ([(self.alpha, 255)] if is_outline else [])
        for target, value in targets:
            cv2.fillPoly(target, fixed, value, cv2.LINE_AA, 4)
            for (x, y), width in ((start, widths[0]), (end, widths[1])):
                place = (int(x * 16), int(y * 16))
                cv2.circle(target, place, int(width * 16), value, -1, cv2.LINE_AA, 4)


def _draw_figure(brush: _Brush, figure: _Figure, swing: float) -> None:
    x = _WIDTH / 2
    shoulder, hip = 58.0, 134.0
    girth = figure.girth * (0.8 if figure.is_seen_from_side else 1.0)
    spread = 0 if figure.is_seen_from_side else 9 * girth
    stride = 34 if figure.is_seen_from_side else 7
    _draw_arm(brush, figure, x - spread * 2.1, shoulder, -swing, girth)
    for side, direction in ((-1, 1), (1, -1)):
        _draw_leg(brush, figure, x + side * spread, hip, direction * swing, stride, girth)
    if figure.has_backpack and not figure.is_seen_from_front:
        brush.limb((x - 3, shoulder + 12), (x - 3, hip - 22), (22 * girth, 22 * girth), figure.bag)
    brush.limb((x, shoulder + 9), (x, hip - 4), (21 * girth, 17 * girth), figure.top)
    if figure.has_coat:
        brush.limb((x, hip - 10), (x, hip + 34), (18 * girth, 22 * girth), figure.top)
    if figure.has_skirt:
        brush.limb((x, hip - 6), (x, hip + 40), (17 * girth, 25 * girth), figure.trousers)
    if figure.has_backpack and not figure.is_seen_from_front:
        brush.limb((x, shoulder + 16), (x, hip - 26), (15 * girth, 16 * girth), figure.bag)
    _draw_arm(brush, figure, x + spread * 2.1, shoulder, swing, girth)
    _draw_head(brush, figure, x)


def _draw_leg(
    brush: _Brush, figure: _Figure, x: float, hip: float, swing: float, stride: float,
    girth: float,
) -> None:
    lift = max(0.0, swing) * 12
    knee = (x + swing * stride * 0.5, hip + 52 - lift * 0.5)
    foot = (x + swing * stride, 243.0 - lift)
    color = figure.skin if figure.has_skirt else figure.trousers
    brush.limb((x, hip), knee, (11.5 * girth, 9 * girth), color)
    brush.limb(knee, foot, (8.5 * girth, 6.5), color)
    toe = foot[0] + (12 if figure.is_seen_from_side else 3)
    brush.limb((foot[0], 247 - lift), (toe, 249 - lift), (6.5, 5.5), (40, 34, 32))


def _draw_arm(
    brush: _Brush, figure: _Figure, x: float, shoulder: float, swing: float, girth: float,
) -> None:
    reach = 26 if figure.is_seen_from_side else 5
    elbow = (x + swing * reach * 0.4, shoulder + 42)
    hand = (x + swing * reach, shoulder + 80 - abs(swing) * 4)
    brush.limb((x, shoulder + 6), elbow, (8.5 * girth, 7.5 * girth), figure.top)
    brush.limb(elbow, hand, (7.5 * girth, 5.5), figure.top)
    brush.limb(hand, (hand[0], hand[1] + 5), (5.5, 5), figure.skin)


def _draw_head(brush: _Brush, figure: _Figure, x: float) -> None:
    brush.limb((x, 44), (x, 54), (7, 8), figure.skin)
    if figure.has_long_hair:
        brush.limb((x, 26), (x, 52), (15, 14), figure.hair)
    brush.limb((x, 25), (x, 34), (13.5, 11.5), figure.skin)
    if figure.is_seen_from_front:
        brush.limb((x, 18), (x, 20), (13.5, 13.5), figure.hair)
        brush.limb((x, 31), (x, 35), (11.5, 10.5), figure.skin)
    else:
        brush.limb((x, 20), (x, 30), (14, 12.5), figure.hair)
