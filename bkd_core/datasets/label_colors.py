# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From label pictures in colours to ids: one look into a table a pixel."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from bkd_core.errors import InputError
import cv2
import numpy as np

_UNKNOWN = 255
_NUM_NAMED = 5
Color = tuple[int, int, int]


def ids_of_colors(
    picture: np.ndarray, palette: tuple[tuple[Color, int], ...], path: Path, *,
    unknown_id: int | None = None,
) -> np.ndarray:
    """
    Return the id of each pixel's colour.

    :param picture: (H, W, 3 or 4) uint8 in OpenCV's order, blue first; alpha is not looked at.
    :param palette: (red, green, blue) of each id, 0 to 254; several colours may have one id.
    :param path: The file that it comes from, for the error.
    :param unknown_id: What a colour outside the palette becomes; None makes it an error.
    :return: (H, W) uint8.
    :raises InputError: If there are such colours, with their number and the most frequent.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise InputError(
            f'{path}: is {picture.dtype} of shape {picture.shape}; expected a picture of three '
            '8-bit channels')
    packed = _packed(picture)
    ids = _table(palette)[packed]
    unknown = ids == _UNKNOWN
    if unknown.any():
        if unknown_id is None:
            raise _outside(path, packed[unknown], packed.size)
        ids[unknown] = unknown_id
    return ids


def _packed(picture: np.ndarray) -> np.ndarray:
    """Return blue + 256 green + 65536 red of each pixel, (H, W) uint32."""
    if picture.shape[2] == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA)
    return np.ascontiguousarray(picture).view('<u4')[..., 0] & 0xffffff


@lru_cache(maxsize=2)
def _table(palette: tuple[tuple[Color, int], ...]) -> np.ndarray:
    table = np.full(1 << 24, _UNKNOWN, np.uint8)
    for (red, green, blue), value in palette:
        table[blue + (green << 8) + (red << 16)] = value
    table.setflags(write=False)
    return table


def _outside(path: Path, packed: np.ndarray, size: int) -> InputError:
    colors, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind='stable')[:_NUM_NAMED]
    named = ', '.join(
        f'({color >> 16}, {color >> 8 & 255}, {color & 255}) {count} times'
        for color, count in zip(colors[order].tolist(), counts[order].tolist()))
    return InputError(
        f'{path}: {packed.size} of {size} pixels have one of {len(colors)} colours outside the '
        f'palette, as red, green, blue: {named}{", ..." if len(colors) > _NUM_NAMED else ""}. '
        'Give the files as they are published; a picture that was scaled or saved as JPEG '
        'holds mixed colours')
