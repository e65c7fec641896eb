# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cars as solid shapes: body, cabin, windows, wheels, lamps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import math

import numpy as np

_GLASS, _GLARE, _TYRE, _RIM = (40, 48, 58), (108, 124, 138), (26, 26, 28), (168, 170, 174)
_TRIM, _HEAD, _TAIL, _PLATE = (34, 34, 38), (244, 244, 236), (190, 26, 24), (226, 226, 216)


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """
    Proportions of a car, metres; positions count from the middle, forward positive.

    :param cabin: Along: foot of the rear window, rear and front edge of the roof, foot of the
        windscreen.
    """

    length: float
    width: float
    height: float
    belt: float
    hood: float
    cabin: tuple[float, float, float, float]
    wheel: float = 0.32


_SHAPES = (
    _Shape(length=4.5, width=1.78, height=1.45, belt=0.92, hood=0.84,
           cabin=(-1.75, -1.05, 0.25, 1.15)),  # saloon
    _Shape(length=4.0, width=1.74, height=1.5, belt=0.94, hood=0.86,
           cabin=(-1.88, -1.45, 0.15, 1.05)),  # hatchback
    _Shape(length=4.5, width=1.86, height=1.72, belt=1.08, hood=1.02,
           cabin=(-2.1, -1.75, 0.25, 1.05), wheel=0.37),  # off-roader
    _Shape(length=4.7, width=1.8, height=1.5, belt=0.93, hood=0.85,
           cabin=(-2.22, -1.7, 0.25, 1.2)),  # estate
    _Shape(length=5.2, width=1.96, height=2.2, belt=1.2, hood=1.1,
           cabin=(-2.52, -2.46, 1.15, 1.95), wheel=0.36),  # van
)


@dataclass(frozen=True, kw_only=True, eq=False)
class CarModel:
    """
    A car's flat parts in the order in which they are painted.

    :param corners: (N, 3) across, up, forward from the middle of the footprint, metres.
    :param parts: First and behind-the-last corner of each part.
    :param first: (P,) first corner of each part.
    :param normals: (P, 3) outwards.
    :param colors: (P, 3); negative for the paint.
    :param tones: (P,) factor on the light, for parts that are shaded by others.
    :param level: (P,) 0 is always painted, the higher the nearer the camera must be.
    :param is_outline: Whether a part can reach beyond those before it.
    :param length: Metres.
    :param width: Metres.
    """

    corners: np.ndarray
    parts: list[tuple[int, int]]
    first: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    tones: np.ndarray
    level: np.ndarray
    is_outline: list[bool]
    length: float
    width: float


def car_model(variant: int) -> CarModel:
    """
    Return a car's shape.

    :param variant: Any number; there are five shapes.
    """
    return _make_car(variant % len(_SHAPES))


@lru_cache(maxsize=None)
def _make_car(number: int) -> CarModel:
    shape = _SHAPES[number]
    builder = _Builder()
    _add_body(builder, shape)
    for side in (-1, 1):
        _add_side(builder, shape, side)
    _add_ends(builder, shape)
    _add_cabin(builder, shape)
    ends = np.cumsum([len(corners) for corners in builder.corners]).tolist()
    first = [0, *ends[:-1]]
    return CarModel(
        corners=np.concatenate(builder.corners), parts=list(zip(first, ends)),
        first=np.array(first), normals=np.array(builder.normals),
        colors=np.array(builder.colors, float), tones=np.array(builder.tones),
        level=np.array(builder.level), is_outline=builder.is_outline, length=shape.length,
        width=shape.width)


class _Builder:
    """Collects the parts of a car."""

    def __init__(self) -> None:
        self.corners: list[np.ndarray] = []
        self.normals: list[np.ndarray] = []
        self.colors: list[tuple] = []
        self.tones: list[float] = []
        self.level: list[int] = []
        self.is_outline: list[bool] = []

    def add(
        self, corners: list, outward: tuple, color: tuple | None = None, *, tone: float = 1.0,
        level: int = 0, is_outline: bool = False,
    ) -> None:
        """Add a part; its normal points to the same side as `outward`."""
        points = np.array(corners, float)
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        normal /= np.linalg.norm(normal)
        self.corners.append(points)
        self.normals.append(normal if normal @ np.array(outward) >= 0 else -normal)
        self.colors.append((-1, -1, -1) if color is None else color)
        self.tones.append(tone)
        self.level.append(level)
        self.is_outline.append(is_outline)

    def span(self, profile: list, half: float, outward: tuple, **options) -> None:
        """Add a part that spans the car's width between two points (along, up)."""
        (z0, y0), (z1, y1) = profile
        x0, x1 = half * _taper(y0), half * _taper(y1)
        self.add([(-x0, y0, z0), (x0, y0, z0), (x1, y1, z1), (-x1, y1, z1)],
                 outward, is_outline=True, **options)


