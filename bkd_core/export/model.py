# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Make an export of a model anew; only one that names the same labels takes its place."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
import errno
import json
from pathlib import Path
import shutil
from typing import Any, Iterator

from bkd_core import atomic, model_directory
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.errors import InputError, unknown_name
from bkd_core.evaluation import evaluate, Scores
from bkd_core.export.int8 import export_int8, FLOAT_LAYERS
from bkd_core.export.onnx import export_onnx
from bkd_core.export.parity import measure_parity, Parity
from bkd_core.inference import Segmenter
from bkd_core.inference.torch_runtime import TorchRuntime
from bkd_core.model_card import int8_section, replace_section
from bkd_core.model_directory import INT8, ModelSpec, ONNX
from bkd_core.models import load_network
from bkd_core.progress import progress_bar
from bkd_core.runs.files import LOCK, LOG, RECORDS
import numpy as np
from torch import nn

# The runtimes that read a file of their own or share one: which.
FILES = {
    'onnxruntime': ONNX, 'openvino': ONNX, 'onnxruntime_int8': INT8, 'openvino_int8': INT8}
# Share of the labels that must be those of the network.
MIN_AGREEMENT = {ONNX: .999, INT8: .99}
INT8_METRICS = 'int8'


@dataclass(frozen=True, kw_only=True)
class ExportTask:
    """
    What is to be exported.

    :param directory: The model directory.
    :param output: Where the model with the new export goes; the directory itself, or a new one.
    :param runtime: One of `FILES`; it also runs the check.
    :param frames: On which the export must agree with the network.
    :param calibration: Other frames, from which the ranges of an int8 export are taken.
    :param frames_name: Where both come from, for the model card.
    :param labelled: Labelled frames on which an int8 export is scored, if there are any.
    :param labelled_name: What these are, for the model card.
    :param float_layers: So many convolutions of an int8 export stay in float32.
    :raises InputError: If something is missing or does not fit.
    """

    directory: Path
    output: Path
    runtime: str
    frames: SegmentationDataset
    calibration: SegmentationDataset | None = None
    frames_name: str = ''
    labelled: SegmentationDataset | None = None
    labelled_name: str = ''
    float_layers: int = FLOAT_LAYERS

    def __post_init__(self) -> None:
        """Check it before the work begins."""
        if self.labelled is not None and file_of(self.runtime) != INT8:
            raise InputError(
                f"runtime '{self.runtime}': only int8 exports are scored on labelled frames; for "
                "others use 'bkd evaluate'")
        if self.float_layers != FLOAT_LAYERS and file_of(self.runtime) != INT8:
            raise InputError(
                f"runtime '{self.runtime}': all its layers are in float32, so float_layers "
                f'{self.float_layers} would do nothing; leave it out')
        if not (self.directory / model_directory.WEIGHTS).is_file():
            raise InputError(
                f"model '{self.directory}': it holds no {model_directory.WEIGHTS}, from which an "
                'export is made. Export it where it was trained, or copy the whole directory')
        if self.output != self.directory and self.output.exists():
            raise InputError(f'{self.output}: is there already; give another --output')
        if self.directory in self.output.parents:
            raise InputError(f'{self.output}: lies in the model itself; give another --output')


@dataclass(frozen=True, kw_only=True)
class Exported:
    """
    What came of an export.

    :param path: The file.
    :param parity: How much of the network's labels it names, too.
    :param scores: Of the network and of an int8 export on labelled frames, by name.
    """

    path: Path
    parity: Parity
    scores: dict[str, Scores]


def file_of(runtime: str) -> str:
    """
    Return the name of the file that a runtime reads.

    :param runtime: One of `FILES`.
    :raises InputError: If it is none of them.
    """
    if runtime not in FILES:
        raise unknown_name('runtime to export for', runtime, FILES)
    return FILES[runtime]


