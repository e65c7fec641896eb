# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Repeatable noise pictures that textures, clouds and puddles are made of."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np


@lru_cache(maxsize=32)
def fractal_tile(size: int, seed: int, *, coarsest: int = 4, octaves: int = 5) -> np.ndarray:
    """
    Return noise that repeats without a seam in both directions.

    :param size: Side, pixels; a power of two.
    :param seed: Number of the picture.
    :param coarsest: Cells a side of the coarsest octave.
    :param octaves: Number of octaves; each has half the strength of the one before.
    :return: (size, size) float32 from 0 to 1, read-only.
    """
    rng = np.random.default_rng([77, seed])
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = min(coarsest * 2 ** octave, size)
        grid = rng.random((cells, cells), dtype=np.float32)
        border = 2
        grid = np.pad(grid, border, mode='wrap')
        scale = size // cells
        grid = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        crop = border * scale
        total += grid[crop:crop + size, crop:crop + size] * 0.5 ** octave
    total = (total - total.min()) / (total.max() - total.min())
    total.setflags(write=False)
    return total

