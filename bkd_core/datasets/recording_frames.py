# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The frames of several topics of a recording, of a part of its time, and only some of them."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from bkd_core.datasets.recording_reader import (
    decode_frame,
    decode_header,
    image_connections,
    open_reader,
    RecordedFrame,
    recording_errors,
)
from bkd_core.errors import InputError

_SECOND = 1_000_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMessage:
    """
    A message of an image topic, not decoded yet; to be used before the next one is asked for.

    :param topic: Its topic.
    :param number: How many messages of the topic came before it in the recording.
    :param time_ns: When it was recorded, nanoseconds.
    """

    topic: str
    number: int
    time_ns: int
    _source: tuple[Any, ...]

    def header(self) -> tuple[int, str]:
        """
        Return the stamp, in nanoseconds, and the coordinate frame.

        :raises InputError: If the message is damaged.
        """
        return decode_header(*self._source)

    def frame(self) -> RecordedFrame:
        """
        Return the decoded frame.

        :raises InputError: If it is damaged or of an unknown encoding.
        """
        return decode_frame(*self._source)


@dataclass(frozen=True, kw_only=True)
class FrameRange:
    """
    Which frames of a recording are wanted.

    :param topics: Image topics; empty for the only one that there is.
    :param start_s: Seconds after the recording's first message, of any topic.
    :param end_s: Seconds after it at which to stop; None for its end.
    :param stride: Every n-th frame of each topic.
    :raises InputError: If a value is out of range.
    """

    topics: tuple[str, ...] = ()
    start_s: float = 0.0
    end_s: float | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.stride < 1:
            raise InputError(f'stride: got {self.stride}; expected at least 1')
        end_s = self.start_s + 1 if self.end_s is None else self.end_s
        if not 0 <= self.start_s < end_s < 1e9:
            raise InputError(
                f'start {self.start_s} and end {self.end_s}: expected seconds from the start of '
                'the recording, the end after the start')


class RecordedFrames:
    """
    The frames of a recording that are wanted.

    :param reader: The opened recording.
    :param path: Where it lies.
    :param wanted: Which of its frames.
    :raises InputError: If a topic is not there, or the recording is shorter than the start.
    """

    def __init__(self, reader: Any, path: Path, wanted: FrameRange) -> None:
        self._reader, self._path, self._wanted = reader, path, wanted
        self._connections = [
            connection for topic in dict.fromkeys(wanted.topics or (None,))
            for connection in image_connections(reader, path, topic)]
        self.topics = tuple(dict.fromkeys(item.topic for item in self._connections))
        if reader.message_count and wanted.start_s * _SECOND >= reader.duration:
            raise InputError(
                f'{path}: start {wanted.start_s} s; the recording is '
                f'{reader.duration / _SECOND:.1f} s long')

    @property
    def num_messages(self) -> int:
        """Return how many messages its topics have in the whole recording."""
        counts = self._reader.topics
        return sum(counts[topic].msgcount for topic in self.topics)

    def __iter__(self) -> Iterator[FrameMessage]:
        """Yield the messages in the order in which they were recorded."""
        wanted, counts = self._wanted, Counter()
        first = self._reader.start_time if self._reader.message_count else 0
        after = first + round(wanted.start_s * _SECOND)
        messages = recording_errors(
            self._path, self._reader.messages(
                connections=self._connections, start=after,
                stop=None if wanted.end_s is None else first + round(wanted.end_s * _SECOND)))
        for connection, time_ns, data in messages:
            topic, number = connection.topic, counts[connection.topic]
            counts[topic] += 1
            if number % wanted.stride == 0:
                where = f'{self._path}: message {number}'
                yield FrameMessage(
                    topic=topic, number=number, time_ns=time_ns,
                    _source=(self._reader, connection, data, where))


@contextmanager
def open_frames(path: Path, wanted: FrameRange) -> Iterator[RecordedFrames]:
    """
    Open a recording for reading some of its frames.

    :param path: A .bag, .mcap or .db3 file, or a rosbag2 folder.
    :param wanted: Which frames.
    :raises InputError: If it cannot be read or has no such topic.
    """
    with open_reader(Path(path)) as reader:
        yield RecordedFrames(reader, Path(path), wanted)


def topics_of(topics: Sequence[str]) -> tuple[str, ...]:
    """
    Return topic names with their leading slash.

    :param topics: As a user writes them.
    """
    return tuple('/' + topic.lstrip('/') for topic in topics)
