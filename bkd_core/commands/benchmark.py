# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd benchmark` and its subcommands, which `Benchmark` lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence, Union

from bkd_core.commands.options import find_data_root, refuse_options, require_training
from bkd_core.errors import InputError
import tyro


@dataclass(frozen=True, kw_only=True)
class AdaptationRuns:
    """
    Which runs of a protocol a benchmark makes, and where they go.

    :param protocol: See the options of the same names.
    """

    protocol: str = 'gazebo_to_camvid'
    """Name of a protocol in config/protocols, or the path of such a YAML file."""
    budget: str = 'cpu'
    """Name of one of the protocol's budgets."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of each for each of them."""
    output: Path = Path('runs/adaptation')
    """Folder of the model directories."""
    results: Path = Path('docs/results')
    """Folder of the lines, the table and the picture."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""
    dry_run: bool = False
    """List the runs, what is done and the minutes that are left, and stop."""

    def make(self, protocol: Any, runs: Sequence[Any], record: Any) -> None:
        """
        List the runs, and make those that have no line yet.

        :param protocol: From `load_protocol`.
        :param runs: Planned from it.
        :param record: What is kept of them.
        """
        from bkd_core.benchmarks import adaptation
        places = {'output': self.output, 'results': self.results, 'record': record}
        adaptation.list_runs(protocol, self.budget, runs, **places)
        if not self.dry_run:
            adaptation.run_adaptation(
                protocol, self.budget, runs, data_root=find_data_root(self.data_root), **places)
            print(f'table: {self.results / record.table}')


@dataclass(frozen=True, kw_only=True)
class Adaptation(AdaptationRuns):
    """
    Measure methods side by side, over seeds, and write the table.

    Every run of protocol x method x seed becomes a model directory below the output folder and
    one line in RESULTS/adaptation.jsonl; RESULTS/adaptation.md is written from the lines. A run
    that has its line is not made again; an interrupted one goes on from its last checkpoint when
    the same command is given again.

    For example:

        bkd benchmark adaptation --protocol streets --dry-run
        bkd benchmark adaptation --protocol gazebo_to_camvid --budget cpu --seeds 0 1 2
        bkd benchmark adaptation --methods self_training bilateral_distillation oracle
    """

    methods: tuple[str, ...] = ()
    """Methods to measure, default all; 'ablation' stands for BKD without each of its parts. BKD
    learns from every teacher that is named, or from all if none is. What a method builds on is
    measured too."""

    def run(self) -> None:
        """Measure."""
        require_training()
        from bkd_core.benchmarks import adaptation
        protocol = adaptation.load_protocol(self.protocol)
        runs = adaptation.plan_runs(
            protocol, self.budget, methods=self.methods, seeds=self.seeds)
        self.make(protocol, runs, adaptation.ADAPTATION)


@dataclass(frozen=True, kw_only=True)
class Search(AdaptationRuns):
    """
    Change BKD's settings one at a time around the defaults, and compare seed by seed.

    Writes RESULTS/search.jsonl and RESULTS/search.md, and goes on from them like 'adaptation'.

    For example:

        bkd benchmark search --protocol streets
        bkd benchmark search --protocol streets --factors temperature mining.form
    """

    factors: tuple[str, ...] = ()
    """Settings to change, such as temperature or mining.form; default all."""

    def run(self) -> None:
        """Measure."""
        require_training()
        from bkd_core.benchmarks import adaptation
        protocol = adaptation.load_protocol(self.protocol)
        runs = adaptation.plan_search(
            protocol, self.budget, factors=self.factors, seeds=self.seeds)
        self.make(protocol, runs, adaptation.SEARCH)


@dataclass(frozen=True, kw_only=True)
class Online:
    """
    Prove the adaptation rounds of 'bkd adapt', and write RESULTS/online.md.

    round: one round from rendered streets to CamVid's video. ten: ten rounds in a row on it,
    beside plain entropy minimisation (TENT). gate: forty rounds on generated streets, half of
    them sabotaged. continual: one target after the other, with and without a memory; streets by
    day, night and fog, CamVid by day, dusk and day. rate: how many labels a second the ROS 2 node
    gives on two cores, without a round and while one trains.

    Every round becomes a line in RESULTS/online.jsonl, and the same command goes on after the
    last one. CamVid and the rendered streets are needed for all but gate and rate.

    For example:

        bkd benchmark online --dry-run
        bkd benchmark online --parts gate
        bkd benchmark online --parts round --seeds 0 1 2 --data-root ~/data
    """

    parts: tuple[str, ...] = ('round', 'ten', 'gate', 'continual', 'rate')
    """What to measure: round, ten, gate, continual, rate."""
    budget: str = 'cpu'
    """How long: cpu."""
    seeds: tuple[int, ...] = (0,)
    """One chain of rounds for each of them."""
    threads: int = 0
    """Processor threads of the training; 0 leaves the choice to torch."""
    output: Path = Path('runs/online')
    """Folder of starts, recordings and versions."""
    results: Path = Path('docs/results')
    """Folder of the lines, the page and the charts."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""
    dry_run: bool = False
    """Say what is left and how many minutes that may take, and stop."""

    def run(self) -> None:
        """Measure."""
        require_training()
        from bkd_core.benchmarks import online
        import torch
        choice = {'parts': self.parts, 'budget': self.budget, 'seeds': self.seeds}
        for sentence in online.list_work(self.results, **choice):
            print(sentence)
        if self.dry_run:
            return
        if self.threads:
            torch.set_num_threads(self.threads)
        page = online.run_online(
            self.results, output=self.output, data_root=find_data_root(self.data_root), **choice)
        print(f'page: {page}')


