# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading pictures and label pictures from files, and refusing damaged ones."""

from __future__ import annotations

from pathlib import Path
import struct
import zlib

from bkd_core.errors import InputError
import cv2
import numpy as np

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')

_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_PNG_GRAY, _PNG_PALETTE = 0, 3
_HEAD_BYTES = 4096


def list_files(folder: Path, suffixes: tuple[str, ...], *, what: str) -> list[Path]:
    """
    Return a folder's files of some kinds, sorted by name.

    :param folder: The folder; its subfolders are not searched.
    :param suffixes: Lower-case suffixes; a file's own may be in capitals.
    :param what: What is looked for, for the error.
    :raises InputError: If the folder is missing or holds no such file.
    """
    if not folder.is_dir():
        state = 'is a file' if folder.exists() else 'does not exist'
        raise InputError(f'{folder}: {state}; expected a folder of {what}')
    files = sorted(path for path in folder.iterdir()
                   if path.suffix.lower() in suffixes and not path.name.startswith('.'))
    if not files:
        raise InputError(f'{folder}: holds no {what} ({" ".join(suffixes)})')
    return files


def read_image(path: Path) -> np.ndarray:
    """
    Read a picture.

    :param path: A file of any format that OpenCV reads; 16 bits and greys become 8-bit RGB.
    :return: (H, W, 3) uint8, RGB, C-contiguous.
    :raises InputError: If the file is missing, cut off or no picture.
    """
    return cv2.cvtColor(_decode(path, _read(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_label_ids(path: Path) -> np.ndarray:
    """
    Read a label picture as it is: one id a pixel.

    Greyscale PNGs of 8 or 16 bits hold the ids themselves; of a palette PNG the indices are
    the ids, not its colours.

    :param path: The file.
    :return: (H, W) integers.
    :raises InputError: If the file is missing, cut off, or a colour picture.
    """
    ids = read_label_picture(path)
    if ids.ndim != 2:
        raise InputError(
            f'{path}: has {ids.shape[2]} channels; expected a label picture of one channel, '
            'with a class id in each pixel')
    return ids


def read_label_picture(path: Path) -> np.ndarray:
    """
    Read a label picture that holds one id a pixel, or several channels.

    :param path: The file; of a palette PNG the indices are the ids, not its colours.
    :return: (H, W) ids, or (H, W, C) in OpenCV's order: blue, green, red, alpha.
    :raises InputError: If the file is missing, cut off, or no picture.
    """
    data = _read(path)
    scale = 1
    if data[:8] == _PNG_SIGNATURE and len(data) > 33:
        bits, kind = data[24], data[25]
        if kind == _PNG_PALETTE:
            data = _palette_to_gray(data)
        if kind in (_PNG_PALETTE, _PNG_GRAY) and bits < 8:
            scale = 255 // (2 ** bits - 1)  # OpenCV spreads 1, 2 and 4 bits over 0..255
    ids = _decode(path, data, cv2.IMREAD_UNCHANGED)
    return ids // scale if scale > 1 else ids


def image_size(path: Path) -> tuple[int, int]:
    """
    Return a picture's height and width, pixels; of PNGs and plain JPEGs only the head is read.

    :param path: The file.
    :raises InputError: If the file is missing or no picture.
    """
    try:
        with path.open('rb') as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror})') from error
    if head[:8] == _PNG_SIGNATURE and len(head) >= 24:
        width, height = struct.unpack_from('>II', head, 16)
        return height, width
    return _jpeg_size(head) or read_image(path).shape[:2]


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Return None where the head does not say it, or may say how to turn the picture."""
    if head[:2] != b'\xff\xd8' or b'Exif' in head:
        return None
    position = 2
    while position + 9 <= len(head) and head[position] == 0xff:
        marker, length = head[position + 1], int.from_bytes(head[position + 2:position + 4], 'big')
        if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):
            height, width = struct.unpack_from('>HH', head, position + 5)
            return (height, width) if height else None
        position += 2 + length
    return None


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror})') from error
    if not data:
        raise InputError(f'{path}: is empty (0 bytes); expected a picture')
    if _is_cut_off(data):
        raise InputError(
            f'{path}: is cut off after {len(data)} bytes (the end of the picture is missing); '
            'copy it again')
    return data


def _is_cut_off(data: bytes) -> bool:
    # OpenCV fills the missing part with grey and only prints a warning.
    if data[:8] == _PNG_SIGNATURE:
        return b'IEND' not in data[-4096:]
    if data[:2] == b'\xff\xd8':
        # The last scan must be followed by an end marker; that of a thumbnail comes before it.
        return data.rfind(b'\xff\xd9') < max(data.rfind(b'\xff\xda'), 2)
    return False


def _decode(path: Path, data: bytes, mode: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise InputError(f'{path}: cannot be decoded ({error.err})') from error
    if image is None:
        raise InputError(
            f'{path}: is damaged or no picture ({len(data)} bytes beginning {data[:4]!r}); '
            f'expected one of {" ".join(IMAGE_SUFFIXES)}')
    return image


def _palette_to_gray(data: bytes) -> bytes:
    # Declared a greyscale picture, a palette PNG decodes to its indices.
    header = data[12:25] + bytes([_PNG_GRAY]) + data[26:29]
    result = data[:12] + header + struct.pack('>I', zlib.crc32(header))
    position = 33
    while position + 12 <= len(data):
        (length,) = struct.unpack_from('>I', data, position)
        if data[position + 4:position + 8] not in (b'PLTE', b'tRNS'):
            result += data[position:position + 12 + length]
        position += 12 + length
    return result
