# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line: bkd train | evaluate | predict | demo | benchmark."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, fields
import difflib
import importlib.util
import io
import itertools
import os
from pathlib import Path
import sys
from typing import Annotated, Any, Iterable, Literal, Union

from bkd_core import model_directory
from bkd_core.config import TrainingConfig
from bkd_core.config_file import load_experiment, override, to_yaml
from bkd_core.errors import InputError
from rich.console import Console
from rich.table import Table
import tyro

Model = Annotated[str, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class Train:
    """
    Train the stages of a configuration file.

    Each stage becomes a model directory below the output folder. A finished stage is not
    trained again; an interrupted one goes on from its last checkpoint when the same command is
    given again. Any setting can be replaced for all stages by a dotted option.

    For example:

        bkd train config/experiments/streets.yaml --output runs/streets
        bkd train config/experiments/streets.yaml --stage student --steps 800
        bkd train FILE --optimizer.learning-rate 1e-4 --seed 1 --output runs/seed1
    """

    config: Annotated[Path, tyro.conf.Positional]
    """YAML file; see config/experiments."""
    output: Path | None = None
    """Folder of the run; default runs/NAME_OF_THE_FILE."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""
    stage: tuple[str, ...] = ()
    """Stages to train; default all."""
    show: bool = False
    """Print the resolved settings of every stage and stop."""

    def run(self, overrides: list[str]) -> None:
        """
        Train.

        :param overrides: Dotted options.
        """
        stages = {
            name: config if self.stage and name not in self.stage
            else _override(self, config, overrides)
            for name, config in load_experiment(self.config).items()}
        if self.show:
            for name, config in stages.items():
                print(f'# stage {name}\n{to_yaml(config)}')
            return
        _need_training()
        from bkd_core.experiment import run_experiment
        output = self.output or Path('runs') / self.config.stem
        scores = run_experiment(
            stages, output=output, data_root=_data_root(self.data_root), only=self.stage)
        _print_scores(scores)
        print(f'models: {output}')


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

    model: Model
    """Model directory, or 'default' for the student that comes with the package."""
    output: Path | None = None
    """Folder for scores.json and noise_matrix.png (which class is taken for which)."""
    label_free: bool = False
    """Also give the scores that need no labels, on labelled frames too."""
    reference: str | None = None
    """A second model, such as the teacher: on how many pixels do both agree?"""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""
    runtime: str = 'auto'
    """auto, onnxruntime or torch."""

    def run(self, overrides: list[str]) -> None:
        """
        Score.

        :param overrides: Options that begin with --validation.
        """
        from bkd_core.datasets.open_dataset import open_dataset
        from bkd_core.inference import Segmenter
        directory = model_directory.resolve(self.model)
        trained = load_experiment(directory / model_directory.CONFIG)['model']
        chosen = _override(self, trained, overrides, prefix='validation')
        dataset = open_dataset(chosen.validation, _data_root(self.data_root))
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
        _print_scores({name: scores})
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
            print(f'{_percent(scores.agreement)} % of the pixels labelled like {self.reference}')
        print(f'flicker {_percent(scores.flicker)} % of the pixels from frame to frame (motion '
              'of the camera counts too; only for frames of one sequence)')
        return scores.to_dict()


@dataclass(frozen=True, kw_only=True)
class Predict:
    """
    Label an image, a folder of images, a video or a rosbag.

    Writes NAME.png with the class ids (255 is not used by a prediction) and, with --overlay,
    NAME_overlay.jpg. Frames of a rosbag are named by their stamp in nanoseconds.

    For example:

        bkd predict default photo.jpg --overlay
        bkd predict runs/streets/student recordings/drive --topic /camera/image_raw
        bkd predict default street.mp4 --output labels
    """

    model: Model
    """Model directory, or 'default' for the student that comes with the package."""
    input: Annotated[Path, tyro.conf.Positional]
    """Image, folder, video, or rosbag (rosbag2 folder, .mcap, .db3, .bag)."""
    output: Path = Path('predictions')
    """Folder for the labels."""
    topic: str | None = None
    """Image topic of a rosbag; needed if it holds several."""
    overlay: bool = False
    """Also write pictures of the frame under the coloured labels."""
    runtime: str = 'auto'
    """auto, onnxruntime or torch."""

    def run(self, overrides: list[str]) -> None:
        """
        Label.

        :param overrides: Must be empty.
        """
        _refuse(self, overrides)
        from bkd_core.inference import Segmenter
        from bkd_core.inference.predict import predict
        segmenter = Segmenter.load(self.model, runtime=self.runtime)
        count = predict(
            segmenter, self.input, output=self.output, topic=self.topic, overlay=self.overlay)
        print(f'{count} frames labelled in {self.output} (label space '
              f'{segmenter.label_space.name}: {", ".join(segmenter.label_space.classes)})')


@dataclass(frozen=True, kw_only=True)
class Demo:
    """
    Show the whole way: two generated domains, adaptation, a robot's camera before and after.

    Generates labelled source streets and a recording of unlabelled target streets, trains a
    source-only network, a teacher and a BKD student, plays the recording through the running
    ROS 2 node before and after, and writes report.html. About five minutes on two cores.

    For example:

        bkd demo
        bkd demo --output my_demo --steps 60
    """

    output: Path = Path('demo_output')
    """Folder for models, recordings and report.html."""
    steps: int | None = None
    """Steps of each training stage; default: what the demo's configuration says."""
    ros: bool = True
    """Play the recording through the ROS 2 node (needs rclpy)."""

    def run(self, overrides: list[str]) -> None:
        """
        Run the demo.

        :param overrides: Must be empty.
        """
        _refuse(self, overrides)
        _need_training()
        from bkd_core.benchmarks.demo import run_demo
        run_demo(self.output, steps=self.steps, use_ros=self.ros)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """
    Measure methods side by side, over seeds, and write the table.

    'node' runs the ROS 2 node beside one written by hand and writes RESULTS/node.md.
    'adaptation' compares methods; 'search' changes BKD's settings one at a time. Every run of
    protocol x method (or setting) x seed becomes a model directory below the output folder and
    one line in RESULTS/NAME.jsonl; RESULTS/NAME.md is written from the lines. A run that has its
    line is not made again; an interrupted one goes on from its last checkpoint when the same
    command is given again.

    For example:

        bkd benchmark adaptation --protocol streets --dry-run
        bkd benchmark adaptation --protocol gazebo_to_camvid --budget cpu --seeds 0 1 2
        bkd benchmark adaptation --methods self_training bilateral_distillation oracle
        bkd benchmark search --protocol streets --factors temperature mining.form
        bkd benchmark node --seconds 60
    """

    name: Annotated[Literal['adaptation', 'search', 'node'], tyro.conf.Positional]
    """What is measured."""
    protocol: str = 'gazebo_to_camvid'
    """Name of a protocol in config/protocols, or the path of such a YAML file."""
    budget: str = 'cpu'
    """Name of one of the protocol's budgets."""
    methods: tuple[str, ...] = ()
    """Methods to measure, default all; 'ablation' stands for BKD without each of its parts. BKD
    learns from every teacher that is named, or from all if none is. What a method builds on is
    measured too. Not for 'search'."""
    factors: tuple[str, ...] = ()
    """Settings of BKD that 'search' changes, such as temperature or mining.form; default all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of every method for each."""
    output: Path = Path('runs/adaptation')
    """Folder of the model directories."""
    results: Path = Path('docs/results')
    """Folder of the lines, the table and the picture."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""
    dry_run: bool = False
    """List the runs, what is done and the minutes that are left, and stop."""
    seconds: float = 60.0
    """How long the cameras of 'node' run, each of ten times."""

    def run(self, overrides: list[str]) -> None:
        """
        Measure.

        :param overrides: Must be empty.
        """
        _refuse(self, overrides)
        if self.name == 'node':
            from bkd_core.benchmarks.node import run_node_benchmark
            print(f'table: {run_node_benchmark(self.results, seconds=self.seconds)}')
            return
        unused = 'methods' if self.name == 'search' else 'factors'
        if getattr(self, unused):
            raise InputError(f"--{unused}: 'bkd benchmark {self.name}' has no such option")
        _need_training()
        from bkd_core.benchmarks import adaptation
        protocol = adaptation.load_protocol(self.protocol)
        if self.name == 'search':
            record = adaptation.SEARCH
            runs = adaptation.plan_search(
                protocol, self.budget, factors=self.factors, seeds=self.seeds)
        else:
            record = adaptation.ADAPTATION
            runs = adaptation.plan_runs(
                protocol, self.budget, methods=self.methods, seeds=self.seeds)
        places = {'output': self.output, 'results': self.results, 'record': record}
        adaptation.list_runs(protocol, self.budget, runs, **places)
        if not self.dry_run:
            adaptation.run_adaptation(
                protocol, self.budget, runs, data_root=_data_root(self.data_root), **places)
            print(f'table: {self.results / record.table}')


Command = Union[Train, Evaluate, Predict, Demo, Benchmark]


def main(arguments: list[str] | None = None) -> None:
    """
    Run a command; a user's mistake becomes one line on standard error and exit code 2.

    :param arguments: The command line without the program's name; None takes sys.argv.
    """
    try:
        command, rest = _parse(arguments)
        command.run(rest)
        sys.stdout.flush()
    except InputError as error:
        _fail(str(error), 2)
    except BrokenPipeError:  # such as `bkd train FILE --show | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        _fail(f'{error.filename}: {error.strerror}', 2)
    except KeyboardInterrupt:
        _fail('stopped; the same command goes on from the last checkpoint', 130)


def _fail(message: str, code: int) -> None:
    print('bkd: error:', ' '.join(message.split()), file=sys.stderr)
    sys.exit(code)


def _parse(arguments: list[str] | None) -> tuple[Command, list[str]]:
    """Return the command and the words that it doesn't know, which may be dotted options."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                Command, prog='bkd', args=arguments, return_unknown_args=True,
                description='Adapt a segmentation network to a camera without labels (UDA + BKD).')
    except SystemExit as stop:
        if not stop.code:
            raise  # it was --help
        # tyro draws a box; what stands above its inner line is the reason.
        lines = [line.strip('│ ') for line in complaint.getvalue().splitlines()[1:]]
        reason = itertools.takewhile(lambda line: not line.startswith(('─', '╰')), lines)
        raise InputError(' '.join(reason) + " See 'bkd --help'") from stop


