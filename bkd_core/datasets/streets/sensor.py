# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From the painted scene to the camera's image: wet road, lens, exposure, rain, noise."""

from __future__ import annotations

from functools import lru_cache

from bkd_core.datasets.streets.canvas import Canvas, ROAD
from bkd_core.datasets.streets.look import Look
from bkd_core.datasets.streets.noise import fractal_tile
import cv2
import numpy as np

_SHIFTS = 128  # pixels by which the picture of the noise is moved at random


def mirror_wet_road(canvas: Canvas, wetness: float, seed: int) -> None:
    """
    Let the road mirror what stands on it, most where puddles are and far ahead.

    :param canvas: The finished scene.
    :param wetness: 0 dry to 1.
    :param seed: Number of the puddles' picture.
    """
    height, width = canvas.labels.shape
    horizon = int(np.clip(np.mean(canvas.camera.horizon()), 1, height - 2))
    depth = min(horizon, height - horizon)
    mirror = cv2.flip(canvas.image[horizon - depth:horizon], 0)
    mirror = cv2.blur(mirror, (3, max(3, height // 16) | 1))
    x, z = canvas.camera.ground_points(horizon)
    scale = np.float32(24)
    tile = fractal_tile(512, 50 + seed % 3, coarsest=4, octaves=4)
    puddle = cv2.remap(
        tile, np.mod(x * scale, 512), np.mod(z * scale * 0.6, 512), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP)[:depth]
    share = np.clip((puddle - 0.62 + 0.28 * wetness) * 4, 0.12, 1) * wetness
    glance = np.linspace(0.85, 0.35, depth, dtype=np.float32)[:, None]
    share = share * glance * (canvas.labels[horizon:horizon + depth] == ROAD)
    share = share.astype(np.float32)
    road = canvas.image[horizon:horizon + depth]
    road[:] = cv2.blendLinear(mirror, road, share, 1 - share)


def develop(
    canvas: Canvas, look: Look, *, exposure: float, rain: float, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the camera's image and its labels.

    :param canvas: The finished scene.
    :param look: The camera.
    :param exposure: Factor.
    :param rain: 0 dry to 1 heavy.
    :param rng: Source of the frame's noise.
    :return: (H, W, 3) uint8 RGB and (H, W) uint8.
    """
    size = canvas.labels.shape
    image, labels = canvas.image, canvas.labels
    if look.distortion:
        maps = _lens_maps(size, look.distortion)
        image = cv2.remap(image, *maps, cv2.INTER_LINEAR)
        labels = cv2.remap(labels, maps[0], None, cv2.INTER_NEAREST)
    if rain:
        image = _add_rain(image, rain, rng)
    if look.blur:
        sigma = look.blur * size[1] / 640
        image = cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3))
    image = cv2.LUT(cv2.transform(image, _color_matrix(look)), _tone_curve(look, exposure))
    if look.vignette:
        image = cv2.multiply(image, _vignette(size, look.vignette), scale=1 / 255)
    if look.noise:
        image = _add_noise(image, look.noise, rng)
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


@lru_cache(maxsize=8)
def _lens_maps(size: tuple[int, int], distortion: float) -> tuple[np.ndarray, np.ndarray]:
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    x, y = (x - cx) / cx, (y - cy) / cx
    corner = 1 + (cy / cx) ** 2
    # Normalised so that the corners stay where they are and no pixel lacks light.
    scale = (1 - distortion * (x ** 2 + y ** 2)) / (1 - distortion * corner)
    return cv2.convertMaps(x * scale * cx + cx, y * scale * cx + cy, cv2.CV_16SC2)


@lru_cache(maxsize=8)
def _vignette(size: tuple[int, int], strength: float) -> np.ndarray:
    height, width = size
    y, x = np.mgrid[:height, :width]
    radius = ((x / (width - 1) * 2 - 1) ** 2 + (y / (height - 1) * 2 - 1) ** 2) / 2
    light = 255 * (1 - strength * radius ** 1.3)
    return np.repeat(light[..., None], 3, axis=2).astype(np.uint8)


def _color_matrix(look: Look) -> np.ndarray:
    grey = np.array([[0.299, 0.587, 0.114]]).repeat(3, axis=0)
    mixing = look.saturation * np.eye(3) + (1 - look.saturation) * grey
    return np.array(look.color_gain)[:, None] * mixing


def _tone_curve(look: Look, exposure: float) -> np.ndarray:
    level = np.clip(np.arange(256) / 255 * exposure, 0, None)
    level = np.where(level > 0.85, 0.85 + 0.15 * np.tanh((level - 0.85) / 0.15), level)
    return np.clip(level ** look.contrast * 255, 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _rain_picture(size: tuple[int, int]) -> np.ndarray:
    height, width = size
    rng = np.random.default_rng(61)
    picture = np.zeros((height * 2, width * 2), np.uint8)
    for _ in range(900):
        x, y = rng.uniform(0, 2 * width), rng.uniform(0, 2 * height)
        length = rng.uniform(0.02, 0.09) * height
        color = int(rng.uniform(10, 46))
        cv2.line(picture, (int(x), int(y)), (int(x - 0.18 * length), int(y + length)), color, 1,
                 cv2.LINE_AA)
    return picture


def _add_rain(image: np.ndarray, rain: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    picture = _rain_picture((height, width))
    top, left = int(rng.integers(height)), int(rng.integers(width))
    drops = cv2.convertScaleAbs(picture[top:top + height, left:left + width], alpha=rain)
    return cv2.add(image, cv2.merge([drops, drops, drops]))


def _add_noise(image: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    grain = _grain((height, width), noise)
    top, left = rng.integers(0, _SHIFTS, 2).tolist()
    return cv2.add(image, grain[top:top + height, left:left + width], dtype=cv2.CV_8U)


@lru_cache(maxsize=4)
def _grain(size: tuple[int, int], noise: float) -> np.ndarray:
    rng = np.random.default_rng(78)
    shape = (size[0] + _SHIFTS, size[1] + _SHIFTS, 3)
    return np.rint(rng.standard_normal(shape, dtype=np.float32) * noise).astype(np.int16)
