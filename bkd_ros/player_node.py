# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Play a recording's camera topic in real time, without rosbag2.

It publishes under the recorded name, or to `output_topic`; headers stay as recorded. It ends
with exit code 0 after the last frame.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Callable

from bkd_core.errors import InputError
from bkd_ros import parameters
from bkd_ros.conversions import compressed_to_rgb, rgb_to_image
from bkd_ros.recorded_topic import RecordedTopic
from bkd_ros.run_node import run_node
from bkd_ros.setting import declare, resolve_topic
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image

NAME = 'player_node'
# Reliable serves every subscriber, and a best-effort one as it wishes.
QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE)
POLL_S = 0.05
LAST_FRAME_S = 5.0  # patience for the subscribers' acknowledgement of the last frames
BEST_EFFORT_S = 0.2  # best-effort subscribers acknowledge nothing


class PlayerNode(Node):
    """
    Publish what `RecordedTopic` yields, at its pace.

    :param options: Passed on to `rclpy.node.Node`, such as parameter_overrides.
    :raises InputError: If a parameter is wrong or the recording cannot be read.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, **options)
        self.done = Future()
        self._values = declare(self, parameters.PLAYER)
        self._recorded = RecordedTopic(self._values['recording'], self._values['topic'])
        self._decodes = self._choose_transport()
        self._publisher = self.create_publisher(
            Image if self._decodes else self._recorded.message_type, self._output_topic(), QOS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()

    def _choose_transport(self) -> bool:
        """Return whether compressed frames are to be decoded."""
        transport = self._values['image_transport']
        if transport == 'compressed' and not self._recorded.is_compressed:
            raise InputError(
                f"recording '{self._recorded.path}': {self._recorded.name} was recorded raw, so "
                "image_transport 'compressed' is not possible; choose 'raw'")
        return transport == 'raw' and self._recorded.is_compressed

    def _output_topic(self) -> str:
        suffix = '/compressed'
        if self._values['output_topic']:
            topic = resolve_topic(
                self, 'output_topic', self._values['output_topic'])
            return topic + suffix if self._recorded.is_compressed and not self._decodes else topic
        return self._recorded.name.removesuffix(suffix) if self._decodes else self._recorded.name

    def _run(self) -> None:
        try:
            self._wait_for_subscribers()
            num_frames = 0
            while not self._stop.is_set():
                num_frames += self._play()
                if not self._values['loop']:
                    break
            if not self._stop.is_set():
                self._finish(num_frames)
                self.done.set_result(None)
        except Exception as error:
            if not self._stop.is_set():
                self.done.set_exception(error)

    def _wait_for_subscribers(self) -> None:
        number = self._values['min_subscribers']
        timeout_s = self._values['subscriber_timeout_s']
        end = time.monotonic() + timeout_s
        topic = self._publisher.topic_name
        if number:
            self.get_logger().info(f'{topic}: waiting for {number} subscribers')
        while self._publisher.get_subscription_count() < number and not self._stop.wait(POLL_S):
            if timeout_s and time.monotonic() > end:
                raise InputError(
                    f'{topic}: {self._publisher.get_subscription_count()} subscribers after '
                    f'{timeout_s:g} s, expected {number}. Start the subscriber, remap the topic, '
                    'or set min_subscribers:=0')
        self._stop.wait(self._values['start_delay_s'])

    def _play(self) -> int:
        """Publish the recording once and return how many frames that were."""
        self.get_logger().info(
            f"plays {self._recorded.num_messages} frames of '{self._recorded.path}' on "
            f'{self._publisher.topic_name} at {self._values["rate"]:g} times real time')
        wait_until = _pace(self._values['rate'], self._stop)
        num_frames = 0
        for stamp_ns, message in self._recorded.messages():
            if not wait_until(stamp_ns):
                break
            num_frames += self._publish(message)
        return num_frames

    def _publish(self, message: bytes | Image | CompressedImage) -> bool:
        if self._decodes:
            if isinstance(message, bytes):
                message = deserialize_message(message, CompressedImage)
            try:
                message = rgb_to_image(compressed_to_rgb(message), message.header)
            except InputError as error:
                self.get_logger().warning(
                    f'{self._recorded.name}: frame skipped: {error}', throttle_duration_sec=5.0)
                return False
        self._publisher.publish(message)
        return True

    def _finish(self, num_frames: int) -> None:
        self._publisher.wait_for_all_acked(Duration(seconds=LAST_FRAME_S))
        self._stop.wait(BEST_EFFORT_S)
        self.get_logger().info(f'played {num_frames} frames')

    def close(self) -> None:
        """Stop playing, close the recording and destroy the node."""
        self._stop.set()
        self._thread.join(LAST_FRAME_S + 1)
        self._recorded.close()
        self.destroy_node()


def _pace(rate: float, stop: threading.Event) -> Callable[[int], bool]:
    """
    Return a function that waits until a frame is due and says whether to go on.

    :param rate: Multiples of real time.
    :param stop: Ends a wait early.
    """
    start_s = time.monotonic()
    first_ns: int | None = None

    def wait_until(stamp_ns: int) -> bool:
        nonlocal first_ns
        first_ns = stamp_ns if first_ns is None else first_ns
        due_s = start_s + (stamp_ns - first_ns) / 1e9 / rate
        return not stop.wait(max(0.0, due_s - time.monotonic()))
    return wait_until


def main(args: list[str] | None = None) -> int:
    """
    Run the node.

    :param args: Command line, default `sys.argv`.
    :return: Exit code; 2 if a parameter or the recording is at fault.
    """
    return run_node(PlayerNode, NAME, args)


if __name__ == '__main__':
    sys.exit(main())
