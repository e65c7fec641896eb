# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from bkd_core import model_directory
from bkd_core.commands.options import find_data_root, override_settings
from bkd_core.commands.scores import percent, print_scores
from bkd_core.config_file import load_experiment
import tyro


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """
    Score a model on labelled frames: IoU of each class, mIoU, pixel accuracy, calibration.

    Without options it is scored on the validation set of its own training run. Frames without
    labels give other scores: mean entropy, agreement with a second model, and flicker, the
    share of pixels whose label changes from frame to frame (motion of the camera counts too).

    For example:

        bkd evaluate runs/streets/student
        bkd evaluate default --validation.name camvid --validation.root camvid
        bkd evaluate MODEL --output scores --runtime torch
        bkd evaluate runs/streets/student --label-free --reference runs/streets/teacher
    """

    model: Annotated[str, tyro.conf.Positional]
    """Model directory, or 'default' for the student that comes with the package."""
    output: Path | None = None
    """Folder for scores.json and noise_matrix.png (which class is taken for which)."""
    label_free: bool = False
    """Also give the scores that need no labels, on labelled frames too."""
    reference: str | None = None
    """A second model, such as the teacher: on how many pixels do both agree?"""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""
    runtime: str = 'onnxruntime'
    """onnxruntime, openvino, openvino_bf16, tensorrt, tensorrt_half, torch, torch_half,
    torch_compile, auto (the fastest that is installed), or after 'bkd export' onnxruntime_int8
    or openvino_int8."""

    def run(self, overrides: list[str]) -> None:
        """
        Score.

        :param overrides: Options that begin with --validation.
        """
        from bkd_core.datasets.open_dataset import open_dataset
        from bkd_core.inference import Segmenter
        directory = model_directory.resolve(self.model)
        trained = load_experiment(directory / model_directory.CONFIG)['model']
        chosen = override_settings(self, trained, overrides, prefix='validation')
        dataset = open_dataset(chosen.validation, find_data_root(self.data_root))
        segmenter = Segmenter.load(self.model, runtime=self.runtime)
        values = self._score(segmenter, dataset, directory.name) if dataset.has_labels else {}
        if self.label_free or self.reference or not dataset.has_labels:
            values['label_free'] = self._score_without_labels(segmenter, dataset)
        if self.output is not None:
            import json

            from bkd_core import atomic
            self.output.mkdir(parents=True, exist_ok=True)
            atomic.write_text(self.output / 'scores.json', json.dumps(values, indent=1))

    def _score(self, segmenter: Any, dataset: Any, name: str) -> dict[str, Any]:
        from bkd_core import atomic
        from bkd_core.evaluation import ConfusionMatrix, evaluate, noise_matrix, noise_picture
        from bkd_core.progress import progress_bar
        from bkd_core.visualization import encode_png
        space = segmenter.label_space
        confusion = ConfusionMatrix(space.num_classes)
        with progress_bar('evaluate', len(dataset)) as advance:
            scores = evaluate(
                segmenter, dataset, label_space=space, progress=advance, confusion=confusion)
        print_scores({name: scores})
        if self.output is not None:
            picture = noise_picture(noise_matrix(confusion), space)
            self.output.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(self.output / 'noise_matrix.png', encode_png(picture))
        return {**scores.to_dict(), 'confusion': confusion.counts.tolist()}

    def _score_without_labels(self, segmenter: Any, dataset: Any) -> dict[str, Any]:
        from bkd_core.evaluation import score_without_labels
        from bkd_core.inference import Segmenter
        from bkd_core.progress import progress_bar
        reference = None
        if self.reference is not None:
            reference = Segmenter.load(self.reference, runtime=self.runtime)
        with progress_bar('evaluate without labels', len(dataset)) as advance:
            scores = score_without_labels(
                segmenter, dataset, label_space=segmenter.label_space, reference=reference,
                reference_space=reference and reference.label_space, progress=advance)
        print(f'without labels, {scores.num_frames} frames: mean entropy '
              f'{scores.mean_entropy:.3f} nats')
        if reference is not None:
            print(f'{percent(scores.agreement)} % of the pixels labelled like {self.reference}')
        print(f'flicker {percent(scores.flicker)} % of the pixels from frame to frame (motion '
              'of the camera counts too; only for frames of one sequence)')
        return scores.to_dict()
