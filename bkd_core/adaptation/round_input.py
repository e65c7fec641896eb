# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a round is asked for, and what it reads before it begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
import logging
from pathlib import Path
from typing import Any, Callable

from bkd_core import model_directory
from bkd_core.adaptation.memory import Memory, open_memory
from bkd_core.adaptation.privacy import class_ids, hide, warnings_of
from bkd_core.adaptation.settings import RoundSettings
from bkd_core.adaptation.target_frames import (
    keep_frames,
    open_frames,
    read_frames,
    split_frames,
    TargetFrames,
)
from bkd_core.config import DataConfig, TrainingConfig
from bkd_core.config_file import load_experiment
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.image_folder import ImageFolder
from bkd_core.datasets.replay import open_replay, REPLAY
from bkd_core.datasets.subset import Subset
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.model_directory import ModelSpec
import numpy as np

logger = logging.getLogger(__name__)

# One replay frame in this many is held back for the gate.
_GATE_SHARE = 4
# What ten target frames in a row leave: two, beside those held back, are used for nothing.
_MIN_TARGET = 8
FRAMES = 'frames'
# Below this mean distance of a pixel's largest channel from its smallest, in levels of 255, frames
# are without colour: those of a monochrome camera have 0, in a JPEG file next to 0.
_COLOURLESS = 1.0
_MOST_LOOKED_AT = 16


@dataclass(frozen=True, kw_only=True)
class RoundTask:
    """
    What a round is asked for.

    :param model: The model that adaptation begins with, or the folder of its versions.
    :param sources: Rosbags, folders of images and frame stores of the target.
    :param output: Folder of the versions.
    :param settings: How to adapt.
    :param teacher: Model directory to refresh as the teacher; None for the original model.
    :param replay: Folder with `images` and `labels` of the source; None for the model's own.
    :param labelled: Folder with `images` and `labels` of some target frames, for the gate only.
    :param topic: Image topic of rosbags that hold several.
    :param stride: Use every n-th frame of a rosbag.
    :param blur_classes: Classes that the version in use is to find and that are made
        unrecognisable in the target's frames before one is written to the disk.
    :param threads: Processor threads; 0 leaves the choice to the libraries.
    :param restart: Throw away what an unfinished round reached.
    :param restart_if_changed: Throw it away, rather than refuse, if it is another round.
    :param allow_grey: Adapt to frames without colour also if the source's have some.
    """

    model: str | Path
    sources: tuple[Path, ...]
    output: Path
    settings: RoundSettings
    teacher: Path | None = None
    replay: Path | None = None
    labelled: Path | None = None
    topic: str | None = None
    stride: int = 1
    blur_classes: tuple[str, ...] = ()
    threads: int = 0
    restart: bool = False
    restart_if_changed: bool = False
    allow_grey: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """Return what a stopped round must have in common with the one that goes on."""
        return {
            'settings': asdict(self.settings), 'teacher': str(self.teacher),
            'replay': str(self.replay), 'labelled': str(self.labelled),
            'target frames': [
                *map(str, self.sources), str(self.topic), self.stride,
                *(f'without {name}' for name in self.blur_classes)]}


@dataclass(frozen=True, kw_only=True)
class SourceInput:
    """
    What a round works on, but for the target's frames.

    :param spec: The model in use.
    :param config: The settings that it was trained with.
    :param teacher_config: Those of the network that becomes the teacher.
    :param replay_training: Labelled source frames to learn from.
    :param replay_gate: Others, for the gate.
    :param labelled: Labelled target frames, if some are given.
    """

    spec: ModelSpec
    config: TrainingConfig
    teacher_config: TrainingConfig
    replay_training: SegmentationDataset
    replay_gate: SegmentationDataset
    labelled: SegmentationDataset | None

    @classmethod
    def open(cls, task: RoundTask, parent: Path) -> SourceInput:
        """
        Open and check it.

        :param task: What was asked for.
        :param parent: Model directory of the version in use.
        :raises InputError: If something is missing, damaged or does not fit.
        """
        spec = model_directory.read_spec(parent)
        teacher = parent if task.teacher is None else model_directory.resolve(task.teacher)
        _require_same_classes(spec, teacher)
        replay = _replay_folder(task.replay, parent)
        training, gate = _split_replay(
            open_replay(replay, label_space=spec.label_space), replay,
            max_gate=task.settings.max_held_back)
        return SourceInput(
            spec=spec, config=trained_config(parent), teacher_config=trained_config(teacher),
            replay_training=training, replay_gate=gate, labelled=_open_labelled(task, spec))


@dataclass(frozen=True, kw_only=True)
class RoundInput(SourceInput):
    """
    All that a round works on.

    :param frames: The target.
    :param source_names: Its paths.
    :param memory: Frames of earlier domains that the version in use carries, if they are to be
        used.
    :param source_config: The source, for the record.
    :param target_config: The target, for the record.
    """

    frames: TargetFrames
    source_names: tuple[str, ...]
    memory: Memory | None
    source_config: DataConfig
    target_config: DataConfig

    @classmethod
    def read(cls, task: RoundTask, parent: Path, work: Path) -> RoundInput:
        """
        Open and check everything, before the minutes of training.

        :param task: What was asked for.
        :param parent: Model directory of the version in use.
        :param work: Folder of the round, into which the target's frames are copied once.
        :raises InputError: If something is missing, damaged or does not fit.
        """
        source = SourceInput.open(task, parent)
        spec, gate = source.spec, source.replay_gate
        frames = _target(task, spec, work / FRAMES, parent)
        if not task.allow_grey:
            _require_colour(task, frames, gate)
        names = tuple(str(path) for path in task.sources)
        memory = open_memory(parent, label_space=spec.label_space)
        return cls(
            **vars(source), source_names=names, frames=frames,
            memory=memory if task.settings.memory_frames else None,
            source_config=DataConfig(
                name='image_folder', root=str(task.replay or REPLAY),
                options={'label_space': gate.label_space.name}),
            target_config=DataConfig(name='image_folder', root=names[0]))


