# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is in a recording: its topics, how long and how often, and how it is compressed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import struct
from typing import Any, BinaryIO

from bkd_core.datasets.recording_reader import (
    image_description,
    IMAGE_TYPES,
    open_reader,
    recording_errors,
    storage_paths,
)
from bkd_core.errors import InputError
import yaml

_MCAP_MAGIC_SIZE, _MCAP_CHUNK = 8, 6
_ROSBAG1_VERSION_SIZE, _ROSBAG1_CHUNK = 13, 5


@dataclass(frozen=True, kw_only=True)
class TopicInfo:
    """
    A topic of a recording.

    :param name: Its name.
    :param message_type: Such as 'sensor_msgs/msg/Image'.
    :param num_messages: How many there are.
    :param rate: Messages per second between its first and its last one; 0 if it has fewer than
        two.
    :param images: Size and encoding of the first image; empty if it is no image topic.
    """

    name: str
    message_type: str
    num_messages: int
    rate: float
    images: str


@dataclass(frozen=True, kw_only=True)
class RecordingInfo:
    """
    A recording.

    :param path: Where it lies.
    :param kind: 'rosbag1', 'rosbag2 sqlite3' or 'rosbag2 MCAP'.
    :param compression: Such as 'none' or 'chunks zstd'.
    :param num_bytes: Size of its files.
    :param start_ns: When its first message was recorded, nanoseconds; 0 if it has none.
    :param duration_s: Seconds from its first to its last message.
    :param topics: By name.
    """

    path: Path
    kind: str
    compression: str
    num_bytes: int
    start_ns: int
    duration_s: float
    topics: tuple[TopicInfo, ...]


def read_info(path: Path) -> RecordingInfo:
    """
    Look into a recording; all its messages are read once, for the rates.

    :param path: A .bag, .mcap or .db3 file, or a rosbag2 folder.
    :raises InputError: If it cannot be read.
    """
    path = Path(path)
    files = _files(path)
    with open_reader(path) as reader:
        count = reader.message_count
        return RecordingInfo(
            path=path, kind=_kind(files[0]), compression=_compression(path, files[0]),
            num_bytes=sum(file.stat().st_size for file in files),
            start_ns=reader.start_time if count else 0,
            duration_s=max(0, reader.duration - 1) / 1e9 if count else 0.0,
            topics=_topics(reader, path))


def _topics(reader: Any, path: Path) -> tuple[TopicInfo, ...]:
    first: dict[str, tuple[int, Any, bytes]] = {}
    last: dict[str, int] = {}
    for connection, time_ns, data in recording_errors(path, reader.messages()):
        if connection.topic not in first:
            first[connection.topic] = time_ns, connection, data
        last[connection.topic] = time_ns
    infos = []
    for name, topic in sorted(reader.topics.items()):
        span = (last[name] - first[name][0]) / 1e9 if name in first else 0
        kind = topic.msgtype or 'several types'
        images = _describe(reader, *first[name][1:]) \
            if name in first and kind in IMAGE_TYPES else ''
        infos.append(TopicInfo(
            name=name, message_type=kind, num_messages=topic.msgcount, images=images,
            rate=(topic.msgcount - 1) / span if span > 0 else 0.0))
    return tuple(infos)


def _describe(reader: Any, connection: Any, data: bytes) -> str:
    try:
        return image_description(reader, connection, data)
    except InputError:
        return 'damaged'


def _files(path: Path) -> list[Path]:
    """Return the files that hold messages."""
    if path.is_dir() and (path / 'metadata.yaml').exists():
        inside = [file for file in sorted(path.iterdir())
                  if file.is_file() and file.name != 'metadata.yaml']
        if inside:
            return inside
    return storage_paths(path)


def _kind(file: Path) -> str:
    suffixes = {'.bag': 'rosbag1', '.mcap': 'rosbag2 MCAP', '.db3': 'rosbag2 sqlite3'}
    found = [kind for suffix, kind in suffixes.items() if suffix in file.suffixes]
    return found[0] if found else 'rosbag2'


def _compression(path: Path, file: Path) -> str:
    """Return how the files or the parts of them are compressed."""
    metadata = path / 'metadata.yaml'
    if metadata.is_file():
        values = yaml.safe_load(metadata.read_text(encoding='utf-8'))
        values = values['rosbag2_bagfile_information']
        mode = str(values.get('compression_mode') or 'none').lower()
        if mode != 'none':
            return f'each {mode} {values.get("compression_format")}'
    with file.open('rb') as stream:
        chunk = {'.mcap': _mcap_chunk, '.bag': _rosbag1_chunk}.get(file.suffix)
        name = chunk(stream) if chunk else ''
    return f'chunks {name}' if name not in ('', 'none') else 'none'


def _mcap_chunk(stream: BinaryIO) -> str:
    """Return the compression of the first chunk; https://mcap.dev/spec#chunk-op0x06."""
    stream.seek(_MCAP_MAGIC_SIZE)
    while len(head := stream.read(9)) == 9:
        kind, size = struct.unpack('<BQ', head)
        if kind == _MCAP_CHUNK:
            length = struct.unpack('<28xI', stream.read(32))[0]
            return stream.read(length).decode()
        stream.seek(size, 1)
    return ''


def _rosbag1_chunk(stream: BinaryIO) -> str:
    """Return the compression of the first chunk; http://wiki.ros.org/Bags/Format/2.0."""
    stream.seek(_ROSBAG1_VERSION_SIZE)
    while len(size := stream.read(4)) == 4:
        header, fields = stream.read(*struct.unpack('<I', size)), {}
        while header:
            length = struct.unpack('<I', header[:4])[0]
            key, _, value = header[4:4 + length].partition(b'=')
            fields[key], header = value, header[4 + length:]
        if fields.get(b'op') == bytes([_ROSBAG1_CHUNK]):
            return fields[b'compression'].decode()
        stream.seek(*struct.unpack('<I', stream.read(4)), 1)
    return ''
