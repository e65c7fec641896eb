# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Writing images as a rosbag2 recording, without ROS."""

from __future__ import annotations

from pathlib import Path
import shutil
import tempfile
from typing import Any

from bkd_core.atomic import sync_directory
from bkd_core.datasets.recording_reader import COMPRESSED_IMAGE, IMAGE
from bkd_core.errors import InputError, unknown_name
import cv2
import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

_STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_METADATA_VERSION = 8  # read by Humble and everything since


class RecordingWriter:
    """
    A rosbag2 folder that appears under its name when the `with` block ends without an error.

    :param path: The recording's folder; must not exist.
    :param storage: 'mcap' or 'sqlite3'.
    :param jpeg_quality: Quality of compressed images, 1 to 100.
    :raises InputError: If the path is taken or the storage unknown.
    """

    def __init__(
        self, path: Path, *, storage: str = 'mcap', jpeg_quality: int = 95,
    ) -> None:
        if storage not in _STORAGES:
            raise unknown_name('storage of a recording', storage, _STORAGES)
        self.path = Path(path)
        if self.path.exists():
            raise InputError(f'{self.path}: exists already; a recording is never overwritten')
        self._jpeg_quality = jpeg_quality
        self._storage = _STORAGES[storage]
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> RecordingWriter:
        """Begin the recording beside its final place."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = Path(
            tempfile.mkdtemp(dir=self.path.parent, prefix=f'.{self.path.name}.'))
        # The storage's file is named after the folder, so the inner folder has the final name.
        self._writer = Writer(
            self._temporary / self.path.name, version=_METADATA_VERSION,
            storage_plugin=self._storage)
        self._writer.open()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Finish the recording, or remove it where an error ended the block."""
        try:
            self._writer.close()
            if kind is None:
                for file in self._writer.path.iterdir():
                    sync_directory(file)
                self._writer.path.rename(self.path)
                sync_directory(self.path.parent)
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def write_image(
        self, topic: str, rgb: np.ndarray, *, stamp_ns: int, frame_id: str = 'camera',
        compressed: bool = False,
    ) -> None:
        """
        Write a frame as rgb8 `Image`, or as JPEG in a `CompressedImage`.

        :param topic: Topic with its leading slash.
        :param rgb: (H, W, 3) uint8.
        :param stamp_ns: Stamp of the header, and time of recording, nanoseconds.
        :param frame_id: Coordinate frame of the camera.
        :param compressed: Write a `CompressedImage`.
        :raises InputError: If the image has another shape or type, or the topic another type.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise InputError(
                f'topic {topic}: got {rgb.dtype} of shape {rgb.shape}; expected uint8 (H, W, 3)')
        if not compressed:
            self._write_raw(topic, rgb, 'rgb8', stamp_ns, frame_id)
            return
        _, data = cv2.imencode(
            '.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, self._jpeg_quality])
        self._write(topic, COMPRESSED_IMAGE, stamp_ns, {
            'header': self._header(stamp_ns, frame_id),
            'format': 'rgb8; jpeg compressed bgr8', 'data': data.reshape(-1)})

    def write_labels(
        self, topic: str, labels: np.ndarray, *, stamp_ns: int, frame_id: str = 'camera',
    ) -> None:
        """
        Write labels as mono8 `Image`.

        :param topic: Topic with its leading slash.
        :param labels: (H, W) uint8.
        :param stamp_ns: Stamp of the header, and time of recording, nanoseconds.
        :param frame_id: Coordinate frame of the camera.
        :raises InputError: If the labels have another shape or type, or the topic another type.
        """
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise InputError(
                f'topic {topic}: got {labels.dtype} of shape {labels.shape}; expected uint8 '
                '(H, W)')
        self._write_raw(topic, labels, 'mono8', stamp_ns, frame_id)

    def _write_raw(
        self, topic: str, pixels: np.ndarray, encoding: str, stamp_ns: int, frame_id: str,
    ) -> None:
        height, width = pixels.shape[:2]
        self._write(topic, IMAGE, stamp_ns, {
            'header': self._header(stamp_ns, frame_id), 'height': height, 'width': width,
            'encoding': encoding, 'is_bigendian': 0, 'step': pixels[0].size,
            'data': np.ascontiguousarray(pixels).reshape(-1)})

    def _write(self, topic: str, kind: str, stamp_ns: int, fields: dict[str, Any]) -> None:
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, kind, typestore=self._typestore)
            self._connections[topic] = connection
        if connection.msgtype != kind:
            raise InputError(f'topic {topic}: holds {connection.msgtype} already; got {kind}')
        message = self._typestore.types[kind](**fields)
        self._writer.write(connection, stamp_ns, self._typestore.serialize_cdr(message, kind))

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        types = self._typestore.types
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        stamp = types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
        return types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame_id)
