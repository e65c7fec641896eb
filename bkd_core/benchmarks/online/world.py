# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What rounds adapt to: a source-only student, and a camera's domains as recordings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bkd_core.adaptation.measure import SURE
from bkd_core.benchmarks.demo import write_recording
from bkd_core.config import DataConfig, TrainingConfig
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.datasets.replay import REPLAY
from bkd_core.evaluation import ConfusionMatrix
from bkd_core.experiment import run_experiment
from bkd_core.inference import Segmenter
from bkd_core.labels import id_mapping
import numpy as np

REPLAY_FRAMES = 64
_START = 'source_only'


@dataclass(frozen=True, kw_only=True)
class World:
    """
    A start and what comes after it.

    :param name: Its name.
    :param start: The run of the source-only student that all rounds begin with.
    :param targets: By name, what the robot records: frames in the order of time.
    :param scored: By the same names, labelled frames that only the benchmark looks at.
    :param credit: Whose frames these are, and their licence.
    """

    name: str
    start: TrainingConfig
    targets: dict[str, DataConfig]
    scored: dict[str, DataConfig]
    credit: str = ''


@dataclass(frozen=True, kw_only=True)
class LabelledScore:
    """
    How well a network does on labelled frames.

    :param miou: Mean IoU, 0 to 1.
    :param sure_right: Of the labelled pixels that it gives a probability of at least
        `bkd_core.adaptation.measure.SURE`, the share that is right; NaN if there are none.
    """

    miou: float
    sure_right: float


def make_start(
    config: TrainingConfig, *, folder: Path, seed: int, data_root: Path | None,
) -> Path:
    """
    Return the model directory of a start with its replay; it is trained if it is missing.

    :param config: The run.
    :param folder: Where starts lie.
    :param seed: Of the run.
    :param data_root: Folder that the data sets' roots are relative to.
    """
    output = folder / f'seed{seed}'
    if not (output / _START / REPLAY).is_dir():
        run_experiment(
            {_START: replace(config, seed=seed)}, output=output, data_root=data_root,
            replay_frames=REPLAY_FRAMES)
    return output / _START


def make_recording(data: DataConfig, path: Path, data_root: Path | None) -> Path:
    """
    Return a rosbag2 MCAP recording of a domain's frames; it is written if it is missing.

    :param data: The frames.
    :param path: The recording's folder.
    :param data_root: Folder that the data sets' roots are relative to.
    """
    return path if path.exists() else write_recording(open_dataset(data, data_root), path)


def score_labelled(segmenter: Segmenter, labelled: SegmentationDataset) -> LabelledScore:
    """
    Score a network on labelled frames.

    :param segmenter: The network.
    :param labelled: The frames.
    """
    mapping = id_mapping(labelled.label_space, segmenter.label_space)
    confusion = ConfusionMatrix(segmenter.label_space.num_classes)
    sure = right = 0
    for index in range(len(labelled)):
        truth = mapping[labelled.labels(index)]
        answer = segmenter(labelled.image(index))
        confusion.update(truth, answer.labels)
        is_sure = (answer.confidence >= 255 * SURE) & (truth < confusion.num_classes)
        sure += int(is_sure.sum())
        right += int((truth == answer.labels)[is_sure].sum())
    return LabelledScore(
        miou=confusion.miou(), sure_right=right / sure if sure else float(np.nan))
