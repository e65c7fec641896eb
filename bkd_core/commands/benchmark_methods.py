# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd benchmark adaptation`, `search` and `online`: what methods and rounds achieve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

from bkd_core.commands.options import find_data_root, require_training


@dataclass(frozen=True, kw_only=True)
class AdaptationRuns:
    """Which runs of a protocol a benchmark makes, and where they go."""

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
        bkd benchmark adaptation --protocol camvid_day_to_dusk --methods ablation
    """

    methods: tuple[str, ...] = ()
    """Methods to measure; default: every teacher, the student of each, and the oracle. On request:
    'ablation', BKD without each of its parts; 'compact', a small student of a large teacher;
    'rounds', a student as the next one's teacher; 'all'. BKD learns from every teacher that is
    named, or from all if none is. What a method builds on is measured too."""

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
