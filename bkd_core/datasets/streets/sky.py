# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The sky with its clouds, and what stands far away on the horizon."""

from __future__ import annotations

import math

from bkd_core.datasets.streets.canvas import BUILDING, Canvas, TREE
from bkd_core.datasets.streets.look import Look
from bkd_core.datasets.streets.noise import fractal_tile
import cv2
import numpy as np

_COARSE = 4  # the sky is computed at a quarter of the resolution
_TILE = 512


def paint_sky(canvas: Canvas, look: Look, *, clouds: float, drift: float, seed: int) -> None:
    """
    Fill the image with sky.

    :param canvas: Where.
    :param look: Colours.
    :param clouds: Share that is covered, 0 to 1.
    :param drift: How far the clouds have moved, in pictures.
    :param seed: Number of the picture of clouds.
    """
    camera = canvas.camera
    height, width = camera.size
    rows, columns = -(-height // _COARSE), -(-width // _COARSE)
    right = (np.arange(columns) * _COARSE - camera.center[0]) / camera.focal_length
    up = (camera.center[1] - np.arange(rows) * _COARSE)[:, None] / camera.focal_length
    ray = [right * camera.rotation[0, axis] + up * camera.rotation[1, axis]
           + camera.rotation[2, axis] for axis in range(3)]
    rise = ray[1] / np.sqrt(ray[0] ** 2 + ray[2] ** 2)
    share = (np.clip(rise, 0, 1) ** 0.6)[..., None]
    sky = np.array(look.sky_horizon) * (1 - share) + np.array(look.sky_top) * share
    plane = 0.22 / np.maximum(rise, 0.02)
    angle = np.arctan2(ray[0], ray[2])
    x = ((np.sin(angle) * plane + drift) % 1.0 * _TILE).astype(np.float32)
    z = ((np.cos(angle) * plane) % 1.0 * _TILE).astype(np.float32)
    tile = fractal_tile(_TILE, 100 + seed % 6, coarsest=4, octaves=6)
    noise = cv2.remap(tile, x, z, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    threshold = 0.75 - 0.5 * clouds
    cover = np.clip((noise - threshold) / 0.22, 0, 1) * np.clip(rise / 0.12, 0, 1)
    body = np.array(look.cloud_color) * (1.04 - 0.3 * np.clip(noise - threshold, 0, 1))[..., None]
    sky = sky * (1 - 0.9 * cover[..., None]) + body * (0.9 * cover[..., None])
    sky = cv2.resize(np.clip(sky, 0, 255).astype(np.uint8), (columns * _COARSE, rows * _COARSE),
                     interpolation=cv2.INTER_LINEAR)
    canvas.image[:] = sky[:height, :width]


def paint_horizon(canvas: Canvas, look: Look, *, seed: int) -> None:
    """
    Paint far houses and woods around the horizon.

    :param canvas: Where.
    :param look: Colours.
    :param seed: Number of the landscape.
    """
    camera = canvas.camera
    left, right = camera.horizon()
    columns = np.linspace(0, camera.size[1] - 1, 161)
    horizon = left + (right - left) * columns / (camera.size[1] - 1)
    yaw = math.atan2(camera.rotation[2, 0], camera.rotation[2, 2])
    bearing = yaw + np.arctan((columns - camera.center[0]) / camera.focal_length)
    rng = np.random.default_rng([31, seed])
    houses = np.repeat(rng.uniform(0.02, 0.075, 240), 3)
    woods = np.convolve(rng.uniform(0.005, 0.06, 720), np.ones(5) / 5, mode='same')
    woods = woods + rng.uniform(0, 0.008, 720)
    leaf = np.mean(look.foliage_colors, axis=0)
    wall = np.mean(look.wall_colors, axis=0)
    for heights, color, distance, label in (
            (houses, wall, 420.0, BUILDING), (woods, leaf, 260.0, TREE)):
        index = np.floor(bearing / (2 * math.pi) * 720 * 2).astype(int) % 720
        tops = horizon - heights[index] * camera.focal_length
        outline = np.concatenate([
            np.stack([columns, tops], axis=1),
            [[camera.size[1], horizon[-1] + 3], [-1, horizon[0] + 3]]])
        canvas.fill(outline, canvas.shade(tuple(color), 0.8, distance), label)
