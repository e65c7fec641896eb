# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one way from a frame to labels, the same for the command line, ROS and evaluation."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
import logging
from pathlib import Path
from typing import Sequence

from bkd_core import model_directory
from bkd_core.errors import InputError, unknown_name
from bkd_core.inference.runtimes import load_runtime, Runtime, RUNTIMES
from bkd_core.inference.trial import fastest_runtime
from bkd_core.inference.upsampling import labels_and_confidence, mean_certainty
from bkd_core.model_directory import ModelSpec
import cv2
import numpy as np

logger = logging.getLogger(__name__)

DEVICES = ('auto', 'cpu', 'cuda')
# Beyond this ratio of the sides a frame is squeezed: keeping the aspect of a strip of a few
# pixels' width would need an image of gigabytes.
MAX_ASPECT = 8
_MOST_RECENT = 4  # as runtimes keep


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """
    What a network says about one frame, at the frame's size.

    :param labels: (H, W) uint8 train ids of the model's label space.
    :param confidence: (H, W) uint8, 255 times the winner's probability, rounded; None if it
        was not asked for.
    :param mean_entropy: Mean entropy of the network's own output pixels, in nats.
    :param mean_confidence: Mean probability of their likeliest class, 0 to 1.
    :param mean_logits: (C,) float32, mean of each class's logits over them.
    """

    labels: np.ndarray
    confidence: np.ndarray | None
    mean_entropy: float
    mean_confidence: float
    mean_logits: np.ndarray


