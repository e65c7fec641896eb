# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Painting what stands in a street: houses, plants, posts, people, cars."""

from __future__ import annotations

import math

from bkd_core.datasets.streets.canvas import BUILDING, Canvas, PEDESTRIAN, TREE
from bkd_core.datasets.streets.car_models import car_model
from bkd_core.datasets.streets.cars import draw_car
from bkd_core.datasets.streets.facades import Facade
from bkd_core.datasets.streets.furniture import draw_lamp, draw_sign, draw_traffic_light
from bkd_core.datasets.streets.ground import CURB
from bkd_core.datasets.streets.layout import Building, Prop, Street
from bkd_core.datasets.streets.people import NUM_PHASES, person
from bkd_core.datasets.streets.plants import bush, tree
import numpy as np

_STRIDE = 1.45  # metres of two steps


class Things:
    """
    Paints the things of a street in its light.

    :param street: The street.
    """

    def __init__(self, street: Street) -> None:
        self.street = street
        self.look = street.look

    def draw_house(
        self, canvas: Canvas, house: Building, facade: Facade, is_open: bool, along: float,
    ) -> None:
        """
        Paint a house.

        :param canvas: Where.
        :param house: Its place.
        :param facade: Its pictures.
        :param is_open: Its side wall is not hidden by the house before it.
        :param along: Position of the camera along the street, metres.
        """
        street, side = self.street, house.side
        near = street.point(house.start, side * house.front)
        far = street.point(house.end, side * house.front)
        height = facade.front.height
        if is_open and house.start > along:
            canvas.textured(
                facade.side, near, np.array([side * house.depth, 0, 0]), height=height,
                label=BUILDING, light=self.look.ambient + 0.4 * self.look.sun)
        if house.is_gabled:
            self._draw_roof(canvas, house, facade, near, far, height)
        canvas.textured(
            facade.front, near, far - near, height=height, label=BUILDING,
            light=self._light(side), mirrored=side > 0)

    def draw_prop(
        self, canvas: Canvas, prop: Prop, along: float, across: float, time: float,
    ) -> None:
        """
        Paint a plant, a post or a person.

        :param canvas: Where.
        :param prop: What.
        :param along: Where it is now along the street, metres.
        :param across: Where it is now right of the road's middle, metres.
        :param time: Seconds.
        """
        is_on_road = prop.kind == 'crossing' or abs(across) < self.street.half_width
        level = 0.0 if is_on_road else CURB
        base = self.street.point(along, across, level)
        side = -1 if across < 0 else 1
        light = self.look.ambient + 0.6 * self.look.sun
        if prop.kind == 'tree':
            canvas.sprite(
                tree(self.look, prop.variant), base, height=8.0 * prop.size, label=TREE,
                light=light, mirrored=prop.variant % 2 == 1)
        elif prop.kind == 'bush':
            canvas.sprite(
                bush(self.look, prop.variant), base, height=1.4 * prop.size, label=TREE,
                light=light)
        elif prop.kind == 'lamp':
            draw_lamp(canvas, base, side, light, is_on=self.look.has_lamps_on)
        elif prop.kind == 'sign':
            draw_sign(canvas, base, prop.variant, prop.size, light)
        elif prop.kind == 'traffic_light':
            signal = int(time / 6 + prop.variant) % 3
            draw_traffic_light(canvas, base, signal, light, is_glowing=self.look.has_lamps_on)
        else:
            phase = -1
            if prop.speed:
                step = abs(prop.speed) * time / _STRIDE + prop.variant / 7
                phase = int(step * NUM_PHASES) % NUM_PHASES
            canvas.sprite(
                person(prop.variant, phase), base, height=1.75 * prop.size, label=PEDESTRIAN,
                light=light, mirrored=prop.speed < 0)

    def draw_car(
        self, canvas: Canvas, along: float, across: float, direction: float, variant: int,
    ) -> None:
        """
        Paint a car and, at dusk, the lamps of one that moves.

        :param canvas: Where.
        :param along: Position along the street, metres.
        :param across: Position right of the road's middle, metres.
        :param direction: 1 drives as the camera does, -1 comes towards it.
        :param variant: Number that its looks follow from.
        """
        paint = self.look.paint_colors[variant // 5 % len(self.look.paint_colors)]
        place = self.street.point(along, across)
        yaw = math.atan(self.street.slope(along)) + (math.pi if direction < 0 else 0)
        model = car_model(variant)
        draw_car(canvas, model, place, yaw, paint, light=self.look.ambient, sun=self.look.sun)
        is_moving = abs(abs(across) - self.street.lane) < 0.5
        if self.look.has_lamps_on and is_moving:
            color = (255, 244, 214) if direction < 0 else (255, 50, 40)
            strength, radius = (0.9, 0.75) if direction < 0 else (0.55, 0.4)
            for offset in (-0.65, 0.65):
                lamp = place + (offset, 0.7, -model.length / 2)
                canvas.glow(lamp, color, radius, strength)

    def _light(self, side: int) -> float:
        is_lit = side != self.street.sun_side
        return self.look.ambient + (self.look.sun if is_lit else 0.0)

    def _draw_roof(
        self, canvas: Canvas, house: Building, facade: Facade, near: np.ndarray, far: np.ndarray,
        height: float,
    ) -> None:
        light = self._light(house.side)
        up = np.array([0, height, 0])
        back = np.array([house.side * house.depth / 2, house.depth * 0.32, 0])
        eaves = np.array([-house.side * 0.35, -0.15, 0])
        canvas.polygon(
            np.stack([near + up, near + up + back, near + up + (house.side * house.depth, 0, 0)]),
            facade.wall, BUILDING, light=self.look.ambient + 0.4 * self.look.sun)
        canvas.polygon(
            np.stack([near + up + eaves, far + up + eaves, far + up + back, near + up + back]),
            facade.roof, BUILDING, light=light)