def _override(
    command: Any, config: TrainingConfig, options: list[str], *, prefix: str = '',
) -> TrainingConfig:
    """Return the configuration with dotted options applied."""
    own = {f'--{item.name}'.replace('_', '-') for item in fields(command)}
    known = {f'--{key}' for key in _dotted_keys(asdict(config)) if key.startswith(prefix)}
    for option in options:
        name = option.split('=')[0].replace('_', '-')
        if name.startswith('--') and name not in known and '.options.' not in name:
            raise _unknown_option(name, known | own)
    return override(config, options, f'bkd {type(command).__name__.lower()}')


def _unknown_option(name: str, known: Iterable[str]) -> InputError:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ''
    return InputError(
        f"unknown option '{name}'.{hint} 'bkd train FILE --show' prints all settings")


def _dotted_keys(values: dict[str, Any], prefix: str = '') -> list[str]:
    keys = []
    for key, value in values.items():
        keys.append(f'{prefix}{key}'.replace('_', '-'))
        if isinstance(value, dict):
            keys.extend(_dotted_keys(value, f'{prefix}{key}.'))
    return keys


def _refuse(command: Any, words: list[str]) -> None:
    name = type(command).__name__.lower()
    for word in words:
        known = [f'--{item.name}'.replace('_', '-') for item in fields(command)]
        near = difflib.get_close_matches(word, known, n=1) if word.startswith('--') else []
        hint = f" Did you mean '{near[0]}'?" if near else ''
        raise InputError(f"unknown option '{word}'.{hint} See 'bkd {name} --help'")