def _add_body(builder: _Builder, shape: _Shape) -> None:
    end, half = shape.length / 2, shape.width / 2
    rear, _, _, front = shape.cabin
    tail = [(-end + 0.05, 0.24), (-end, 0.4), (-end, 0.62), (-end + 0.07, shape.belt - 0.12),
            (-end + 0.2, shape.belt), (rear, shape.belt)]
    nose = [(end - 0.07, 0.24), (end, 0.38), (end - 0.01, 0.56), (end - 0.14, shape.hood - 0.12),
            (end - 0.45, shape.hood - 0.02), (front, shape.belt)]
    for profile, direction in ((tail, -1), (nose, 1)):
        for number, options in enumerate((
                {'color': _TRIM}, {'tone': 0.9}, {}, {'tone': 1.05}, {})):
            start, stop = profile[number:number + 2]
            if abs(start[0] - stop[0]) + abs(start[1] - stop[1]) < 0.02:
                continue
            outward = (0, 1, 0) if number == 4 else (0, 0.3 if number == 3 else 0, direction)
            builder.span((start, stop), half, outward, **options)


def _add_side(builder: _Builder, shape: _Shape, side: int) -> None:
    end, half = shape.length / 2, shape.width / 2
    outward, belt, hood = (side, 0, 0), shape.belt, shape.hood
    rear, _, _, front = shape.cabin

    def panel(points: list, color: tuple | None = None, *, offset: float = 0.0, **options) -> None:
        builder.add([
            (side * (half * _taper(y) + offset), y, z) for z, y in points],
            outward, color, **options)

    panel([(-end + 0.05, 0.24), (-end, 0.4), (-end, 0.62), (-end + 0.07, belt - 0.12),
           (-end + 0.2, belt), (rear, belt), (front, belt), (end - 0.45, hood - 0.02),
           (end - 0.14, hood - 0.12), (end - 0.01, 0.56), (end, 0.38), (end - 0.07, 0.24)],
          is_outline=True)
    panel([(-end + 0.01, 0.62), (end - 0.03, 0.58), (end, 0.38), (end - 0.07, 0.24),
           (-end + 0.05, 0.24), (-end, 0.4)], tone=0.78, offset=0.004, level=1)
    panel([(-end + 0.09, 0.24), (-end + 0.06, 0.33), (end - 0.06, 0.33), (end - 0.1, 0.24)],
          _TRIM, offset=0.006, level=1)
    panel([(-end + 0.12, belt - 0.1), (end - 0.3, hood - 0.13), (end - 0.3, hood - 0.08),
           (-end + 0.12, belt - 0.05)], tone=1.22, offset=0.006, level=2)
    for z in (-0.29 * shape.length, 0.31 * shape.length):
        for radius, color, level in ((1.2, (18, 18, 20), 1), (1.0, _TYRE, 0), (0.66, _RIM, 1),
                                     (0.5, (96, 98, 102), 2), (0.2, _RIM, 2)):
            panel(_circle(z, shape.wheel, shape.wheel * radius), color, offset=0.01,
                  level=level, is_outline=radius == 1.0)
    for seam in (0.3 * shape.cabin[1], 0.62 * front):
        panel([(seam, 0.36), (seam + 0.02, 0.36), (seam + 0.02, belt - 0.03), (seam, belt - 0.03)],
              tone=0.6, offset=0.006, level=3)
        panel([(seam - 0.34, 0.74), (seam - 0.14, 0.74), (seam - 0.14, 0.78),
               (seam - 0.34, 0.78)], tone=0.6, offset=0.006, level=3)


