# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One camera topic of a recording, message by message, ready to be published."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

from bkd_core.errors import InputError
from builtin_interfaces.msg import Time
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import get_typestore, Stores
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

MESSAGE_TYPES = {
    'sensor_msgs/msg/Image': Image,
    'sensor_msgs/msg/CompressedImage': CompressedImage,
}


class RecordedTopic:
    """
    Find a camera topic in a recording; use it as a context manager.

    :param path: A rosbag2 folder, an .mcap or .db3 file, or a rosbag1 .bag.
    :param topic: The topic's name; empty takes the only image topic.
    :raises InputError: If the recording cannot be read, or the topic is missing, ambiguous,
        empty or holds no images.
    """

    def __init__(self, path: str | Path, topic: str = '') -> None:
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise InputError(
                f"recording '{self.path}': no such file or folder. Give a rosbag2 folder, an "
                '.mcap file or a rosbag1 .bag')
        self._reader = _open(self.path)
        try:
            self._connections = self._choose(topic)
        except InputError:
            self._reader.close()
            raise
        self.name = self._connections[0].topic
        self.message_type = MESSAGE_TYPES[self._connections[0].msgtype]
        self.num_messages = sum(connection.msgcount for connection in self._connections)

    @property
    def is_compressed(self) -> bool:
        """Return whether the frames are CompressedImage messages."""
        return self.message_type is CompressedImage

    def messages(self) -> Iterator[tuple[int, bytes | Image | CompressedImage]]:
        """
        Yield the time of recording, in nanoseconds, and what a publisher takes.

        Messages of ROS 2 stay serialised, bit for bit; those of ROS 1 are rebuilt.

        :raises InputError: If the recording is damaged.
        """
        try:
            for connection, stamp_ns, data in self._reader.messages(self._connections):
                yield stamp_ns, bytes(data) if self._reader.is2 else self._rebuild(
                    connection, data)
        except GeneratorExit:
            raise
        except Exception as error:  # rosbags lets errors of struct, sqlite and zstd through
            raise InputError(
                f"recording '{self.path}': damaged: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the recording."""
        self._reader.close()

    def __enter__(self) -> RecordedTopic:
        """Return the open recording."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the recording."""
        self.close()

    def _choose(self, topic: str) -> list[Any]:
        connections = [
            connection for connection in self._reader.connections
            if connection.msgtype in MESSAGE_TYPES]
        names = sorted({connection.topic for connection in connections})
        others = sorted({connection.topic for connection in self._reader.connections})
        if not topic and len(names) == 1:
            topic = names[0]
        chosen = [connection for connection in connections if connection.topic == topic]
        if not names:
            raise InputError(
                f"recording '{self.path}': no topic of type Image or CompressedImage; it has "
                f'{others}')
        if not topic:
            raise InputError(
                f"recording '{self.path}': several image topics: {names}. Choose one with the "
                "parameter 'topic'")
        if not chosen:
            raise InputError(
                f"recording '{self.path}': topic '{topic}' is not an image topic of it; it has "
                f'{names}')
        if not any(connection.msgcount for connection in chosen):
            raise InputError(f"recording '{self.path}': topic '{topic}' has no message")
        return [connection for connection in chosen if connection.msgtype == chosen[0].msgtype]

    def _rebuild(self, connection: Any, data: bytes) -> Image | CompressedImage:
        old = self._reader.deserialize(data, connection.msgtype)
        header = Header(
            stamp=Time(sec=old.header.stamp.sec, nanosec=old.header.stamp.nanosec),
            frame_id=old.header.frame_id)
        if self.is_compressed:
            message = CompressedImage(header=header, format=old.format)
        else:
            message = Image(
                header=header, height=old.height, width=old.width, encoding=old.encoding,
                is_bigendian=old.is_bigendian, step=old.step)
        message.data.frombytes(old.data.data)
        return message


def _open(path: Path) -> AnyReader:
    # Bags of ROS 2 before Iron carry no message definitions; these types never changed.
    try:
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except Exception as error:  # rosbags lets errors of struct, sqlite and YAML through
        kind = '' if isinstance(error, AnyReaderError) else f'{type(error).__name__}: '
        raise InputError(
            f"recording '{path}': not readable as rosbag1, rosbag2 or MCAP: {kind}{error}"
        ) from error
    return reader
