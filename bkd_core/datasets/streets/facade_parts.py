# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Windows, doors, balconies and shops of a house front."""

from __future__ import annotations

from bkd_core.datasets.streets.look import Look
import numpy as np

RESOLUTION = 26  # pixels a metre


class Style:
    """What all windows of a house have in common."""

    def __init__(self, rng: np.random.Generator, look: Look, wall: tuple) -> None:
        self.bay = rng.uniform(2.5, 3.3)
        self.width = rng.uniform(1.0, 1.7)
        self.height = rng.uniform(1.35, 1.9)
        light = rng.random() < 0.7
        self.frame = (236, 234, 228) if light else (62, 52, 46)
        self.trim = tuple(int(min(255, value * 1.18 + 8)) for value in wall)
        self.glass_top = np.array(look.sky_top) * 0.45 + np.array(look.sky_horizon) * 0.35
        self.glass_bottom = np.array([38, 46, 56])
        self.bars = int(rng.integers(0, 3))
        self.has_shutters = bool(rng.random() < 0.25)
        self.shutter = tuple(int(value) for value in rng.integers(40, 130, 3))
        self.has_balconies = bool(rng.random() < 0.25)
        self.has_shop = bool(rng.random() < 0.4)
        self.awning = tuple(int(value) for value in rng.integers(50, 210, 3))
        self.lit = look.lit_windows


def draw_floors(
    picture: np.ndarray, rng: np.random.Generator, style: Style, bays: int, floors: int,
    floor_height: float, *, is_side: bool = False,
) -> None:
    """
    Draw windows and doors into a picture of a bare wall.

    :param picture: (H, W, 3) uint8, changed.
    :param rng: Source of randomness.
    :param style: What the house's windows have in common.
    :param bays: Windows side by side.
    :param floors: Storeys.
    :param floor_height: Metres.
    :param is_side: A side wall: few windows, no door, no shop.
    """
    rows, columns = picture.shape[:2]
    bay = columns / bays
    door = int(rng.integers(bays))
    for floor in range(floors):
        ground = rows - floor * floor_height * RESOLUTION
        if floor == 0 and style.has_shop and not is_side:
            _draw_shop(picture, rng, style, int(ground))
            continue
        for number in range(bays):
            if is_side and rng.random() < 0.55:
                continue
            middle = (number + 0.5) * bay
            if floor == 0 and number == door and not is_side:
                _draw_door(picture, rng, style, middle, ground)
            else:
                has_balcony = style.has_balconies and floor > 0 and not is_side
                _draw_window(picture, rng, style, middle, ground, has_balcony=has_balcony)
        if floor > 0:
            _rectangle(picture, 0, ground - 3, columns, ground - 1, style.trim, 0.92)
    _rectangle(picture, 0, 0, columns, 0.35 * RESOLUTION, style.trim, 1.0)
    _rectangle(picture, 0, 0.35 * RESOLUTION, columns, 0.45 * RESOLUTION, style.trim, 0.55)
    if not is_side:
        _rectangle(picture, 2, 12, 5, rows, (70, 70, 70), 1.0)


def _draw_window(
    picture: np.ndarray, rng: np.random.Generator, style: Style, middle: float, ground: float,
    *, has_balcony: bool,
) -> None:
    unit = RESOLUTION
    left, right = middle - style.width / 2 * unit, middle + style.width / 2 * unit
    sill = 0.15 if has_balcony else 0.9
    bottom = ground - sill * unit
    top = ground - (0.9 + style.height) * unit
    _rectangle(picture, left - 3, top - 4, right + 3, top, style.trim, 1.0)
    _rectangle(picture, left - 2, top, right + 2, bottom, style.frame, 1.0)
    _draw_glass(picture, rng, style, left + 1, top + 2, right - 1, bottom - 2)
    for bar in range(style.bars):
        x = left + (right - left) * (bar + 1) / (style.bars + 1)
        _rectangle(picture, x - 1, top, x + 1, bottom, style.frame, 0.95)
    y = top + (bottom - top) * 0.32
    _rectangle(picture, left, y - 1, right, y, style.frame, 0.95)
    _rectangle(picture, left - 4, bottom, right + 4, bottom + 3, style.trim, 1.05)
    _rectangle(picture, left - 3, bottom + 3, right + 3, bottom + 5, style.trim, 0.5)
    if style.has_shutters:
        for x0, x1 in ((left - 0.45 * unit, left - 3), (right + 3, right + 0.45 * unit)):
            _rectangle(picture, x0, top, x1, bottom, style.shutter, 1.0)
            for y in np.arange(top + 3, bottom, 4):
                _rectangle(picture, x0, y, x1, y + 1, style.shutter, 0.7)
    if has_balcony:
        low, high = ground - 0.1 * unit, ground - 1.0 * unit
        _rectangle(picture, left - 12, low, right + 12, low + 5, style.trim, 0.8)
        _rectangle(picture, left - 12, high, right + 12, high + 2, (40, 40, 44), 1.0)
        for x in np.arange(left - 12, right + 12, 4):
            _rectangle(picture, x, high, x + 1, low, (48, 48, 52), 1.0)


