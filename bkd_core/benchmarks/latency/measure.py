# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Let the contestants answer in turn, frame by frame, and keep what they say."""

from __future__ import annotations

from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import itertools
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import time
from typing import Any, Callable, Iterator, Sequence

from bkd_core.errors import InputError
import numpy as np

NUM_FRAMES = 3
WARM_UP = 2
PARTS = ('pre', 'network', 'post', 'total', 'cpu', 'post_numpy')


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """
    A network and what runs it.

    :param model: Name of the network, for people.
    :param directory: Its model directory.
    :param runtime: `PLAIN` or one of `LOADERS`.
    """

    model: str
    directory: Path
    runtime: str


class Process:
    """
    A contestant at work.

    :param contestant: Which.
    :param threads: Processor threads.
    :param frames: Folder of the frames.
    """

    def __init__(self, contestant: Contestant, threads: int, frames: Path) -> None:
        self.contestant = contestant
        self._errors = (frames / 'errors').open('a+')
        self._start = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'bkd_core.benchmarks.latency.contestant', contestant.runtime,
             str(contestant.directory), str(threads), str(frames)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env={**os.environ, 'OMP_WAIT_POLICY': 'PASSIVE', 'OMP_NUM_THREADS': str(threads)})

    def ask(self, size: Sequence[int], frame: int, labels: Path | None = None) -> dict[str, Any]:
        """
        Have a frame labelled.

        :param size: (height, width).
        :param frame: Its number.
        :param labels: File for the labels (.npy), if they are wanted.
        :return: What the contestant says.
        :raises InputError: If it ended, with the end of what it printed.
        """
        request = {'size': list(size), 'frame': frame, 'labels': labels and str(labels)}
        try:
            self._process.stdin.write(json.dumps(request) + '\n')
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ''
        if not line:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()[-3:]
            raise InputError(
                f'{self.contestant.model} by {self.contestant.runtime} ended: {" | ".join(said)}')
        return json.loads(line)

    def first(self, size: Sequence[int]) -> dict[str, Any]:
        """Return the seconds from the start of the process to its first labels, and the rest."""
        said = self.ask(size, 0)
        return {'start_s': time.perf_counter() - self._start, 'load_s': said['load_s']}

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


@contextmanager
def busy_neighbour(is_there: bool) -> Iterator[None]:
    """
    Keep one core busy by another process.

    :param is_there: False does nothing.
    """
    process = subprocess.Popen([sys.executable, '-c', 'while True: pass']) if is_there else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def measure(
    contestants: Sequence[Contestant], frames: Path, *, sizes: Sequence[tuple[int, int]],
    threads: int, rounds: int, neighbours: Sequence[bool] = (False, True),
    on_block: Callable[[], None] = lambda: None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """
    Run the contestants in turn, alone and beside a busy neighbour.

    :param contestants: Each network's plain way first.
    :param frames: Folder of the frames.
    :param sizes: (height, width) of the frames.
    :param threads: Processor threads of each.
    :param rounds: Turns of each.
    :param neighbours: Without and with another process that keeps a core busy.
    :param on_block: Called when another size and neighbour is done.
    :return: A row for each contestant, size and neighbour; and one for each one's start.
    """
    with ExitStack() as stack:
        processes, starts = [], []
        for contestant in contestants:  # one after the other: a start has the machine alone
            process = Process(contestant, threads, frames)
            stack.callback(process.close)
            processes.append(process)
            starts.append({**_names(contestant), 'threads': threads, **process.first(sizes[0])})
        rows = []
        for has_neighbour, size in itertools.product(neighbours, sizes):
            rows += _turns(processes, frames, size, rounds, has_neighbour)
            on_block()
        for process, start in zip(processes, starts):
            start['memory_mb'] = process.ask(sizes[-1], 0)['memory_mb']
    return [{**row, 'threads': threads} for row in rows], starts


def _turns(
    processes: list[Process], frames: Path, size: tuple[int, int], rounds: int,
    has_neighbour: bool,
) -> list[dict[str, Any]]:
    said: list[list[dict[str, Any]]] = [[] for _ in processes]
    files = [frames / f'labels{number}.npy' for number in range(len(processes))]
    with busy_neighbour(has_neighbour):
        for turn in range(WARM_UP + rounds):
            for process, answers, file in zip(processes, said, files):
                answers.append(process.ask(size, turn % NUM_FRAMES, file if turn == 0 else None))
    references: dict[str, np.ndarray] = {}
    rows = []
    for process, answers, file in zip(processes, said, files):
        labels = np.load(file)
        reference = references.setdefault(process.contestant.model, labels)
        rows.append({
            **_names(process.contestant), 'size': list(size), 'neighbour': has_neighbour,
            'agreement': float((labels == reference).mean()), **summarise(answers[WARM_UP:])})
    return rows


def summarise(answers: Sequence[dict[str, float]]) -> dict[str, float]:
    """
    Return medians of all parts and the 95th percentile of the total, in milliseconds.

    :param answers: What a contestant said, turn by turn.
    """
    medians = {f'{part}_ms': statistics.median(item[part] for item in answers) for part in PARTS}
    return {**medians, 'p95_ms': float(np.percentile([item['total'] for item in answers], 95))}


def _names(contestant: Contestant) -> dict[str, str]:
    return {'model': contestant.model, 'runtime': contestant.runtime}
