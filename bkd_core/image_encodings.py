# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
From the bytes of `sensor_msgs/Image` and `CompressedImage` to RGB, with NumPy and OpenCV only.

The names of the encodings are those of sensor_msgs/image_encodings.hpp. No message type is
imported: recordings are decoded by this file too, where no ROS is installed.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

from bkd_core.errors import InputError, unknown_name
import cv2
import numpy as np

# ITU-R BT.601, luma 16..235, as OpenCV's own conversions from 4:2:0 and 4:2:2:
# rows R, G, B; columns Y, U (Cb), V (Cr), constant.
_YUV_TO_RGB = np.array([
    [1.164, 0.0, 1.596, -1.164 * 16 - 1.596 * 128],
    [1.164, -0.391, -0.813, -1.164 * 16 + (0.391 + 0.813) * 128],
    [1.164, 2.018, 0.0, -1.164 * 16 - 2.018 * 128]])

_JPEG_START, _JPEG_END = b'\xff\xd8\xff', b'\xff\xd9'
_PNG_START, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'
_TAIL = 1024  # cameras pad a JPEG behind its end marker, by less than this


class _Encoding(NamedTuple):
    """
    How one encoding lies in memory and how it becomes RGB.

    :param pixel_bytes: Bytes of a pixel in the first plane.
    :param size: Bytes of all planes, in multiples of step * height.
    :param to_rgb: (rows (-1, step) with their padding, height, width) -> RGB.
    """

    pixel_bytes: int
    size: float
    to_rgb: Callable[[np.ndarray, int, int], np.ndarray]
    even_width: bool = False
    even_height: bool = False
    is_16_bit: bool = False


def decode_image(
    data: bytes, *, height: int, width: int, step: int, encoding: str, is_bigendian: bool = False,
) -> np.ndarray:
    """
    Return the RGB image that the fields of a `sensor_msgs/Image` describe.

    8UC3 and 8UC4 name no colour order; they are read as OpenCV means them, BGR and BGRA. 16-bit
    images (mono16, 16UC1) are scaled from 0..65535 to 0..255, never cut. Alpha is dropped.
    YUV is BT.601 with luma 16..235. Semi-planar images (nv21, nv24) carry their chroma rows
    behind the luma rows; `step` is the luma row, nv24's chroma row is twice as long.

    :param data: The bytes; anything with the buffer interface, such as `array.array`.
    :param height: Rows.
    :param width: Pixels a row.
    :param step: Bytes from one row to the next; padding behind the pixels is skipped.
    :param encoding: A name from sensor_msgs/image_encodings.hpp.
    :param is_bigendian: Order of the bytes in 16-bit pixels.
    :return: (H, W, 3) uint8 RGB, C-contiguous. It may share memory with `data`.
    :raises InputError: If the encoding is unknown or size, step and data disagree.
    """
    layout = _ENCODINGS.get(encoding)
    if layout is None:
        raise unknown_name('image encoding', encoding, _ENCODINGS)
    pixels = np.frombuffer(data, np.uint8)
    _check_layout(layout, pixels.size, height, width, step, encoding)
    rows = pixels.reshape(-1, step)
    if layout.is_16_bit:
        rows = _native_16_bit(rows[:, :2 * width], is_bigendian)
    return np.ascontiguousarray(layout.to_rgb(rows, height, width))


def decode_compressed(data: bytes) -> np.ndarray:
    """
    Return the RGB image inside a `sensor_msgs/CompressedImage`, told by its content.

    The camera's pixel grid is kept: an orientation tag in the file is not applied, since labels
    must lie on the same grid as the frame that other nodes see.

    :param data: A whole JPEG, PNG or other file that OpenCV reads.
    :return: (H, W, 3) uint8 RGB, C-contiguous.
    :raises InputError: If it is empty, truncated or not an image.
    """
    buffer = np.frombuffer(data, np.uint8)
    if buffer.size == 0:
        raise InputError('compressed image: got no data; expected a JPEG or PNG file')
    head, tail = buffer[:16].tobytes(), buffer[-_TAIL:].tobytes()
    for kind, start, end in (('JPEG', _JPEG_START, _JPEG_END), ('PNG', _PNG_START, _PNG_END)):
        if head.startswith(start) and end not in tail:
            raise InputError(
                f'compressed image: the {kind} is truncated: got {buffer.size} bytes without its '
                'end marker. Check the link to the camera or the recording')
    try:
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InputError(f'compressed image: OpenCV cannot decode it: {error.err}') from error
    if image is None:
        raise InputError(
            f'compressed image: {buffer.size} bytes that begin with {head[:8].hex(" ")} are no '
            'image that OpenCV decodes; expected a whole JPEG or PNG file')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check_layout(
    layout: _Encoding, num_bytes: int, height: int, width: int, step: int, encoding: str,
) -> None:
    """Refuse an image whose size, step and data contradict each other."""
    what = f'{width}x{height} image, encoding {encoding}'
    if height < 1 or width < 1:
        raise InputError(f'{what}: expected at least one row and one column')
    if (layout.even_width and width % 2) or (layout.even_height and height % 2):
        sides = 'width and height' if layout.even_height else 'width'
        raise InputError(f'{what}: this encoding shares colour between pixels, so its {sides} '
                         'must be even')
    if step < width * layout.pixel_bytes:
        raise InputError(f'{what}: got a step of {step} bytes; a row needs at least '
                         f'{width * layout.pixel_bytes}')
    expected = int(step * height * layout.size)
    if num_bytes != expected:
        state = 'truncated' if num_bytes < expected else 'longer than declared'
        raise InputError(f'{what}, step {step}: the data is {state}: got {num_bytes} bytes, '
                         f'expected {expected}')


