# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run the stages of a configuration: train, save, export, measure, write the card."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import replace
import json
from pathlib import Path
import time

import bkd_core
from bkd_core import atomic, model_directory
from bkd_core.checkout import commit
from bkd_core.config import DataConfig, TrainingConfig
from bkd_core.config_file import to_yaml
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.datasets.replay import check_licences, write_replay
from bkd_core.errors import InputError
from bkd_core.evaluation import evaluate, measure_reference, Scores
from bkd_core.export import check_parity, export_onnx
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
from bkd_core.method_config import SourceOnlyConfig
from bkd_core.methods import METHODS, SharedMaps, SoftLabelMemory
from bkd_core.model_card import model_card
from bkd_core.model_directory import ModelSpec
from bkd_core.models import check_network, save_weights
from bkd_core.progress import progress_bar
from bkd_core.stage_networks import load_initial, load_teachers, place_of
from bkd_core.training import choose_device, present_processes, RunRecords, Trainer
from bkd_core.training.checkpoint import CHECKPOINT
from bkd_core.training.run_lock import only_run
from torch import nn

BUILT_ON = 'built_on.json'
# What to give where labels are needed and missing.
_LABELS = {
    'source': 'Give one that has, such as image_folder',
    'validation':
        'Without labelled frames of the target give source frames that no stage is trained on '
        "(image_folder's 'first' and 'last'), and judge the target by 'bkd evaluate', which also "
        'scores frames without labels'}


def run_experiment(
    stages: dict[str, TrainingConfig], *, output: Path, data_root: Path | None,
    only: tuple[str, ...] = (), replay_frames: int = 0,
) -> dict[str, Scores]:
    """
    Run the stages that are not finished yet, each into a folder of its own.

    :param stages: From `load_experiment`.
    :param output: Folder of the experiment; stage NAME becomes the model directory output/NAME.
    :param data_root: Folder that the data sets' roots are relative to.
    :param only: Names of the stages to run; empty for all.
    :param replay_frames: So many labelled source frames are put into each model directory; 0 for
        none, since not every licence lets images travel.
    :return: The scores of the stages that were run or found finished.
    :raises InputError: If a stage's folder belongs to other settings, data is missing or has no
        labels where they are needed, or frames are to travel whose licences are not named.
    """
    processes = present_processes()
    chosen = chosen_stages(stages, only)
    for name, config in chosen.items():  # before hours of training, not after
        with processes.first_before_others():  # it lists files, the others read the list
            _check_stage(name, config, data_root)
        if replay_frames:
            check_licences(config.data_licences)
    scores = {}
    for name, config in chosen.items():
        scores[name] = run_stage(name, config, directory=output / name, data_root=data_root)
        if replay_frames and processes.is_first:
            write_replay(
                output / name, open_dataset(config.source, data_root),
                label_space=get_label_space(config.label_space), num_frames=replay_frames,
                input_height=config.model.input_height, licences=config.data_licences)
        processes.wait()
    return scores


def chosen_stages(
    stages: dict[str, TrainingConfig], only: tuple[str, ...],
) -> dict[str, TrainingConfig]:
    """
    Return the stages that are to be run, in their order.

    :param stages: All of a configuration.
    :param only: Names of those to run; empty for all.
    :raises InputError: If the configuration has no stage of a name.
    """
    for name in only:
        if name not in stages:
            raise InputError(f"stage '{name}': the configuration has {list(stages)}")
    return {name: config for name, config in stages.items() if not only or name in only}


def _check_stage(name: str, config: TrainingConfig, data_root: Path | None) -> None:
    """Refuse a stage whose network has no such options, or whose data can't be used."""
    try:
        check_network(config.model.network, config.model.options)
    except InputError as error:
        raise InputError(
            f"stage '{name}': {error} A dotted option of the command line goes to every stage, or "
            'to those that --stage names') from error
    chosen = {'source': config.source, 'validation': config.validation}
    if METHODS[config.method.name].uses_target:
        chosen['target'] = config.target
    for setting, data in chosen.items():
        try:
            dataset = open_dataset(data, data_root)
        except InputError as error:
            raise InputError(f"stage '{name}': {setting}: {error}") from error
        if setting in _LABELS and not dataset.has_labels:
            raise InputError(
                f"stage '{name}': {setting}: the data set '{data.name}' has no labels here; "
                f'{setting} needs them. {_LABELS[setting]}')


