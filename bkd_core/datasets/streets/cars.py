# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cars as solid shapes: body, cabin, windows, wheels, lamps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import math

from bkd_core.datasets.streets.camera import clip_near
from bkd_core.datasets.streets.canvas import Canvas, CAR
import numpy as np

_GLASS, _TYRE, _RIM, _TRIM = (44, 54, 66), (26, 26, 28), (168, 170, 174), (38, 38, 42)
_HEAD, _TAIL, _PLATE = (244, 244, 236), (190, 26, 24), (226, 226, 216)
_SUN = np.array([0.4, 0.8, -0.45])


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
    _Shape(length=4.5, width=1.78, height=1.45, belt=0.92, hood=0.86,
           cabin=(-1.75, -1.05, 0.35, 1.15)),  # saloon
    _Shape(length=4.0, width=1.74, height=1.5, belt=0.94, hood=0.88,
           cabin=(-1.95, -1.55, 0.25, 1.05)),  # hatchback
    _Shape(length=4.5, width=1.86, height=1.72, belt=1.08, hood=1.04,
           cabin=(-2.15, -1.8, 0.3, 1.05), wheel=0.37),  # off-roader
    _Shape(length=4.7, width=1.8, height=1.5, belt=0.93, hood=0.87,
           cabin=(-2.28, -1.75, 0.35, 1.2)),  # estate
    _Shape(length=5.2, width=1.96, height=2.2, belt=1.2, hood=1.1,
           cabin=(-2.55, -2.5, 1.25, 1.95), wheel=0.36),  # van
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Face:
    """
    A flat part of a car.

    :param first: Number of its first corner.
    :param last: Number behind its last corner.
    :param normal: (3,) outwards.
    :param color: None for the paint.
    """

    first: int
    last: int
    normal: np.ndarray
    color: tuple[int, int, int] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class CarModel:
    """
    A car's parts in the order in which they are painted.

    :param corners: (N, 3) across, up, forward from the middle of the footprint, metres.
    :param faces: The parts.
    :param length: Metres.
    :param width: Metres.
    """

    corners: np.ndarray
    faces: tuple[_Face, ...]
    length: float
    width: float


@lru_cache(maxsize=None)
def make_car(kind: int) -> CarModel:
    """
    Return a car's shape.

    :param kind: Any number; there are five kinds.
    """
    shape = _SHAPES[kind % len(_SHAPES)]
    builder = _Builder()
    _add_body(builder, shape)
    _add_cabin(builder, shape)
    return CarModel(
        corners=np.concatenate(builder.corners), faces=tuple(builder.faces),
        length=shape.length, width=shape.width)


def draw_car(
    canvas: Canvas, model: CarModel, place: np.ndarray, yaw: float, paint: tuple, *,
    light: float, sun: float,
) -> None:
    """
    Paint a car.

    :param canvas: Where.
    :param model: Its shape.
    :param place: (3,) middle of its footprint.
    :param yaw: Radians; 0 drives away from the camera along z.
    :param paint: Red, green, blue.
    :param light: Light on a face that is turned away from the sun.
    :param sun: Light that the sun adds.
    """
    cos, sin = math.cos(yaw), math.sin(yaw)
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    corners = model.corners @ turn + place
    seen = canvas.camera.to_camera(corners)
    distance = float(seen[:, 2].mean())
    if seen[:, 2].max() < 0.5:
        return
    is_whole = seen[:, 2].min() > 0.5
    pixels = canvas.camera.to_pixels(seen) if is_whole else None
    view = corners - canvas.camera.position
    for face in model.faces:
        normal = face.normal @ turn
        if normal @ view[face.first] >= 0:
            continue
        bright = light + sun * max(0.0, float(normal @ _SUN)) + 0.1 * normal[1]
        color = canvas.shade(face.color or paint, bright, distance)
        if pixels is not None:
            canvas.fill(pixels[face.first:face.last], color, CAR)
        else:
            part = clip_near(seen[face.first:face.last])
            if len(part) >= 3:
                canvas.fill(canvas.camera.to_pixels(part), color, CAR)