def _native_16_bit(rows: np.ndarray, is_bigendian: bool) -> np.ndarray:
    """Return (H, W) uint16 in this machine's order of bytes."""
    pixels = np.ascontiguousarray(rows).view('>u2' if is_bigendian else '<u2')
    return pixels.astype(np.uint16, copy=False)


def _channels(num_channels: int, code: int | None) -> _Encoding:
    """Return the layout of interleaved 8-bit channels that one OpenCV conversion turns to RGB."""
    def to_rgb(rows: np.ndarray, height: int, width: int) -> np.ndarray:
        image = rows[:, :width * num_channels].reshape(height, width, num_channels)
        return image if code is None else cv2.cvtColor(image, code)
    return _Encoding(num_channels, 1, to_rgb)


def _gray16_to_rgb(rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale 0..65535 to 0..255, rounding, and repeat it in three channels."""
    return cv2.cvtColor(cv2.convertScaleAbs(rows, alpha=255 / 65535), cv2.COLOR_GRAY2RGB)


def _bayer(code: int) -> _Encoding:
    """Return the layout of a colour filter mosaic."""
    def to_rgb(rows: np.ndarray, height: int, width: int) -> np.ndarray:
        if height < 3 or width < 3:
            raise InputError(f'{width}x{height} Bayer image: expected at least 3x3 pixels')
        return cv2.cvtColor(rows[:, :width], code)
    return _Encoding(1, 1, to_rgb)


def _yuv422(code: int) -> _Encoding:
    """Return the layout of two pixels in four bytes."""
    def to_rgb(rows: np.ndarray, height: int, width: int) -> np.ndarray:
        return cv2.cvtColor(rows[:, :2 * width].reshape(height, width, 2), code)
    return _Encoding(2, 1, to_rgb, even_width=True)


def _nv21_to_rgb(rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """Convert luma rows followed by half as many rows of V, U pairs."""
    return cv2.cvtColor(rows[:, :width], cv2.COLOR_YUV2RGB_NV21)


def _nv24_to_rgb(rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """Convert luma rows followed by rows of U, V pairs at full resolution."""
    luma = rows[:height, :width]
    chroma = rows[height:].reshape(height, -1)[:, :2 * width].reshape(height, width, 2)
    return cv2.transform(np.dstack([luma, chroma]), _YUV_TO_RGB)


_ENCODINGS = {
    'rgb8': _channels(3, None),
    'bgr8': _channels(3, cv2.COLOR_BGR2RGB),
    'rgba8': _channels(4, cv2.COLOR_RGBA2RGB),
    'bgra8': _channels(4, cv2.COLOR_BGRA2RGB),
    'mono8': _channels(1, cv2.COLOR_GRAY2RGB),
    '8UC1': _channels(1, cv2.COLOR_GRAY2RGB),
    '8UC3': _channels(3, cv2.COLOR_BGR2RGB),
    '8UC4': _channels(4, cv2.COLOR_BGRA2RGB),
    'mono16': _Encoding(2, 1, _gray16_to_rgb, is_16_bit=True),
    '16UC1': _Encoding(2, 1, _gray16_to_rgb, is_16_bit=True),
    'bayer_rggb8': _bayer(cv2.COLOR_BayerRGGB2RGB),
    'bayer_bggr8': _bayer(cv2.COLOR_BayerBGGR2RGB),
    'bayer_gbrg8': _bayer(cv2.COLOR_BayerGBRG2RGB),
    'bayer_grbg8': _bayer(cv2.COLOR_BayerGRBG2RGB),
    'uyvy': _yuv422(cv2.COLOR_YUV2RGB_UYVY),
    'yuv422': _yuv422(cv2.COLOR_YUV2RGB_UYVY),
    'yuyv': _yuv422(cv2.COLOR_YUV2RGB_YUY2),
    'yuv422_yuy2': _yuv422(cv2.COLOR_YUV2RGB_YUY2),
    'nv21': _Encoding(1, 1.5, _nv21_to_rgb, even_width=True, even_height=True),
    'nv24': _Encoding(1, 3, _nv24_to_rgb),
}
ENCODINGS = tuple(_ENCODINGS)
