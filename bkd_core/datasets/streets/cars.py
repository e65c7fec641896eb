# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Painting cars."""

from __future__ import annotations

import math

from bkd_core.datasets.streets.canvas import Canvas, CAR
from bkd_core.datasets.streets.car_models import CarModel
import numpy as np

_SUN = np.array([0.4, 0.8, -0.45])
_SIGHTS = (75.0, 38.0, 16.0)  # metres within which parts of level 1, 2 and 3 are painted


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
    :param light: Light on a part that is turned away from the sun.
    :param sun: Light that the sun adds.
    """
    cos, sin = math.cos(yaw), math.sin(yaw)
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    corners = model.corners @ turn + place
    normals = model.normals @ turn
    view = corners[model.first] - canvas.camera.position
    distance = float(place[2] - canvas.camera.position[2])
    detail = sum(distance < sight for sight in _SIGHTS)
    visible = ((normals * view).sum(axis=1) < 0) & (model.level <= detail)
    bright = light + sun * np.maximum(0, normals @ _SUN) + 0.12 * normals[:, 1]
    clear = canvas.clearness(distance)
    colors = np.where(model.colors < 0, np.array(paint, float), model.colors)
    colors = colors * (bright * model.tones * clear)[:, None]
    colors = np.clip(colors + np.array(canvas.haze_color) * (1 - clear), 0, 255).tolist()
    chosen = np.flatnonzero(visible).tolist()
    canvas.mesh(
        corners, [model.parts[index] for index in chosen], [colors[index] for index in chosen],
        [model.is_outline[index] for index in chosen], CAR)
