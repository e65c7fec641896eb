# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One frame: a street, a moment and a camera become an image with labels."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Callable, Iterator

from bkd_core.datasets.streets.camera import Camera
from bkd_core.datasets.streets.canvas import Canvas
from bkd_core.datasets.streets.car_models import car_model
from bkd_core.datasets.streets.facades import choose_facade, Facade
from bkd_core.datasets.streets.ground import GroundPainter
from bkd_core.datasets.streets.layout import BLOCK, Block, Building, Prop, Street
from bkd_core.datasets.streets.sensor import develop, mirror_wet_road
from bkd_core.datasets.streets.sky import paint_horizon, paint_sky
from bkd_core.datasets.streets.things import Things
import numpy as np

# How far things are drawn, metres.
_SIGHT, _CAR_SIGHT, _SHADOW_SIGHT = 120.0, 100.0, 55.0
_PROP_SIGHT = {
    'tree': 115.0, 'bush': 45.0, 'lamp': 80.0, 'sign': 80.0, 'traffic_light': 80.0,
    'pedestrian': 70.0, 'crossing': 70.0}

_SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
_CIRCLE = np.array([
    (math.sin(angle), math.cos(angle)) for angle in np.arange(12) * (math.pi / 6)])


@dataclass(frozen=True, kw_only=True)
class Moment:
    """
    When and from where a street is seen.

    :param along: Position of the camera along the street, metres.
    :param time: Seconds.
    :param seed: Numbers that the frame's own randomness follows from.
    """

    along: float
    time: float
    seed: tuple[int, ...]


