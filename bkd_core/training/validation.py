# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The network in the middle of its training: scored, pictured, and kept if it is the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

from bkd_core import atomic, model_directory
from bkd_core.config import TrainingConfig
from bkd_core.config_file import to_yaml
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.subset import Subset
from bkd_core.errors import InputError
from bkd_core.evaluation import evaluate
from bkd_core.inference import Segmenter
from bkd_core.inference.torch_runtime import TorchRuntime
from bkd_core.labels import get_label_space, id_mapping
from bkd_core.model_directory import ModelSpec
from bkd_core.models import MODELS, save_weights
from bkd_core.runs.files import BEST, BEST_SCORE
from bkd_core.visualization import colorize, panel
import cv2
import numpy as np
from torch import nn

_CELL_WIDTH = 480  # pixels


class Validation:
    """
    Look at a network as it is now; a copy of it answers, so that training goes on untouched.

    :param config: The run's configuration.
    :param directory: The run's folder.
    :param name: Name of the run, for the kept network.
    :param frames: The validation set.
    :param device: Torch device on which the copy computes.
    :raises InputError: If scores are asked for and the frames have no labels.
    """

    def __init__(
        self, config: TrainingConfig, *, directory: Path, name: str,
        frames: SegmentationDataset, device: str,
    ) -> None:
        records = config.records
        if records.validation_steps and not frames.has_labels:
            raise InputError(
                f"records.validation_steps: the validation set '{config.validation.name}' has no "
                'labels. Give one that has, or set it to 0')
        self.config, self.directory, self.device = config, directory, device
        self.scored = spread(frames, records.validation_frames)
        self.pictured = spread(frames, records.pictures_frames)
        self.spec = ModelSpec(
            name=name, network=config.model.network, network_options=config.model.options,
            label_space=get_label_space(config.label_space),
            input_height=config.model.input_height,
            size_multiple=MODELS[config.model.network].size_multiple)

    def score(self, network: nn.Module) -> dict[str, Any]:
        """
        Return the network's scores on the validation frames, as plain values.

        :param network: Normalised images in, logits out; it is not changed.
        """
        return evaluate(
            self._segmenter(network), self.scored, label_space=self.spec.label_space).to_dict()

    def picture(self, network: nn.Module) -> np.ndarray:
        """
        Draw frames, one a row: the frame, its labels where it has some, and the prediction.

        :param network: Normalised images in, logits out; it is not changed.
        :return: (H, W, 3) uint8 RGB.
        """
        segmenter, space = self._segmenter(network), self.spec.label_space
        mapping = id_mapping(self.pictured.label_space, space)
        cells = []
        for index in range(len(self.pictured)):
            frame = self.pictured.image(index)
            cells.append((self.pictured.name(index), _scaled(frame)))
            if self.pictured.has_labels:
                labels = mapping[self.pictured.labels(index)]
                cells.append(('labels', _scaled(colorize(labels, space))))
            labels = segmenter(frame, with_confidence=False).labels
            cells.append(('prediction', _scaled(colorize(labels, space))))
        return panel(cells, columns=len(cells) // len(self.pictured))

    def keep_if_best(self, network: nn.Module, scores: dict[str, Any], *, step: int) -> bool:
        """
        Put the network in the place of the best one before, if its mIoU is higher.

        What is kept is a model directory of weights; `bkd export` adds the ONNX file.

        :param network: What was scored.
        :param scores: What `score` returned.
        :param step: Number of steps made.
        :return: Whether it was kept.
        """
        best = self.directory / BEST
        before = read_best(self.directory)
        if scores['miou'] is None or before and scores['miou'] <= before['miou']:
            return False
        with atomic.directory(best) as folder:
            save_weights(
                network, folder / model_directory.WEIGHTS,
                half_precision=self.config.half_precision_weights)
            atomic.write_text(folder / model_directory.CONFIG, to_yaml(self.config))
            atomic.write_text(
                folder / BEST_SCORE, json.dumps({'step': step, **scores}, indent=1))
            model_directory.write_spec(folder, self.spec)
        return True

    def _segmenter(self, network: nn.Module) -> Callable[..., Any]:
        runtime = TorchRuntime(network, self.spec, device=self.device)
        return Segmenter(self.directory, self.spec, runtime)


def read_best(directory: Path) -> dict[str, Any]:
    """
    Return step and scores of the best network that a run kept; nothing without one.

    :param directory: The run's folder.
    """
    path = directory / BEST / BEST_SCORE
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def spread(frames: SegmentationDataset, count: int) -> SegmentationDataset:
    """
    Return so many frames, evenly spaced over a data set.

    :param frames: The data set.
    :param count: How many; 0 for all, as is any number that is not smaller than all.
    """
    if not 0 < count < len(frames):
        return frames
    return Subset([(frames, index * len(frames) // count) for index in range(count)])


def _scaled(picture: np.ndarray) -> np.ndarray:
    """Return a picture at the width of a cell, by whole pixels where it holds label colours."""
    height = max(1, round(picture.shape[0] * _CELL_WIDTH / picture.shape[1]))
    return cv2.resize(picture, (_CELL_WIDTH, height), interpolation=cv2.INTER_NEAREST_EXACT)
