# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Tell the user when a camera topic is silent or changes its resolution."""

from __future__ import annotations

import time

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

IMAGE_TYPES = {
    False: 'sensor_msgs/msg/Image',
    True: 'sensor_msgs/msg/CompressedImage',
}
WARNING_PERIOD_S = 10.0


class FrameWatch:
    """
    Watch one camera topic.

    :param node: The node that subscribes to it; its parameter `no_frame_warning_s` says how
        long a silence may be.
    :param topic: The topic's full name.
    :param is_compressed: Whether CompressedImage is expected.
    """

    def __init__(self, node: Node, topic: str, *, is_compressed: bool) -> None:
        self._node = node
        self._topic = topic
        self._type = IMAGE_TYPES[is_compressed]
        self._last_frame_s = time.monotonic()
        self._size: tuple[int, int] | None = None
        # A steady clock: simulated time stands still exactly when nothing is published.
        self._timer = node.create_timer(
            1.0, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_frame(self) -> None:
        """Note that a frame came."""
        self._last_frame_s = time.monotonic()

    def on_size(self, size: tuple[int, int]) -> None:
        """
        Warn if the camera's resolution has changed; its frames go on being labelled.

        :param size: (height, width) of the newest frame.
        """
        before, self._size = self._size, size
        if before not in (None, size):
            self._node.get_logger().warning(
                f'{self._topic}: the resolution changed from {before[1]}x{before[0]} to '
                f'{size[1]}x{size[0]}; labels follow it. Check the camera if this is not meant',
                throttle_duration_sec=WARNING_PERIOD_S)

    def close(self) -> None:
        """Stop watching."""
        self._node.destroy_timer(self._timer)

    def _check(self) -> None:
        limit_s = self._node.get_parameter('no_frame_warning_s').value
        silent_s = time.monotonic() - self._last_frame_s
        if limit_s and silent_s > limit_s:
            self._node.get_logger().warning(
                f'{self._topic}: no frame for {silent_s:.0f} s; {self._reason()}',
                throttle_duration_sec=WARNING_PERIOD_S)

    def _reason(self) -> str:
        """Return the likeliest reason for a silence, in the user's terms."""
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        types = sorted({publisher.topic_type for publisher in publishers})
        if self._type in types:
            return (f'{len(publishers)} publishers are there. Is the camera running, and does its '
                    'QoS fit (see qos_overrides)?')
        if types:
            return f'it carries {types}, expected {self._type}. Set image_transport accordingly'
        own = self._node.get_fully_qualified_name() + '/'
        others = [
            name for name, kinds in self._node.get_topic_names_and_types()
            if self._type in kinds and name != self._topic and not name.startswith(own)
            and self._node.count_publishers(name)]
        return (f'nobody publishes it. Topics of type {self._type}: {others or "none"}. Remap '
                "'image' to the camera's topic")
