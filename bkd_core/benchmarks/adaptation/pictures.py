# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A picture a protocol: frames of the target, the truth, and what the networks say."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bkd_core import atomic
from bkd_core.benchmarks.adaptation.plan import ABLATIONS, Run
from bkd_core.benchmarks.adaptation.protocol import Protocol
from bkd_core.benchmarks.adaptation.table import picture_name
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.inference import Segmenter
from bkd_core.labels import id_mapping
from bkd_core.model_directory import METRICS
from bkd_core.visualization import colorize, encode_jpeg, overlay, panel
import cv2
import numpy as np

NUM_FRAMES = 3
TILE_WIDTH = 320


def write_picture(
    protocol: Protocol, budget: str, runs: Sequence[Run], folder: Path, results: Path,
    data_root: Path | None,
) -> Path | None:
    """
    Write a grid: a row for each of some frames, a column for each network of the first seed.

    :param protocol: The protocol; its `credit` stands above the frames, if it shows them.
    :param budget: Name of the budget.
    :param runs: From `plan_runs`; those without a model and the ablation are left out.
    :param folder: Their model directories.
    :param results: Where the picture goes.
    :param data_root: Folder that the data sets' roots are relative to.
    :return: Its path; None if there is no model to show.
    """
    seed = runs[0].config.seed
    shown = [
        run for run in runs if run.config.seed == seed and run.method not in ABLATIONS
        and (folder / run.name / METRICS).exists()]
    if not shown:
        return None
    validation = open_dataset(runs[0].config.validation, data_root)
    networks = [
        (_title(run), Segmenter.load(folder / run.name, runtime='onnxruntime')) for run in shown]
    space = networks[0][1].label_space
    mapping = id_mapping(validation.label_space, space)
    tiles = []
    for index in np.linspace(0, len(validation) - 1, NUM_FRAMES).astype(int).tolist():
        frame = validation.image(index)
        answers = [(title, network(frame).labels) for title, network in networks]
        if not protocol.show_frames:
            tiles += [(title, colorize(labels, space)) for title, labels in answers]
            continue
        truth = colorize(mapping[validation.labels(index)], space)
        tiles += [(protocol.credit or 'frame', frame), (f'truth (networks: seed {seed})', truth)]
        tiles += [
            (title, overlay(frame, labels, space, opacity=0.7)) for title, labels in answers]
    tiles = [(title, _shrink(image)) for title, image in tiles]
    path = results / picture_name(protocol.name, budget)
    atomic.write_bytes(path, encode_jpeg(panel(tiles, columns=len(tiles) // NUM_FRAMES)))
    return path


def _shrink(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if width <= TILE_WIDTH:
        return image
    size = TILE_WIDTH, max(1, round(height * TILE_WIDTH / width))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _title(run: Run) -> str:
    return f'BKD from {run.teacher}' if run.teacher else run.method
