# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a round takes from the cameras: the node's output with and without one, on two cores."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Iterator

from bkd_core import model_directory
from bkd_core.adaptation.frame_store import FrameStore
from bkd_core.benchmarks.demo import write_images
from bkd_core.benchmarks.node import percentile
from bkd_core.benchmarks.online.journal import Journal
from bkd_core.benchmarks.ros_playback import has_ros
from bkd_core.benchmarks.ros_processes import own_domain, shared_memory, stop, tail
from bkd_core.datasets.frame_record import FrameMetadata
from bkd_core.datasets.streets import Streets
from bkd_core.errors import InputError
from bkd_core.training.checkpoint import fingerprint
import numpy as np

NUM_CORES = 2
_IMAGE = '/camera/image'
_SHOWN, _STORED, _REPLAY = 20, 60, 16  # frames
_PERIOD_NS = 100_000_000
_STORE_BYTES = 1_000_000_000
_PATIENCE_S = 600
_NODE, _ADAPTATION, _CAMERA = (
    'segmentation_node', 'adaptation_node', 'benchmark.round_rate')
# So many that the round trains as long as it is watched.
_OPTIONS = '[--teacher-steps=1000000]'


@dataclass(frozen=True, kw_only=True)
class RateSettings:
    """
    How the node's rate is measured.

    :param sizes: (height, width) of the camera's frames, pixels; each gives a line.
    :param camera_rate: Frames per second.
    :param seconds: How long the camera films each time.
    :param turns: How often it films without a round and while one trains.
    :param priority: Of the round, as `adaptation_node` knows it.
    :param model: What labels and what the round begins with; of the classes of street9.
    """

    sizes: tuple[tuple[int, int], ...] = ((480, 640), (720, 1280))
    camera_rate: float = 30.0
    seconds: float = 15.0
    turns: int = 2
    priority: str = 'idle'
    model: str = 'default'


def rate_run(settings: RateSettings) -> str:
    """
    Return the run's name, which ends in the hash of its settings and of the model.

    :param settings: The settings.
    """
    model = (model_directory.resolve(settings.model) / model_directory.MODEL_YAML).read_text()
    return f'rate_{fingerprint(json.dumps([asdict(settings), model]))[:8]}'


def require_ros() -> None:
    """
    Refuse to begin without ROS 2.

    :raises InputError: If it is not installed.
    """
    if not has_ros():
        raise InputError(
            "benchmark online, part 'rate': rclpy is not installed. Source a ROS 2 installation, "
            "or install it from wheels: pip install 'bkd_ros[ros]'; or leave the part out: "
            '--parts')


def run_rate(settings: RateSettings, journal: Journal, *, output: Path) -> None:
    """
    Measure the sizes that have no line yet.

    :param settings: The settings.
    :param journal: The record.
    :param output: Folder of what the round learns from.
    :raises InputError: If ROS 2 is missing or a process fails.
    """
    run = rate_run(settings)
    missing = [
        number for number in range(len(settings.sizes)) if not journal.has(run, number)]
    if not missing:
        return
    require_ros()
    folder = output / 'rate'
    write_images(Streets(domain='source', num_frames=_REPLAY), folder / 'replay')
    fill_store(folder / 'store')
    for number in missing:
        size, load = settings.sizes[number], os.getloadavg()[0]
        began = time.perf_counter()
        with cores(NUM_CORES) as num_cores:
            turns, runtime = measure(size, settings, folder)
        journal.add(
            kind='rate', run=run, number=number, seed=0, size=size, runtime=runtime,
            priority=settings.priority, num_cores=num_cores, load=load,
            turns=[summarise(turn) for turn in turns],
            seconds=round(time.perf_counter() - began, 1))


