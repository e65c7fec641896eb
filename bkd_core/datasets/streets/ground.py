# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Road, sidewalks, curbs, markings, lawns, and the shadows on them."""

from __future__ import annotations

from functools import lru_cache
import math

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

    def paint(self, blocks: list[Block]) -> None:
        """
        Paint the ground with its texture, without shadows.

        :param blocks: The stretches of street within sight.
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
        self._texture()

    def shadows(self, polygons: list[np.ndarray], strength: float) -> None:
        """
        Darken parts of the ground.

        :param polygons: (N, 2) corners each, as (along, across).
        :param strength: Share of the light that is lost.
        """
        mask = np.zeros(self.canvas.labels.shape, np.uint8)
        for polygon in polygons:
            points = np.array([self.street.point(*corner) for corner in polygon])
            seen = clip_near(self.canvas.camera.to_camera(points))
            if len(seen) >= 3:
                pixels = np.clip(self.canvas.camera.to_pixels(seen), -20000, 20000)
                cv2.fillPoly(mask, [np.rint(pixels).astype(np.int32)], 255)
        top = self._first_row()
        mask = cv2.blur(mask[top:], (5, 3))
        ground = self.canvas.image[top:]
        dimmed = cv2.convertScaleAbs(ground, alpha=1 - strength)
        share = mask.astype(np.float32) * np.float32(1 / 255)
        ground[:] = cv2.blendLinear(dimmed, ground, share, 1 - share)

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
        if math.isfinite(start) or math.isfinite(end):
            start, end = max(start, steps[0]), min(end, steps[-1])
            if start >= end:
                return
            steps = np.array([start, *steps[(steps > start) & (steps < end)], end])
        center = self.street.center(steps)
        level = np.full(len(steps), height)
        one = np.stack([center + left, level, steps], axis=1)
        other = np.stack([center + right, level, steps], axis=1)
        self._area(np.concatenate([one, other[::-1]]), color, label)

    def _lots(self, block: Block) -> None:
        look = self.street.look
        line = self.street.half_width + self.street.sidewalk_width
        if block.cross_street is not None:
            self._strip(-60, 60, look.paving, SIDEWALK, start=block.start,
                        end=block.cross_street + CROSS_HALF_WIDTH + 1.5)
        for house in block.buildings:
            color, label = (look.grass, TREE) if house.has_lawn else (look.paving, SIDEWALK)
            edges = sorted((house.side * (line - 0.1), house.side * (line + 14)))
            self._strip(*edges, color, label, start=house.start - 0.1, end=house.end + 4.2)

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
        period = 6.0 + self.street.number % 3
        first = math.floor(self.along / period) * period
        crossings = [block.cross_street for block in blocks if block.cross_street is not None]
        for start in np.arange(first - period, first + 110, period):
            if not any(abs(start + 1.5 - c) < CROSS_HALF_WIDTH + 6 for c in crossings):
                self._strip(-0.07, 0.07, color, None, start=start, end=start + 3.0)
        parking = half - PARKING_WIDTH
        begin = self._steps[0]
        for end in [*crossings, math.inf]:
            for side in (-1, 1):
                x = side * parking
                self._strip(x - 0.05, x + 0.05, color, None, start=begin,
                            end=end - CROSS_HALF_WIDTH - 5)
            begin = end + CROSS_HALF_WIDTH + 3
        for cross in crossings:
            self._zebra(cross - CROSS_HALF_WIDTH - 4.2, color)
            self._strip(0.2, parking, color, None, start=cross - CROSS_HALF_WIDTH - 5.6,
                        end=cross - CROSS_HALF_WIDTH - 5.1)

    def _zebra(self, start: float, color: tuple) -> None:
        half = self.street.half_width
        for left in np.arange(-half + 0.35, half - 0.5, 1.0):
            self._strip(left, left + 0.5, color, None, start=start, end=start + 3.0)

    def _texture(self) -> None:
        top = self._first_row()
        x, z = self.canvas.camera.ground_points(top)
        across = x - self.street.center(z).astype(np.float32)
        tile = _ground_tile()
        picked = _sample(tile, across * _RESOLUTION, z * _RESOLUTION)
        labels = self.canvas.labels[top:]
        detail = np.where(
            labels == ROAD, picked[..., 0], np.where(labels == TREE, picked[..., 2],
                                                     picked[..., 1]))
        wear = _sample(tile[..., 0], across * 11, z * 2.3)
        depth = z[:, z.shape[1] // 2] - self.canvas.camera.position[2]
        fade = np.clip(self.canvas.camera.focal_length / 90 / np.maximum(depth, 0.5), 0, 1)
        grain = self.street.look.grain * fade.astype(np.float32)[:, None]
        factor = 1 + grain * (detail - 128) * np.float32(1 / 64)
        factor += self.street.look.grain * 0.5 * (wear - 128) * np.float32(1 / 64)
        self._apply(top, factor, depth)

    def _apply(self, top: int, factor: np.ndarray, depth: np.ndarray) -> None:
        canvas = self.canvas
        clear = np.array([canvas.clearness(value) for value in depth], np.float32)[:, None]
        haze = np.array(canvas.shade((0, 0, 0), 1, 1e9), np.float32)
        is_ground = canvas.labels[top:] <= TREE
        ground = canvas.image[top:].astype(np.float32)
        ground *= (factor * clear)[..., None]
        ground += haze * (1 - clear)[..., None]
        painted = np.clip(ground, 0, 255).astype(np.uint8)
        cv2.copyTo(painted, is_ground.astype(np.uint8), canvas.image[top:])


def _sample(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    size = np.float32(_TILE)
    x = x - size * np.floor(x / size)
    y = y - size * np.floor(y / size)
    return cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).astype(np.float32)


@lru_cache(maxsize=1)
def _ground_tile() -> np.ndarray:
    """Return asphalt, paving and grass in three channels, 128 in the middle."""
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
    return np.clip(np.stack([asphalt, paving, grass], axis=2), 0, 255).astype(np.uint8)
