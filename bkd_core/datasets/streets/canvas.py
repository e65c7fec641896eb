# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture and its labels, painted together from far to near."""

from __future__ import annotations

from functools import lru_cache
import math

from bkd_core.datasets.streets.camera import Camera, clip_near, NEAR
from bkd_core.datasets.streets.texture import Texture
from bkd_core.labels import get_label_space
import cv2
import numpy as np

(ROAD, SIDEWALK, BUILDING, POLE, SIGN, TREE, SKY, PEDESTRIAN, CAR) = range(9)
assert get_label_space('street9').classes == (
    'road', 'sidewalk', 'building', 'pole', 'sign', 'tree', 'sky', 'pedestrian', 'car')

_SHIFT = 4  # polygons' corners are given in sixteenths of a pixel


class Canvas:
    """
    An image and its labels.

    :param camera: The camera that sees them.
    :param haze_color: Colour that far things fade to.
    :param haze_length: Metres after which haze hides 63 %.
    """

    def __init__(
        self, camera: Camera, *, haze_color: tuple[float, float, float], haze_length: float,
    ) -> None:
        self.camera = camera
        self.image = np.empty((*camera.size, 3), np.uint8)
        self.labels = np.full(camera.size, SKY, np.uint8)
        self.haze_color = tuple(float(value) for value in haze_color)
        self.haze_length = haze_length
        self._haze_image = _plain_image(camera.size, self.haze_color)

    def clearness(self, distance: float) -> float:
        """
        Return the share of a thing's own light that haze lets through.

        :param distance: Metres.
        """
        return math.exp(-max(distance, 0.0) / self.haze_length)

    def shade(self, color: tuple, light: float, distance: float) -> tuple[float, float, float]:
        """
        Return a colour as it is seen in a light through haze.

        :param color: Red, green, blue.
        :param light: Factor.
        :param distance: Metres.
        """
        clear = self.clearness(distance)
        share = light * clear
        red, green, blue = self.haze_color
        return (min(255.0, color[0] * share + red * (1 - clear)),
                min(255.0, color[1] * share + green * (1 - clear)),
                min(255.0, color[2] * share + blue * (1 - clear)))

    def polygon(
        self, points: np.ndarray, color: tuple, label: int | None, *, light: float = 1.0,
    ) -> None:
        """
        Paint a flat polygon.

        :param points: (N, 3) corners in the world.
        :param color: Red, green, blue before light and haze.
        :param label: Its class; None leaves the labels as they are.
        :param light: Factor on the colour.
        """
        seen = clip_near(self.camera.to_camera(points))
        if len(seen) >= 3:
            color = self.shade(color, light, float(seen[:, 2].mean()))
            self.fill(self.camera.to_pixels(seen), color, label)

    def fill(self, pixels: np.ndarray, color: tuple, label: int | None) -> None:
        """
        Paint a polygon of the image.

        :param pixels: (N, 2) as (column, row).
        :param color: Red, green, blue as they are seen.
        :param label: Its class; None leaves the labels as they are.
        """
        corners = [_fixed(pixels)]
        cv2.fillPoly(self.image, corners, color, cv2.LINE_AA, _SHIFT)
        if label is not None:
            cv2.fillPoly(self.labels, corners, label, cv2.LINE_8, _SHIFT)

    def mesh(
        self, points: np.ndarray, parts: list[tuple[int, int]], colors: list, outline: list[bool],
        label: int,
    ) -> None:
        """
        Paint the flat parts of a thing in their order.

        :param points: (N, 3) corners of all parts in the world.
        :param parts: First and behind-the-last corner of each part.
        :param colors: Colour of each part as it is seen.
        :param outline: Whether a part can reach beyond the parts before it; only such parts
            are painted into the labels.
        :param label: The thing's class.
        """
        seen = self.camera.to_camera(points)
        is_whole = seen[:, 2].min() >= NEAR
        if is_whole:
            fixed = _fixed(self.camera.to_pixels(seen))
        for (first, last), color, is_outline in zip(parts, colors, outline):
            if is_whole:
                corners = [fixed[first:last]]
            else:
                part = clip_near(seen[first:last])
                if len(part) < 3:
                    continue
                corners = [_fixed(self.camera.to_pixels(part))]
            cv2.fillPoly(self.image, corners, color, cv2.LINE_AA, _SHIFT)
            if is_outline:
                cv2.fillPoly(self.labels, corners, label, cv2.LINE_8, _SHIFT)

    def bar(
        self, base: np.ndarray, height: float, radius: float, color: tuple, label: int, *,
        light: float,
    ) -> None:
        """
        Paint an upright post, one edge in the light.

        :param base: (3,) foot.
        :param height: Metres.
        :param radius: Metres.
        :param color: Red, green, blue before light and haze.
        :param label: Its class.
        :param light: Factor.
        """
        seen = self.camera.to_camera(np.array([base, (base[0], base[1] + height, base[2])]))
        distance = float(seen[0, 2])
        if min(distance, seen[1, 2]) < NEAR:
            return
        (x0, y0), (x1, y1) = self.camera.to_pixels(seen).tolist()
        wide = radius * self.camera.focal_length / distance
        for left, right, shade, part in ((-1, 1, 0.75, label), (-0.5, 0.15, 1.15, None)):
            pixels = np.array([(x0 + left * wide, y0), (x0 + right * wide, y0),
                               (x1 + right * wide, y1), (x1 + left * wide, y1)])
            self.fill(pixels, self.shade(color, light * shade, distance), part)
            if wide < 0.7:
                return

    def textured(
        self, texture: Texture, origin: np.ndarray, along: np.ndarray, *, height: float,
        label: int, light: float = 1.0, mirrored: bool = False,
    ) -> None:
        """
        Paint an upright rectangle with a picture that fills it.

        :param texture: The picture.
        :param origin: (3,) lower corner, where the picture's left edge is.
        :param along: (3,) from there to the other lower corner.
        :param height: Metres.
        :param label: Its class.
        :param light: Factor.
        :param mirrored: The picture's right edge is at the origin instead.
        """
        up = np.array([0.0, height, 0.0])
        corners = np.array([origin, origin + along, origin + along + up, origin + up])
        seen = clip_near(self.camera.to_camera(corners))
        if len(seen) < 3:
            return
        box = self._box(pixels := self.camera.to_pixels(seen))
        if box is None:
            return
        left, top, right, bottom = box
        distance = float(seen[:, 2].mean())
        picture = texture.level(self.camera.focal_length / max(distance * 0.8, 0.5))
        rows, columns = picture.shape[:2]
        start, step = (origin + along, -along) if mirrored else (origin, along)
        plane = self.camera.homography(start + up, step / columns, -up / rows)
        plane = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ plane
        size = (right - left, bottom - top)
        warped = cv2.warpPerspective(
            picture, plane, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        clear = self.clearness(distance)
        part = np.s_[top:bottom, left:right]
        warped = cv2.addWeighted(
            cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), light * clear, self._haze_image[part],
            1 - clear, 0)
        mask = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillPoly(mask, [_fixed(pixels - (left, top))], 255, cv2.LINE_8, _SHIFT)
        cv2.copyTo(warped, mask, self.image[part])
        cv2.fillPoly(self.labels, [_fixed(pixels)], label, cv2.LINE_8, _SHIFT)

    def sprite(
        self, texture: Texture, base: np.ndarray, *, height: float, label: int,
        light: float = 1.0, mirrored: bool = False,
    ) -> None:
        """
        Paint a picture with alpha that stands upright and faces the camera.

        :param texture: The picture; its lower edge's middle stands on the base.
        :param base: (3,) point in the world.
        :param height: Metres.
        :param label: Class where the alpha is at least a half.
        :param light: Factor.
        :param mirrored: Left and right are exchanged.
        """
        place = self.camera.to_camera(base[None])
        distance = float(place[0, 2])
        if distance < 1.2:
            return
        column, row = self.camera.to_pixels(place)[0]
        scale = self.camera.focal_length / distance
        full = height * scale
        wide = full * texture.width / texture.height
        box = self._box(np.array([[column - wide / 2, row - full], [column + wide / 2, row]]))
        if box is None:
            return
        left, top, right, bottom = box
        picture = texture.level(full / texture.height)
        rows, columns = picture.shape[:2]
        zoom_x, zoom_y = wide / columns, full / rows
        matrix = np.array([
            [zoom_x, 0, column - wide / 2 - left], [0, zoom_y, row - full - top]])
        if mirrored:
            matrix[0] = [-zoom_x, 0, column + wide / 2 - left]
        size = (right - left, bottom - top)
        warped = cv2.warpAffine(picture, matrix, size)
        color, cover = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), warped[..., 3]
        clear = self.clearness(distance)
        part = np.s_[top:bottom, left:right]
        color = cv2.addWeighted(color, light * clear, self._haze_image[part], 1 - clear, 0)
        share = cover.astype(np.float32) * np.float32(1 / 255)
        self.image[part] = cv2.blendLinear(color, self.image[part], share, 1 - share)
        self.labels[part][cover >= 128] = label

    def glow(self, point: np.ndarray, color: tuple, radius: float, strength: float) -> None:
        """
        Add the light of a lamp to the image; labels stay.

        :param point: (3,) where the lamp is.
        :param color: Red, green, blue.
        :param radius: Metres; at least a few pixels are lit.
        :param strength: Factor.
        """
        place = self.camera.to_camera(point[None])
        if place[0, 2] < 1.5:
            return
        column, row = self.camera.to_pixels(place)[0]
        reach = max(radius * self.camera.focal_length / place[0, 2], 3.0)
        box = self._box(np.array([[column - reach, row - reach], [column + reach, row + reach]]))
        if box is None:
            return
        left, top, right, bottom = box
        x = (np.arange(left, right, dtype=np.float32) - np.float32(column)) / np.float32(reach)
        y = (np.arange(top, bottom, dtype=np.float32) - np.float32(row)) / np.float32(reach)
        fall = np.clip(1 - x[None] ** 2 - y[:, None] ** 2, 0, 1) ** 3
        light = fall[..., None] * np.array(color, np.float32) * np.float32(strength)
        part = np.s_[top:bottom, left:right]
        self.image[part] = cv2.add(self.image[part], light.astype(np.uint8))

    def _box(self, pixels: np.ndarray) -> tuple[int, int, int, int] | None:
        """Return left, top, right, bottom of the part inside the image, or None."""
        height, width = self.labels.shape
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        left, top = max(0, math.floor(low[0])), max(0, math.floor(low[1]))
        right, bottom = min(width, math.ceil(high[0]) + 1), min(height, math.ceil(high[1]) + 1)
        return (left, top, right, bottom) if left < right and top < bottom else None


@lru_cache(maxsize=4)
def _plain_image(size: tuple[int, int], color: tuple[float, float, float]) -> np.ndarray:
    image = np.empty((*size, 3), np.uint8)
    image[:] = color
    return image


def _fixed(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels * 2 ** _SHIFT).astype(np.int32)
