# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Which runtime is the fastest here: a short trial, whose outcome is kept for the next start.

The runtimes that are installed answer in turn, so that what else the machine does meets all of
them. bfloat16 is only taken where it names the classes that float32 names. 8-bit integers and
float16 never name all of them, and a compiled network takes a minute to build, so they are not
tried: they must be asked for.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
from pathlib import Path
import statistics
import time
from typing import Any

from bkd_core import atomic, model_directory
from bkd_core.cache_folder import cache_folder
from bkd_core.errors import InputError
from bkd_core.inference import machine
from bkd_core.inference.runtimes import load_runtime, Runtime
from bkd_core.model_directory import ModelSpec
import cv2
import numpy as np

logger = logging.getLogger(__name__)

ROUNDS = 7
FRAMES = 3
# A later runtime must be this much faster than an earlier one, or chance would decide.
GAIN = .95
# Share of the coarse pixels on which bfloat16 and float32 must agree.
AGREEMENT = .999
_MOST_ENTRIES = 100
_PACKAGES = ('onnxruntime', 'onnxruntime-gpu', 'openvino', 'torch')


def fastest_runtime(directory: Path, spec: ModelSpec, **options: Any) -> Runtime:
    """
    Load the fastest of the installed runtimes, by an earlier trial or by a new one.

    :param directory: The model directory.
    :param spec: Its `model.yaml`, with the input height in force.
    :param options: `num_threads` and `device`.
    :raises InputError: If none can run the model; it says what the first one said.
    """
    names = candidates(directory, options.get('device', 'auto'))
    if len(names) == 1:
        return load_runtime(names[0], directory, spec, **options)
    path = model_directory.verify(directory, spec, model_directory.ONNX)
    key = _key(path, spec, names, options)
    known = read_choices().get(key)
    if known in names:
        try:
            return load_runtime(known, directory, spec, **options)
        except InputError as error:
            logger.warning("runtime '%s' won the trial before and fails now: %s", known, error)
    logger.info("model '%s': trying %s; the choice is kept", spec.name, ', '.join(names))
    winner = _try(_load_all(names, directory, spec, options), spec)
    _write_choice(key, winner.name)
    return winner


def candidates(directory: Path, device: str) -> list[str]:
    """
    Return the runtimes that may run a model here, by what is installed.

    torch is one where the directory holds no ONNX file, or where it could use a CUDA device:
    on a processor it is never the fastest, and importing it costs seconds and memory.

    :param directory: The model directory.
    :param device: 'auto', 'cpu' or 'cuda'.
    """
    if not (directory / model_directory.ONNX).is_file():
        return ['torch']
    names = ['onnxruntime']
    if device != 'cuda' and _is_installed('openvino'):
        names.append('openvino')
        if machine.has_bfloat16():
            names.append('openvino_bf16')
    has_weights = (directory / model_directory.WEIGHTS).is_file()
    if device != 'cpu' and has_weights and machine.has_nvidia_driver() and _is_installed('torch'):
        names.append('torch')
    return names


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _load_all(
    names: list[str], directory: Path, spec: ModelSpec, options: dict[str, Any],
) -> list[Runtime]:
    """Load what loads and answers; the rest is named in warnings, or raised if nothing does."""
    loaded, errors = [], []
    grey = np.full((1, *_network_size(spec), 3), 127, np.uint8)
    for name in names:
        try:
            runtime = load_runtime(name, directory, spec, **options)
            runtime.logits(grey)
        except Exception as error:  # each library raises its own types
            errors.append(error)
            logger.warning("runtime '%s' is left out: %s", name, error)
        else:
            loaded.append(runtime)
    if not loaded:
        raise errors[0]
    return loaded


def _try(runtimes: list[Runtime], spec: ModelSpec) -> Runtime:
    """Return the fastest of the runtimes whose labels are those of the first."""
    images = _street_images(spec)
    labels: dict[str, list[np.ndarray]] = {runtime.name: [] for runtime in runtimes}
    times: dict[str, list[float]] = {runtime.name: [] for runtime in runtimes}
    for turn in range(ROUNDS):
        for runtime in runtimes:
            start = time.perf_counter()
            logits = runtime.logits(images[turn % FRAMES])
            times[runtime.name].append(1e3 * (time.perf_counter() - start))
            if turn < FRAMES:
                labels[runtime.name].append(logits.argmax(axis=1))
    chosen, reference = runtimes[0], labels[runtimes[0].name]
    fastest = statistics.median(times[chosen.name])
    report = []
    for runtime in runtimes:
        median = statistics.median(times[runtime.name])
        agreement = float(np.mean(np.equal(labels[runtime.name], reference)))
        report.append(f'{runtime.name} {median:.1f} ms, {agreement:.2%} of the labels')
        if median < GAIN * fastest and agreement >= AGREEMENT:
            chosen, fastest = runtime, median
    logger.info("model '%s': %s; takes %s", spec.name, '; '.join(report), chosen.name)
    return chosen


def _street_images(spec: ModelSpec) -> list[np.ndarray]:
    """Return generated frames (1, h, w, 3) at the network's size."""
    from bkd_core.datasets.streets import Streets  # only a trial needs it
    streets = Streets(domain='target', num_frames=FRAMES, size=(240, 320))
    size = _network_size(spec)[::-1]
    return [cv2.resize(streets.image(index), size)[None] for index in range(FRAMES)]


def _network_size(spec: ModelSpec) -> tuple[int, int]:
    return model_directory.network_size(spec, 480, 640)


def _key(path: Path, spec: ModelSpec, names: list[str], options: dict[str, Any]) -> str:
    """Return a hash of all that the choice depends on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    facts = [
        model_directory.file_hash(path), spec.input_height, names, sorted(options.items()),
        versions, machine.identity(), machine.nvidia_devices()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def choices_path() -> Path:
    """Return the file that keeps the outcomes of trials."""
    return cache_folder() / 'runtimes.json'


def read_choices() -> dict[str, str]:
    """Return the runtimes that won, by key; nothing where none can be read."""
    try:
        choices = json.loads(choices_path().read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning('%s: not readable, so the runtimes are tried again: %s', choices_path(),
                       error)
        return {}
    return choices if isinstance(choices, dict) else {}


def _write_choice(key: str, name: str) -> None:
    choices = {**read_choices(), key: name}
    newest = dict(list(choices.items())[-_MOST_ENTRIES:])
    try:
        choices_path().parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(choices_path(), json.dumps(newest, indent=1))
    except OSError as error:
        logger.warning('the choice of the runtime cannot be kept: %s', error)
