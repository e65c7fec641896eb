# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera frames and label images out of rosbag1, rosbag2 sqlite3 and MCAP, without ROS."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from bkd_core.errors import InputError, unknown_name
from bkd_core.image_encodings import decode_compressed, decode_image
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import get_typestore, Stores

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
POSE = 'geometry_msgs/msg/PoseStamped'
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedFrame:
    """
    A camera frame of a recording.

    :param stamp_ns: Stamp of the message's header, nanoseconds.
    :param topic: Topic that it was recorded on.
    :param frame_id: Coordinate frame of the message's header.
    :param image: (H, W, 3) uint8 RGB.
    """

    stamp_ns: int
    topic: str
    frame_id: str
    image: np.ndarray


def read_frames(path: Path, *, topic: str | None = None) -> Iterator[RecordedFrame]:
    """
    Yield the frames of a camera topic in the order in which they were recorded.

    :param path: A .bag, .mcap or .db3 file, or a rosbag2 folder.
    :param topic: The topic; None for the only image topic that there is.
    :raises InputError: If the recording or a frame cannot be read, or the topic is not there.
    """
    path = Path(path)
    with open_reader(path) as reader:
        connections = image_connections(reader, path, topic)
        messages = recording_errors(path, reader.messages(connections=connections))
        for number, (connection, _, data) in enumerate(messages):
            yield decode_frame(reader, connection, data, f'{path}: message {number}')


def read_label_images(path: Path, topic: str) -> Iterator[tuple[int, np.ndarray]]:
    """
    Yield header stamp in nanoseconds and (H, W) uint8 ids of each image of a mono8 topic.

    :param path: A .bag, .mcap or .db3 file, or a rosbag2 folder.
    :param topic: The topic.
    :raises InputError: If the recording cannot be read, the topic is not there, or it is not of
        encoding mono8.
    """
    path = Path(path)
    with open_reader(path) as reader:
        connections = image_connections(reader, path, topic)
        messages = recording_errors(path, reader.messages(connections=connections))
        for number, (connection, _, data) in enumerate(messages):
            where = f'{path}: message {number} of topic {connection.topic}'
            message = _deserialize(reader, connection, data, where)
            yield _stamp_ns(message), _label_ids(message, where)


def image_topics(path: Path) -> dict[str, str]:
    """
    Return the image topics of a recording with their message types, sorted.

    :param path: A .bag, .mcap or .db3 file, or a rosbag2 folder.
    :raises InputError: If the recording cannot be read.
    """
    with open_reader(Path(path)) as reader:
        return _image_topics(reader)


@contextmanager
def open_reader(path: Path) -> Iterator[AnyReader]:
    """
    Open a recording.

    :param path: A .bag, .mcap or .db3 file, or a rosbag2 folder.
    :raises InputError: If it is missing or damaged.
    """
    # Recordings of older ROS 2 versions do not carry the definitions of their messages.
    typestore = get_typestore(Stores.ROS2_JAZZY)
    paths = storage_paths(path)
    try:
        reader = AnyReader(paths, default_typestore=typestore)
        reader.open()
    except Exception as error:
        raise _unreadable(path, error) from error
    try:
        yield reader
    finally:
        reader.close()


def image_connections(reader: AnyReader, path: Path, topic: str | None) -> list[Connection]:
    """
    Return the connections of one image topic.

    :param reader: The opened recording.
    :param path: The recording, for errors.
    :param topic: The topic; None for the only image topic that there is.
    :raises InputError: If it is not there, or not the only one.
    """
    topics = _image_topics(reader)
    if not topics:
        present = sorted({connection.topic for connection in reader.connections})
        raise InputError(
            f'{path}: has no image topic (of type {" or ".join(IMAGE_TYPES)}); its topics are '
            f'{present}')
    if topic is None:
        if len(topics) > 1:
            raise InputError(
                f'{path}: has {len(topics)} image topics; choose one of {list(topics)}')
        topic = next(iter(topics))
    topic = '/' + topic.lstrip('/')
    if topic not in topics:
        raise unknown_name(f'image topic of {path}', topic, topics)
    return [connection for connection in reader.connections if connection.topic == topic]


def decode_frame(
    reader: AnyReader, connection: Connection, data: bytes, where: str,
) -> RecordedFrame:
    """
    Decode a message of an image topic.

    :param reader: The opened recording.
    :param connection: The message's connection.
    :param data: The message as it was recorded.
    :param where: Which message it is, for errors.
    :raises InputError: If it is damaged or of an unknown encoding.
    """
    message = _deserialize(reader, connection, data, where)
    try:
        if connection.msgtype == COMPRESSED_IMAGE:
            image = decode_compressed(message.data)
        else:
            image = decode_image(
                message.data, height=message.height, width=message.width, step=message.step,
                encoding=message.encoding, is_bigendian=bool(message.is_bigendian))
    except InputError as error:
        raise InputError(f'{where} of topic {connection.topic}: {error}') from error
    return RecordedFrame(
        stamp_ns=_stamp_ns(message), topic=connection.topic, frame_id=message.header.frame_id,
        image=image)