def run_stage(
    name: str, config: TrainingConfig, *, directory: Path, data_root: Path | None,
    memory: SoftLabelMemory | None = None,
) -> Scores:
    """
    Train one network into a model directory; a finished one is only read.

    :param name: Name of the stage, for people.
    :param config: Its configuration.
    :param directory: The model directory; 'stage:OTHER' is the directory OTHER beside it.
    :param data_root: Folder that the data sets' roots are relative to.
    :param memory: Where runs that learn from the same teacher share its soft labels.
    :return: Its scores on the validation set.
    :raises InputError: If the folder belongs to other settings or was built on other models, or
        data is missing.
    """
    processes = present_processes()
    with ExitStack() as stack:
        with processes.first_before_others():
            stack.enter_context(only_run(directory, processes))
            base = _check_base(config, directory)
            is_finished = (directory / model_directory.METRICS).exists()
        processes.wait()  # until all have seen the folder
        if is_finished:
            return _read_finished(config, directory)
        kept = None if memory is None else memory.maps(_soft_label_key(config, base))
        _run_stage(name, config, directory, data_root, kept)
        processes.wait()
        return _read_finished(config, directory)


def _run_stage(
    name: str, config: TrainingConfig, directory: Path, data_root: Path | None,
    soft_labels: SharedMaps | None,
) -> None:
    validation = open_dataset(config.validation, data_root)
    began = time.perf_counter()
    network, seconds = _train(name, config, directory, data_root, soft_labels)
    processes = present_processes()
    if not processes.is_first:
        return
    spec = ModelSpec(
        name=name, network=config.model.network, network_options=config.model.options,
        label_space=get_label_space(config.label_space),
        input_height=config.model.input_height, size_multiple=network.size_multiple)
    write_model(directory, network, spec, config, validation)
    scores = measure(directory, validation, description=f'{name}: measure')
    measure_reference(
        Segmenter.load(directory, runtime='onnxruntime'),
        open_dataset(trained_for(config), data_root)).write(directory)
    metrics = {
        'scores': scores.to_dict(), 'runtime': 'onnxruntime', 'version': bkd_core.__version__,
        'parameters': sum(weight.numel() for weight in network.parameters()),
        'uses_target': METHODS[config.method.name].uses_target,
        'device': str(choose_device(config.device)), 'commit': commit(), 'seed': config.seed,
        'steps': config.steps, 'seconds': round(seconds, 1),
        'seconds_in_all': round(time.perf_counter() - began, 1),
        'processes': processes.size,
    }
    atomic.write_text(
        directory / model_directory.CARD, model_card(spec.name, config, metrics))
    atomic.write_text(directory / model_directory.METRICS, json.dumps(metrics, indent=1))
    (directory / CHECKPOINT).unlink(missing_ok=True)


def _soft_label_key(config: TrainingConfig, base: dict[str, str]) -> str:
    """Return what a teacher's soft labels depend on."""
    method = config.method
    return json.dumps([
        base, to_yaml(replace(config, method=SourceOnlyConfig(), seed=0)),
        getattr(method, 'temperature', 0), getattr(method, 'teacher_flip', False)])


def _check_base(config: TrainingConfig, directory: Path) -> dict[str, str]:
    """Return the hashes of the models that a run builds on; refuse others than before."""
    teacher = getattr(config.method, 'teacher', None) or ()
    names = (config.model.init, *((teacher,) if isinstance(teacher, str) else teacher))
    now = {}
    for name in filter(None, names):
        path = Path(place_of('', name, directory.parent))
        path = path if path.is_file() else path / model_directory.WEIGHTS
        if path.is_file():
            now[name] = model_directory.file_hash(path)
    file = directory / BUILT_ON
    before = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
    for name, known in before.items():
        if now.get(name, known) != known:
            raise InputError(
                f"{directory}: this run was begun with another '{name}' than the one that is "
                'there now. Delete the folder to train it again, or give another --output')
    if now and not before:
        atomic.write_text(file, json.dumps(now, indent=1))
    return now


