# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd benchmark node`, `latency`, `students` and `training`: what takes how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bkd_core.commands.options import find_data_root, require_training


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