def export_model(task: ExportTask) -> Exported:
    """
    Write an export into a copy of the model, check it there, and put the copy in place.

    :param task: What is to be exported.
    :raises InputError: If the export names other labels than the network for too many pixels, or
        something is missing or can't be written; whatever lay at the output stays as it was.
    """
    network, spec = load_network(task.directory), model_directory.read_spec(task.directory)
    file = file_of(task.runtime)
    with _disk_errors(task.output), atomic.directory(task.output) as folder:
        shutil.copytree(
            task.directory, folder, dirs_exist_ok=True,
            ignore=lambda path, names: _left_out(task) if Path(path) == task.directory else ())
        _write(task, network, spec, folder / file)
        model_directory.write_spec(folder, spec)
        exported = Segmenter.load(folder, runtime=task.runtime, device='cpu')
        original = Segmenter(folder, spec, TorchRuntime(network, spec, device='cpu'))
        parity = measure_parity(exported, original, _images('compare labels', task.frames))
        _require(parity, file)
        scores = {}
        if file == INT8:
            scores = _score(task, {'float32': original, 'int8': exported})
            _record(task, folder, parity, scores)
    return Exported(path=task.output / file, parity=parity, scores=scores)


def _left_out(task: ExportTask) -> set[str]:
    """Return what is not copied: a manifest, and into a new model a run's records and report."""
    is_new = task.output != task.directory
    return {
        model_directory.MANIFEST,
        *((*RECORDS, LOG, LOCK, model_directory.REPORT) if is_new else ())}


def _write(task: ExportTask, network: nn.Module, spec: ModelSpec, path: Path) -> None:
    if path.name == INT8:
        export_int8(
            network, spec, path, _images('calibrate', task.calibration),
            float_layers=task.float_layers)
        return
    export_onnx(network, spec, path)


def _images(description: str, frames: SegmentationDataset) -> Iterator[np.ndarray]:
    with progress_bar(description, len(frames)) as advance:
        for index in range(len(frames)):
            yield frames.image(index)
            advance(index + 1)


def _require(parity: Parity, file: str) -> None:
    minimum = MIN_AGREEMENT[file]
    if parity.agreement >= minimum:
        return
    remedy = (
        'Give frames of what the network is for, more of them, or a higher --float-layers'
        if file == INT8 else 'Give --frames of what the network is for')
    raise InputError(
        f'the new {file} names the class that the network names for only '
        f'{parity.agreement:.2%} of the pixels of {parity.num_frames} frames (worst frame '
        f'{parity.worst:.2%}); expected at least {minimum:.1%}. Nothing was replaced. {remedy}')


def _score(task: ExportTask, segmenters: dict[str, Segmenter]) -> dict[str, Scores]:
    scores = {}
    for name, segmenter in segmenters.items() if task.labelled is not None else ():
        with progress_bar(f'score {name}', len(task.labelled)) as advance:
            scores[name] = evaluate(
                segmenter, task.labelled, label_space=segmenter.label_space, progress=advance)
    return scores


def _record(
    task: ExportTask, folder: Path, parity: Parity, scores: dict[str, Scores],
) -> None:
    """Tell of an int8 export in the model card and in `metrics.json`, where they are."""
    values: dict[str, Any] = {
        **asdict(parity), 'runtime': task.runtime, 'frames': task.frames_name,
        'num_calibration': len(task.calibration), 'float_layers': task.float_layers,
        'labelled': task.labelled_name if scores else '',
        'scores': {name: item.to_dict() for name, item in scores.items()}}
    metrics, card = folder / model_directory.METRICS, folder / model_directory.CARD
    if metrics.is_file():
        known = json.loads(metrics.read_text(encoding='utf-8'))
        atomic.write_text(metrics, json.dumps({**known, INT8_METRICS: values}, indent=1))
    if card.is_file():
        atomic.write_text(card, replace_section(
            card.read_text(encoding='utf-8'), int8_section(values)))


@contextmanager
def _disk_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise InputError(
            f'{output}: {error.strerror}. Nothing was replaced. Make room, or give an --output '
            'that can be written') from error
