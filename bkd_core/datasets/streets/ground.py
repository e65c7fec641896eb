# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Road, sidewalks, curbs, markings, lawns, and the shadows on them."""

from __future__ import annotations

from functools import lru_cache
import math
from typing import Iterator

from bkd_core.datasets.streets.camera import clip_near
from bkd_core.datasets.streets.canvas import Canvas, ROAD, SIDEWALK, TREE
from bkd_core.datasets.streets.layout import Block, CROSS_HALF_WIDTH, PARKING_WIDTH, Street
from bkd_core.datasets.streets.noise import fractal_tile
import cv2
import numpy as np

CURB = 0.12  # metres
_STEPS = np.array([-4, -2, 0, 1.5, 3, 5, 7.5, 11, 15, 20, 27, 36, 48, 65, 90, 125, 175, 250, 400])
_TILE, _RESOLUTION = 512, 64  # pixels, pixels a metre
_MARK = (226, 226, 220)


class GroundPainter:
    """
    Paints the ground as the camera sees it.

    :param canvas: Where.
    :param street: The street.
    :param along: Position of the camera along it, metres.
    """

    def __init__(self, canvas: Canvas, street: Street, along: float) -> None:
        self.canvas = canvas
        self.street = street
        self.along = along
        self._steps = along + _STEPS

    def paint(self, blocks: list[Block], shadows: list[tuple[np.ndarray, float]]) -> None:
        """
        Paint the ground.

        :param blocks: The stretches of street within sight.
        :param shadows: Corners (N, 2) of each shadow as (along, across), and the share of the
            light that is lost in it; a later one replaces an earlier one.
        """
        look, half = self.street.look, self.street.half_width
        outer = half + self.street.sidewalk_width
        self._strip(-300, 300, look.grass, TREE)
        for block in blocks:
            self._lots(block)
        for side in (-1, 1):
            self._strip(side * half, side * outer, look.paving, SIDEWALK, height=CURB)
        self._strip(-half, half, look.asphalt, ROAD)
        for block in blocks:
            if block.cross_street is not None:
                self._cross_street(block.cross_street)
        for side in (-1, 1):
            self._curb(side, blocks)
        self._markings(blocks)
        self._finish(self._shadow_mask(shadows))

    def _shadow_mask(self, shadows: list[tuple[np.ndarray, float]]) -> np.ndarray:
        mask = np.zeros(self.canvas.labels.shape, np.uint8)
        corners = np.concatenate([corners for corners, _ in shadows])
        along, across = corners.T
        height = np.where(np.abs(across) > self.street.half_width, CURB, 0.0)
        points = np.stack([self.street.center(along) + across, height, along], axis=1)
        seen = self.canvas.camera.to_camera(points)
        first = 0
        for corners, strength in shadows:
            part = clip_near(seen[first:first + len(corners)])
            first += len(corners)
            if len(part) >= 3:
                pixels = np.rint(self.canvas.camera.to_pixels(part)).astype(np.int32)
                cv2.fillPoly(mask, [pixels], int(255 * strength))
        return cv2.blur(mask, (5, 3))

    def _first_row(self) -> int:
        return int(np.clip(min(self.canvas.camera.horizon()) + 1, 0, self.canvas.labels.shape[0]))

    def _area(self, corners: np.ndarray, color: tuple, label: int | None) -> None:
        seen = clip_near(self.canvas.camera.to_camera(corners))
        if len(seen) >= 3:
            self.canvas.fill(self.canvas.camera.to_pixels(seen), color, label)

    def _strip(
        self, left: float, right: float, color: tuple, label: int | None, *, height: float = 0.0,
        start: float = -math.inf, end: float = math.inf,
    ) -> None:
        steps = self._steps
        if start > steps[0] or end < steps[-1]:
            start, end = max(start, steps[0]), min(end, steps[-1])
            if start >= end:
                return
            inner = steps[np.searchsorted(steps, start, 'right'):np.searchsorted(steps, end)]
            steps = np.concatenate([[start], inner, [end]])
        center = self.street.center(steps)
        count = len(steps)
        corners = np.empty((2 * count, 3))
        corners[:count, 0], corners[count:, 0] = center + left, center[::-1] + right
        corners[:, 1] = height
        corners[:count, 2], corners[count:, 2] = steps, steps[::-1]
        self._area(corners, color, label)

    def _lots(self, block: Block) -> None:
        look = self.street.look
        line = self.street.half_width + self.street.sidewalk_width
        if block.cross_street is not None:
            self._strip(-60, 60, look.paving, SIDEWALK, start=block.start,
                        end=block.cross_street + CROSS_HALF_WIDTH + 1.5)
        for side in (-1, 1):
            houses = [house for house in block.buildings if house.side == side]
            if houses and not houses[0].has_lawn:
                edges = sorted((side * (line - 0.1), side * (line + 14)))
                self._strip(*edges, look.paving, SIDEWALK, start=houses[0].start - 0.1,
                            end=houses[-1].end + 0.1)

    def _cross_street(self, middle: float) -> None:
        self._strip(-150, 150, self.street.look.asphalt, ROAD,
                    start=middle - CROSS_HALF_WIDTH, end=middle + CROSS_HALF_WIDTH)

    def _curb(self, side: int, blocks: list[Block]) -> None:
        edge = side * self.street.half_width
        gaps = [block.cross_street for block in blocks if block.cross_street is not None]
        start = self._steps[0]
        color = np.array(self.street.look.paving)
        for gap in [*gaps, math.inf]:
            end = gap - CROSS_HALF_WIDTH
            steps = self._steps[(self._steps > start) & (self._steps < end)]
            steps = np.array([start, *steps, min(end, self._steps[-1])])
            center = self.street.center(steps) + edge
            low = np.stack([center, np.zeros(len(steps)), steps], axis=1)
            high = low + (0, CURB, 0)
            inner = high + (side * 0.16, 0, 0)
            for a, b, shade in ((high, inner, 1.12), (low, high, 0.72)):
                tone = tuple(np.clip(color * shade, 0, 255))
                self._area(np.concatenate([a, b[::-1]]), tone, SIDEWALK)
            start = gap + CROSS_HALF_WIDTH
            if start >= self._steps[-1]:
                return

    def _markings(self, blocks: list[Block]) -> None:
        half = self.street.half_width
        wear = 0.55 + 0.45 * ((self.street.number * 37 % 10) / 10)
        color = tuple(
            m * wear + a * (1 - wear) for m, a in zip(_MARK, self.street.look.asphalt))
        crossings = [block.cross_street for block in blocks if block.cross_street is not None]
        marks = [*self._dashes(crossings)]
        for cross in crossings:
            near = cross - CROSS_HALF_WIDTH
            marks += [(left, left + 0.5, near - 4.2, near - 1.2)
                      for left in np.arange(-half + 0.35, half - 0.5, 1.0)]
            marks.append((0.2, half - PARKING_WIDTH, near - 5.6, near - 5.1))
        self._rectangles(marks, color)
        parking, begin = half - PARKING_WIDTH, self._steps[0]
        for end in [*crossings, math.inf]:
            for x in (-parking, parking):
                self._strip(x - 0.05, x + 0.05, color, None, start=begin,
                            end=end - CROSS_HALF_WIDTH - 5)
            begin = end + CROSS_HALF_WIDTH + 3

    def _dashes(self, crossings: list[float]) -> Iterator[tuple[float, float, float, float]]:
        """Yield left, right, start and end of each dash of the middle line."""
        period = 6.0 + self.street.number % 3
        first = math.floor(self.along / period) * period
        for start in np.arange(first - period, first + 100, period).tolist():
            if not any(abs(start + 1.5 - cross) < CROSS_HALF_WIDTH + 6 for cross in crossings):
                yield -0.07, 0.07, start, start + 3.0

    def _rectangles(self, marks: list[tuple[float, float, float, float]], color: tuple) -> None:
        corners = np.array([
            (across, 0.0, along) for left, right, start, end in marks
            for across, along in ((left, start), (right, start), (right, end), (left, end))])
        corners[:, 0] += self.street.center(corners[:, 2])
        seen = self.canvas.camera.to_camera(corners)
        for first in range(0, len(seen), 4):
            part = clip_near(seen[first:first + 4])
            if len(part) >= 3:
                self.canvas.fill(self.canvas.camera.to_pixels(part), color, None)

    def _finish(self, shadow: np.ndarray) -> None:
        """Give the flat colours their texture, shadows and haze."""
        top = self._first_row()
        canvas, grain = self.canvas, self.street.look.grain
        x, z = canvas.camera.ground_points(top)
        across = x - self.street.center(z)
        labels = canvas.labels[top:]
        tile = _ground_tile()
        picked = _sample(tile, across * _RESOLUTION, z * _RESOLUTION)
        asphalt, paving, grass, _ = cv2.split(picked)
        detail = np.where(labels == ROAD, asphalt, np.where(labels == TREE, grass, paving))
        wear = _sample(np.ascontiguousarray(tile[..., 0]), across * 11, z * np.float32(2.3))
        depth = z[:, z.shape[1] // 2] - np.float32(canvas.camera.position[2])
        fade = np.clip(canvas.camera.focal_length / 90 / np.maximum(depth, 0.5), 0, 1)
        clear = np.exp(-depth / canvas.haze_length).astype(np.float32)
        strength = (fade * grain / 64).astype(np.float32)[:, None]
        factor = strength * (detail - np.float32(128))
        factor += np.float32(grain / 128) * (wear - np.float32(128)) + 1
        factor *= (255 - shadow[top:]) * (clear * np.float32(128 / 255))[:, None]
        factor = cv2.convertScaleAbs(factor)
        haze = (np.array(canvas.haze_color) * (1 - clear)[:, None, None]).astype(np.uint8)
        ground = cv2.multiply(canvas.image[top:], cv2.merge([factor] * 3), scale=1 / 128)
        ground = cv2.add(ground, np.broadcast_to(haze, ground.shape).copy())
        cv2.copyTo(ground, (labels <= TREE).astype(np.uint8), canvas.image[top:])


def _sample(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    size = np.float32(_TILE)
    x = x - size * np.floor(x / size)
    y = y - size * np.floor(y / size)
    return cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


@lru_cache(maxsize=1)
def _ground_tile() -> np.ndarray:
    """Return asphalt, paving and grass (twice) in four channels, 128 in the middle."""
    rng = np.random.default_rng(41)
    fine = rng.normal(0, 24, (_TILE, _TILE)).astype(np.float32)
    clouds = (fractal_tile(_TILE, 7, coarsest=4) - 0.5) * 110
    asphalt = 128 + fine + clouds
    paving = 128 + 0.4 * fine + 0.4 * clouds
    slab = 32  # pixels: half a metre
    tone = rng.normal(0, 14, (_TILE // slab, _TILE // slab)).astype(np.float32)
    paving += np.repeat(np.repeat(tone, slab, axis=0), slab, axis=1)
    for line in range(0, _TILE, slab):
        paving[line:line + 2] -= 52
        paving[:, line:line + 2] -= 52
    grass = 128 + (fractal_tile(_TILE, 9, coarsest=32, octaves=4) - 0.5) * 150 + fine
    return np.clip(np.stack([asphalt, paving, grass, grass], axis=2), 0, 255).astype(np.uint8)