def measure(
    size: tuple[int, int], settings: RateSettings, folder: Path,
) -> tuple[list[dict[str, Any]], str]:
    """
    Run the nodes and a camera as processes of their own.

    :param size: (height, width) of the frames.
    :param settings: The settings.
    :param folder: Holds the frame store and the replay.
    :return: What each turn gave, and the node's runtime.
    :raises InputError: If a process fails, with the end of what it printed.
    """
    environment = {**own_domain(), **shared_memory(), 'PYTHONUNBUFFERED': '1'}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        np.save(work / 'frames.npy', np.stack([
            Streets(domain='target', num_frames=_SHOWN, size=size).image(index)
            for index in range(_SHOWN)]))

        def start(module: str, *arguments: str) -> subprocess.Popen:
            with _log(work, module).open('w') as stream:
                return subprocess.Popen(
                    [sys.executable, '-m', f'bkd_ros.{module}', *arguments],
                    env=environment, stdout=stream, stderr=stream)

        nodes = [
            start(_NODE, *parameters(model=settings.model), '-r', f'image:={_IMAGE}'),
            start(_ADAPTATION, *parameters(
                model=settings.model, store=folder / 'store', replay=folder / 'replay',
                versions=work / 'versions', priority=settings.priority, device='cpu',
                options=_OPTIONS))]
        camera = start(
            _CAMERA, '--frames', str(work / 'frames.npy'), '--rate', str(settings.camera_rate),
            '--seconds', str(settings.seconds), '--turns', str(settings.turns), '--report',
            str(work / 'report.json'))
        try:
            code = camera.wait(_PATIENCE_S + 4 * settings.turns * settings.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            stop([camera, *nodes])
        if code != 0:
            said = '; '.join(
                f'{module}: {tail(_log(work, module))}'
                for module in (_CAMERA, _NODE, _ADAPTATION))
            raise InputError(
                'benchmark online, part rate: the camera '
                + ('did not end in time' if code is None else f'ended with code {code}')
                + f'. {said}')
        runtime = _runtime(_log(work, _NODE).read_text(errors='replace'))
        return json.loads((work / 'report.json').read_text()), runtime


def parameters(**values: object) -> list[str]:
    """
    Return the arguments that give a node its parameters.

    :param values: Value by name.
    """
    return ['--ros-args', *(
        word for name, value in values.items() for word in ('-p', f'{name}:={value}'))]


def summarise(turn: dict[str, Any]) -> dict[str, Any]:
    """
    Return the numbers of a turn: what is kept of the rate, and medians in place of lists.

    :param turn: What the camera noted.
    """
    numbers: dict[str, Any] = {
        key: turn[key] for key in ('steps_per_s_alone', 'steps_per_s')}
    for key in ('without', 'during'):
        latencies = sorted(turn[key]['latencies_ms'])
        numbers[key] = {
            'sent_per_s': turn[key]['sent_per_s'], 'labels_per_s': turn[key]['labels_per_s'],
            'latency_p50_ms': percentile(latencies, 0.5),
            'latency_p95_ms': percentile(latencies, 0.95)}
    rates = [numbers[key]['labels_per_s'] for key in ('without', 'during')]
    return {**numbers, 'kept': rates[1] / rates[0] if rates[0] else float('nan')}


def fill_store(folder: Path) -> None:
    """
    Write a drive into a frame store, as the collector leaves it.

    :param folder: The store; frames that are there stay.
    """
    drive = Streets(domain='target', num_frames=_STORED, has_labels=False)
    with FrameStore(folder, max_bytes=_STORE_BYTES) as store:
        for index in range(len(store), len(drive)):
            store.add(drive.image(index), FrameMetadata(
                stamp_ns=index * _PERIOD_NS, topic=_IMAGE))


@contextmanager
def cores(number: int) -> Iterator[int]:
    """
    Let the processes that are started within use so many processor cores at most.

    :param number: How many.
    :return: How many they are.
    """
    before = os.sched_getaffinity(0)
    chosen = sorted(before)[:number]
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, before)


def mean_over_turns(line: dict[str, Any], *keys: str) -> float:
    """
    Return the mean of a number of a line's turns.

    :param line: The line.
    :param keys: Where the number lies in a turn.
    """
    values = []
    for value in line['turns']:
        for key in keys:
            value = value[key]
        values.append(value)
    return statistics.fmean(values)


def _log(folder: Path, module: str) -> Path:
    return folder / f'{module}.log'


def _runtime(log: str) -> str:
    """Return the runtime that the node names when it begins."""
    line = next(line for line in log.splitlines() if f'labels {_IMAGE} with' in line)
    return line.rpartition(' by ')[2]
