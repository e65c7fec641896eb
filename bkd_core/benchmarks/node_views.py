# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a user of the ROS 2 node sees: the camera under the overlay, and the maps that it sends."""

from __future__ import annotations

from pathlib import Path

from bkd_core.benchmarks.ros_playback import (
    CONFIDENCE_TOPIC,
    IMAGE_TOPIC,
    LABELS_TOPIC,
    OVERLAY_TOPIC,
)
from bkd_core.datasets.recording import read_frames, read_label_images
from bkd_core.errors import InputError
from bkd_core.labels import LabelSpace
from bkd_core.visualization import colorize, legend, panel
import numpy as np


def node_views(
    recording: Path, answers: Path, label_space: LabelSpace,
) -> list[tuple[str, np.ndarray]]:
    """
    Return titled pictures of one frame and all that the node sent for it.

    :param recording: The rosbag that was played, with `IMAGE_TOPIC`.
    :param answers: The rosbag of what the node sent: labels, confidence and overlay.
    :param label_space: What the labels mean.
    :return: The camera's frame and the overlay (RGB), the labels in their colours, and the
        confidence in grey; of the frame in the middle of those with all answers.
    :raises InputError: If no frame has all of them.
    """
    frames = {frame.stamp_ns: frame.image for frame in read_frames(recording, topic=IMAGE_TOPIC)}
    overlays = {frame.stamp_ns: frame.image for frame in read_frames(answers, topic=OVERLAY_TOPIC)}
    labels, confidences = (
        dict(read_label_images(answers, topic)) for topic in (LABELS_TOPIC, CONFIDENCE_TOPIC))
    stamps = sorted(frames.keys() & overlays.keys() & labels.keys() & confidences.keys())
    if not stamps:
        raise InputError(f'{answers}: no frame has labels, confidence and overlay')
    stamp = stamps[len(stamps) // 2]
    return [
        ('camera', frames[stamp]), ('~/labels', colorize(labels[stamp], label_space)),
        ('~/overlay', overlays[stamp]), ('~/confidence', confidences[stamp])]


def node_picture(views: list[tuple[str, np.ndarray]], label_space: LabelSpace) -> np.ndarray:
    """
    Return the views in two columns above the classes' colours.

    :param views: From `node_views`.
    :param label_space: What the labels mean.
    :return: (H, W, 3) uint8 RGB.
    """
    picture = panel(views, columns=2)
    return np.vstack([picture, legend(label_space, width=picture.shape[1])])
