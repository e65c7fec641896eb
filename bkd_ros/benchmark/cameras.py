# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cameras that never miss a beat, and ears that note when each frame is answered."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import sys
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

PATIENCE_S = 60.0
LINGER_S = 3.0  # after the last frame
_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)


class Cameras(Node):
    """
    Publish frames of several cameras, and listen to their labels.

    :param topics: Image topic -> labels topic.
    :param frames: (N, H, W, 3) uint8 RGB, what each camera shows, over and over.
    """

    def __init__(self, topics: dict[str, str], frames: np.ndarray) -> None:
        super().__init__('cameras')
        self.sent: dict[str, list[int]] = {topic: [] for topic in topics}
        self.answers: dict[str, dict[int, float]] = {topic: {} for topic in topics}
        self.publishers_by_topic = {}
        self.messages = [_message(frame) for frame in frames]
        for topic, labels in topics.items():
            self.publishers_by_topic[topic] = self.create_publisher(Image, topic, _QOS)
            self.create_subscription(
                Image, labels, lambda answer, topic=topic: self._hear(topic, answer), _QOS)

    def is_connected(self) -> bool:
        """Return whether every image has a subscriber and every labels topic a publisher."""
        return all(
            publisher.get_subscription_count()
            for publisher in self.publishers_by_topic.values()) and all(
            self.count_publishers(subscription.topic_name)
            for subscription in self.subscriptions)

    def send(self, topic: str) -> None:
        """
        Publish a frame that is stamped with the time now.

        :param topic: Its camera.
        """
        message = self.messages[len(self.sent[topic]) % len(self.messages)]
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        self.sent[topic].append(now)
        self.publishers_by_topic[topic].publish(message)

    def _hear(self, topic: str, answer: Image) -> None:
        stamp = answer.header.stamp.sec * 10**9 + answer.header.stamp.nanosec
        self.answers[topic][stamp] = (time.time_ns() - stamp) / 1e6


def _message(frame: np.ndarray) -> Image:
    height, width, _ = frame.shape
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    message.data.frombytes(frame.tobytes())
    return message


def connect(node: Cameras, executor: SingleThreadedExecutor) -> bool:
    """
    Wait for the node under test.

    :param node: The cameras.
    :param executor: That they are in.
    :return: Whether it came.
    """
    patience = time.monotonic() + PATIENCE_S
    while not node.is_connected():
        if time.monotonic() > patience:
            return False
        executor.spin_once(timeout_sec=0.1)
    return True


def film(
    node: Cameras, executor: SingleThreadedExecutor, *, rate: float, seconds: float,
) -> None:
    """
    Send frames, and hear the answers to all but the last ones.

    :param node: The cameras.
    :param executor: That they are in.
    :param rate: Frames per second of each camera.
    :param seconds: For how long.
    """
    start = time.monotonic() + 0.5
    topics = list(node.sent)
    period = 1 / rate
    # Each camera has its own beat within the period, as cameras do.
    beats = sorted(
        (number * period + period * index / len(topics), topic)
        for number in range(round(seconds * rate)) for index, topic in enumerate(topics))
    for due, topic in beats:
        while (left := start + due - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)
        node.send(topic)


def listen(executor: SingleThreadedExecutor, seconds: float) -> None:
    """
    Hear what comes.

    :param executor: Of the listeners.
    :param seconds: For how long.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)


def main() -> int:
    """Run the cameras as the command line says; return 0, or 3 if the node did not come."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--topics', nargs='+', help='IMAGE=LABELS')
    parser.add_argument('--size', type=int, nargs=2)
    parser.add_argument('--rate', type=float)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--report', type=Path)
    options = parser.parse_args()
    rclpy.init(args=[])
    try:
        topics = dict(item.split('=') for item in options.topics)
        noise = np.random.default_rng(0).integers(0, 256, (1, *options.size, 3), np.uint8)
        node = Cameras(topics, noise)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        return _run(node, executor, options)
    finally:
        rclpy.try_shutdown()


def _run(node: Cameras, executor: SingleThreadedExecutor, options: argparse.Namespace) -> int:
    if not connect(node, executor):
        return 3
    film(node, executor, rate=options.rate, seconds=options.seconds)
    listen(executor, LINGER_S)
    options.report.write_text(json.dumps([
        {'sent': len(node.sent[topic]), 'latencies_ms': list(node.answers[topic].values())}
        for topic in node.sent]))
    return 0


if __name__ == '__main__':
    sys.exit(main())
