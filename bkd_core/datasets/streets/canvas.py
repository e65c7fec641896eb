# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture and its labels, painted together from far to near."""

from __future__ import annotations

import math

from bkd_core.datasets.streets.camera import Camera, clip_near
from bkd_core.labels import get_label_space
import cv2
import numpy as np

(ROAD, SIDEWALK, BUILDING, POLE, SIGN, TREE, SKY, PEDESTRIAN, CAR) = range(9)
assert get_label_space('street9').classes == (
    'road', 'sidewalk', 'building', 'pole', 'sign', 'tree', 'sky', 'pedestrian', 'car')

_SHIFT = 4  # polygons' corners are given in sixteenths of a pixel
_FAR_OUT = 30000.0  # pixels; keeps the corners within OpenCV's fixed point


class Texture:
    """
    A picture with its smaller versions, so that it does not flicker far away.

    :param image: (H, W, 3) uint8 RGB.
    :param pixels_per_metre: Its resolution.
    :param alpha: (H, W) uint8, or None where the whole picture is opaque.
    """

    def __init__(
        self, image: np.ndarray, *, pixels_per_metre: float, alpha: np.ndarray | None = None,
    ) -> None:
        self.levels = [(image, alpha, pixels_per_metre)]
        while min(image.shape[:2]) > 8 and len(self.levels) < 6:
            size = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            if alpha is not None:
                alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
            self.levels.append((image, alpha, size[0] / self.width))

    @property
    def height(self) -> float:
        """Return the height, metres."""
        return self.levels[0][0].shape[0] / self.levels[0][2]

    @property
    def width(self) -> float:
        """Return the width, metres."""
        return self.levels[0][0].shape[1] / self.levels[0][2]

    def level(self, pixels_per_metre: float) -> tuple[np.ndarray, np.ndarray | None]:
        """
        Return picture and alpha of the smallest version that still shows enough.

        :param pixels_per_metre: Resolution on the screen.
        """
        for image, alpha, resolution in reversed(self.levels):
            if resolution >= 0.8 * pixels_per_metre:
                return image, alpha
        return self.levels[0][:2]


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
        self.image = np.zeros((*camera.size, 3), np.uint8)
        self.labels = np.full(camera.size, SKY, np.uint8)
        self._haze_color = np.array(haze_color, float)
        self._haze_length = haze_length
        self._haze_image = np.empty_like(self.image)
        self._haze_image[:] = np.clip(self._haze_color, 0, 255)

    def clearness(self, distance: float) -> float:
        """
        Return the share of a thing's own light that haze lets through.

        :param distance: Metres.
        """
        return math.exp(-max(distance, 0.0) / self._haze_length)

    def shade(self, color: tuple, light: float, distance: float) -> tuple[float, float, float]:
        """
        Return a colour as it is seen in a light through haze.

        :param color: Red, green, blue.
        :param light: Factor.
        :param distance: Metres.
        """
        clear = self.clearness(distance)
        return tuple(
            min(255.0, max(0.0, value * light * clear + haze * (1 - clear)))
            for value, haze in zip(color, self._haze_color))

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
        height, width = self.labels.shape
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        if low[0] > width or low[1] > height or high[0] < -1 or high[1] < -1:
            return
        corners = [_fixed(pixels)]
        cv2.fillPoly(self.image, corners, color, cv2.LINE_AA, _SHIFT)
        if label is not None:
            cv2.fillPoly(self.labels, corners, label, cv2.LINE_8, _SHIFT)

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
        corners = np.stack([origin, origin + along, origin + along + up, origin + up])
        seen = clip_near(self.camera.to_camera(corners))
        if len(seen) < 3:
            return
        box = self._box(pixels := self.camera.to_pixels(seen))
        if box is None:
            return
        left, top, right, bottom = box
        distance = float(seen[:, 2].mean())
        picture, _ = texture.level(self.camera.focal_length / max(distance * 0.8, 0.5))
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
            warped, light * clear, self._haze_image[part], 1 - clear, 0)
        mask = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillPoly(mask, [_fixed(pixels - (left, top))], 255, cv2.LINE_8, _SHIFT)
        cv2.copyTo(warped, mask, self.image[part])
        self.labels[part][mask > 0] = label

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
        picture, alpha = texture.level(full / texture.height)
        rows, columns = picture.shape[:2]
        zoom_x, zoom_y = wide / columns, full / rows
        matrix = np.array([
            [zoom_x, 0, column - wide / 2 - left], [0, zoom_y, row - full - top]])
        if mirrored:
            matrix[0] = [-zoom_x, 0, column + wide / 2 - left]
        size = (right - left, bottom - top)
        color = cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        cover = cv2.warpAffine(alpha, matrix, size, borderMode=cv2.BORDER_CONSTANT)
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


def _fixed(pixels: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(pixels, -_FAR_OUT, _FAR_OUT) * 2 ** _SHIFT).astype(np.int32)
