# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Train the designs that are not trained yet, time all of them in turn, write the page."""

from __future__ import annotations

from dataclasses import replace
import json
import os
from pathlib import Path
import tempfile
from typing import Any, Sequence

from bkd_core import atomic, model_directory
from bkd_core.benchmarks.adaptation.results import append_line, read_lines
from bkd_core.benchmarks.latency.contestant import PEER, PLAIN
from bkd_core.benchmarks.latency.measure import Contestant, measure
from bkd_core.benchmarks.latency.run import installed_versions, SIZES, write_frames, write_peer
from bkd_core.benchmarks.students.designs import choose_designs, Design, PEER_HEIGHT
from bkd_core.benchmarks.students.page import CHART, chart, PAGE, page, points_of
from bkd_core.checkout import commit
from bkd_core.config_file import to_yaml
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.errors import InputError
from bkd_core.experiment import run_stage
from bkd_core.inference import machine
from bkd_core.inference.trial import candidates
from bkd_core.training.checkpoint import fingerprint

LINES = 'students.jsonl'


def run_student_benchmark(
    results: Path, *, output: Path, data_root: Path | None, designs: Sequence[str] = (),
    seeds: Sequence[int] = (0,), steps: int = 300, rounds: int = 20,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> Path:
    """
    Train, score and time students, and write the page and the chart.

    Each training adds a line to the record when it is done, and each timing another one. A
    training that has its line and its model directory is not made again; an interrupted one goes
    on from its checkpoint.

    :param results: Folder of the record, the page and the chart.
    :param output: Folder of the model directories.
    :param data_root: Folder that holds `camvid`.
    :param designs: Names of `DESIGNS`; none for all.
    :param seeds: One training of each design for each of them; the first one's is timed.
    :param steps: Optimizer steps of a training.
    :param rounds: Timed turns of each way.
    :param sizes: (height, width) of the frames that are timed, in pixels.
    :return: Path of the page.
    :raises InputError: If CamVid is missing or a setting is out of its range.
    """
    if rounds < 1 or not seeds:
        raise InputError(
            f'benchmark students: rounds {rounds}, seeds {list(seeds)}; expected one or more each')
    chosen = choose_designs(designs)
    config = chosen[0].config(steps=steps, seed=0)
    for data in (config.source, config.validation):  # before minutes of training, not after
        open_dataset(data, data_root)
    record = results / LINES
    directories = {}
    for design in chosen:
        for seed in dict.fromkeys(seeds):
            directory = _train(design, seed, steps, output, data_root, record)
            directories.setdefault(design.name, directory)
    append_line(record, time_students(directories, rounds=rounds, sizes=sizes))
    return write_page(results)


def write_page(results: Path) -> Path:
    """
    Write the page and the chart from the record.

    :param results: Their folder.
    :return: Path of the page.
    """
    lines = read_lines(results / LINES, ('kind', 'commit'))
    atomic.write_text(results / CHART, chart(points_of(lines)))
    atomic.write_text(results / PAGE, page(lines))
    return results / PAGE


def time_students(
    directories: dict[str, Path], *, rounds: int, sizes: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    """
    Time all ways of all designs in turn, by one thread, so that they meet the same machine.

    The plain way of LR-ASPP takes part too.

    :param directories: Model directory of each design, by its name.
    :param rounds: Timed turns of each way.
    :param sizes: (height, width) of the frames.
    :return: The record's line.
    """
    spec = model_directory.read_spec(next(iter(directories.values())))
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder), sizes)
        peer = write_peer(Path(folder) / 'peer', replace(spec, input_height=PEER_HEIGHT))
        contestants = [Contestant(model=PEER, directory=peer, runtime=PLAIN)]
        contestants += [
            Contestant(model=name, directory=directory, runtime=runtime)
            for name, directory in directories.items()
            for runtime in (PLAIN, *candidates(directory, 'cpu'))]
        rows, _ = measure(
            contestants, Path(folder), sizes=sizes, threads=1, rounds=rounds,
            neighbours=[False])
    return {
        'kind': 'times', 'rows': rows, 'rounds': rounds, 'machine': machine.identity(),
        'load': os.getloadavg()[0], 'versions': installed_versions(), 'commit': commit()}


def _train(
    design: Design, seed: int, steps: int, output: Path, data_root: Path | None, record: Path,
) -> Path:
    """Train and score a design, and add its line if it has none; return its model directory."""
    config = design.config(steps=steps, seed=seed)
    mark = fingerprint(to_yaml(config))
    label = design.name.replace(',', '').replace(' ', '_')
    directory = output / f'{label}_seed{seed}_{mark[:8]}'
    run_stage(design.name, config, directory=directory, data_root=data_root)
    known = {line.get('config_hash') for line in read_lines(record, ('kind', 'commit'))}
    if mark not in known:
        metrics = json.loads((directory / model_directory.METRICS).read_text(encoding='utf-8'))
        append_line(record, {
            'kind': 'score', 'design': design.name, 'options': design.options,
            'input_height': design.input_height, 'seed': seed, 'steps': steps,
            'miou': metrics['scores']['miou'], 'iou': metrics['scores']['iou'],
            'num_frames': metrics['scores']['num_frames'], 'seconds': metrics['seconds'],
            'parameters': metrics['parameters'], 'commit': metrics['commit'],
            'config_hash': mark})
    return directory
