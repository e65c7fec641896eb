# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure the segmentation node's own work beside a node written by hand, under real ROS 2."""

from __future__ import annotations

from dataclasses import dataclass
import json
import os
from pathlib import Path
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from bkd_core import atomic
from bkd_core.benchmarks.ros_playback import has_ros
from bkd_core.benchmarks.ros_processes import own_domain, shared_memory, tail
from bkd_core.checkout import commit
from bkd_core.errors import InputError
from bkd_core.progress import progress_bar

TABLE, NUMBERS = 'node.md', 'node.json'
NODES = {'ours': 'our_node', 'plain': 'plain_node'}
ROUNDS = 2  # ours, plain, ours, plain: what else the machine does then hits both
PATIENCE_S = 120


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """
    Cameras and a network.

    :param name: Its name, for people.
    :param size: (height, width) of the frames.
    :param rate: Frames per second of each camera.
    :param cameras: How many cameras; the plain node knows only one.
    :param network_ms: What the network takes.
    """

    name: str
    size: tuple[int, int]
    rate: float
    cameras: int = 1
    network_ms: float = 1.0

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that can do it."""
        return tuple(NODES) if self.cameras == 1 else ('ours',)


SCENARIOS = (
    Scenario(name='1280x720 at 30 Hz, network 1 ms', size=(720, 1280), rate=30),
    Scenario(
        name='640x480 at 30 Hz, network 100 ms', size=(480, 640), rate=30, network_ms=100),
    Scenario(name='four times 640x480 at 15 Hz, network 1 ms', size=(480, 640), rate=15,
             cameras=4))


def run_node_benchmark(results: Path, *, seconds: float) -> Path:
    """
    Run every scenario with every node, in turn, and write the table.

    :param results: Folder of the table and the numbers.
    :param seconds: How long the cameras run each time.
    :return: Path of the table.
    :raises InputError: If ROS 2 is missing or a process fails.
    """
    if not has_ros():
        raise InputError(
            "benchmark node: rclpy is not installed. Source a ROS 2 installation, or install it "
            "from wheels: pip install 'bkd_ros[ros]'")
    turns = [
        (scenario, node) for scenario in SCENARIOS for _ in range(ROUNDS)
        for node in scenario.nodes]
    measured = []
    with progress_bar('benchmark node', len(turns)) as advance:
        for number, (scenario, node) in enumerate(turns, 1):
            measured.append({
                'scenario': scenario.name, 'node': node, 'network_ms': scenario.network_ms,
                **measure(scenario, node, seconds=seconds)})
            advance(number, f'{node}: {scenario.name}')
    numbers = {
        'machine': f'{platform.machine()}, {os.cpu_count()} cores', 'load': os.getloadavg()[1],
        'python': platform.python_version(), 'commit': commit(), 'seconds': seconds,
        'runs': measured}
    results.mkdir(parents=True, exist_ok=True)
    atomic.write_text(results / NUMBERS, json.dumps(numbers, indent=1) + '\n')
    atomic.write_text(results / TABLE, table(numbers))
    return results / TABLE


def measure(scenario: Scenario, node: str, *, seconds: float) -> dict[str, Any]:
    """
    Run cameras and a node as processes of their own.

    :param scenario: What to run.
    :param node: One of `NODES`.
    :param seconds: How long the cameras run.
    :return: Numbers of one run.
    :raises InputError: If a process fails, with the end of what it printed.
    """
    environment = {**own_domain(), **shared_memory(), 'OMP_WAIT_POLICY': 'PASSIVE'}
    images = [f'/camera{number}/image' for number in range(scenario.cameras)]
    if scenario.cameras == 1:
        labels, arguments = ['/segmentation_node/labels'], ['-r', f'image:={images[0]}']
    else:
        labels = [f'/segmentation_node/camera{n}/labels' for n in range(scenario.cameras)]
        arguments = ['-p', f'image_topics:=[{", ".join(images)}]']
    if node == 'ours':  # a camera that is reliable, as the hand-written node expects it, too
        for topic in images:
            arguments += ['-p', f'qos_overrides.{topic}.subscription.reliability:=reliable']
    with tempfile.TemporaryDirectory() as name:
        folder, log_path = Path(name), Path(name) / 'log'
        with log_path.open('w') as log:
            options = {'env': environment, 'stdout': log, 'stderr': log}
            served = subprocess.Popen([
                sys.executable, '-m', f'bkd_ros.benchmark.{NODES[node]}',
                str(scenario.network_ms), str(folder / 'node.json'), '--ros-args', *arguments],
                **options)
            cameras = subprocess.Popen([
                sys.executable, '-m', 'bkd_ros.benchmark.cameras', '--topics',
                *(f'{image}={label}' for image, label in zip(images, labels)),
                '--size', *map(str, scenario.size), '--rate', str(scenario.rate),
                '--seconds', str(seconds), '--report', str(folder / 'cameras.json')], **options)
            try:
                code = cameras.wait(seconds + PATIENCE_S)
                served.send_signal(signal.SIGINT)
                served.wait(PATIENCE_S)
            except subprocess.TimeoutExpired as error:
                raise InputError(f'{node}: did not end in time: {tail(log_path)}') from error
            finally:
                for process in (served, cameras):
                    if process.poll() is None:
                        process.kill()
                        process.wait()
        if code != 0 or served.returncode != 0:
            raise InputError(
                f'{node}: ended with code {served.returncode}, the cameras with {code}: '
                f'{tail(log_path)}')
        return summarise(
            json.loads((folder / 'cameras.json').read_text()),
            json.loads((folder / 'node.json').read_text()))


def summarise(cameras: list[dict[str, Any]], node: dict[str, Any]) -> dict[str, Any]:
    """
    Return the numbers of one run.

    :param cameras: The cameras' report.
    :param node: The node's own report.
    """
    shares = [len(camera['latencies_ms']) / camera['sent'] for camera in cameras]
    latencies = sorted(value for camera in cameras for value in camera['latencies_ms'])
    overheads = sorted(node['overheads_ms'])
    num_answered = len(overheads)
    memory = node['memory_mb']
    settled = memory[min(10, len(memory) // 2):]
    return {
        'answered': statistics.fmean(shares), 'answered_least': min(shares),
        'answered_most': max(shares),
        'latency_p50_ms': percentile(latencies, 0.5),
        'latency_p95_ms': percentile(latencies, 0.95),
        'overhead_p50_ms': percentile(overheads, 0.5),
        'overhead_p95_ms': percentile(overheads, 0.95),
        'cpu_ms_per_frame': 1000 * node['cpu_s'] / num_answered if num_answered else None,
        'memory_growth': settled[-1] / settled[0] - 1 if settled else None,
        'memory_mb': settled[-1] if settled else None}


def percentile(ordered: list[float], share: float) -> float | None:
    """
    Return the value that a share of the values do not exceed.

    :param ordered: Ascending.
    :param share: 0 to 1.
    """
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def table(numbers: dict[str, Any]) -> str:
    """
    Return the page that tells the numbers.

    :param numbers: What `run_node_benchmark` stored.
    """
    runs = numbers['runs']
    lines = [
        '# The node and a plain one', '',
        'Written by `bkd benchmark node`; do not edit. Real ROS 2, separate processes on one '
        'machine, the',
        'shared-memory profile of this package, reliable cameras. The network only waits; '
        '*overhead* is',
        'what a node adds to it from receiving a frame to having published its labels, waiting '
        'for its turn',
        'included; *latency* is from the stamp to the listener. The plain node does everything '
        'in its callback:',
        'OpenCV, NumPy and eager torch. Both answer with the same logits, whose regions are like '
        'those of a',
        f'street. Both run in turn; medians of {ROUNDS} runs of {numbers["seconds"]:g} s.', '',
        '| scenario | node | frames answered | latency p50 / p95 (ms) | overhead p50 / p95 (ms) | '
        'CPU a frame (ms) | memory (MB), growth |',
        '| --- | --- | ---: | ---: | ---: | ---: | ---: |']
    for scenario, node in dict.fromkeys((run['scenario'], run['node']) for run in runs):
        chosen = [run for run in runs if (run['scenario'], run['node']) == (scenario, node)]

        def median(key: str, form: str, chosen: list = chosen) -> str:
            values = [run[key] for run in chosen if run[key] is not None]
            return format(statistics.median(values), form) if values else '-'
        least, most = median('answered_least', '.1%'), median('answered_most', '.1%')
        answered = median('answered', '.1%') if least == most else f'{least} to {most}'
        lines.append(
            f'| {scenario} | {node} | {answered} | {median("latency_p50_ms", ".1f")} / '
            f'{median("latency_p95_ms", ".1f")} | {median("overhead_p50_ms", ".1f")} / '
            f'{median("overhead_p95_ms", ".1f")} | {median("cpu_ms_per_frame", ".1f")} | '
            f'{median("memory_mb", ".0f")}, {median("memory_growth", "+.1%")} |')
    lines += [
        '', f'Machine: {numbers["machine"]}; load at the end {numbers["load"]:.1f}. Python '
        f'{numbers["python"]}. Commit: {numbers["commit"]}.', '']
    return '\n'.join(lines)
