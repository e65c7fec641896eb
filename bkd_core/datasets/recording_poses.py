# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a recording says that the camera or robot was when a frame was taken."""

from __future__ import annotations

from pathlib import Path

from bkd_core.datasets.frame_record import MAX_POSE_AGE_S
from bkd_core.datasets.recording_reader import decode_pose, open_reader, POSE, recording_errors
from bkd_core.errors import InputError, unknown_name
import numpy as np


class RecordedPoses:
    """
    The poses of one topic of a recording.

    :param path: A .bag, .mcap or .db3 file, or a rosbag2 folder.
    :param topic: Of type geometry_msgs/PoseStamped.
    :raises InputError: If the recording or a pose cannot be read, or the topic is not there.
    """

    def __init__(self, path: Path, topic: str) -> None:
        path, topic = Path(path), '/' + topic.lstrip('/')
        with open_reader(path) as reader:
            topics = sorted({item.topic for item in reader.connections if item.msgtype == POSE})
            if not topics:
                raise InputError(
                    f'{path}: has no pose topic (of type {POSE}); its topics are '
                    f'{sorted({item.topic for item in reader.connections})}. Leave the pose '
                    'topic out, or give another recording')
            if topic not in topics:
                raise unknown_name(f'pose topic of {path}', topic, topics)
            messages = recording_errors(path, reader.messages(connections=[
                item for item in reader.connections
                if item.topic == topic and item.msgtype == POSE]))
            poses = [
                decode_pose(reader, connection, data, f'{path}: message {number}')
                for number, (connection, _, data) in enumerate(messages)]
        poses.sort(key=lambda pose: pose[0])
        self._stamps_ns = np.array([stamp_ns for stamp_ns, _ in poses], np.int64)
        self._numbers = [numbers for _, numbers in poses]

    def near(self, stamp_ns: int) -> tuple[float, ...] | None:
        """
        Return the pose with the nearest stamp; None if it is more than half a second away.

        :param stamp_ns: Of a frame, nanoseconds.
        :return: x, y, z in metres and the quaternion x, y, z, w.
        """
        if not self._numbers:
            return None
        after = int(np.searchsorted(self._stamps_ns, stamp_ns))
        nearest = min(
            (index for index in (after - 1, after) if 0 <= index < len(self._numbers)),
            key=lambda index: abs(int(self._stamps_ns[index]) - stamp_ns))
        is_near = abs(int(self._stamps_ns[nearest]) - stamp_ns) <= 1e9 * MAX_POSE_AGE_S
        return self._numbers[nearest] if is_near else None
