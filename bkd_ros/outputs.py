# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a camera's subscribers get for a labelled frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bkd_core.inference import Segmentation
from bkd_core.labels import LabelSpace
from bkd_core.visualization import colorize, overlay
from bkd_ros.camera import Camera, CAMERA_INFO, IMAGE_OUTPUTS
from bkd_ros.conversions import labels_to_image, rgb_to_image
import numpy as np
from sensor_msgs.msg import Image


@dataclass(frozen=True, kw_only=True)
class LabelledFrame:
    """
    A frame and what the network says about it.

    :param frame: (H, W, 3) uint8 RGB.
    :param result: Its labels, of the same size.
    :param header: The header of the camera's message; all outputs carry it untouched.
    :param label_space: What the labels mean.
    """

    frame: np.ndarray
    result: Segmentation
    header: Any
    label_space: LabelSpace

    def publish(self, camera: Camera, wanted: set[str], *, overlay_opacity: float) -> None:
        """
        Publish what somebody subscribes to.

        :param camera: The frame's camera.
        :param wanted: Names of its outputs; no other is made.
        :param overlay_opacity: Of the colours on the overlay, 0 to 1.
        """
        for name in IMAGE_OUTPUTS:
            if name in wanted:
                camera.publishers[name].publish(self._image(name, overlay_opacity))
        if CAMERA_INFO in wanted:
            info = camera.camera_info(self.header, self.frame.shape[:2])
            if info is not None:
                camera.publishers[CAMERA_INFO].publish(info)

    def _image(self, name: str, opacity: float) -> Image:
        labels = self.result.labels
        if name == 'overlay':
            return rgb_to_image(
                overlay(self.frame, labels, self.label_space, opacity=opacity), self.header)
        if name == 'color':
            return rgb_to_image(colorize(labels, self.label_space), self.header)
        return labels_to_image(getattr(self.result, name), self.header)
