# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the worker does with the cameras' newest messages: read, label together, publish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Sequence

from bkd_core.adaptation import FrameDescription
from bkd_core.inference import Segmentation, Segmenter
from bkd_ros.batch_limit import BatchLimit
from bkd_ros.camera import Camera
from bkd_ros.labelling import Labelling
from bkd_ros.outputs import LabelledFrame
import numpy as np
from sensor_msgs.msg import CompressedImage, Image


@dataclass(frozen=True, kw_only=True)
class _Task:
    camera: Camera
    header: Any
    frame: np.ndarray  # (H, W, 3) uint8 RGB, at the size of its labels
    wanted: set[str]


class FramePipeline:
    """
    Label frames of one or several cameras; one that fails costs no other camera its own.

    :param labelling: What becomes of a frame.
    :param batches: How many frames the network gets at once.
    :param setting: Name of a parameter -> its value now.
    :param on_answer: Called with the network, the camera and the answer to each frame; None
        where the network failed on it.
    :param on_bad_frame: Called with the camera and the reason for each frame without labels.
    """

    def __init__(
        self, labelling: Labelling, batches: BatchLimit, *, setting: Callable[[str], Any],
        on_answer: Callable[[Segmenter, Camera, Segmentation | None], None],
        on_bad_frame: Callable[[Camera, Exception], None],
    ) -> None:
        self._labelling = labelling
        self._batches = batches
        self._setting = setting
        self._on_answer = on_answer
        self._on_bad_frame = on_bad_frame

    def run(
        self, segmenter: Segmenter, batch: Sequence[tuple[Camera, Image | CompressedImage]],
    ) -> None:
        """
        Publish what the subscribers of each frame want.

        :param segmenter: The network.
        :param batch: Cameras and their messages.
        """
        tasks = []
        for camera, message in batch:
            try:
                tasks.append(self._read(segmenter, camera, message))
            except Exception as error:  # whatever a camera sends must not end the node
                self._on_bad_frame(camera, error)
        answers = self._batches.run(lambda some: self._label(segmenter, some), tasks)
        for task, answer in zip(tasks, answers):
            try:
                self._publish(segmenter, task, answer)
            except Exception as error:
                self._on_bad_frame(task.camera, error)

    def _read(
        self, segmenter: Segmenter, camera: Camera, message: Image | CompressedImage,
    ) -> _Task:
        frame = self._labelling.resized(camera.to_rgb(message), segmenter)
        return _Task(camera=camera, header=message.header, frame=frame, wanted=camera.wanted())

    def _label(self, segmenter: Segmenter, tasks: Sequence[_Task]) -> list[Segmentation]:
        return self._labelling.label(
            segmenter, [task.frame for task in tasks],
            with_confidence=any('confidence' in task.wanted for task in tasks),
            threshold=self._setting('confidence_threshold'))

    def _publish(
        self, segmenter: Segmenter, task: _Task, answer: Segmentation | Exception,
    ) -> None:
        if isinstance(answer, Exception):
            self._on_answer(segmenter, task.camera, None)
            raise answer
        labelled = LabelledFrame(
            frame=task.frame, result=answer, header=task.header,
            label_space=segmenter.label_space)
        labelled.publish(
            task.camera, task.wanted, overlay_opacity=self._setting('overlay_opacity'))
        description = FrameDescription(
            entropy=answer.mean_entropy, confidence=answer.mean_confidence,
            mean_logits=answer.mean_logits)
        task.camera.statistics.answer(
            segmenter, description, latency_s=task.camera.latency_s(task.header))
        self._on_answer(segmenter, task.camera, answer)