class _Builder:
    """Collects the corners and parts of a car."""

    def __init__(self) -> None:
        self.corners: list[np.ndarray] = []
        self.faces: list[_Face] = []
        self._count = 0

    def add(self, corners: list, outward: tuple, color: tuple | None = None) -> None:
        """Add a part; its normal points to the same side as `outward`."""
        points = np.array(corners, float)
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        normal /= np.linalg.norm(normal)
        if normal @ np.array(outward) < 0:
            normal = -normal
        self.corners.append(points)
        self.faces.append(_Face(
            first=self._count, last=self._count + len(points), normal=normal, color=color))
        self._count += len(points)

    def across(self, profile: list, half: tuple, outward: tuple, color: tuple | None = None) -> None:
        """Add a part that spans the car's width between two heights of its profile."""
        (z0, y0), (z1, y1) = profile
        self.add([(-half[0], y0, z0), (half[0], y0, z0), (half[1], y1, z1), (-half[1], y1, z1)],
                 outward, color)


def _add_body(builder: _Builder, shape: _Shape) -> None:
    end, half = shape.length / 2, shape.width / 2
    rear_foot, _, _, front_foot = shape.cabin
    low, middle, top = 0.24, 0.56, 0.96 * half
    rear_top = shape.belt if rear_foot < -end + 0.5 else shape.belt + 0.02
    profile = [
        (-end + 0.06, low), (-end, middle), (-end + 0.08, rear_top), (rear_foot, shape.belt),
        (front_foot, shape.belt), (end - 0.18, shape.hood - 0.08), (end, middle),
        (end - 0.06, low)]
    builder.across(profile[0:2], (half, half), (0, 0, -1), _TRIM)
    builder.across(profile[1:3], (half, top), (0, 0, -1))
    builder.across(profile[6:8], (half, half), (0, 0, 1), _TRIM)
    builder.across(profile[5:7], (top, half), (0, 0, 1))
    builder.across(profile[2:4], (top, top), (0, 1, 0))
    builder.across(profile[4:6], (top, top), (0, 1, 0))
    for side in (-1, 1):
        _add_side(builder, shape, side, profile)
    _add_ends(builder, shape)


def _add_side(builder: _Builder, shape: _Shape, side: int, profile: list) -> None:
    half = shape.width / 2
    outward = (side, 0, 0)
    upper = [(z, y) for z, y in profile[1:7]]
    builder.add([(side * half * (1 if y < 0.6 else 0.96), y, z) for z, y in upper], (side, 0.3, 0))
    builder.add([(side * half, y, z) for z, y in (profile[0], profile[1], profile[6], profile[7])],
                (side, -0.2, 0))
    flat = side * (half + 0.005)
    low, end = 0.24, shape.length / 2
    builder.add([(flat, y, z) for z, y in (
        (-end + 0.1, low), (-end + 0.1, low + 0.1), (end - 0.1, low + 0.1), (end - 0.1, low))],
        outward, _TRIM)
    for z in (-0.28 * shape.length, 0.3 * shape.length):
        builder.add(_circle(flat, z, shape.wheel, shape.wheel * 1.16), outward, (20, 20, 22))
        builder.add(_circle(flat, z, shape.wheel, shape.wheel), outward, _TYRE)
        builder.add(_circle(flat, z, shape.wheel, shape.wheel * 0.62), outward, _RIM)
        builder.add(_circle(flat, z, shape.wheel, shape.wheel * 0.2), outward, _TRIM)
    seam = shape.cabin[1] * 0.3
    builder.add([(flat, y, z) for z, y in (
        (seam, 0.4), (seam + 0.025, 0.4), (seam + 0.025, shape.belt - 0.04),
        (seam, shape.belt - 0.04))], outward, _TRIM)
    builder.add([(flat, y, z) for z, y in (
        (seam + 0.1, 0.76), (seam + 0.3, 0.76), (seam + 0.3, 0.8), (seam + 0.1, 0.8))],
        outward, _TRIM)


