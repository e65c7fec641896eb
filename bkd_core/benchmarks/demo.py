# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole way in a few minutes: two domains, adaptation, a camera before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
import statistics
import time

from bkd_core import atomic
from bkd_core.benchmarks.demo_gate import swap_student
from bkd_core.benchmarks.node_views import node_picture, node_views
from bkd_core.benchmarks.ros_playback import (
    CONFIDENCE_TOPIC,
    has_ros,
    IMAGE_TOPIC,
    LABELS_TOPIC,
    OVERLAY_TOPIC,
    play_through_node,
    score,
)
from bkd_core.config import DataConfig, TrainingConfig
from bkd_core.config_file import load_experiment
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.datasets.streets import Streets
from bkd_core.evaluation import Scores, scores_of
from bkd_core.experiment import run_experiment
from bkd_core.inference import Segmenter
from bkd_core.labels import LabelSpace
from bkd_core.progress import progress_bar
from bkd_core.report import Picture, Table, write_report
from bkd_core.visualization import colorize, encode_jpeg, encode_png, legend, overlay
import numpy as np
from rich.console import Console
from rich.table import Table as ConsoleTable

CONFIG = Path(__file__).with_name('demo.yaml')
SOURCE_FRAMES = 160
RECORDED_FRAMES = 60
HELD_OUT_FRAMES = 30
REPLAY_FRAMES = 16  # of the source, for the gate
FRAME_PERIOD_NS = 100_000_000  # the recording's camera runs at 10 Hz
TIMED_FRAMES = 30
NODE_PICTURE = 'node.jpg'


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    One network's line in the table.

    :param name: Name of the stage.
    :param held_out: Scores on frames of the target that no training step saw.
    :param node: Scores of the labels that the ROS 2 node sent for the recording; None where
        the node was not run.
    :param answered: Share of the recording's frames that the node answered.
    :param answers: Recording of what the node sent.
    :param frames_per_second: From frame to labels in one process, median.
    """

    name: str
    held_out: Scores
    frames_per_second: float
    node: Scores | None = None
    answered: float | None = None
    answers: Path | None = None


def run_demo(output: Path, *, steps: int | None = None, use_ros: bool = True) -> Path:
    """
    Run the demo and write its report; stages that are finished in `output` are not repeated.

    :param output: Folder for recordings, models, versions, node.jpg and report.html.
    :param steps: Steps of each stage instead of the configuration's.
    :param use_ros: Play the recording through the node before and after.
    :return: Path of report.html.
    :raises InputError: If the folder holds a demo with other settings, or a node fails.
    """
    console = Console()
    began = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    drive = Streets(domain='target', num_frames=RECORDED_FRAMES)
    recording = write_recording(drive, output / 'target_recording')
    source = write_images(
        Streets(domain='source', num_frames=SOURCE_FRAMES), output / 'source')
    console.print(f'{SOURCE_FRAMES} labelled source frames: {source}')
    console.print(f'{len(drive)} target frames, recorded without labels: {recording}')
    stages = demo_stages(source, recording, steps)
    scores = run_experiment(stages, output=output / 'models', data_root=None)
    rows = [
        Row(name=name, held_out=score, frames_per_second=_speed(output / 'models' / name, drive))
        for name, score in scores.items()]
    version, gate = swap_student(
        output / 'models', output / 'versions', sources=(recording,), num_adapting=len(drive),
        frames=Streets(
            domain='target', num_frames=HELD_OUT_FRAMES, first_frame=RECORDED_FRAMES,
            has_labels=False),
        replay=Streets(
            domain='source', num_frames=REPLAY_FRAMES, first_frame=SOURCE_FRAMES))
    if use_ros and has_ros():
        rows = [
            row if row.name == 'teacher' else play(row, drive, recording, output) for row in rows]
    else:
        console.print(
            'the ROS 2 node was not run: '
            + ('rclpy is not installed' if use_ros else 'switched off by --no-ros'))
    table = _table(rows)
    for shown in (table, gate):
        _print(console, shown)
    console.print(
        f'version {version.name}: {version.state}; why: {version.directory / "report.html"}')
    pictures = [*_node_pictures(rows[-1], recording, output, drive), *_pictures(output, drive)]
    seconds = time.perf_counter() - began
    report = output / 'report.html'
    write_report(
        report, title='Bilateral Knowledge Distillation on generated streets',
        intro=_intro(stages, seconds), tables=[table, gate], pictures=pictures)
    console.print(f'{seconds:.0f} s; report: {report}')
    return report


def demo_stages(
    source: Path, recording: Path, steps: int | None,
) -> dict[str, TrainingConfig]:
    """
    Return the demo's configurations: the target is the recording, so no label can be read.

    :param source: Folder of the labelled source images.
    :param recording: The rosbag of the target drive.
    :param steps: Steps of each stage, or None for the configuration's own.
    """
    labelled = DataConfig(
        name='image_folder', root=str(source.absolute()), options={'label_space': 'street9'})
    target = DataConfig(name='recording', root=str(recording.absolute()))
    validation = DataConfig(name='streets', options={
        'domain': 'target', 'num_frames': HELD_OUT_FRAMES, 'first_frame': RECORDED_FRAMES})
    return {
        name: replace(
            config, source=labelled, target=target, validation=validation,
            steps=steps or config.steps)
        for name, config in load_experiment(CONFIG).items()}


def write_images(dataset: SegmentationDataset, folder: Path) -> Path:
    """
    Write a labelled data set as image files, as `image_folder` reads them.

    :param dataset: Its frames and labels.
    :param folder: Where; one that is there is kept.
    """
    if folder.exists():
        return folder
    with atomic.directory(folder) as temporary:
        (temporary / 'images').mkdir()
        (temporary / 'labels').mkdir()
        with progress_bar('draw the source', len(dataset)) as advance:
            for index in range(len(dataset)):
                name = dataset.name(index)
                (temporary / 'images' / f'{name}.jpg').write_bytes(
                    encode_jpeg(dataset.image(index)))
                (temporary / 'labels' / f'{name}.png').write_bytes(
                    encode_png(dataset.labels(index)))
                advance(index + 1)
    return folder


def write_recording(drive: SegmentationDataset, path: Path) -> Path:
    """
    Write the frames of a drive as a rosbag2 MCAP recording of a compressed camera topic.

    :param drive: Its frames; the labels stay out.
    :param path: The recording's folder; one that is there is kept.
    """
    if path.exists():
        return path
    with progress_bar('record the target', len(drive)) as advance:
        with RecordingWriter(path) as writer:
            for index in range(len(drive)):
                writer.write_image(
                    IMAGE_TOPIC, drive.image(index), stamp_ns=_stamp_ns(index), compressed=True)
                advance(index + 1)
    return path


def play(row: Row, drive: SegmentationDataset, recording: Path, output: Path) -> Row:
    """
    Return the row with what the running node answered to the recording.

    :param row: A network's row.
    :param drive: The drive that was recorded; here its labels are read, to score.
    :param recording: The recording.
    :param output: The demo's folder.
    """
    answers = output / f'node_{row.name}_{time.time_ns()}'
    playback = play_through_node(
        output / 'models' / row.name, recording, num_frames=len(drive),
        duration_s=len(drive) * FRAME_PERIOD_NS / 1e9, output=answers,
        topics=(LABELS_TOPIC, CONFIDENCE_TOPIC, OVERLAY_TOPIC))
    truth = {_stamp_ns(index): drive.labels(index) for index in range(len(drive))}
    confusion = score(playback, truth, drive.label_space.num_classes)
    return replace(
        row, answered=len(playback.labels) / len(drive), answers=answers,
        node=scores_of(
            confusion, drive.label_space, mean_entropy=float('nan'),
            num_frames=len(playback.labels)))


def _stamp_ns(index: int) -> int:
    return 1_700_000_000_000_000_000 + index * FRAME_PERIOD_NS


def _speed(model: Path, drive: SegmentationDataset) -> float:
    segmenter = Segmenter.load(model, runtime='onnxruntime')
    frame = drive.image(0)
    segmenter.warm_up(*frame.shape[:2])
    seconds = []
    for _ in range(TIMED_FRAMES):
        began = time.perf_counter()
        segmenter(frame)
        seconds.append(time.perf_counter() - began)
    return 1 / statistics.median(seconds)


def _table(rows: list[Row]) -> Table:
    lines = [['mIoU', *(_percent(row.held_out.miou) for row in rows)]]
    for name in rows[0].held_out.iou:
        lines.append([f'  {name}', *(_percent(row.held_out.iou[name]) for row in rows)])
    lines += [
        ['mIoU of the labels over ROS 2', *(
            _percent(row.node.miou) if row.node else '-' for row in rows)],
        ['recorded frames answered', *(
            '-' if row.answered is None else f'{100 * row.answered:.0f} %' for row in rows)],
        ['frames per second', *(f'{row.frames_per_second:.0f}' for row in rows)]]
    note = (
        f'IoU in percent on {HELD_OUT_FRAMES} frames of the target drive that no training step '
        f'saw. Over ROS 2: labels received from the node for the {RECORDED_FRAMES} frames of the '
        'recording, against their truth. One seed. Frames per second: the segmenter in one '
        'process on this machine.')
    return Table(
        title='Before and after', columns=['', *(row.name for row in rows)], rows=lines, note=note)


def _percent(value: float) -> str:
    return '-' if value != value else f'{100 * value:.1f}'


def _print(console: Console, table: Table) -> None:
    shown = ConsoleTable(title=table.title, caption=table.note)
    for column in table.columns:
        shown.add_column(column, overflow='fold')
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)


def _intro(stages: dict[str, TrainingConfig], seconds: float) -> list[str]:
    steps = ', '.join(f'{name} {config.steps}' for name, config in stages.items())
    return [
        'Source: generated streets with labels. Target: another look of such streets, recorded '
        'as a rosbag2 MCAP without labels. The teacher was adapted by self-training (DACS); the '
        'student learnt from the fixed teacher by Bilateral Knowledge Distillation. Teacher and '
        'student started from the source-only network.',
        f'Optimizer steps: {steps}. The whole run took {seconds:.0f} s.']


def _node_pictures(
    row: Row, recording: Path, output: Path, drive: SegmentationDataset,
) -> list[Picture]:
    """Write node.jpg and return its parts for the report; nothing if the node was not run."""
    if row.answers is None:
        return []
    views = node_views(recording, row.answers, drive.label_space)
    atomic.write_bytes(
        output / NODE_PICTURE, encode_jpeg(node_picture(views, drive.label_space)))
    return [Picture(f'What the node sent, with the {row.name}', views)]


def _pictures(output: Path, drive: SegmentationDataset) -> list[Picture]:
    before = Segmenter.load(output / 'models' / 'source_only', runtime='onnxruntime')
    after = Segmenter.load(output / 'models' / 'student', runtime='onnxruntime')
    space = drive.label_space
    pictures = [
        Picture(f'Frame {index} of the recording', _side_by_side(
            drive.image(index), drive.labels(index), before, after, space))
        for index in np.linspace(0, len(drive) - 1, 5).astype(int).tolist()]
    return [*pictures, Picture('Classes', [('', legend(space))])]


def _side_by_side(
    frame: np.ndarray, truth: np.ndarray, before: Segmenter, after: Segmenter, space: LabelSpace,
) -> list[tuple[str, np.ndarray]]:
    return [
        ('frame', frame),
        ('before: source only', overlay(frame, before(frame).labels, space, opacity=0.7)),
        ('after: BKD student', overlay(frame, after(frame).labels, space, opacity=0.7)),
        ('truth', colorize(truth, space))]
