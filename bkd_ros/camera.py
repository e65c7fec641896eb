# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One camera of the segmentation node: its subscriptions, its outputs, its numbers."""

from __future__ import annotations

import copy
import math
import time
from typing import Any, Callable

from bkd_core.adaptation import camera_name
from bkd_core.errors import InputError
from bkd_ros.conversions import compressed_to_rgb, image_to_rgb
from bkd_ros.frame_statistics import FrameStatistics
from bkd_ros.frame_watch import FrameWatch
from bkd_ros.setting import resolve_topic
import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

INPUT_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
OUTPUT_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)
COMPRESSED = '/compressed'
# In the order in which they go out: somebody may drive by the labels.
IMAGE_OUTPUTS = ('labels', 'confidence', 'overlay', 'color')
CAMERA_INFO = 'camera_info'


class Camera:
    """
    Subscribe to one image topic and offer its outputs.

    :param node: The node.
    :param topic: The image topic, as a parameter gives it.
    :param is_compressed: Take CompressedImage from TOPIC/compressed; also so if the topic's
        name ends like that.
    :param prefix: What the outputs' names begin with, such as '~' or '~/front'.
    :param on_frame: Called with this camera and each message.
    :raises InputError: If the topic's name is none.
    """

    def __init__(
        self, node: Node, topic: str, *, is_compressed: bool, prefix: str,
        on_frame: Callable[[Camera, Image | CompressedImage], None],
    ) -> None:
        is_compressed = is_compressed or topic.endswith(COMPRESSED)
        resolved = resolve_topic(node, 'image_topics', topic.removesuffix(COMPRESSED))
        self._node = node
        self._on_frame = on_frame
        self._convert = compressed_to_rgb if is_compressed else image_to_rgb
        self._last_taken_s = -math.inf
        self._info: CameraInfo | None = None
        self.statistics = FrameStatistics()
        overriding = {'qos_overriding_options': QoSOverridingOptions.with_default_policies()}
        self.publishers = {
            name: node.create_publisher(Image, f'{prefix}/{name}', OUTPUT_QOS, **overriding)
            for name in IMAGE_OUTPUTS}
        self.publishers[CAMERA_INFO] = node.create_publisher(
            CameraInfo, f'{prefix}/{CAMERA_INFO}', OUTPUT_QOS)
        self._info_subscription = node.create_subscription(
            CameraInfo, resolved.rpartition('/')[0] + f'/{CAMERA_INFO}', self._keep_info,
            INPUT_QOS)
        # Last: whoever waits for this subscription before it plays then finds all ready.
        self._subscription = node.create_subscription(
            CompressedImage if is_compressed else Image,
            resolved + (COMPRESSED if is_compressed else ''), self._receive, INPUT_QOS,
            **overriding)
        self.topic = self._subscription.topic_name
        self.watch = FrameWatch(node, self.topic, is_compressed=is_compressed)

    def wanted(self) -> set[str]:
        """Return the names of the outputs that somebody subscribes to."""
        return {
            name for name, publisher in self.publishers.items()
            if publisher.get_subscription_count()}

    def is_due(self, max_rate: float) -> bool:
        """
        Tell whether the rate limit lets a frame that came now pass.

        :param max_rate: Frames per second; 0 is no limit.
        """
        now = time.monotonic()
        # A tenth of a period early is in time: cameras are not clocks.
        if max_rate > 0 and now - self._last_taken_s < 0.9 / max_rate:
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
        self.watch.on_size(frame.shape[:2])
        return frame

    def camera_info(self, header: Any, size: tuple[int, int]) -> CameraInfo | None:
        """
        Return the newest calibration with a frame's header, scaled to the labels' size.

        :param header: The frame's.
        :param size: (height, width) of the labels.
        :return: None if the camera sent none.
        """
        info = self._info
        return None if info is None else scaled_camera_info(info, header, size)

    def latency_s(self, header: Any) -> float:
        """
        Return the seconds since a frame's stamp; NaN for a stamp of 0 or in the future.

        :param header: The frame's.
        """
        stamp = header.stamp.sec + 1e-9 * header.stamp.nanosec
        latency = 1e-9 * self._node.get_clock().now().nanoseconds - stamp
        return latency if stamp > 0 and latency >= 0 else math.nan

    def close(self) -> None:
        """Stop listening and withdraw the outputs."""
        self.watch.close()
        for subscription in (self._subscription, self._info_subscription):
            self._node.destroy_subscription(subscription)
        for publisher in self.publishers.values():
            self._node.destroy_publisher(publisher)

    def _receive(self, message: Image | CompressedImage) -> None:
        self.watch.on_frame()
        self.statistics.receive()
        self._on_frame(self, message)

    def _keep_info(self, message: CameraInfo) -> None:
        self._info = message


def camera_names(topics: list[str]) -> list[str]:
    """
    Return a short name for each of several image topics: what tells them apart.

    :param topics: Such as '/front/image_raw' and '/rear/image_raw/compressed'.
    :return: Such as 'front' and 'rear'.
    :raises InputError: If two of them get the same name.
    """
    names = [camera_name(topic) for topic in topics]
    for name in names:
        if names.count(name) > 1:
            same = [topic for topic, other in zip(topics, names) if other == name]
            raise InputError(
                f"parameter 'image_topics': {same} would both publish as '~/{name}/labels'. "
                'Remap one of them to another name')
    return names


def scaled_camera_info(info: CameraInfo, header: Any, size: tuple[int, int]) -> CameraInfo:
    """
    Return a calibration for an image of another size.

    Pixel centres lie at whole numbers, as in OpenCV: u' = (u + 1/2) s - 1/2.

    :param info: Of the camera's own size; a size of 0 in it is not known and taken as equal.
    :param header: The header of the result.
    :param size: (height, width).
    """
    result = copy.copy(info)
    result.header = header
    height, width = size
    if 0 in (info.width, info.height) or (info.height, info.width) == (height, width):
        return result
    x, y = width / info.width, height / info.height
    result.height, result.width = height, width
    for name, columns in (('k', 3), ('p', 4)):
        matrix = np.array(getattr(info, name)).reshape(3, columns)
        matrix[0] = x * matrix[0] + 0.5 * (x - 1) * matrix[2]
        matrix[1] = y * matrix[1] + 0.5 * (y - 1) * matrix[2]
        setattr(result, name, matrix.ravel())
    return result