@dataclass(frozen=True, kw_only=True)
class Node:
    """
    Run the ROS 2 node beside one written by hand, and write RESULTS/node.md.

    For example:

        bkd benchmark node --seconds 60
    """

    seconds: float = 60.0
    """How long the cameras run, each of ten times."""
    results: Path = Path('docs/results')
    """Folder of the numbers and the table."""

    def run(self) -> None:
        """Measure."""
        from bkd_core.benchmarks.node import run_node_benchmark
        print(f'table: {run_node_benchmark(self.results, seconds=self.seconds)}')


@dataclass(frozen=True, kw_only=True)
class Latency:
    """
    Time every installed runtime from frame to labels beside plain torch.

    Writes RESULTS/latency.md. One thread and all, alone and beside a busy process.

    For example:

        bkd benchmark latency
        bkd benchmark latency --model runs/streets/student --rounds 50
    """

    model: str = 'default'
    """Model directory, or 'default' for the student that comes with the package."""
    rounds: int = 20
    """Timed turns of each way, for each size of frame, thread count and neighbour."""
    peer: bool = True
    """Also run torchvision's LR-ASPP MobileNetV3-Large, with random weights."""
    results: Path = Path('docs/results')
    """Folder of the page, the numbers and the chart."""

    def run(self) -> None:
        """Measure."""
        require_training()
        from bkd_core.benchmarks.latency.run import run_latency_benchmark
        page = run_latency_benchmark(
            self.results, model=self.model, rounds=self.rounds, has_peer=self.peer)
        print(f'page: {page}')


@dataclass(frozen=True, kw_only=True)
class Training:
    """
    Time a training step part by part, beside the same step written plainly.

    Writes RESULTS/training_speed.md. Needs no data: it trains on generated streets.

    For example:

        bkd benchmark training
        bkd benchmark training --device cuda --crop 512 --batch 8
    """

    crop: int = 224
    """Side of the crops, pixels; a multiple of 32."""
    batch: int = 4
    """Crops of each domain."""
    rounds: int = 15
    """Timed steps of each method and of its plain version."""
    threads: int = 0
    """Processor threads; 0 leaves the choice to torch."""
    device: str = 'auto'
    """auto, cpu or cuda."""
    results: Path = Path('docs/results')
    """Folder of the numbers and the table."""

    def run(self) -> None:
        """Measure."""
        require_training()
        from bkd_core.benchmarks.training import run_training_benchmark
        table = run_training_benchmark(
            self.results, crop=self.crop, batch=self.batch, rounds=self.rounds,
            threads=self.threads, device=self.device)
        print(f'table: {table}')


