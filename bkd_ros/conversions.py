# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Image messages from and to NumPy arrays.

cv_bridge is not used: its builds break on NumPy 2 and OpenCV 5, and one reads 16 bits as 8.
"""

from __future__ import annotations

import sys

from bkd_core.image_encodings import decode_compressed, decode_image
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header


def image_to_rgb(message: Image) -> np.ndarray:
    """
    Return the RGB image in a message.

    :param message: Any of `bkd_core.image_encodings.ENCODINGS`.
    :return: (H, W, 3) uint8; it may share memory with the message.
    :raises InputError: If the encoding is unknown or size, step and data disagree.
    """
    return decode_image(
        message.data, height=message.height, width=message.width, step=message.step,
        encoding=message.encoding, is_bigendian=bool(message.is_bigendian))


def compressed_to_rgb(message: CompressedImage) -> np.ndarray:
    """
    Return the RGB image in a compressed message, told by its content, not its `format`.

    :param message: A JPEG, PNG or other file that OpenCV reads.
    :return: (H, W, 3) uint8.
    :raises InputError: If it is empty, truncated or not an image.
    """
    return decode_compressed(message.data)


def labels_to_image(labels: np.ndarray, header: Header) -> Image:
    """
    Return a mono8 message: class ids, or confidence in units of 1/255.

    :param labels: (H, W) uint8.
    :param header: The frame's header, passed on untouched.
    """
    return _to_image(labels, header, 'mono8', 1)


def rgb_to_image(image: np.ndarray, header: Header) -> Image:
    """
    Return an rgb8 message.

    :param image: (H, W, 3) uint8 RGB.
    :param header: The frame's header, passed on untouched.
    """
    return _to_image(image, header, 'rgb8', 3)


def _to_image(pixels: np.ndarray, header: Header, encoding: str, num_channels: int) -> Image:
    assert pixels.dtype == np.uint8, pixels.dtype
    message = Image(
        header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big'), step=pixels.shape[1] * num_channels)
    # Assigning an array or list to `data` checks it element by element, which takes up to a
    # third of a second for 1280x720; filling the message's own array.array takes 0.2 ms.
    message.data.frombytes(np.ascontiguousarray(pixels).data.cast('B'))
    return message