def write_model(
    directory: Path, network: nn.Module, spec: ModelSpec, config: TrainingConfig,
    frames: SegmentationDataset,
) -> None:
    """
    Write a model directory; `model.yaml` comes last, so a torn one is not taken for a model.

    :param directory: Where; it is made if it is missing.
    :param network: Trained network, on the CPU, in evaluation mode.
    :param spec: Its description.
    :param config: The resolved configuration of its run.
    :param frames: Real frames on which the export must agree with the network.
    """
    directory.mkdir(parents=True, exist_ok=True)
    half_precision = config.half_precision_weights
    if half_precision:
        network = network.half().float()  # round first, so that both files hold the same numbers
    save_weights(network, directory / model_directory.WEIGHTS, half_precision=half_precision)
    onnx_path = directory / model_directory.ONNX
    export_onnx(network, spec, onnx_path)
    check_parity(network, onnx_path, spec, [frames.image(0), frames.image(len(frames) - 1)])
    atomic.write_text(directory / model_directory.CONFIG, to_yaml(config))
    model_directory.write_spec(directory, spec)


def measure(directory: Path, validation: SegmentationDataset, *, description: str) -> Scores:
    """
    Score a model directory on labelled frames, through the runtime that a robot uses.

    :param directory: The model directory.
    :param validation: Labelled frames.
    :param description: Text of the progress bar.
    """
    segmenter = Segmenter.load(directory, runtime='onnxruntime')
    with progress_bar(description, len(validation)) as advance:
        return evaluate(
            segmenter, validation, label_space=segmenter.label_space, progress=advance)


def trained_for(config: TrainingConfig) -> DataConfig:
    """
    Return the data set whose look a run makes a network know: the target, or else the source.

    :param config: The run's configuration.
    """
    return (*_target(config), config.source)[0]


def _target(config: TrainingConfig) -> tuple[DataConfig, ...]:
    return (config.target,) if METHODS[config.method.name].uses_target else ()


def _train(
    name: str, config: TrainingConfig, directory: Path, data_root: Path | None,
    soft_labels: SharedMaps | None,
) -> tuple[nn.Module, float]:
    uses_target = METHODS[config.method.name].uses_target
    teacher = getattr(config.method, 'teacher', None)
    stages = directory.parent
    trainer = Trainer(
        config, directory=directory, source=open_dataset(config.source, data_root),
        target=open_dataset(config.target, data_root) if uses_target else None,
        teacher=load_teachers(teacher, config, stages),
        initial=load_initial(config.model.init, config, stages), soft_labels=soft_labels)
    began = time.perf_counter()
    records = RunRecords(
        trainer, name=name, validation=open_dataset(config.validation, data_root),
        commit=commit()) if present_processes().is_first else None
    with records or nullcontext(), progress_bar(f'{name}: train', config.steps) as advance:
        network = trainer.run(
            on_step=lambda step, losses: advance(step, _note(losses)), observer=records)
    return network, time.perf_counter() - began


def _note(losses: dict[str, float]) -> str:
    return ' '.join(f'{name} {value:.3f}' for name, value in losses.items())


def _read_finished(config: TrainingConfig, directory: Path) -> Scores:
    written = (directory / model_directory.CONFIG).read_text(encoding='utf-8')
    if written != to_yaml(config):
        raise InputError(
            f'{directory}: a finished model with other settings is here. Give another --output, '
            f'restore the settings (they are in {model_directory.CONFIG}), or delete the folder')
    metrics = json.loads((directory / model_directory.METRICS).read_text(encoding='utf-8'))
    return Scores.from_dict(metrics['scores'])
