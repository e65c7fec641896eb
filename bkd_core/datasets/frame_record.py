# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a stored frame, and how it is written beside the image."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
import json
import math
import re
from typing import Any

from bkd_core.errors import InputError
import numpy as np

IMAGE_SUFFIXES = ('.jpg', '.png')
# Of an image and its record alike; nothing else in the folder is ever touched.
NAME = re.compile(r'\d{19}_\w+')
MAX_POSE_AGE_S = 0.5  # between the stamps of a frame and of its pose
_LATEST_NS = 2 ** 63
# Last parts of a topic's name that do not tell cameras apart.
_USUAL_NAMES = ('image', 'image_raw', 'image_color', 'image_rect', 'image_rect_color')


@dataclass(frozen=True, kw_only=True)
class FrameMetadata:
    """
    Where a frame comes from.

    :param stamp_ns: Stamp of its header, nanoseconds; 0 if its driver has no clock.
    :param topic: Topic that it came on.
    :param camera: Name of the camera, for people.
    :param frame_id: Coordinate frame of its header.
    :param pose: The camera's or robot's x, y, z in metres and its orientation as a quaternion
        x, y, z, w; None if it is not known.
    :raises InputError: If a value is out of range.
    """

    stamp_ns: int
    topic: str
    camera: str = ''
    frame_id: str = ''
    pose: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check what others wrote."""
        if not 0 <= self.stamp_ns < _LATEST_NS:
            raise InputError(f'stamp_ns: got {self.stamp_ns}; expected 0 to {_LATEST_NS - 1}')
        pose = self.pose
        if pose is not None and (len(pose) != 7 or not all(map(math.isfinite, pose))):
            raise InputError(f'pose: got {pose}; expected 7 finite numbers')


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameRecord:
    """
    A stored frame without its pixels.

    :param name: Stem of its two files, NAME.jpg or NAME.png and NAME.json.
    :param metadata: Where it comes from.
    :param suffix: '.jpg' or '.png'.
    :param height: Pixels.
    :param width: Pixels.
    :param num_bytes: Size of the image file.
    :param crc32: Checksum of the image file.
    :param thumbnail: (N,) uint8, a tiny grey picture that tells near-duplicates.
    :param embedding: (D,) float16, what the student saw; empty if it was not asked.
    """

    name: str
    metadata: FrameMetadata
    suffix: str
    height: int
    width: int
    num_bytes: int
    crc32: int
    thumbnail: np.ndarray
    embedding: np.ndarray

    @property
    def file(self) -> str:
        """Return the name of the image file."""
        return self.name + self.suffix

    def to_json(self) -> str:
        """Return the record as it lies beside the image."""
        metadata = self.metadata
        return json.dumps({
            'image': self.file, 'stamp_ns': metadata.stamp_ns, 'topic': metadata.topic,
            'camera': metadata.camera, 'frame_id': metadata.frame_id,
            'pose': None if metadata.pose is None else list(metadata.pose),
            'height': self.height, 'width': self.width, 'bytes': self.num_bytes,
            'crc32': self.crc32, 'thumbnail': _to_text(self.thumbnail, np.uint8),
            'embedding': _to_text(self.embedding, np.float16)}, indent=1)

    @classmethod
    def from_json(cls, name: str, text: str | bytes) -> FrameRecord:
        """
        Read a record.

        :param name: Stem of its file.
        :param text: What the file holds.
        :raises InputError: If it is not what `to_json` writes.
        """
        try:
            return cls._from_values(name, json.loads(text))
        except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
            reason = f'{type(error).__name__}: {error}'
            raise InputError(f'{name}.json: is no record of a frame ({reason})') from error

    @classmethod
    def _from_values(cls, name: str, values: dict[str, Any]) -> FrameRecord:
        stem, _, suffix = str(values['image']).rpartition('.')
        if stem != name or f'.{suffix}' not in IMAGE_SUFFIXES:
            raise ValueError(f"image: got {values['image']!r}; expected {name}.jpg or .png")
        pose = values['pose']
        return cls(
            name=name, suffix=f'.{suffix}',
            metadata=FrameMetadata(
                stamp_ns=_whole(values, 'stamp_ns'), topic=_text(values, 'topic'),
                camera=_text(values, 'camera'), frame_id=_text(values, 'frame_id'),
                pose=None if pose is None else tuple(float(number) for number in pose)),
            height=_whole(values, 'height'), width=_whole(values, 'width'),
            num_bytes=_whole(values, 'bytes'), crc32=_whole(values, 'crc32'),
            thumbnail=_from_text(_text(values, 'thumbnail'), np.uint8),
            embedding=_from_text(_text(values, 'embedding'), np.float16))


def camera_name(topic: str) -> str:
    """
    Return a short name of the camera behind an image topic.

    :param topic: Such as '/front/image_raw' or '/front/image_raw/compressed'.
    :return: Such as 'front'.
    """
    parts = [part for part in topic.removesuffix('/compressed').split('/') if part not in '~']
    if len(parts) > 1 and parts[-1] in _USUAL_NAMES:
        parts.pop()
    return '_'.join(parts)


def _whole(values: dict[str, Any], key: str) -> int:
    if type(values[key]) is not int or values[key] < 0:
        raise ValueError(f'{key}: got {values[key]!r}; expected a whole number from 0')
    return values[key]


def _text(values: dict[str, Any], key: str) -> str:
    if not isinstance(values[key], str):
        raise ValueError(f'{key}: got {values[key]!r}; expected a text')
    return values[key]


def _to_text(numbers: np.ndarray, kind: type) -> str:
    assert numbers.dtype == kind, numbers.dtype
    little = numbers.astype(numbers.dtype.newbyteorder('<'))
    return base64.b64encode(little.tobytes()).decode('ascii')


def _from_text(text: str, kind: type) -> np.ndarray:
    data = base64.b64decode(text, validate=True)
    return np.frombuffer(data, np.dtype(kind).newbyteorder('<')).astype(kind)