def _data_root(given: Path | None) -> Path | None:
    variable = os.environ.get('BKD_DATA_ROOT')
    root = given or (Path(variable) if variable else None)
    if root is not None and not root.is_dir():
        where = '--data-root' if given else 'BKD_DATA_ROOT'
        raise InputError(f'{where}: no such folder: {root}')
    return root


def _need_training() -> None:
    for module in ('torch', 'torchvision', 'timm', 'safetensors', 'onnx'):
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"this command needs '{module}', which is not installed: "
                "pip install 'bkd_ros[train]'")


def _print_scores(scores: dict[str, Any]) -> None:
    table = Table(title='IoU in percent')
    for column in ('class', *scores):
        table.add_column(column, justify='left' if column == 'class' else 'right')
    for name in next(iter(scores.values())).iou:
        table.add_row(name, *(_percent(score.iou[name]) for score in scores.values()))
    table.add_section()
    table.add_row('mean', *(_percent(score.miou) for score in scores.values()))
    for subset in next(iter(scores.values())).subset_mious:
        means = (score.subset_mious[subset] for score in scores.values())
        table.add_row(f'mean, {subset}', *(_percent(mean) for mean in means))
    table.add_row(
        'pixel accuracy', *(_percent(score.pixel_accuracy) for score in scores.values()))
    table.add_row('calibration error', *(_percent(score.ece) for score in scores.values()))
    Console().print(table)


def _percent(value: float) -> str:
    return '-' if value != value else f'{100 * value:.1f}'


if __name__ == '__main__':
    main()