class Segmenter:
    """
    Segment frames with a model directory.

    :param directory: The model directory, kept for the record.
    :param spec: Its `model.yaml`, with the input height in force.
    :param runtime: What runs the network. `load` finds one.
    """

    def __init__(self, directory: Path, spec: ModelSpec, runtime: Runtime) -> None:
        self.directory = directory
        self.spec = spec
        self.label_space = spec.label_space
        self.version = model_directory.version(directory, spec)
        self.runtime = runtime.name
        self._runtime = runtime
        self._recent: OrderedDict[tuple[int, int, int], None] = OrderedDict()  # newest last

    @classmethod
    def load(
        cls, model: str | Path = 'default', *, runtime: str = 'auto', num_threads: int = 0,
        input_height: int | None = None, device: str = 'auto',
    ) -> Segmenter:
        """
        Load a model.

        :param model: A model directory, or 'default' for the student that comes along.
        :param runtime: One of `RUNTIMES`. 'auto' takes the fastest that is installed, by a
            trial of about two seconds whose outcome is kept for the next start.
        :param num_threads: Processor threads of one inference, and of OpenCV (and torch) in this
            whole process; 0 leaves the choice to the libraries.
        :param input_height: Short side of what the network sees, in pixels, instead of the
            model's own: smaller is faster and coarser.
        :param device: 'cpu', 'cuda', or 'auto': CUDA where the runtime finds it, else CPU.
        :raises InputError: If the model, a file of it, a setting or a library is at fault.
        """
        if num_threads < 0:
            raise InputError(f'num_threads: expected 0 or more; got {num_threads}')
        if device not in DEVICES:
            raise unknown_name('device', device, DEVICES)
        if runtime not in RUNTIMES:
            raise unknown_name('runtime', runtime, RUNTIMES)
        directory = model_directory.resolve(model)
        spec = model_directory.read_spec(directory)
        if input_height is not None:
            spec = replace(spec, input_height=input_height)
        if num_threads:
            cv2.setNumThreads(num_threads)
        options = {'num_threads': num_threads, 'device': device}
        if runtime == 'auto':
            loaded = fastest_runtime(directory, spec, **options)
        else:
            loaded = load_runtime(runtime, directory, spec, **options)
        logger.info("model '%s' (%s) runs by %s", spec.name, directory, loaded.name)
        return cls(directory, spec, loaded)

    def __call__(self, frame: np.ndarray, *, with_confidence: bool = True) -> Segmentation:
        """
        Segment a frame.

        :param frame: (H, W, 3) uint8 RGB, any size.
        :param with_confidence: False saves time where only labels are wanted.
        :raises InputError: If it is no such array.
        """
        return self.segment_batch([frame], with_confidence=with_confidence)[0]

    def segment_batch(
        self, frames: Sequence[np.ndarray], *, with_confidence: bool = True,
    ) -> list[Segmentation]:
        """
        Segment several frames, those that the network sees at one size in one forward pass.

        :param frames: Each (H, W, 3) uint8 RGB, any size.
        :param with_confidence: False saves time where only labels are wanted.
        :return: What a call with each frame gives, in the same order.
        :raises InputError: If one is no such array.
        :raises OutOfMemory: If the device has no room for so many at once.
        """
        return [
            segmentation_of(logits, *frame.shape[:2], with_confidence=with_confidence)
            for frame, logits in zip(frames, self._forward(frames))]

    def logits(self, frame: np.ndarray) -> np.ndarray:
        """
        Return the network's own answer, before it is brought to the frame's size.

        :param frame: (H, W, 3) uint8 RGB, any size.
        :return: (C, h / stride, w / stride) float32, (h, w) being the network's size.
        :raises InputError: If the frame is no such array, or the network is not the spec's.
        """
        return self._forward([frame])[0]

    def device_memory(self) -> tuple[int, int] | None:
        """
        Return what the network's device has given to it and has left, in bytes.

        :return: (allocated, free); None where the runtime cannot tell, or runs on a processor.
        """
        measure = getattr(self._runtime, 'device_memory', None)
        return measure() if measure else None

    def warm_up(self, height: int, width: int, count: int = 1) -> None:
        """
        Run once on grey frames, so that the first real ones are not the slow ones.

        :param height: Height of the frames to come.
        :param width: Width of the frames to come.
        :param count: How many come at once.
        :raises OutOfMemory: If the device has no room for so many at once.
        """
        self.segment_batch([np.full((height, width, 3), 127, np.uint8)] * count)

    @property
    def recent_batches(self) -> list[tuple[int, int, int]]:
        """Return height, width and number of frames that came lately, the newest last."""
        return list(self._recent)

    def _forward(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each frame's logits (C, h / stride, w / stride), by one pass a network size."""
        images = []
        for frame in frames:
            _check_frame(frame)
            images.append(resize_frame(frame, self.spec))
        members: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            members.setdefault(image.shape, []).append(index)
        answers: dict[int, np.ndarray] = {}
        for indices in members.values():
            logits = self._runtime.logits(_stack([images[index] for index in indices]))
            self._note(*frames[indices[0]].shape[:2], len(indices))
            self._check_classes(logits.shape[1])
            answers.update(zip(indices, logits))
        return [answers[index] for index in range(len(images))]

    def _note(self, *batch: int) -> None:
        self._recent[batch] = None
        self._recent.move_to_end(batch)
        if len(self._recent) > _MOST_RECENT:
            self._recent.popitem(last=False)

    def _check_classes(self, num_classes: int) -> None:
        if num_classes != self.label_space.num_classes:
            raise InputError(
                f"model '{self.directory}': its logits have {num_classes} classes, but label "
                f"space '{self.label_space.name}' has {self.label_space.num_classes}")


def resize_frame(frame: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """
    Resize a frame to the size at which the network sees it.

    :param frame: (H, W, 3) uint8.
    :param spec: The model.
    :return: (h, w, 3) uint8, C-contiguous.
    """
    height, width = frame.shape[:2]
    limit = MAX_ASPECT * min(height, width)
    size = model_directory.network_size(spec, min(height, limit), min(width, limit))
    if size == (height, width):
        return np.ascontiguousarray(frame)
    frame = np.ascontiguousarray(frame)
    most = min(height // size[0], width // size[1])
    factor = next((n for n in range(most, 1, -1) if height % n == width % n == 0), None)
    if factor:
        # Means over whole blocks take a tenth of the time of means over broken ones.
        frame = cv2.resize(
            frame, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
        height, width = frame.shape[:2]
    shrinks = height > 2 * size[0] or width > 2 * size[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, size[::-1], interpolation=interpolation)


def _stack(images: list[np.ndarray]) -> np.ndarray:
    """Return (B, h, w, 3); one image alone is not copied."""
    return images[0][None] if len(images) == 1 else np.stack(images)


def segmentation_of(
    logits: np.ndarray, height: int, width: int, *, with_confidence: bool = True,
) -> Segmentation:
    """
    Return what a network's own answer says about a frame.

    :param logits: (C, h, w) float32.
    :param height: The frame's height.
    :param width: The frame's width.
    :param with_confidence: False saves time where only labels are wanted.
    """
    labels, confidence = labels_and_confidence(
        logits, height, width, with_confidence=with_confidence)
    entropy, certainty = mean_certainty(logits)
    return Segmentation(
        labels=labels, confidence=confidence, mean_entropy=entropy, mean_confidence=certainty,
        mean_logits=logits.mean(axis=(1, 2)))


def _check_frame(frame: np.ndarray) -> None:
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        got = getattr(frame, 'dtype', type(frame).__name__)
        raise InputError(f'frame: expected a uint8 array (H, W, 3) in RGB order; got {got}')
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise InputError(
            f'frame: expected the shape (H, W, 3), H and W at least 1; got {frame.shape}')
