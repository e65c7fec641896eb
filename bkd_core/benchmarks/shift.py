# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How well a shift of the camera's world is noticed, and how often without one."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
from typing import Any, Sequence

from bkd_core import atomic, model_directory
from bkd_core.adaptation.shift import ShiftDetector, ShiftSettings
from bkd_core.config import DataConfig, TrainingConfig
from bkd_core.config_file import load_experiment
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.evaluation import (
    describe_frame,
    FrameDescription,
    measure_reference,
    REFERENCE,
    ShiftReference,
    STATISTICS,
)
from bkd_core.experiment import trained_for
from bkd_core.inference import Segmenter
from bkd_core.progress import progress_bar
import numpy as np

TOGETHER = 'together'
# Continuous video by day that no training saw, and the other light of the same camera.
USUAL = DataConfig(
    name='camvid', root='camvid', options={'split': 'val', 'has_labels': False})
SHIFTED = DataConfig(
    name='camvid', root='camvid',
    options={'split': 'train', 'sequence': '0001TP', 'has_labels': False})


def run_shift_benchmark(
    models: Sequence[str], results: Path, *, data_root: Path | None,
) -> Path:
    """
    Measure models that were trained for CamVid by day, and write RESULTS/shift.json and .md.

    :param models: Their model directories.
    :param results: Folder of the numbers and the table.
    :param data_root: Folder that the data sets' roots are relative to.
    :return: The table's path.
    """
    measured = [measure_model(model, data_root) for model in models]
    results.mkdir(parents=True, exist_ok=True)
    atomic.write_text(results / 'shift.json', json.dumps(measured, indent=1) + '\n')
    path = results / 'shift.md'
    atomic.write_text(path, table(measured))
    return path


def measure_model(model: str, data_root: Path | None) -> dict[str, Any]:
    """
    Return the numbers of one model.

    :param model: Its model directory.
    :param data_root: Folder that the data sets' roots are relative to.
    """
    directory = model_directory.resolve(model)
    config = load_experiment(directory / model_directory.CONFIG)['model']
    segmenter = Segmenter.load(directory, runtime='onnxruntime')
    usual = describe(segmenter, open_dataset(USUAL, data_root), 'usual')
    shifted = describe(segmenter, open_dataset(SHIFTED, data_root), 'shifted')
    reference = reference_of(segmenter, directory, config, data_root)
    return {
        'model': segmenter.spec.name, 'method': config.method.name, 'seed': config.seed,
        'frames': {'reference': len(reference.scores[STATISTICS[0]]),
                   'usual': len(usual), 'shifted': len(shifted)},
        'statistics': {
            TOGETHER: score(reference, usual, shifted),
            **{name: score(only(reference, name), usual, shifted) for name in STATISTICS}}}


def reference_of(
    segmenter: Segmenter, directory: Path, config: TrainingConfig, data_root: Path | None,
) -> ShiftReference:
    """
    Read a model's reference, or measure it where the model was trained before there were any.

    :param segmenter: The model.
    :param directory: Its model directory.
    :param config: The settings that it was trained with.
    :param data_root: Folder that the data sets' roots are relative to.
    """
    if (directory / REFERENCE).exists():
        return ShiftReference.read(directory, num_classes=segmenter.label_space.num_classes)
    return measure_reference(segmenter, open_dataset(trained_for(config), data_root))


def describe(
    segmenter: Segmenter, frames: SegmentationDataset, what: str,
) -> list[FrameDescription]:
    """
    Return a model's answers to frames.

    :param segmenter: The model.
    :param frames: In the order of time.
    :param what: Text of the progress bar.
    """
    descriptions = []
    with progress_bar(f'{segmenter.spec.name}: {what}', len(frames)) as advance:
        for index in range(len(frames)):
            descriptions.append(describe_frame(segmenter.logits(frames.image(index))))
            advance(index + 1)
    return descriptions


def only(reference: ShiftReference, name: str) -> ShiftReference:
    """
    Return a reference by which a detector looks at one statistic alone.

    :param reference: The model's.
    :param name: One of `STATISTICS`.
    """
    return replace(reference, scores={name: reference.scores[name]})


def score(
    reference: ShiftReference, usual: Sequence[FrameDescription],
    shifted: Sequence[FrameDescription],
) -> dict[str, Any]:
    """
    Return how well a detector tells two sequences apart, frame by frame and by window.

    :param reference: What it knows.
    :param usual: Answers to a sequence without a shift, in the order of time.
    :param shifted: Answers to one with a shift.
    """
    detector = ShiftDetector(reference)
    scores = [[detector.strangeness(item) for item in items] for items in (usual, shifted)]
    shares = [float(np.mean([not value <= 1 for value in values])) for values in scores]
    windows = [alarms(reference, items) for items in (usual, shifted)]
    return {
        'auc': area_under_curve(*scores), 'thresholds': detector.thresholds,
        'unusual_usual': shares[0], 'unusual_shifted': shares[1],
        'alarms_usual': sum(windows[0]), 'windows_usual': len(windows[0]),
        'alarms_shifted': sum(windows[1]), 'windows_shifted': len(windows[1])}


def alarms(reference: ShiftReference, frames: Sequence[FrameDescription]) -> list[bool]:
    """
    Return for each full window of a sequence whether it counts as shifted.

    :param reference: What the detector knows.
    :param frames: Answers, in the order of time.
    """
    detector = ShiftDetector(reference)
    return [detector.update(item) for item in frames][detector.settings.window - 1:]


def area_under_curve(negative: Sequence[float], positive: Sequence[float]) -> float:
    """
    Return the area under the ROC curve: how often a positive scores above a negative.

    :param negative: Scores without a shift, at least one.
    :param positive: Scores with one, at least one.
    :return: 0 to 1; a tie counts half, so 0.5 is chance.
    """
    difference = np.subtract.outer(np.asarray(positive, float), np.asarray(negative, float))
    return float(((np.sign(difference) + 1) / 2).mean())


def table(measured: Sequence[dict[str, Any]]) -> str:
    """
    Return the numbers as Markdown.

    :param measured: From `measure_model`.
    """
    settings = ShiftSettings()
    lines = [
        '# Noticing a shift: CamVid, day to dusk', '',
        'Written by `bkd benchmark shift`. Each model was trained for CamVid by day. Without a '
        'shift: the 101 frames of the validation split, one drive by day in the order of time, '
        'seen by no training, though other frames of the same drive were. With a shift: the 62 '
        'frames at dusk, from another drive. AUC: '
        'area under the ROC curve over single frames. Unusual: share of the frames above the '
        f'{100 * settings.quantile:g} % quantile of the reference, which is at most 100 frames '
        'of the training; by all statistics together, above it by any of them, which is what '
        '`segmentation_node` goes by. Alarms: windows of '
        f'{settings.window} frames of which {100 * settings.min_share:g} % are unusual, of all '
        'windows.', '',
        '| model | statistic | AUC | unusual by day | unusual at dusk | false alarms by day | '
        'alarms at dusk |', '|---|---|---|---|---|---|---|']
    for model in measured:
        for name, numbers in model['statistics'].items():
            lines.append(
                f'| {model["method"]}, seed {model["seed"]} | {name.replace("_", " ")} | '
                f'{numbers["auc"]:.3f} | {100 * numbers["unusual_usual"]:.0f} % | '
                f'{100 * numbers["unusual_shifted"]:.0f} % | '
                f'{numbers["alarms_usual"]} of {numbers["windows_usual"]} | '
                f'{numbers["alarms_shifted"]} of {numbers["windows_shifted"]} |')
    return '\n'.join([*lines, ''])
