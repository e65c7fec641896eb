# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A pinhole camera in the street: where points of the world fall in the image."""

from __future__ import annotations

import math

import numpy as np

NEAR = 0.35  # metres; nothing nearer is drawn


class Camera:
    """
    A camera; the world's axes are x right, y up, z along the street, in metres.

    :param position: (x, y, z).
    :param yaw: Radians, towards +x positive.
    :param pitch: Radians, upwards positive.
    :param roll: Radians, clockwise positive.
    :param focal_length: Pixels.
    :param size: (height, width) of the image, pixels.
    """

    def __init__(
        self, position: tuple[float, float, float], *, yaw: float, pitch: float, roll: float,
        focal_length: float, size: tuple[int, int],
    ) -> None:
        self.position = np.array(position)
        self.focal_length = focal_length
        self.size = size
        self.center = ((size[1] - 1) / 2, (size[0] - 1) / 2)
        self._scale = np.array([focal_length, -focal_length])
        self.rotation = _rotation(yaw, pitch, roll)
        self.slope = math.tan(yaw)

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """
        Return points as (right, up, forward) of the camera, metres.

        :param points: (N, 3) in the world.
        """
        return (points - self.position) @ self.rotation.T

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """
        Return where points fall in the image; whole numbers are pixel centres.

        :param points: (N, 3) as (right, up, forward), forward greater than 0.
        :return: (N, 2) as (column, row).
        """
        return points[:, :2] / points[:, 2:] * self._scale + self.center

    def homography(self, origin: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """
        Return the matrix that takes a plane's coordinates to pixels.

        :param origin: (3,) point of the plane with coordinates (0, 0).
        :param along: (3,) step for one unit of the first coordinate.
        :param across: (3,) step for one unit of the second coordinate.
        :return: (3, 3).
        """
        f, (cx, cy) = self.focal_length, self.center
        intrinsics = np.array([[f, 0, cx], [0, -f, cy], [0, 0, 1]])
        columns = np.stack([along, across, origin - self.position], axis=1)
        return intrinsics @ self.rotation @ columns

    def ground_points(self, first_row: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Return where the rays of the image's lower rows meet the ground y = 0.

        :param first_row: First row to compute.
        :return: x and z, each (H - first_row, W) float32; far away where a ray misses.
        """
        height, width = self.size
        right = ((np.arange(width) - self.center[0]) / self.focal_length).astype(np.float32)
        up = ((self.center[1] - np.arange(first_row, height)) / self.focal_length)
        up = up.astype(np.float32)[:, None]
        axes = self.rotation.astype(np.float32)
        down = -(right * axes[0, 1] + up * axes[1, 1] + axes[2, 1])
        scale = np.float32(self.position[1]) / np.maximum(down, 1e-4)
        x = (right * axes[0, 0] + up * axes[1, 0] + axes[2, 0]) * scale
        z = (right * axes[0, 2] + up * axes[1, 2] + axes[2, 2]) * scale
        return x + np.float32(self.position[0]), z + np.float32(self.position[2])

    def horizon(self) -> tuple[float, float]:
        """Return the row of the horizon at the left and at the right edge of the image."""
        rows = []
        for column in (0, self.size[1] - 1):
            right = (column - self.center[0]) / self.focal_length
            up = -(right * self.rotation[0, 1] + self.rotation[2, 1]) / self.rotation[1, 1]
            rows.append(self.center[1] - up * self.focal_length)
        return rows[0], rows[1]


def clip_near(points: np.ndarray) -> np.ndarray:
    """
    Return the part of a polygon that lies in front of the camera.

    :param points: (N, 3) as (right, up, forward).
    :return: (M, 3); M is 0 where nothing is left.
    """
    if points[:, 2].min() >= NEAR:
        return points
    inside = points[:, 2] >= NEAR
    result = []
    for index in range(len(points)):
        here, before = points[index], points[index - 1]
        if inside[index] != inside[index - 1]:
            share = (NEAR - before[2]) / (here[2] - before[2])
            result.append(before + share * (here - before))
        if inside[index]:
            result.append(here)
    return np.array(result).reshape(-1, 3)


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    sin_yaw, cos_yaw = math.sin(yaw), math.cos(yaw)
    sin_pitch, cos_pitch = math.sin(pitch), math.cos(pitch)
    forward = np.array([sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch])
    right = np.array([cos_yaw, 0.0, -sin_yaw])
    up = np.array([-sin_yaw * sin_pitch, cos_pitch, -cos_yaw * sin_pitch])
    sin_roll, cos_roll = math.sin(roll), math.cos(roll)
    return np.stack([
        cos_roll * right - sin_roll * up, sin_roll * right + cos_roll * up, forward])
