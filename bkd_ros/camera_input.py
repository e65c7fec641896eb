# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One camera of the collector node: its subscription, and where each frame comes from."""

from __future__ import annotations

import math
import time
from typing import Any, Callable

from bkd_core.adaptation import FrameMetadata, MAX_POSE_AGE_S
from bkd_ros.camera import COMPRESSED, INPUT_QOS
from bkd_ros.conversions import compressed_to_rgb, image_to_rgb
from bkd_ros.frame_watch import FrameWatch
from bkd_ros.setting import resolve_topic
from geometry_msgs.msg import PoseStamped
import numpy as np
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image


class CameraInput:
    """
    Subscribe to one image topic.

    :param node: The node.
    :param topic: The image topic, as a parameter gives it.
    :param name: The camera's name.
    :param is_compressed: Take CompressedImage from TOPIC/compressed; also so if the topic's
        name ends like that.
    :param on_frame: Called with this camera and each message.
    """

    def __init__(
        self, node: Node, topic: str, *, name: str, is_compressed: bool,
        on_frame: Callable[[CameraInput, Image | CompressedImage], None],
    ) -> None:
        is_compressed = is_compressed or topic.endswith(COMPRESSED)
        resolved = resolve_topic(node, 'image_topics', topic.removesuffix(COMPRESSED))
        self.name = name
        self._node = node
        self._on_frame = on_frame
        self._convert = compressed_to_rgb if is_compressed else image_to_rgb
        self._last_taken_s = -math.inf
        self._last_frame_s = time.monotonic()
        self._subscription = node.create_subscription(
            CompressedImage if is_compressed else Image,
            resolved + (COMPRESSED if is_compressed else ''), self._receive, INPUT_QOS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
        self.topic = self._subscription.topic_name
        self._watch = FrameWatch(node, self.topic, is_compressed=is_compressed)

    @property
    def silent_s(self) -> float:
        """Return the seconds since the last frame, or since the start."""
        return time.monotonic() - self._last_frame_s

    def is_due(self, max_rate: float) -> bool:
        """
        Tell whether the rate limit lets a frame that came now pass.

        :param max_rate: Frames per second; 0 is no limit.
        """
        now = time.monotonic()
        if max_rate > 0 and now - self._last_taken_s < 1 / max_rate:
            return False
        self._last_taken_s = now
        return True

    def to_rgb(self, message: Image | CompressedImage) -> np.ndarray:
        """
        Return the frame in a message.

        :param message: From this camera.
        :return: (H, W, 3) uint8.
        :raises InputError: If it cannot be read.
        """
        frame = self._convert(message)
        self._watch.on_size(frame.shape[:2])
        return frame

    def metadata(self, header: Any, pose: PoseStamped | None) -> FrameMetadata:
        """
        Return where a frame comes from.

        :param header: The frame's.
        :param pose: The newest pose; it is left out if it is older or newer than half a second.
        :raises InputError: If its stamp lies before 1970.
        """
        stamp_ns = nanoseconds(header)
        is_near = pose is not None and (
            abs(nanoseconds(pose.header) - stamp_ns) <= 1e9 * MAX_POSE_AGE_S)
        return FrameMetadata(
            stamp_ns=stamp_ns, topic=self.topic, camera=self.name, frame_id=header.frame_id,
            pose=numbers_of(pose) if is_near else None)

    def close(self) -> None:
        """Stop listening."""
        self._watch.close()
        self._node.destroy_subscription(self._subscription)

    def _receive(self, message: Image | CompressedImage) -> None:
        self._watch.on_frame()
        self._last_frame_s = time.monotonic()
        self._on_frame(self, message)


def nanoseconds(header: Any) -> int:
    """
    Return a header's stamp in nanoseconds.

    :param header: A std_msgs/Header.
    """
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def numbers_of(message: PoseStamped) -> tuple[float, ...]:
    """
    Return x, y, z and the quaternion x, y, z, w of a pose.

    :param message: The pose.
    """
    position, turn = message.pose.position, message.pose.orientation
    return (position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w)