def _draw_glass(
    picture: np.ndarray, rng: np.random.Generator, style: Style, left: float, top: float,
    right: float, bottom: float,
) -> None:
    part = picture[int(top):int(bottom), int(left):int(right)]
    if not part.size:
        return
    share = np.linspace(0, 1, len(part))[:, None, None] ** 0.7
    if rng.random() < style.lit:
        warm = np.array([255, 206, 128]) * rng.uniform(0.75, 1.0)
        part[:] = np.clip(warm * (0.8 + 0.2 * share), 0, 255)
    else:
        part[:] = style.glass_top * (1 - share) + style.glass_bottom * share
    if rng.random() < 0.5:
        curtain = max(1, int(part.shape[1] * rng.uniform(0.12, 0.3)))
        tone = rng.uniform(0.5, 0.85)
        for strip in (part[:, :curtain], part[:, -curtain:]):
            strip[:] = strip * (1 - tone) + np.array([214, 206, 190]) * tone


def _draw_door(
    picture: np.ndarray, rng: np.random.Generator, style: Style, middle: float, ground: float,
) -> None:
    unit = RESOLUTION
    left, right = middle - 0.55 * unit, middle + 0.55 * unit
    top = ground - 2.3 * unit
    color = tuple(int(value) for value in rng.integers(40, 130, 3))
    _rectangle(picture, left - 4, top - 4, right + 4, ground, style.trim, 1.0)
    _rectangle(picture, left, top, right, ground, color, 1.0)
    _draw_glass(picture, rng, style, left + 3, top + 3, right - 3, top + 0.45 * unit)
    for x0, x1 in ((left + 3, middle - 1), (middle + 2, right - 3)):
        _rectangle(picture, x0, top + 0.6 * unit, x1, ground - 0.2 * unit, color, 0.78)
    _rectangle(picture, left - 6, ground - 3, right + 6, ground, (150, 148, 144), 1.0)


def _draw_shop(
    picture: np.ndarray, rng: np.random.Generator, style: Style, ground: int,
) -> None:
    unit, columns = RESOLUTION, picture.shape[1]
    top = ground - 2.7 * unit
    _rectangle(picture, 4, top - 0.5 * unit, columns - 4, top, style.awning, 0.75)
    x = 12.0
    while x < columns - 20:  # letters
        width = rng.uniform(3, 7)
        if rng.random() < 0.75:
            _rectangle(picture, x, top - 0.38 * unit, x + width, top - 0.12 * unit,
                       (240, 236, 220), 1.0)
        x += width + 2
    x = 8.0
    while x < columns - unit:
        width = min(rng.uniform(1.6, 2.6) * unit, columns - 8 - x)
        _rectangle(picture, x - 2, top, x + width, ground - 0.1 * unit, style.frame, 0.9)
        _draw_glass(picture, rng, style, x, top + 2, x + width - 2, ground - 0.45 * unit)
        x += width + 3
    if rng.random() < 0.6:
        stripe = np.arange(4, columns - 4)
        colors = np.where((stripe // 9 % 2 == 0)[:, None], style.awning, (235, 232, 224))
        picture[int(top):int(top + 0.6 * unit), 4:columns - 4] = colors[None]


def _rectangle(
    picture: np.ndarray, left: float, top: float, right: float, bottom: float, color: tuple,
    light: float,
) -> None:
    rows, columns = picture.shape[:2]
    left, right = max(0, int(left)), min(columns, int(right))
    top, bottom = max(0, int(top)), min(rows, int(bottom))
    if left < right and top < bottom:
        picture[top:bottom, left:right] = np.clip(np.array(color) * light, 0, 255)
