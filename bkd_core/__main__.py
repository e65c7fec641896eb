# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line: bkd train | evaluate | predict | demo."""

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
from typing import Annotated, Any, Iterable, Union

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
    Score a model on labelled frames: IoU of each class, mIoU, pixel accuracy.

    Without options it is scored on the validation set of its own training run.

    For example:

        bkd evaluate runs/streets/student
        bkd evaluate default --validation.name camvid --validation.root camvid
        bkd evaluate MODEL --output scores --runtime torch
    """

    model: Model
    """Model directory, or 'default' for the student that comes with the package."""
    output: Path | None = None
    """Folder for scores.json."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""
    runtime: str = 'auto'
    """auto, onnxruntime or torch."""

    def run(self, overrides: list[str]) -> None:
        """
        Score.

        :param overrides: Options that begin with --validation.
        """
        import json

        from bkd_core import atomic
        from bkd_core.datasets.open_dataset import open_dataset
        from bkd_core.evaluation import evaluate
        from bkd_core.inference import Segmenter
        from bkd_core.progress import progress_bar
        directory = model_directory.resolve(self.model)
        trained = load_experiment(directory / model_directory.CONFIG)['model']
        chosen = _override(self, trained, overrides, prefix='validation')
        dataset = open_dataset(chosen.validation, _data_root(self.data_root))
        segmenter = Segmenter.load(self.model, runtime=self.runtime)
        with progress_bar('evaluate', len(dataset)) as advance:
            scores = evaluate(
                segmenter, dataset, label_space=segmenter.label_space, progress=advance)
        _print_scores({directory.name: scores})
        if self.output is not None:
            self.output.mkdir(parents=True, exist_ok=True)
            atomic.write_text(
                self.output / 'scores.json', json.dumps(scores.to_dict(), indent=1))


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


Command = Union[Train, Evaluate, Predict, Demo]


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
        _fail("stopped; 'bkd train' goes on from its last checkpoint", 130)


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
    table.add_row(
        'pixel accuracy', *(_percent(score.pixel_accuracy) for score in scores.values()))
    Console().print(table)


def _percent(value: float) -> str:
    return '-' if value != value else f'{100 * value:.1f}'


if __name__ == '__main__':
    main()
