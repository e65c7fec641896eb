# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure every way from a frame to labels side by side, and write the page."""

from __future__ import annotations

from dataclasses import replace
import importlib.metadata
import itertools
import json
import os
from pathlib import Path
import tempfile
from typing import Sequence

from bkd_core import atomic, model_directory
from bkd_core.benchmarks.latency.contestant import (
    PEER,
    PEER_AS_SHIPPED,
    PEER_HEIGHT,
    peer_network,
    PEER_TITLE,
    PLAIN,
)
from bkd_core.benchmarks.latency.measure import Contestant, measure, NUM_FRAMES
from bkd_core.benchmarks.latency.page import CHART, chart, page
from bkd_core.checkout import commit
from bkd_core.datasets.streets import Streets
from bkd_core.errors import InputError
from bkd_core.export.onnx import export_onnx
from bkd_core.inference import machine
from bkd_core.inference.trial import candidates
from bkd_core.model_directory import ModelSpec
from bkd_core.progress import progress_bar
import cv2
import numpy as np

PAGE, NUMBERS = 'latency.md', 'latency.json'
SIZES = ((480, 640), (720, 1280))
_PACKAGES = ('numba', 'numpy', 'opencv-python-headless', 'onnxruntime', 'openvino', 'torch')


def run_latency_benchmark(
    results: Path, *, model: str = 'default', rounds: int = 20,
    sizes: Sequence[tuple[int, int]] = SIZES, threads: Sequence[int] = (), has_peer: bool = True,
) -> Path:
    """
    Measure all that is installed, and write the page, the numbers and the chart.

    :param results: Their folder.
    :param model: A model directory with weights and ONNX file, or 'default'.
    :param rounds: Timed turns of each way, for each size, thread count and neighbour.
    :param sizes: (height, width) of the frames.
    :param threads: Thread counts; none given: one, and all cores.
    :param has_peer: Whether LR-ASPP runs too.
    :return: Path of the page.
    :raises InputError: If the model has no such files, or a process fails.
    """
    if rounds < 1:
        raise InputError(f'benchmark latency: rounds: got {rounds}; expected 1 or more')
    directory = model_directory.resolve(model)
    spec = model_directory.read_spec(directory)
    for name in (model_directory.ONNX, model_directory.WEIGHTS):
        model_directory.verify(directory, spec, name)
    counts = tuple(threads) or tuple(dict.fromkeys((1, os.cpu_count() or 1)))
    rows, starts = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder, sizes)
        contestants = [
            Contestant(model=spec.name, directory=directory, runtime=runtime)
            for runtime in (PLAIN, 'torch', *candidates(directory, 'cpu'), *_int8(directory))]
        if has_peer:
            peer = write_peer(folder / 'peer', spec)
            contestants += [
                Contestant(model=PEER_TITLE, directory=peer, runtime=runtime)
                for runtime in (PLAIN, *candidates(peer, 'cpu')) if runtime != 'openvino_bf16']
            shipped = write_peer(folder / 'shipped', replace(spec, input_height=PEER_HEIGHT))
            contestants.append(
                Contestant(model=PEER_AS_SHIPPED, directory=shipped, runtime=PLAIN))
        done = itertools.count(1)
        with progress_bar('benchmark latency', 2 * len(sizes) * len(counts)) as advance:
            for count in counts:
                found, begun = measure(
                    contestants, folder, sizes=sizes, threads=count, rounds=rounds,
                    on_block=lambda: advance(next(done)))
                rows += found
                starts += begun
    numbers = {
        'machine': machine.identity(), 'load': os.getloadavg()[1], 'commit': commit(),
        'versions': installed_versions(), 'rounds': rounds, 'rows': rows, 'starts': starts}
    results.mkdir(parents=True, exist_ok=True)
    atomic.write_text(results / NUMBERS, json.dumps(numbers, indent=1) + '\n')
    atomic.write_text(results / CHART, chart(rows))
    atomic.write_text(results / PAGE, page(numbers))
    return results / PAGE


def _int8(directory: Path) -> list[str]:
    """Return the runtimes of 8-bit integers that are installed, if the model has their file."""
    if not (directory / model_directory.INT8).is_file():
        return []
    return [f'{name}_int8' for name in candidates(directory, 'cpu')
            if name in ('onnxruntime', 'openvino')]


def write_frames(folder: Path, sizes: Sequence[tuple[int, int]]) -> None:
    """
    Write generated streets at each size as HEIGHTxWIDTH.npy.

    :param folder: Where.
    :param sizes: (height, width).
    """
    streets = Streets(domain='target', num_frames=NUM_FRAMES)
    images = [streets.image(index) for index in range(NUM_FRAMES)]
    for height, width in sizes:
        np.save(folder / f'{height}x{width}.npy', np.stack(
            [cv2.resize(image, (width, height)) for image in images]))


def write_peer(directory: Path, spec: ModelSpec) -> Path:
    """
    Write LR-ASPP with random weights as a model directory without weights for torch.

    :param directory: Where; its parent exists.
    :param spec: Label space and input size that it takes over.
    :return: The directory.
    """
    directory.mkdir()
    peer = replace(spec, name='peer', network=PEER, network_options={}, files={})
    export_onnx(peer_network(peer), peer, directory / model_directory.ONNX)
    model_directory.write_spec(directory, peer)
    return directory


def installed_versions() -> str:
    """Return the versions of the packages that the times depend on."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f'{package} {importlib.metadata.version(package)}')
        except importlib.metadata.PackageNotFoundError:
            continue
    return ', '.join(found)