def _add_ends(builder: _Builder, shape: _Shape) -> None:
    end, half = shape.length / 2 + 0.01, shape.width / 2
    for direction, color, top in ((-1, _TAIL, shape.belt - 0.06), (1, _HEAD, shape.hood - 0.12)):
        z, outward = direction * end, (0, 0, direction)
        for side in (-1, 1):
            inner, outer = side * (half - 0.42), side * (half - 0.06)
            builder.add([(inner, top - 0.14, z), (outer, top - 0.17, z), (outer, top, z),
                         (inner, top - 0.02, z)], outward, color)
        builder.add([(-0.26, 0.5, z), (0.26, 0.5, z), (0.26, 0.62, z), (-0.26, 0.62, z)],
                    outward, _PLATE)
        if direction > 0:
            builder.add([(-0.4, 0.64, z), (0.4, 0.64, z), (0.46, 0.74, z), (-0.46, 0.74, z)],
                        outward, _TRIM)


def _add_cabin(builder: _Builder, shape: _Shape) -> None:
    rear, roof_rear, roof_front, front = shape.cabin
    low, high = 0.465 * shape.width, 0.4 * shape.width
    base, top = shape.belt - 0.01, shape.height
    builder.across([(rear, base), (roof_rear, top)], (low, high), (0, 0.2, -1))
    builder.across([(front, base), (roof_front, top)], (low, high), (0, 0.2, 1))
    builder.across([(roof_rear, top), (roof_front, top)], (high, high), (0, 1, 0))
    for z0, z1, outward in ((rear, roof_rear, (0, 0.2, -1)), (front, roof_front, (0, 0.2, 1))):
        corners = [(-low, base, z0), (low, base, z0), (high, top, z1), (-high, top, z1)]
        builder.add(_inset(corners, 0.88), outward, _GLASS)
    for side in (-1, 1):
        corners = [(side * low, base, rear), (side * low, base, front),
                   (side * high, top, roof_front), (side * high, top, roof_rear)]
        builder.add(corners, (side, 0.2, 0))
        post = 0.45 * roof_rear + 0.55 * roof_front - 0.35
        share = (top - 0.07 - base) / (top - base)
        x_high = low + (high - low) * share
        rear_high = rear + (roof_rear - rear) * share + 0.1
        front_high = front + (roof_front - front) * share - 0.08
        for z0, z1, z2, z3 in (
                (rear + 0.22, post - 0.04, post - 0.04, rear_high),
                (post + 0.04, front - 0.16, front_high, post + 0.04)):
            builder.add([
                (side * (low + 0.004), base + 0.05, z0), (side * (low + 0.004), base + 0.05, z1),
                (side * (x_high + 0.004), top - 0.07, z2),
                (side * (x_high + 0.004), top - 0.07, z3)], (side, 0.2, 0), _GLASS)
        mirror = side * (low + 0.16)
        builder.add([(side * low, base + 0.04, front - 0.25), (mirror, base + 0.04, front - 0.25),
                     (mirror, base + 0.16, front - 0.25), (side * low, base + 0.16, front - 0.25)],
                    (0, 0, -1))
        builder.add([(side * low, base + 0.04, front - 0.2), (mirror, base + 0.04, front - 0.2),
                     (mirror, base + 0.16, front - 0.2), (side * low, base + 0.16, front - 0.2)],
                    (0, 0, 1))


def _circle(x: float, z: float, y: float, radius: float) -> list:
    angles = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    return [
        (x, max(0.01, y + radius * math.sin(angle)), z + radius * math.cos(angle))
        for angle in angles]


def _inset(corners: list, share: float) -> list:
    points = np.array(corners, float)
    middle = points.mean(axis=0)
    normal = np.cross(points[1] - points[0], points[2] - points[0])
    normal *= np.sign(normal[1]) / np.linalg.norm(normal)
    return (middle + (points - middle) * share + 0.005 * normal).tolist()
