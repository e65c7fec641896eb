# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One frame: a street, a moment and a camera become an image with labels."""

from __future__ import annotations

from dataclasses import dataclass
import math

from bkd_core.datasets.streets.camera import Camera
from bkd_core.datasets.streets.canvas import BUILDING, Canvas, PEDESTRIAN, TREE
from bkd_core.datasets.streets.cars import draw_car, make_car
from bkd_core.datasets.streets.facades import choose_facade
from bkd_core.datasets.streets.furniture import draw_lamp, draw_sign, draw_traffic_light
from bkd_core.datasets.streets.ground import CURB, GroundPainter
from bkd_core.datasets.streets.layout import Block, BLOCK, Building, Prop, Street
from bkd_core.datasets.streets.people import make_person, NUM_PHASES
from bkd_core.datasets.streets.plants import make_bush, make_tree
from bkd_core.datasets.streets.sensor import develop, mirror_wet_road
from bkd_core.datasets.streets.sky import paint_horizon, paint_sky
import numpy as np

_SIGHT = 150.0  # metres
_STRIDE = 1.45  # metres of two steps


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
        ground = GroundPainter(canvas, self.street, moment.along)
        ground.paint(blocks)
        self._shadows(ground, blocks, cars, moment)
        for draw in self._drawings(canvas, blocks, cars, moment):
            draw()
        if self._wetness:
            mirror_wet_road(canvas, self._wetness, self.street.number)
        return develop(
            canvas, self.look, exposure=self._exposure, rain=self._rain, rng=rng)

    def _camera(self, moment: Moment, rng: np.random.Generator) -> Camera:
        shake = rng.normal(0, math.radians(self.look.shake), 2) if self.look.shake else (0, 0)
        lateral = self._lateral + 0.15 * math.sin(moment.time * 0.5)
        x, _, z = self.street.point(moment.along, lateral)
        return Camera(
            (x, self._camera_height, z), yaw=math.atan(self.street.slope(moment.along + 6)),
            pitch=self._pitch + shake[0], roll=0.5 * shake[1], focal_length=self._focal_length,
            size=self.size)

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
        self, ground: GroundPainter, blocks: list[Block], cars: list, moment: Moment,
    ) -> None:
        street = self.street
        contact = []
        for along, across, _, variant in cars:
            model = make_car(variant)
            long, wide = model.length / 2 + 0.15, model.width / 2 + 0.12
            contact.append(np.array([
                (along - long, across - wide), (along + long, across - wide),
                (along + long, across + wide), (along - long, across + wide)]))
        for prop in (prop for block in blocks for prop in block.props):
            if prop.kind in ('pedestrian', 'crossing'):
                along, across = self._walk(prop, moment)
                contact.append(_ellipse(along, across, 0.2, 0.35))
        ground.shadows(contact, 0.6)
        if self.look.sun < 0.3:
            return
        reach = 1 / math.tan(street.sun_height) * -street.sun_side
        cast = []
        for block in blocks:
            for house in block.buildings:
                if house.side == street.sun_side:
                    height = choose_facade(self.look, house.facade, house.end - house.start)
                    far = house.side * house.front + reach * height.front.height * 0.8
                    cast.append(np.array([
                        (house.start, house.side * house.front), (house.end, house.side * house.front),
                        (house.end + 2, far), (house.start + 2, far)]))
            for prop in block.props:
                if prop.kind == 'tree':
                    middle = prop.across + reach * 5 * prop.size
                    cast.append(_ellipse(prop.along + 1, middle, 1.9 * prop.size, 2.6 * prop.size))
                    cast.append(np.array([
                        (prop.along - 0.15, prop.across), (prop.along + 0.15, prop.across),
                        (prop.along + 1.15, middle), (prop.along + 0.85, middle)]))
        ground.shadows(cast, 0.42)

    def _drawings(self, canvas: Canvas, blocks: list[Block], cars: list, moment: Moment) -> list:
        """Return what paints each thing, the farthest first."""
        tasks = []
        for block in blocks:
            for house in block.buildings:
                tasks.append((house.end, self._draw_house, (canvas, house, moment.along)))
            for prop in block.props:
                if prop.kind != 'parked_car':
                    along, _ = self._walk(prop, moment)
                    if 0.8 < along - moment.along < _SIGHT:
                        tasks.append((along, self._draw_prop, (canvas, prop, moment)))
        for car in cars:
            if -3 < car[0] - moment.along < _SIGHT:
                tasks.append((car[0], self._draw_car, (canvas, *car)))
        tasks.sort(key=lambda task: -task[0])
        return [lambda draw=draw, values=values: draw(*values) for _, draw, values in tasks]

    def _walk(self, prop: Prop, moment: Moment) -> tuple[float, float]:
        if prop.kind == 'pedestrian':
            return prop.along + prop.speed * moment.time, prop.across
        if prop.kind == 'crossing':
            span = self.street.half_width + 2.5
            way = (prop.across + span + prop.speed * moment.time) % (4 * span)
            return prop.along, span - abs(way - 2 * span)
        return prop.along, prop.across

    def _light(self, side: int) -> float:
        is_lit = side != self.street.sun_side
        return self.look.ambient + (self.look.sun if is_lit else 0.0)

    def _draw_house(self, canvas: Canvas, house: Building, along: float) -> None:
        if house.end < along - 2:
            return
        facade = choose_facade(self.look, house.facade, house.end - house.start)
        street, side = self.street, house.side
        near = street.point(house.start, side * house.front)
        far = street.point(house.end, side * house.front)
        height = facade.front.height
        if house.start > along:
            canvas.textured(
                facade.side, near, np.array([side * house.depth, 0, 0]), height=height,
                label=BUILDING, light=self.look.ambient + 0.4 * self.look.sun)
        if house.is_gabled:
            self._draw_roof(canvas, house, facade, near, far, height)
        canvas.textured(
            facade.front, near, far - near, height=height, label=BUILDING,
            light=self._light(side), mirrored=side > 0)

    def _draw_roof(
        self, canvas: Canvas, house: Building, facade, near: np.ndarray, far: np.ndarray,
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

    def _draw_prop(self, canvas: Canvas, prop: Prop, moment: Moment) -> None:
        along, across = self._walk(prop, moment)
        level = CURB if abs(across) > self.street.half_width else 0.0
        base = self.street.point(along, across, level)
        side = -1 if across < 0 else 1
        light = self.look.ambient + 0.6 * self.look.sun
        if prop.kind == 'tree':
            canvas.sprite(
                make_tree(self.look.name, prop.variant), base, height=8.0 * prop.size, label=TREE,
                light=light, mirrored=prop.variant % 2 == 1)
        elif prop.kind == 'bush':
            canvas.sprite(
                make_bush(self.look.name, prop.variant), base, height=1.4 * prop.size, label=TREE,
                light=light)
        elif prop.kind == 'lamp':
            draw_lamp(canvas, base, side, light, is_on=self.look.has_lamps_on)
        elif prop.kind == 'sign':
            draw_sign(canvas, base, prop.variant, prop.size, light)
        elif prop.kind == 'traffic_light':
            signal = int(moment.time / 6 + prop.variant) % 3
            draw_traffic_light(canvas, base, signal, light, is_glowing=self.look.has_lamps_on)
        else:
            phase = -1
            if prop.speed:
                step = abs(prop.speed) * moment.time / _STRIDE + prop.variant / 7
                phase = int(step * NUM_PHASES) % NUM_PHASES
            canvas.sprite(
                make_person(prop.variant, phase), base, height=1.75 * prop.size, label=PEDESTRIAN,
                light=light, mirrored=prop.speed < 0)

    def _draw_car(
        self, canvas: Canvas, along: float, across: float, direction: float, variant: int,
    ) -> None:
        paint = self.look.paint_colors[variant // 5 % len(self.look.paint_colors)]
        place = self.street.point(along, across)
        yaw = math.atan(self.street.slope(along)) + (math.pi if direction < 0 else 0)
        model = make_car(variant)
        draw_car(canvas, model, place, yaw, paint, light=self.look.ambient, sun=self.look.sun)
        is_moving = abs(abs(across) - self.street.lane) < 0.5
        if self.look.has_lamps_on and is_moving:
            color = (255, 244, 214) if direction < 0 else (255, 50, 40)
            strength, radius = (0.9, 0.75) if direction < 0 else (0.55, 0.4)
            for offset in (-0.65, 0.65):
                lamp = place + (offset, 0.7, -model.length / 2)
                canvas.glow(lamp, color, radius, strength)


def _ellipse(along: float, across: float, long: float, wide: float) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    return np.stack([along + long * np.sin(angles), across + wide * np.cos(angles)], axis=1)