@dataclass(frozen=True, kw_only=True)
class Selection:
    """
    Measure on CamVid which frames a store should keep, and write RESULTS/frame_selection.md.

    For example:

        bkd benchmark selection --data-root ~/data
    """

    model: str = 'default'
    """The student: a model directory, or 'default' for the one that comes with the package."""
    num_seeds: int = 5
    """How many times each stream of frames is drawn."""
    results: Path = Path('docs/results')
    """Folder of the page."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""

    def run(self) -> None:
        """Measure."""
        require_training()
        root = find_data_root(self.data_root)
        if root is None:
            raise InputError(
                'CamVid is needed: give --data-root DIR or set BKD_DATA_ROOT')
        from bkd_core.benchmarks.frame_selection import run_selection_benchmark
        page = run_selection_benchmark(
            self.results, data_root=root, model=self.model, num_seeds=self.num_seeds)
        print(f'page: {page}')


@dataclass(frozen=True, kw_only=True)
class Shift:
    """
    Measure how well models that were trained for CamVid by day notice dusk, and write the table.

    For example:

        bkd benchmark shift --models runs/day/source_only --data-root ~/data
    """

    models: tuple[str, ...]
    """Model directories."""
    results: Path = Path('docs/results')
    """Folder of the numbers and the table."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""

    def run(self) -> None:
        """Measure."""
        require_training()
        from bkd_core.benchmarks.shift import run_shift_benchmark
        path = run_shift_benchmark(
            self.models, self.results, data_root=find_data_root(self.data_root))
        print(f'table: {path}')


@dataclass(frozen=True, kw_only=True)
class Students:
    """
    Train students of several designs on CamVid and set their mIoU against their milliseconds.

    Writes RESULTS/students.jsonl, students.md and students.svg. A training that has its line is
    not made again, an interrupted one goes on; the times of all chosen designs are then measured
    together, by one thread. Run it where nothing else runs; about half a gigabyte of memory a
    design.

    For example:

        bkd benchmark students --data-root ~/data
        bkd benchmark students --designs default 'stride 8' --seeds 0 1 2
    """

    designs: tuple[str, ...] = ()
    """Which designs; default all, see bkd_core/benchmarks/students/designs.py."""
    seeds: tuple[int, ...] = (0,)
    """One training of each design for each of them; the first one's model is timed."""
    steps: int = 300
    """Optimizer steps of a training."""
    rounds: int = 20
    """Timed turns of each way from a frame to labels."""
    output: Path = Path('runs/students')
    """Folder of the model directories."""
    results: Path = Path('docs/results')
    """Folder of the lines, the page and the chart."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""

    def run(self) -> None:
        """Measure."""
        require_training()
        from bkd_core.benchmarks.students import run_student_benchmark
        page = run_student_benchmark(
            self.results, output=self.output, data_root=find_data_root(self.data_root),
            designs=self.designs, seeds=self.seeds, steps=self.steps, rounds=self.rounds)
        print(f'page: {page}')


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """
    Measure something side by side, and write the table.

    For example:

        bkd benchmark adaptation --help
        bkd benchmark search --help
        bkd benchmark online --help
        bkd benchmark node --help
        bkd benchmark latency --help
        bkd benchmark selection --help
        bkd benchmark shift --help
        bkd benchmark students --help
        bkd benchmark training --help
    """

    what: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[
        Union[Adaptation, Search, Online, Node, Latency, Selection, Shift, Students, Training]]]

    def run(self, overrides: list[str]) -> None:
        """
        Measure.

        :param overrides: Must be empty.
        """
        refuse_options(self.what, overrides, 'benchmark ')
        self.what.run()
