# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Label every pixel of a camera topic.

    image, or image/compressed   in    sensor_msgs/Image or CompressedImage, best effort
    ~/labels                     out   mono8, class ids of the model's label space
    ~/confidence                 out   mono8, 255 times the winner's probability
    ~/overlay                    out   rgb8, the frame under the classes' colours
    ~/label_info                 out   std_msgs/String, latched JSON: class ids, names, colours

All outputs have the frame's size and its header, untouched. Work that nobody subscribes to is
not done.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bkd_core.errors import InputError
from bkd_core.inference import Segmentation, Segmenter
from bkd_core.labels import IGNORE_INDEX
from bkd_core.visualization import overlay
from bkd_ros import parameters
from bkd_ros.conversions import (
    compressed_to_rgb,
    image_to_rgb,
    labels_to_image,
    rgb_to_image,
)
from bkd_ros.frame_watch import FrameWatch
from bkd_ros.latest_frame_worker import LatestFrameWorker
from bkd_ros.run_node import run_node
import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

NAME = 'segmentation_node'
WARNING_PERIOD_S = 3.0
WARM_UP_SIZE = (480, 640)

INPUT_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
OUTPUT_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL)


class SegmentationNode(Node):
    """
    Connect a camera topic to a `Segmenter`.

    :param options: Passed on to `rclpy.node.Node`, such as parameter_overrides.
    :raises InputError: If a parameter is wrong or the model cannot be loaded.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, **options)
        self.done = Future()  # never: the node runs until it is stopped
        self._num_dropped = 0
        values = parameters.declare(self, parameters.SEGMENTATION)
        self.add_on_set_parameters_callback(
            lambda changes: parameters.refuse_bad_values(parameters.SEGMENTATION, changes))
        self._publishers_by_name = {
            name: self.create_publisher(
                Image, f'~/{name}', OUTPUT_QOS,
                qos_overriding_options=QoSOverridingOptions.with_default_policies())
            for name in ('labels', 'confidence', 'overlay')}
        self._label_info = self.create_publisher(String, '~/label_info', LATCHED_QOS)
        self._segmenter = load_segmenter(values)
        self._label_info.publish(String(data=label_info(self._segmenter)))
        self._worker = LatestFrameWorker(self._segment, on_error=self._on_bad_frame)
        # Last: whoever waits for this subscription before it plays then finds all ready.
        self._subscribe(is_compressed=values['image_transport'] == 'compressed')

    def _subscribe(self, *, is_compressed: bool) -> None:
        topic = self.resolve_topic_name('image') + ('/compressed' if is_compressed else '')
        self._convert = compressed_to_rgb if is_compressed else image_to_rgb
        self._subscription = self.create_subscription(
            CompressedImage if is_compressed else Image, topic, self._on_frame, INPUT_QOS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
        self._topic = self._subscription.topic_name
        self._watch = FrameWatch(self, self._topic, is_compressed=is_compressed)
        self.get_logger().info(
            f"labels {self._topic} with model '{self._segmenter.spec.name}' "
            f'({self._segmenter.label_space.num_classes} classes) by {self._segmenter.runtime}')

    def _on_frame(self, message: Image | CompressedImage) -> None:
        """Hand a frame over; the network runs in the worker's thread."""
        self._watch.on_frame()
        if self._wanted():
            self._worker.submit(message)

    def _wanted(self) -> set[str]:
        """Return the names of the outputs that somebody subscribes to."""
        return {
            name for name, publisher in self._publishers_by_name.items()
            if publisher.get_subscription_count()}

    def _segment(self, message: Image | CompressedImage) -> None:
        wanted = self._wanted()
        frame = self._convert(message)
        self._watch.on_size(frame.shape[:2])
        result = self._segmenter(frame, with_confidence='confidence' in wanted)
        # Labels go out first: somebody may drive by them.
        for name in ('labels', 'confidence', 'overlay'):
            if name in wanted:
                self._publishers_by_name[name].publish(
                    self._output(name, frame, result, message.header))

    def _output(
        self, name: str, frame: np.ndarray, result: Segmentation, header: Any,
    ) -> Image:
        if name == 'overlay':
            opacity = self.get_parameter('overlay_opacity').value
            return rgb_to_image(
                overlay(frame, result.labels, self._segmenter.label_space, opacity=opacity),
                header)
        return labels_to_image(getattr(result, name), header)

    def _on_bad_frame(self, error: Exception) -> None:
        if not self.context.ok():
            return  # the node is ending: publishing is refused, the frame is not at fault
        self._num_dropped += 1
        kind = '' if isinstance(error, InputError) else f'{type(error).__name__}: '
        self.get_logger().warning(
            f'{self._topic}: frame dropped, {self._num_dropped} so far: {kind}{error}',
            throttle_duration_sec=WARNING_PERIOD_S)

    def close(self) -> None:
        """Let the frame in work end, then destroy the node."""
        self._worker.close()
        self.destroy_node()


def load_segmenter(values: dict[str, Any]) -> Segmenter:
    """
    Load the model that a node's parameters ask for.

    :param values: Values of `parameters.SEGMENTATION`.
    :raises InputError: If it cannot be loaded.
    """
    segmenter = Segmenter.load(
        values['model'], runtime=values['runtime'], num_threads=values['num_threads'],
        input_height=values['input_height'] or None, device=values['device'])
    # The first inference is the slow one, and shows here, not at each frame, what is wrong.
    segmenter.warm_up(*WARM_UP_SIZE)
    return segmenter


def label_info(segmenter: Segmenter) -> str:
    """
    Return the JSON text that tells a subscriber what the class ids mean.

    :param segmenter: A loaded model.
    """
    space = segmenter.label_space
    return json.dumps({
        'model': segmenter.spec.name,
        'label_space': space.name,
        'ignore_index': IGNORE_INDEX,
        'classes': [
            {'id': number, 'name': name, 'color': list(color)}
            for number, (name, color) in enumerate(zip(space.classes, space.colors))],
    })


def main(args: list[str] | None = None) -> int:
    """
    Run the node.

    :param args: Command line, default `sys.argv`.
    :return: Exit code; 2 if a parameter or the model is at fault.
    """
    return run_node(SegmentationNode, NAME, args)


if __name__ == '__main__':
    sys.exit(main())
