# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A camera topic of a recording as a data set without labels."""

from __future__ import annotations

from contextlib import ExitStack
import os
from pathlib import Path
from typing import Any

from bkd_core.datasets.recording_reader import (
    decode_frame,
    image_connections,
    image_topics,
    open_reader,
    read_frames,
    read_label_images,
    RecordedFrame,
    recording_errors,
)
from bkd_core.datasets.recording_writer import RecordingWriter
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
import numpy as np

__all__ = [
    'image_topics', 'read_frames', 'read_label_images', 'RecordedFrame', 'Recording',
    'RecordingWriter']


class Recording:
    """
    Frames of a rosbag1, rosbag2 sqlite3 or MCAP recording, read from it when they are asked for.

    :param root: A .bag, .mcap or .db3 file, or a rosbag2 folder.
    :param topic: The camera topic; None for the only image topic that there is.
    :param stride: Use every n-th frame.
    :param label_space: Name of a label space; nothing is labelled, it only tells which classes
        the frames are to be seen in.
    :raises InputError: If the recording cannot be read, has no such topic or no frame.
    """

    has_labels = False

    def __init__(
        self, *, root: Path, topic: str | None = None, stride: int = 1,
        label_space: str = 'street9',
    ) -> None:
        if stride < 1:
            raise InputError(f'stride: got {stride}; expected at least 1')
        self.label_space = get_label_space(label_space)
        self._path = Path(root)
        self._topic = topic
        self._stride = stride
        self._opened: tuple[int, ExitStack, Any, list] | None = None
        self._places = self._find_messages()[::stride]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._places)

    def name(self, index: int) -> str:
        """Return the number of a frame in the recording, six digits or more."""
        return f'{index * self._stride:06d}'

    def image(self, index: int) -> np.ndarray:
        """
        Return a frame, (H, W, 3) uint8 RGB.

        :raises InputError: If it is damaged.
        """
        time, skip = self._places[index]
        reader, connections = self._reader()
        messages = recording_errors(
            self._path, reader.messages(connections=connections, start=time, stop=time + 1))
        for _ in range(skip):
            next(messages)
        connection, _, data = next(messages)
        where = f'{self._path}: message {self.name(index)}'
        return np.ascontiguousarray(decode_frame(reader, connection, data, where).image)

    def labels(self, index: int) -> np.ndarray:
        """
        Refuse: a recording has no labels.

        :raises InputError: Always.
        """
        raise InputError(f'{self._path}: a recording has no labels')

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy in another process, without the open file."""
        return {**self.__dict__, '_opened': None}

    def _find_messages(self) -> list[tuple[int, int]]:
        """Return for each frame its time of recording, and how many before it share the time."""
        places: list[tuple[int, int]] = []
        with open_reader(self._path) as reader:
            connections = image_connections(reader, self._path, self._topic)
            messages = recording_errors(self._path, reader.messages(connections=connections))
            for _, time, _ in messages:
                same = places and places[-1][0] == time
                places.append((time, places[-1][1] + 1 if same else 0))
        if not places:
            raise InputError(f'{self._path}: topic {connections[0].topic} has no message')
        return places

    def _reader(self) -> tuple[Any, list]:
        # A process that was forked shares its parent's file position, so it opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            stack = ExitStack()
            reader = stack.enter_context(open_reader(self._path))
            connections = image_connections(reader, self._path, self._topic)
            self._opened = (os.getpid(), stack, reader, connections)
        return self._opened[2:]
