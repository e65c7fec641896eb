# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Record topics as they are into a rosbag2 in MCAP, without rosbag2.

The recording gets its name when it is complete: after max_frames, idle_timeout_s, SIGINT or
SIGTERM. The exit code is 2 if nothing was received.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
import sys
import time
from typing import Any

from bkd_core.errors import InputError
from bkd_ros import parameters
from bkd_ros.recording_file import RecordingFile
from bkd_ros.run_node import run_node
from bkd_ros.setting import declare, resolve_topic
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future

NAME = 'recorder_node'
TICK_S = 0.1
QUEUE_DEPTH = 50


class RecorderNode(Node):
    """
    Subscribe to topics as soon as somebody publishes them, and write what comes.

    :param options: Passed on to `rclpy.node.Node`, such as parameter_overrides.
    :raises InputError: If a parameter is wrong or the output cannot be written.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, **options)
        self.done = Future()
        self._values = declare(self, parameters.RECORDER)
        self._topics = sorted({
            resolve_topic(self, 'topics', topic) for topic in self._values['topics']})
        self._waiting = set(self._topics)
        self._file = RecordingFile(self._values['output'])
        self._start_s = time.monotonic()
        self._last_message_s: float | None = None
        self._timer = self.create_timer(
            TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"waits for {self._topics} to record into '{self._file.output}'")

    def _tick(self) -> None:
        """Look for topics that have appeared, and whether it is time to end."""
        try:
            for topic in sorted(self._waiting):
                self._subscribe(topic)
        except InputError as error:
            self._end(error)
        now = time.monotonic()
        idle_s, start_s = self._values['idle_timeout_s'], self._values['start_timeout_s']
        if self._last_message_s is None:
            if start_s and now - self._start_s > start_s:
                self._end()
        elif idle_s and now - self._last_message_s > idle_s:
            self._end()

    def _subscribe(self, topic: str) -> None:
        """Subscribe with the QoS that the publishers offer, if there are any."""
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers:
            return
        types = {publisher.topic_type for publisher in publishers}
        if len(types) > 1:
            raise InputError(f'{topic}: publishers disagree on its type: {sorted(types)}')
        message_type = types.pop()
        qos = compatible_qos([publisher.qos_profile for publisher in publishers])
        self._file.add_topic(topic, message_type, qos)
        self._waiting.discard(topic)
        self.create_subscription(
            message_class(topic, message_type), topic, partial(self._on_message, topic), qos,
            raw=True)
        self.get_logger().info(f'records {topic}, {message_type}')

    def _on_message(self, topic: str, data: bytes) -> None:
        self._last_message_s = time.monotonic()
        limit = self._values['max_frames']
        if self.done.done() or (limit and self._file.num_messages[topic] >= limit):
            return
        try:
            self._file.write(topic, self.get_clock().now().nanoseconds, data)
        except OSError as error:
            self._end(InputError(f"output '{self._file.output}': {error}"))
        if limit and not self._waiting and min(self._file.num_messages.values()) >= limit:
            self._end()

    def _end(self, error: InputError | None = None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)

    def close(self) -> None:
        """
        Complete the recording and destroy the node.

        :raises InputError: If nothing was received or the disk is full.
        """
        try:
            self._file.close()
            self.get_logger().info(
                f"wrote '{self._file.output}', messages: {self._file.num_messages}")
        finally:
            self.destroy_node()


def compatible_qos(offered: list[QoSProfile]) -> QoSProfile:
    """
    Return the strictest QoS that all publishers fulfil.

    :param offered: One profile a publisher.
    """
    is_reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    is_latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=QUEUE_DEPTH,
        reliability=(
            ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT),
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if is_latched else DurabilityPolicy.VOLATILE))


def message_class(topic: str, message_type: str) -> type:
    """
    Return the Python class of a message type.

    :param topic: Named in the error.
    :param message_type: Such as 'sensor_msgs/msg/Image'.
    :raises InputError: If its package is not installed.
    """
    package, _, name = message_type.split('/')
    try:
        return getattr(import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f'{topic}: type {message_type} is not installed ({error}). Install {package} or '
            'source the workspace that holds it') from error


def main(args: list[str] | None = None) -> int:
    """
    Run the node.

    :param args: Command line, default `sys.argv`.
    :return: Exit code; 2 if a parameter is at fault or nothing was received.
    """
    return run_node(RecorderNode, NAME, args)


if __name__ == '__main__':
    sys.exit(main())
