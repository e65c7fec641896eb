# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
A segmentation node as it is written by hand in an afternoon: what ours is compared with.

Everything happens in the callback: OpenCV resizes, NumPy normalises, torch interpolates and takes
the largest.
"""

from __future__ import annotations

from pathlib import Path
import sys
import time

from bkd_ros.benchmark.self_report import SelfReport
from bkd_ros.benchmark.street_logits import street_logits
from bkd_ros.run_node import run_node
import cv2
import numpy as np
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image

_INPUT_HEIGHT = 352
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PlainNode(Node):
    """
    Label `image` on `~/labels`.

    :param network_s: What the network takes.
    :param num_classes: Classes of its logits.
    :param report: Where the numbers go.
    """

    def __init__(self, network_s: float, num_classes: int, report: Path) -> None:
        super().__init__('segmentation_node')
        import torch  # only this node of the package needs it
        self.torch = torch
        self.done = Future()
        self.network_s = network_s
        self.num_classes = num_classes
        self.logits = None
        self.report = SelfReport(report)
        self.publisher = self.create_publisher(Image, '~/labels', 10)
        self.subscription = self.create_subscription(Image, 'image', self.on_image, 10)

    def network(self, images):
        """Return logits after the time is over."""
        if self.logits is None:
            self.logits = self.torch.from_numpy(
                street_logits(self.num_classes, *images.shape[-2:]))[None]
        time.sleep(self.network_s)
        return self.logits

    def on_image(self, message: Image) -> None:
        """Label a frame."""
        received = time.perf_counter()
        frame = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        width = round(_INPUT_HEIGHT * message.width / message.height / 32) * 32
        image = cv2.resize(frame, (width, _INPUT_HEIGHT)).astype(np.float32) / 255
        image = (image - np.float32(_MEAN)) / np.float32(_STD)
        with self.torch.no_grad():
            logits = self.network(self.torch.from_numpy(image.transpose(2, 0, 1)[None]))
            logits = self.torch.nn.functional.interpolate(
                logits, size=(message.height, message.width), mode='bilinear')
            labels = logits.argmax(1)[0].to(self.torch.uint8).numpy()
        answer = Image(
            header=message.header, height=message.height, width=message.width,
            encoding='mono8', step=message.width)
        answer.data = labels.tobytes()
        self.publisher.publish(answer)
        self.report.answered(received_s=received, network_s=self.network_s)

    def close(self) -> None:
        """End, and write the numbers."""
        self.destroy_node()
        self.report.write()


def main() -> int:
    """Run the node: NETWORK_MS REPORT --ros-args ...; return its exit code."""
    network_s, report = float(sys.argv[1]) / 1000, Path(sys.argv[2])
    return run_node(lambda: PlainNode(network_s, 9, report), 'segmentation_node', sys.argv[3:])


if __name__ == '__main__':
    sys.exit(main())
