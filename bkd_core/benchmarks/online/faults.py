# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a round, made on purpose: by what it is given, nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable

from bkd_core import model_directory
from bkd_core.adaptation.round_input import RoundTask, trained_config
from bkd_core.benchmarks.demo import write_images, write_recording
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.replay import open_replay, REPLAY
from bkd_core.experiment import write_model
from bkd_core.models import load_network
import numpy as np
import torch

GOOD = 'as it should be'
_BLOCK = 8  # side of the blocks of random labels, pixels
_RATE = 100


class Changed:
    """
    A data set whose frames or labels were changed.

    :param frames: The data set.
    :param image: Frame -> frame.
    :param labels: Labels, number of the frame -> labels.
    """

    def __init__(
        self, frames: SegmentationDataset, *,
        image: Callable[[np.ndarray], np.ndarray] = lambda image: image,
        labels: Callable[[np.ndarray, int], np.ndarray] = lambda labels, index: labels,
    ) -> None:
        self.frames = frames
        self.label_space = frames.label_space
        self.has_labels = frames.has_labels
        self._image, self._labels = image, labels

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def name(self, index: int) -> str:
        """Return a frame's name."""
        return self.frames.name(index)

    def image(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB."""
        return np.ascontiguousarray(self._image(self.frames.image(index)))

    def labels(self, index: int) -> np.ndarray:
        """Return (H, W) uint8."""
        return self._labels(self.frames.labels(index), index)


def shuffled_teacher(
    task: RoundTask, target: SegmentationDataset, folder: Path, seed: int,
) -> RoundTask:
    """
    Give a teacher that takes every class for another one, and no time to mend it.

    :param task: The round as it should be.
    :param target: Its target.
    :param folder: Where what is made for it may lie.
    :param seed: Which class becomes which follows from it.
    """
    start = Path(task.model)
    network = load_network(start)
    classes = network.classifier.out_channels
    order = np.random.default_rng([seed, 0]).permutation(classes)
    order[order] = np.roll(order, 1)  # one cycle through all: no class stays what it is
    with torch.no_grad():
        for weight in (network.classifier.weight, network.classifier.bias):
            weight.copy_(weight[torch.from_numpy(order)].clone())
    spec = replace(model_directory.read_spec(start), files={})
    write_model(folder / 'teacher', network, spec, trained_config(start), target)
    return replace(
        task, teacher=folder / 'teacher', settings=replace(task.settings, teacher_steps=1))


def black_frames(
    task: RoundTask, target: SegmentationDataset, folder: Path, seed: int,
) -> RoundTask:
    """Give a recording of a camera whose cap is on; see `shuffled_teacher`."""
    return _with_recording(task, Changed(target, image=np.zeros_like), folder)


def wrong_camera(
    task: RoundTask, target: SegmentationDataset, folder: Path, seed: int,
) -> RoundTask:
    """Give a recording of a thermal camera beside it, hot is dark; see `shuffled_teacher`."""
    return _with_recording(task, Changed(target, image=inverted_grey), folder)


def inverted_grey(image: np.ndarray) -> np.ndarray:
    """
    Return a frame without colour, bright where it was dark.

    :param image: (H, W, 3) uint8.
    """
    grey = 255 - image.mean(2, keepdims=True)
    return np.repeat(grey, 3, axis=2).round().astype(np.uint8)


def noise_labels(
    task: RoundTask, target: SegmentationDataset, folder: Path, seed: int,
) -> RoundTask:
    """Give source frames with random labels, in blocks; see `shuffled_teacher`."""
    start = Path(task.model)
    replay = open_replay(start / REPLAY, label_space=model_directory.read_spec(start).label_space)

    def labels(known: np.ndarray, index: int) -> np.ndarray:
        rows, columns = (-(-side // _BLOCK) for side in known.shape)
        blocks = np.random.default_rng([seed, 1, index]).integers(
            0, replay.label_space.num_classes, (rows, columns), np.uint8)
        return np.kron(blocks, np.ones((_BLOCK, _BLOCK), np.uint8))[
            :known.shape[0], :known.shape[1]]
    return replace(task, replay=write_images(Changed(replay, labels=labels), folder / 'replay'))


def high_rate(
    task: RoundTask, target: SegmentationDataset, folder: Path, seed: int,
) -> RoundTask:
    """Set both learning rates a hundred times too high; see `shuffled_teacher`."""
    settings = task.settings
    return replace(task, settings=replace(
        settings, teacher_learning_rate=_RATE * settings.teacher_learning_rate,
        student_learning_rate=_RATE * settings.student_learning_rate))


def _with_recording(task: RoundTask, frames: SegmentationDataset, folder: Path) -> RoundTask:
    return replace(task, sources=(write_recording(frames, folder / 'changed_recording'),))


FAULTS = {
    'shuffled teacher': shuffled_teacher, 'black frames': black_frames,
    'wrong camera': wrong_camera, 'noise labels': noise_labels,
    f'learning rate x{_RATE}': high_rate}
# Faults that a round refuses before it trains -> what it says then.
REFUSED_INPUT = {'black frames': 'show nothing', 'wrong camera': 'no colour in the frames'}