class Scene:
    """
    A street in its light and weather, and the camera that drives through it.

    :param street: The street.
    :param seed: Seed of the data set.
    :param size: (height, width) of the image, pixels.
    """

    def __init__(self, street: Street, seed: int, size: tuple[int, int]) -> None:
        self.street = street
        self.look = look = street.look
        self.size = size
        rng = np.random.default_rng([seed, 3, street.number, len(look.name)])
        self._things = Things(street)
        self._camera_height = rng.uniform(*look.camera_height)
        self._focal_length = rng.uniform(*look.focal_length) * size[1]
        self._pitch = math.radians(rng.uniform(*look.pitch))
        self._lateral = street.lane + rng.uniform(-0.4, 0.4)
        self._haze_length = rng.uniform(*look.haze_length)
        self._clouds = rng.uniform(*look.clouds)
        self._wetness = rng.uniform(*look.wetness)
        self._rain = max(0.0, rng.uniform(*look.rain) - 0.3) * 1.4
        self._exposure = rng.uniform(*look.exposure)
        self._traffic = [
            (rng.uniform(0, _SIGHT + 20), rng.uniform(5, 11), int(rng.integers(1 << 20)))
            for _ in range(look.traffic)]
        self._ahead = (rng.uniform(12, 32), int(rng.integers(1 << 20)))

    def render(self, moment: Moment) -> tuple[np.ndarray, np.ndarray]:
        """
        Return image and labels.

        :param moment: When and from where.
        :return: (H, W, 3) uint8 RGB and (H, W) uint8.
        """
        rng = np.random.default_rng(moment.seed)
        canvas = Canvas(
            self._camera(moment, rng), haze_color=self.look.sky_horizon,
            haze_length=self._haze_length)
        blocks = [
            self.street.block(number) for number in range(
                int((moment.along - 20) // BLOCK), int((moment.along + _SIGHT) // BLOCK) + 1)]
        cars = self._cars(blocks, moment)
        paint_sky(canvas, self.look, clouds=self._clouds, drift=0.002 * moment.time,
                  seed=self.street.number)
        paint_horizon(canvas, self.look, seed=self.street.number)
        GroundPainter(canvas, self.street, moment.along).paint(
            blocks, self._shadows(blocks, cars, moment))
        for draw, values in self._drawings(blocks, cars, canvas, moment):
            draw(canvas, *values)
        if self._wetness:
            mirror_wet_road(canvas, self._wetness, self.street.number)
        return develop(
            canvas, self.look, exposure=self._exposure, rain=self._rain, rng=rng)

    def _camera(self, moment: Moment, rng: np.random.Generator) -> Camera:
        shake, time = math.radians(self.look.shake), moment.time
        nod = shake * (math.sin(5.1 * time) + 0.6 * math.sin(8.7 * time + 1) + rng.normal(0, 0.1))
        sway = shake * (0.5 * math.sin(3.7 * time) + 0.3 * math.sin(7.3 * time + 2))
        lateral = self._lateral + 0.15 * math.sin(0.5 * time)
        x, _, z = self.street.point(moment.along, lateral)
        return Camera(
            (x, self._camera_height, z), yaw=math.atan(self.street.slope(moment.along + 6)),
            pitch=self._pitch + nod, roll=sway, focal_length=self._focal_length, size=self.size)

    def _cars(self, blocks: list[Block], moment: Moment) -> list[tuple[float, float, float, int]]:
        """Return (along, across, direction, variant) of each car."""
        cars = [
            (prop.along, prop.across, prop.speed, prop.variant)
            for block in blocks for prop in block.props if prop.kind == 'parked_car']
        span = _SIGHT + 20
        for start, speed, variant in self._traffic:
            position = start - speed * moment.time - moment.along
            lap = math.floor(position / span)
            cars.append((
                moment.along - 12 + position - lap * span, -self.street.lane, -1.0,
                variant + 7919 * lap))
        gap, variant = self._ahead
        gap += 6 * math.sin(moment.time * 0.35 + variant)
        cars.append((moment.along + gap, self.street.lane, 1.0, variant))
        return cars

    def _shadows(
        self, blocks: list[Block], cars: list, moment: Moment,
    ) -> list[tuple[np.ndarray, float]]:
        """Return the shadows on the ground, each as corners (along, across) and strength."""
        shadows = [(np.zeros((3, 2)), 0.0)]
        if self.look.sun > 0.3:
            shadows += [
                (corners, 0.4) for block in blocks if block.start - moment.along < _SHADOW_SIGHT
                for corners in self._cast_shadows(block)]
        for along, across, _, variant in cars:
            model = car_model(variant)
            half = (model.length / 2 + 0.12, model.width / 2 + 0.1)
            shadows.append((_SQUARE * half + (along, across), 0.62))
        for prop in (prop for block in blocks for prop in block.props):
            if prop.kind in ('pedestrian', 'crossing'):
                shadows.append((_CIRCLE * (0.2, 0.35) + self._walk(prop, moment), 0.55))
        return [
            shadow for shadow in shadows
            if -15 < shadow[0][0, 0] - moment.along < _SHADOW_SIGHT or shadow[1] == 0]

    def _cast_shadows(self, block: Block) -> Iterator[np.ndarray]:
        side = self.street.sun_side
        reach = -side / math.tan(self.street.sun_height)
        for house in block.buildings:
            if house.side == side:
                facade = choose_facade(self.look, house.facade, house.end - house.start)
                near = side * house.front
                far = near + reach * facade.front.height * 0.8
                yield np.array([(house.start, near), (house.end, near), (house.end + 2, far),
                                (house.start + 2, far)])
        for prop in block.props:
            if prop.kind == 'tree':
                middle = prop.across + reach * 5 * prop.size
                yield _CIRCLE * (1.9 * prop.size, 2.6 * prop.size) + (prop.along + 1, middle)
                yield np.array([
                    (prop.along - 0.15, prop.across), (prop.along + 0.15, prop.across),
                    (prop.along + 1.15, middle), (prop.along + 0.85, middle)])

    def _drawings(
        self, blocks: list[Block], cars: list, canvas: Canvas, moment: Moment,
    ) -> list[tuple[Callable, tuple]]:
        """Return what paints each thing within sight, the farthest first."""
        tasks = []
        for block in blocks:
            for house, facade, is_open in self._houses(block):
                if house.end > moment.along - 2:
                    values = (house, facade, is_open, moment.along)
                    tasks.append((house.end, self._things.draw_house, values))
            for prop in block.props:
                if prop.kind in _PROP_SIGHT:
                    along, across = self._walk(prop, moment)
                    if self._is_within_sight(canvas, along, across, _PROP_SIGHT[prop.kind]):
                        values = (prop, along, across, moment.time)
                        tasks.append((along, self._things.draw_prop, values))
        for car in cars:
            if self._is_within_sight(canvas, car[0] + 2.5, car[1], _CAR_SIGHT):
                tasks.append((car[0], self._things.draw_car, car))
        tasks.sort(key=lambda task: -task[0])
        return [(draw, values) for _, draw, values in tasks]

    def _houses(self, block: Block) -> Iterator[tuple[Building, Facade, bool]]:
        """Yield each house, its facade, and whether its side wall shows beside the one before."""
        before, height = None, 0.0
        for house in block.buildings:
            facade = choose_facade(self.look, house.facade, house.end - house.start)
            is_hidden = (
                before is not None and before.side == house.side
                and house.start - before.end < 0.1 and before.front <= house.front + 0.31
                and height >= facade.front.height)
            yield house, facade, not is_hidden
            before, height = house, facade.front.height

    def _is_within_sight(
        self, canvas: Canvas, along: float, across: float, sight: float,
    ) -> bool:
        x, _, z = canvas.camera.position
        depth = along - z
        if not 0.3 < depth < sight:
            return False
        aside = abs(self.street.center(along) + across - x - depth * canvas.camera.slope)
        return aside < depth * 0.55 * self.size[1] / self._focal_length + 3.5

    def _walk(self, prop: Prop, moment: Moment) -> tuple[float, float]:
        if prop.kind == 'pedestrian':
            return prop.along + prop.speed * moment.time, prop.across
        if prop.kind == 'crossing':
            span = self.street.half_width + 2.5
            way = (prop.across + span + prop.speed * moment.time) % (4 * span)
            return prop.along, span - abs(way - 2 * span)
        return prop.along, prop.across