def decode_header(
    reader: AnyReader, connection: Connection, data: bytes, where: str,
) -> tuple[int, str]:
    """
    Return the stamp, in nanoseconds, and the coordinate frame of a message of an image topic.

    :param reader: The opened recording.
    :param connection: The message's connection.
    :param data: The message as it was recorded.
    :param where: Which message it is, for errors.
    :raises InputError: If it is damaged.
    """
    message = _deserialize(reader, connection, data, where)
    return _stamp_ns(message), message.header.frame_id


def decode_pose(
    reader: AnyReader, connection: Connection, data: bytes, where: str,
) -> tuple[int, tuple[float, ...]]:
    """
    Return stamp, in nanoseconds, and x, y, z, and quaternion x, y, z, w of a PoseStamped.

    :param reader: The opened recording.
    :param connection: The message's connection.
    :param data: The message as it was recorded.
    :param where: Which message it is, for errors.
    :raises InputError: If it is damaged.
    """
    message = _deserialize(reader, connection, data, where)
    position, turn = message.pose.position, message.pose.orientation
    return _stamp_ns(message), (
        position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w)


def image_description(reader: AnyReader, connection: Connection, data: bytes) -> str:
    """
    Return size and encoding of an image, such as '640x480 rgb8'.

    :param reader: The opened recording.
    :param connection: The message's connection.
    :param data: The message as it was recorded.
    :raises InputError: If it is damaged or of an unknown encoding.
    """
    message = _deserialize(reader, connection, data, connection.topic)
    height, width = decode_frame(reader, connection, data, connection.topic).image.shape[:2]
    is_compressed = connection.msgtype == COMPRESSED_IMAGE
    return f'{width}x{height} {message.format if is_compressed else message.encoding}'


def recording_errors(path: Path, messages: Iterator[Any]) -> Iterator[Any]:
    """
    Yield from a reader's messages; what a damaged recording raises becomes an InputError.

    :param path: The recording, for the error.
    :param messages: From `AnyReader.messages`.
    """
    while True:
        try:
            message = next(messages)
        except StopIteration:
            return
        except Exception as error:
            raise _unreadable(path, error) from error
        yield message


def storage_paths(path: Path) -> list[Path]:
    """
    Return what of a recording has to be opened: itself, or the files in a bare folder.

    :param path: A .bag, .mcap or .db3 file, or a folder.
    :raises InputError: If it is missing or no recording.
    """
    if not path.exists():
        raise InputError(f'{path}: no such recording')
    if path.is_file() or (path / 'metadata.yaml').exists():
        return [path]
    for suffix in ('.bag', '.mcap', '.db3'):
        files = sorted(path.glob(f'*{suffix}'))
        if files:
            return files
    raise InputError(
        f'{path}: is no recording; expected a rosbag2 folder (with metadata.yaml), or a file '
        '.bag, .mcap or .db3')


def _unreadable(path: Path, error: Exception) -> InputError:
    # Damaged bytes surface as whatever parsing them ran into: struct.error, AssertionError, ...
    reason = str(error) or type(error).__name__
    return InputError(
        f'{path}: cannot be read as a recording (rosbag1, rosbag2 sqlite3 or MCAP): {reason}. '
        'If its recorder was killed, repair it with "ros2 bag reindex" or "mcap recover"')


def _image_topics(reader: AnyReader) -> dict[str, str]:
    return {
        connection.topic: connection.msgtype
        for connection in sorted(reader.connections, key=lambda connection: connection.topic)
        if connection.msgtype in IMAGE_TYPES}


def _deserialize(reader: AnyReader, connection: Connection, data: bytes, where: str) -> Any:
    try:
        return reader.deserialize(data, connection.msgtype)
    except Exception as error:
        raise InputError(
            f'{where} of topic {connection.topic}: is damaged ({len(data)} bytes are no '
            f'{connection.msgtype}: {error})') from error


def _label_ids(message: Any, where: str) -> np.ndarray:
    encoding = getattr(message, 'encoding', 'compressed')
    if encoding != 'mono8':
        raise InputError(f"{where}: has encoding '{encoding}'; expected mono8 labels")
    height, width, step = message.height, message.width, message.step
    if not 0 < width <= step or len(message.data) < height * step:
        raise InputError(
            f'{where}: got {len(message.data)} bytes for {width}x{height} pixels of step {step}')
    rows = np.asarray(message.data, np.uint8)[:height * step].reshape(height, step)
    return np.ascontiguousarray(rows[:, :width])


def _stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
