# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Tell subscribers, late ones too, what the class ids of the labels mean."""

from __future__ import annotations

import json
from typing import Any

from bkd_core.inference import Segmenter
from bkd_core.labels import IGNORE_INDEX
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

try:  # no wheel of it exists; Nav2's semantic layer wants its LabelInfo
    from vision_msgs import msg as vision_msgs
except ImportError:
    vision_msgs = None

LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL)


class LabelInfoPublisher:
    """
    Offer `~/label_info` and, if vision_msgs is installed, `~/vision_label_info`.

    :param node: The node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._text = node.create_publisher(String, '~/label_info', LATCHED_QOS)
        self._vision = None if vision_msgs is None else node.create_publisher(
            vision_msgs.LabelInfo, '~/vision_label_info', LATCHED_QOS)

    def publish(self, segmenter: Segmenter) -> None:
        """
        Tell what a model's labels mean; may be called from any thread.

        :param segmenter: The model that labels from now on.
        """
        self._text.publish(String(data=label_info(segmenter)))
        if self._vision is not None:
            info = vision_label_info(segmenter, vision_msgs)
            info.header.stamp = self._node.get_clock().now().to_msg()
            self._vision.publish(info)

    def close(self) -> None:
        """Withdraw the topics."""
        for publisher in (self._text, self._vision):
            if publisher is not None:
                self._node.destroy_publisher(publisher)


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


def vision_label_info(segmenter: Segmenter, messages: Any) -> Any:
    """
    Return the message that tells Nav2's semantic segmentation layer what the class ids mean.

    :param segmenter: A loaded model.
    :param messages: The module `vision_msgs.msg`.
    """
    return messages.LabelInfo(class_map=[
        messages.VisionClass(class_id=number, class_name=name)
        for number, name in enumerate(segmenter.label_space.classes)])
