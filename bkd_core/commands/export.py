# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from bkd_core import model_directory
from bkd_core.commands.options import (
    find_data_root,
    override_settings,
    refuse_options,
    require_training,
)
from bkd_core.commands.scores import print_scores
from bkd_core.config_file import load_experiment
from bkd_core.errors import InputError
import numpy as np
import tyro

# Of the frames that are given, at most so many are looked at.
_MOST_CALIBRATION, _MOST_COMPARED = 32, 64
_STREETS = 8


@dataclass(frozen=True, kw_only=True)
class Export:
    """
    Write the file that a runtime reads from a model's weights, and check it on frames.

    model.onnx (runtimes onnxruntime, openvino) computes in float32. model_int8.onnx (runtimes
    onnxruntime_int8, openvino_int8) computes in 8-bit integers: about half the time where a
    processor is good at them, and other labels for a few pixels.

    The new file takes its place only if it names the class that the weights name: for 99.9 % of
    the pixels in float32, for 99 % in 8-bit integers. Some of the frames calibrate the integers,
    others are held back for the check.

    For example:

        bkd export runs/streets/student
        bkd export runs/streets/student --runtime onnxruntime_int8 --frames drive.mcap
        bkd export default --runtime openvino_int8 --frames frames --output student_int8
        bkd export runs/streets/student --runtime onnxruntime_int8 --frames frames --score
    """

    model: Annotated[str, tyro.conf.Positional]
    """Model directory with weights, or 'default' for the student that comes with the package."""
    runtime: str = 'onnxruntime'
    """onnxruntime, openvino, onnxruntime_int8 or openvino_int8; it also runs the check."""
    frames: tuple[Path, ...] = ()
    """Rosbags, folders of images or frame stores of what the model is for; default: the frames
    that travel with the model ('bkd train --replay-frames'), or for float32 generated streets."""
    topic: str | None = None
    """Image topic of a rosbag; needed if it holds several."""
    stride: int = 1
    """Use every n-th frame of a rosbag."""
    float_layers: int = 3
    """So many convolutions of an int8 export stay in float32: more are closer and slower."""
    score: bool = False
    """Score an int8 export and the weights on labelled frames, for the model card: the validation
    set of the model's training, or another one (--validation.name and others)."""
    output: Path | None = None
    """Folder for a copy of the model with the new file; default: MODEL itself is changed."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""

    def run(self, overrides: list[str]) -> None:
        """
        Export.

        :param overrides: Options that begin with --validation.
        """
        require_training()
        from bkd_core.export import export_model, ExportTask
        directory = model_directory.resolve(self.model).resolve()
        exported = export_model(ExportTask(
            directory=directory, output=self._output(directory), runtime=self.runtime,
            float_layers=self.float_layers, **self._frames(directory),
            **self._labelled(directory, overrides)))
        parity = exported.parity
        if exported.scores:
            print_scores(exported.scores)
        print(f'{exported.path}: the class that the weights name for {parity.agreement:.2%} of '
              f'the pixels of {parity.num_frames} frames (worst frame {parity.worst:.2%})')

    def _output(self, directory: Path) -> Path:
        if self.output is not None:
            return self.output.resolve()
        from bkd_core.adaptation.version_files import RECORD
        if (directory / RECORD).is_file():
            raise InputError(f"model '{directory}': a version never changes; give an --output")
        if (directory / model_directory.MANIFEST).is_file():
            raise InputError(f"model '{directory}': a package never changes; give an --output")
        if directory.parent == model_directory.SHIPPED.resolve():
            raise InputError('the student that comes with the package stays as it is; give an '
                             '--output')
        return directory

    def _frames(self, directory: Path) -> dict[str, Any]:
        """Return the frames that a task needs."""
        from bkd_core.datasets.streets import Streets
        from bkd_core.export import file_of
        is_int8 = file_of(self.runtime) == model_directory.INT8
        sequences = self._sequences(directory)
        if is_int8 and not sequences:
            raise InputError(
                'bkd export: 8-bit integers are calibrated on what the camera sees; give --frames '
                'RECORDING_OR_FOLDER')
        if is_int8:
            return self._split(sequences, directory)
        sequences = sequences or [Streets(domain='target', num_frames=_STREETS)]
        return {'frames': _spread(sequences, _MOST_COMPARED)}

    def _sequences(self, directory: Path) -> list[Any]:
        from bkd_core.adaptation.target_frames import open_frames
        from bkd_core.datasets.replay import open_replay, REPLAY
        space = model_directory.read_spec(directory).label_space
        if self.frames:
            return [
                sequence for path in self.frames for sequence in open_frames(
                    path, label_space=space, topic=self.topic, stride=self.stride)]
        replay = directory / REPLAY
        return [open_replay(replay, label_space=space)] if replay.is_dir() else []

    def _split(self, sequences: list[Any], directory: Path) -> dict[str, Any]:
        from bkd_core.adaptation.target_frames import split_frames
        split = split_frames(
            sequences, max_adapting=_MOST_CALIBRATION,
            max_held_back=sum(map(len, sequences)))
        names = [path.name for path in self.frames] or ["the model's own replay"]
        return {
            'calibration': split.adapting, 'frames': _spread(split.held_back, _MOST_COMPARED),
            'frames_name': ', '.join(names)}

    def _labelled(self, directory: Path, overrides: list[str]) -> dict[str, Any]:
        """Return the labelled frames that a task may have."""
        is_chosen = any(word.startswith('--validation') for word in overrides)
        if not is_chosen:
            refuse_options(self, overrides)
        if not is_chosen and not self.score:
            return {}
        from bkd_core.datasets.open_dataset import open_dataset
        from bkd_core.model_card import describe
        trained = load_experiment(directory / model_directory.CONFIG)['model']
        chosen = override_settings(self, trained, overrides, prefix='validation').validation
        dataset = open_dataset(chosen, find_data_root(self.data_root))
        if not dataset.has_labels:
            raise InputError(f"data set '{chosen.name}': has no labels to score on")
        return {'labelled': dataset, 'labelled_name': describe(chosen)}


def _spread(sequences: Any, most: int) -> Any:
    """Return evenly spaced frames of sequences as one data set."""
    from bkd_core.datasets.subset import Subset
    frames = [(frames, index) for frames in sequences for index in range(len(frames))]
    chosen = np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)
    return Subset([frames[index] for index in chosen])