def _add_ends(builder: _Builder, shape: _Shape) -> None:
    end, half = shape.length / 2, shape.width / 2
    for direction, color, top in ((-1, _TAIL, shape.belt - 0.08), (1, _HEAD, shape.hood - 0.14)):
        outward = (0, 0, direction)
        z = direction * (end + 0.012)

        def plate(points: list, color: tuple, level: int, z=z, outward=outward) -> None:
            builder.add([(x, y, z) for x, y in points], outward, color, level=level)

        for side in (-1, 1):
            inner, outer = side * (half - 0.46), side * (half - 0.07)
            plate([(inner, top - 0.15), (outer, top - 0.19), (outer, top), (inner, top - 0.03)],
                  color, 0)
            plate([(inner, top - 0.12), (side * (half - 0.3), top - 0.13),
                   (side * (half - 0.3), top - 0.05), (inner, top - 0.06)], (238, 232, 220), 2)
        plate([(-0.26, 0.46), (0.26, 0.46), (0.26, 0.57), (-0.26, 0.57)], _PLATE, 1)
        plate([(-half + 0.1, 0.36), (half - 0.1, 0.36), (half - 0.1, 0.4), (-half + 0.1, 0.4)],
              _TRIM, 2)
        if direction > 0:
            plate([(-0.42, 0.6), (0.42, 0.6), (0.47, top - 0.04), (-0.47, top - 0.04)], _TRIM, 1)


def _add_cabin(builder: _Builder, shape: _Shape) -> None:
    rear, roof_rear, roof_front, front = shape.cabin
    low, high = 0.465 * shape.width, 0.375 * shape.width
    base, top = shape.belt - 0.01, shape.height
    _add_mirrors(builder, low, base, front)
    ring = [(low, base, rear, front), (0.96 * high + 0.04 * low, top - 0.07, roof_rear - 0.1,
                                       roof_front + 0.16), (high * 0.9, top, roof_rear + 0.15,
                                                            roof_front - 0.1)]
    for (x0, y0, *z0), (x1, y1, *z1) in zip(ring, ring[1:]):
        for index, direction in ((0, -1), (1, 1)):
            builder.add([(-x0, y0, z0[index]), (x0, y0, z0[index]), (x1, y1, z1[index]),
                         (-x1, y1, z1[index])], (0, 0.2, direction), is_outline=True)
        for side in (-1, 1):
            builder.add([(side * x0, y0, z0[0]), (side * x0, y0, z0[1]), (side * x1, y1, z1[1]),
                         (side * x1, y1, z1[0])], (side, 0.2, 0), is_outline=True)
    x, y, z0, z1 = ring[2]
    builder.add([(-x, y, z0), (x, y, z0), (x, y, z1), (-x, y, z1)], (0, 1, 0), is_outline=True)
    (x0, y0, *z0), (x1, y1, *z1) = ring[:2]
    for index, direction in ((0, -1), (1, 1)):
        pane = [(-x0, y0, z0[index]), (x0, y0, z0[index]), (x1, y1, z1[index]),
                (-x1, y1, z1[index])]
        outward = (0, 0.2, direction)
        builder.add(_inset(pane, 0.06, 0.94, 0.06, 0.94), outward, _GLASS)
        builder.add(_inset(pane, 0.08, 0.92, 0.62, 0.9), outward, _GLARE, level=1)
    for side in (-1, 1):
        pane = [(side * x0, y0, z0[0]), (side * x0, y0, z0[1]), (side * x1, y1, z1[1]),
                (side * x1, y1, z1[0])]
        for start, stop in ((0.08, 0.5), (0.53, 0.95)):
            builder.add(_inset(pane, start, stop, 0.08, 0.92), (side, 0.2, 0), _GLASS)
            builder.add(_inset(pane, start + 0.02, stop - 0.02, 0.66, 0.9), (side, 0.2, 0),
                        _GLARE, level=2)


def _add_mirrors(builder: _Builder, low: float, base: float, front: float) -> None:
    for side in (-1, 1):
        for z, direction in ((front - 0.3, -1), (front - 0.24, 1)):
            builder.add([
                (side * low, base + 0.04, z), (side * (low + 0.18), base + 0.06, z),
                (side * (low + 0.18), base + 0.17, z), (side * low, base + 0.16, z)],
                (0, 0, direction), level=1, is_outline=True)


def _taper(up: float) -> float:
    """Return the share of its width that a car's body has at a height."""
    return 1 - 0.05 * max(0.0, up - 0.62)


def _circle(z: float, y: float, radius: float) -> list:
    angles = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    return [(z + radius * math.cos(angle), max(0.01, y + radius * math.sin(angle)))
            for angle in angles]


def _inset(pane: list, left: float, right: float, low: float, high: float) -> list:
    """Return the part of a quadrilateral between shares of its width and height."""
    a, b, c, d = (np.array(corner) for corner in pane)
    outside = np.cross(b - a, d - a)
    outside *= 0.004 / np.linalg.norm(outside) * (1 if outside[1] >= 0 else -1)

    def place(u: float, v: float) -> np.ndarray:
        return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c) + outside

    return [place(left, low), place(right, low), place(right, high), place(left, high)]
