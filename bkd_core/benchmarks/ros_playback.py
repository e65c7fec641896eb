# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Play a recording through the running segmentation node and score what comes back."""

from __future__ import annotations

from dataclasses import dataclass
import importlib.util
from pathlib import Path
import subprocess
import sys
from typing import Sequence

from bkd_core.benchmarks.ros_processes import own_domain, stop, tail
from bkd_core.datasets.recording import read_label_images
from bkd_core.errors import InputError
from bkd_core.evaluation import ConfusionMatrix
import numpy as np

CAMERA = '/camera/image_raw'
IMAGE_TOPIC = f'{CAMERA}/compressed'
LABELS_TOPIC = '/segmentation_node/labels'
CONFIDENCE_TOPIC = '/segmentation_node/confidence'
OVERLAY_TOPIC = '/segmentation_node/overlay'
# How long the three processes may take beside the recording itself; importing rclpy alone takes
# seconds on a busy machine.
PATIENCE_S = 120


@dataclass(frozen=True, kw_only=True)
class Playback:
    """
    What came back over the labels topic.

    :param labels: Labels (H, W) uint8 by the stamp of their frame, nanoseconds.
    :param num_frames: Frames that were played.
    """

    labels: dict[int, np.ndarray]
    num_frames: int


def has_ros() -> bool:
    """Return whether rclpy can be imported here."""
    return importlib.util.find_spec('rclpy') is not None


def play_through_node(
    model: Path, recording: Path, *, num_frames: int, duration_s: float, output: Path,
    topics: Sequence[str] = (LABELS_TOPIC,),
) -> Playback:
    """
    Start node, recorder and player as processes of their own and collect the node's labels.

    :param model: Model directory for the node.
    :param recording: Recording with `IMAGE_TOPIC`.
    :param num_frames: Frames in it.
    :param duration_s: How long the recording is.
    :param output: Where the recording of the node's topics goes; must not exist.
    :param topics: Topics of the node to record, the labels among them.
    :return: The labels received.
    :raises InputError: If a process fails, with the end of what it printed.
    """
    environment = {**own_domain(), 'PYTHONUNBUFFERED': '1'}
    log = output.with_suffix('.log')
    with log.open('w') as stream:

        def start(name: str, **parameters: object) -> subprocess.Popen:
            command = [sys.executable, '-m', f'bkd_ros.{name}', '--ros-args']
            for key, value in parameters.items():
                command += ['-p', f'{key}:={value}']
            if name == 'segmentation_node':
                command += ['-r', f'image:={CAMERA}']
            return subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)

        # A recorder that writes to the disk falls behind for a moment; a viewer wants the latest.
        depths = {f'qos_overrides.{topic}.publisher.depth': num_frames for topic in topics}
        processes = {
            'recorder_node': start(
                'recorder_node', topics=f'[{", ".join(topics)}]', output=output,
                max_frames=num_frames, idle_timeout_s=10.0),
            'segmentation_node': start(
                'segmentation_node', model=model, image_transport='compressed', **depths),
            # The recorder, too, must have found the node's topics when the first frame comes.
            'player_node': start(
                'player_node', recording=recording, min_subscribers=1, start_delay_s=2.0),
        }
        try:
            for name in ('player_node', 'recorder_node'):
                code = processes[name].wait(timeout=duration_s + PATIENCE_S)
                if code != 0:
                    raise InputError(f'{name} ended with code {code}: {tail(log)}')
        except subprocess.TimeoutExpired as error:
            raise InputError(f'{name} did not end in time: {tail(log)}') from error
        finally:
            stop(list(processes.values()))
    return Playback(labels=dict(read_label_images(output, LABELS_TOPIC)), num_frames=num_frames)


def score(playback: Playback, truth: dict[int, np.ndarray], num_classes: int) -> ConfusionMatrix:
    """
    Compare the labels received with the truth, frame by frame.

    :param playback: From `play_through_node`.
    :param truth: Labels (H, W) uint8 by stamp, nanoseconds.
    :param num_classes: Classes of the label space.
    """
    confusion = ConfusionMatrix(num_classes)
    for stamp_ns, labels in playback.labels.items():
        confusion.update(truth[stamp_ns], labels)
    return confusion