def trained_config(directory: Path) -> TrainingConfig:
    """
    Return the settings that a model was trained with.

    :param directory: Its model directory.
    :raises InputError: If it holds none.
    """
    path = directory / model_directory.CONFIG
    if not path.is_file():
        raise InputError(
            f"model '{directory}': it holds no {model_directory.CONFIG}, so it can't be trained "
            "further; only models that 'bkd train' or 'bkd adapt' wrote can be adapted")
    return load_experiment(path)['model']


def _target(task: RoundTask, spec: ModelSpec, folder: Path, parent: Path) -> TargetFrames:
    if not folder.exists():
        sequences = [
            sequence for path in task.sources for sequence in open_frames(
                path, label_space=spec.label_space, topic=task.topic, stride=task.stride)]
        frames = split_frames(
            sequences, max_adapting=task.settings.max_frames,
            max_held_back=task.settings.max_held_back)
        hiding = {'hide': _hider(task, parent)} if task.blur_classes else {}
        keep_frames(frames, folder, input_height=spec.input_height, **hiding)
    frames = read_frames(folder, label_space=spec.label_space)
    count = len(frames.adapting) + sum(map(len, frames.held_back))
    if count < _MIN_TARGET:
        raise InputError(
            f'{", ".join(map(str, task.sources))}: {count} usable target frames are left to adapt '
            f'to and to hold back; expected at least {_MIN_TARGET}, which 10 in a row leave. '
            'Record more')
    return frames


def _hider(task: RoundTask, parent: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes the classes of the task unrecognisable in a frame."""
    segmenter = Segmenter.load(parent, runtime='onnxruntime', num_threads=task.threads)
    ids = class_ids(task.blur_classes, segmenter.label_space)
    for warning in warnings_of(task.blur_classes, parent):
        logger.warning(warning)
    return lambda image: hide(image, segmenter.logits(image), ids)


def _require_colour(task: RoundTask, frames: TargetFrames, replay: SegmentationDataset) -> None:
    source, target = colourfulness(replay), colourfulness(frames.adapting)
    if target < _COLOURLESS <= source:
        raise InputError(
            f'{", ".join(map(str, task.sources))}: no colour in the frames ({target:.1f} of 255), '
            f"but in the model's labelled source frames ({source:.1f}): is it a thermal or "
            'depth camera? Name the right topic with --topic, or give --allow-grey to adapt to '
            'this one')


def colourfulness(frames: SegmentationDataset) -> float:
    """
    Return the mean distance of a pixel's largest from its smallest channel.

    :param frames: At most 16 of them are looked at, evenly spaced.
    :return: 0 (grey) to 255.
    """
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), _MOST_LOOKED_AT)).round().astype(int)
    return float(np.mean([np.ptp(frames.image(index), axis=2).mean() for index in chosen]))


def _require_same_classes(spec: ModelSpec, teacher: Path) -> None:
    space = model_directory.read_spec(teacher).label_space
    if space.classes != spec.label_space.classes:
        raise InputError(
            f"teacher '{teacher}': its label space '{space.name}' is not that of the model, "
            f"'{spec.label_space.name}'; expected the same classes")


def _replay_folder(given: Path | None, parent: Path) -> Path:
    if given is not None:
        return given
    if not (parent / REPLAY).is_dir():
        raise InputError(
            f"model '{parent}': no labelled source frames travel with it, so what it forgets "
            "can't be measured. Give --replay FOLDER, with the folders images and labels, or "
            "train it with 'bkd train FILE --replay-frames 64'")
    return parent / REPLAY


def _split_replay(
    replay: ImageFolder, folder: Path, *, max_gate: int,
) -> tuple[Subset, Subset]:
    if len(replay) < _GATE_SHARE:
        raise InputError(
            f'{folder}: holds {len(replay)} labelled source frames; expected at least '
            f'{_GATE_SHARE}, of which one is held back for the gate')
    everything = range(len(replay))
    gate = [index for index in everything if index % _GATE_SHARE == _GATE_SHARE - 1]
    training = [index for index in everything if index % _GATE_SHARE != _GATE_SHARE - 1]
    kept = np.linspace(0, len(gate) - 1, min(max_gate, len(gate))).round().astype(int)
    return (
        Subset([(replay, index) for index in training]),
        Subset([(replay, gate[index]) for index in kept]))


def _open_labelled(task: RoundTask, spec: ModelSpec) -> ImageFolder | None:
    if task.labelled is None:
        return None
    labelled = open_replay(task.labelled, label_space=spec.label_space)
    least = task.settings.gate.min_labelled_frames
    if len(labelled) < least:
        raise InputError(
            f'{task.labelled}: holds {len(labelled)} labelled target frames; expected at least '
            f'{least}: fewer say nothing (10 are enough)')
    return labelled
