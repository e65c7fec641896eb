# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Tiny folders in the layouts in which street data sets are published."""

from __future__ import annotations

from pathlib import Path
import struct
import zlib

import cv2
import numpy as np

HEIGHT, WIDTH = 12, 16


def write(path: Path, array: np.ndarray) -> Path:
    """Write a picture file: (H, W) values or (H, W, 3) RGB, 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array if array.ndim == 2 else array[..., ::-1])
    return path


def write_frame(path: Path, *, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write a picture whose pixels tell their place."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return write(path, np.dstack([rows, columns, np.full_like(rows, 200)]))


def with_corner(values, kind=np.uint8) -> np.ndarray:
    """Return (H, W) of the first value with the others in the first row."""
    labels = np.full((HEIGHT, WIDTH), values[0], kind)
    labels[0, :len(values)] = values
    return labels


def palette_png(ids: np.ndarray, colors: np.ndarray) -> bytes:
    """
    Return an 8-bit PNG with a palette, as the PNG specification lays it out.

    :param ids: (H, W) uint8.
    :param colors: (256, 3) uint8, RGB.
    """
    height, width = ids.shape
    rows = b''.join(b'\0' + row.tobytes() for row in ids.astype(np.uint8))

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)

    header = struct.pack('>IIBBBBB', width, height, 8, 3, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'PLTE', colors.tobytes())
        + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def write_gta5(root: Path, ids=(7, 26, 34, 4)) -> Path:
    """Write three frames, whose label files have a palette that names other colours."""
    for name in ('00001', '00002', '24966'):
        write_frame(root / 'images' / f'{name}.png')
        path = root / 'labels' / f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(palette_png(with_corner(ids), np.full((256, 3), 99, np.uint8)))
    return root


def write_synthia(root: Path, ids=(3, 4, 21, 22, 0, 18)) -> Path:
    """Write two frames; the second channel of the labels numbers instances."""
    for name in ('0000000', '0009399'):
        write_frame(root / 'RGB' / f'{name}.png')
        classes = with_corner(ids, np.uint16)
        instances = np.full_like(classes, 777)
        write(root / 'GT' / 'LABELS' / f'{name}.png',
              np.dstack([classes, instances, np.zeros_like(classes)]))
    return root


def write_cityscapes(root: Path, ids=(7, 8, 33, 0, 9, 29)) -> Path:
    """Write two training frames of two cities, one of validation, and one of test."""
    for split, city, number in (
            ('train', 'aachen', 0), ('train', 'zurich', 3), ('val', 'lindau', 1),
            ('test', 'berlin', 2)):
        name = f'{city}_{number:06d}_000019'
        write_frame(root / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png')
        folder = root / 'gtFine' / split / city
        write(folder / f'{name}_gtFine_labelIds.png', with_corner(ids))
        write(folder / f'{name}_gtFine_color.png', np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        write(folder / f'{name}_gtFine_instanceIds.png', with_corner((26001,), np.uint16))
        (folder / f'{name}_gtFine_polygons.json').write_text('{}')
    return root
