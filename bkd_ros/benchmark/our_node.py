# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation node with a network that only waits: what is measured is the node's work."""

from __future__ import annotations

from pathlib import Path
import sys
import time
from typing import Any

from bkd_core import model_directory
from bkd_core.inference import Segmenter
from bkd_ros.benchmark.self_report import SelfReport
from bkd_ros.benchmark.street_logits import street_logits
from bkd_ros.camera import Camera
from bkd_ros.run_node import run_node
from bkd_ros.segmentation_node import NAME, SegmentationNode
import numpy as np


class WaitingRuntime:
    """
    A network that takes its time and always says the same.

    :param seconds: What it takes.
    :param num_classes: Classes of its logits.
    """

    name = 'waiting'

    def __init__(self, seconds: float, num_classes: int) -> None:
        self.seconds = seconds
        self.num_classes = num_classes
        self._logits: dict[tuple[int, int], np.ndarray] = {}

    def logits(self, images: np.ndarray) -> np.ndarray:
        """
        Return logits like those of a street after the time is over.

        :param images: (B, H, W, 3) uint8; each takes its time, as on a processor.
        :return: (B, C, H / 4, W / 4) float32.
        """
        num_images, *size = images.shape[:3]
        if tuple(size) not in self._logits:
            self._logits[tuple(size)] = street_logits(self.num_classes, *size)
        time.sleep(num_images * self.seconds)
        logits = self._logits[tuple(size)]
        return np.broadcast_to(logits, (num_images, *logits.shape))


class MeasuredNode(SegmentationNode):
    """
    The node, unchanged but for its network and a stopwatch.

    :param network_s: What the network takes.
    :param report: Where the numbers go.
    """

    def __init__(self, network_s: float, report: Path) -> None:
        self._network_s = network_s
        self._report = SelfReport(report)
        self._received: dict[tuple[int, int], float] = {}
        super().__init__()

    def _load(self, model: str) -> Segmenter:
        directory = model_directory.resolve(model)
        spec = model_directory.read_spec(directory)
        return Segmenter(
            directory, spec, WaitingRuntime(self._network_s, spec.label_space.num_classes))

    def _on_frame(self, camera: Camera, message: Any) -> None:
        self._received[_stamp(message)] = time.perf_counter()
        super()._on_frame(camera, message)

    def _segment(self, batch: list[tuple[Camera, Any]]) -> None:
        super()._segment(batch)
        for _, message in batch:
            received = self._received.pop(_stamp(message))
            self._report.answered(received_s=received, network_s=len(batch) * self._network_s)
        if len(self._received) > 100:  # of frames that gave way to newer ones
            self._received.clear()

    def close(self) -> None:
        """End, and write the numbers."""
        super().close()
        self._report.write()


def _stamp(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def main() -> int:
    """Run the node: NETWORK_MS REPORT --ros-args ...; return its exit code."""
    network_s, report = float(sys.argv[1]) / 1000, Path(sys.argv[2])
    return run_node(lambda: MeasuredNode(network_s, report), NAME, sys.argv[3:])


if __name__ == '__main__':
    sys.exit(main())
