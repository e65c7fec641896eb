# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run the trainer's steps and the plain ones in turn on the same crops."""

from __future__ import annotations

import json
import os
from pathlib import Path
import platform
import tempfile
from typing import Any

from bkd_core import atomic
from bkd_core.benchmarks.training.page import page
from bkd_core.benchmarks.training.plain_process import plain_process
from bkd_core.benchmarks.training.stopwatch import parts_of, watch_trainer
from bkd_core.checkout import commit
from bkd_core.config import AugmentationConfig, DataConfig, ModelConfig, TrainingConfig
from bkd_core.datasets.loader import make_loader
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.labels import get_label_space
from bkd_core.method_config import BilateralDistillationConfig, SelfTrainingConfig
from bkd_core.models import build_network
from bkd_core.progress import progress_bar
from bkd_core.training.trainer import Trainer
from bkd_core.visualization import encode_jpeg, encode_png
import torch

TABLE, NUMBERS = 'training_speed.md', 'training_speed.json'
METHODS = {
    'self_training': SelfTrainingConfig(),
    'bilateral_distillation': BilateralDistillationConfig(teacher='its_own')}
WARM_UP = 2
NUM_FRAMES = 16  # of each domain


def run_training_benchmark(
    results: Path, *, crop: int, batch: int, rounds: int, threads: int, device: str,
) -> Path:
    """
    Measure both methods, ours and plain in turn, and write the table.

    :param results: Folder of the table and the numbers.
    :param crop: Side of the crops, pixels, a multiple of 32.
    :param batch: Crops of each domain.
    :param rounds: Timed steps of each.
    :param threads: Processor threads; 0 leaves them as they are.
    :param device: 'auto', 'cpu' or 'cuda'.
    :return: Path of the table.
    :raises InputError: If a setting is wrong or the device is not there.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        numbers = _numbers(crop=crop, batch=batch, rounds=rounds, device=device)
    finally:
        torch.set_num_threads(before)
    results.mkdir(parents=True, exist_ok=True)
    atomic.write_text(results / NUMBERS, json.dumps(numbers, indent=1) + '\n')
    atomic.write_text(results / TABLE, page(numbers))
    return results / TABLE


def _numbers(*, crop: int, batch: int, rounds: int, device: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        source, target = (
            write_frames(Path(name) / domain, domain) for domain in ('source', 'target'))
        measured = {
            name: measure(TrainingConfig(
                source=source, target=target, method=method, device=device,
                model=ModelConfig(network='lite_fpn', input_height=352), batch_size=batch,
                augmentation=AugmentationConfig(crop_size=(crop, crop)),
                steps=10_000, checkpoint_steps=10_000), rounds=rounds)
            for name, method in METHODS.items()}
    return {
        'machine': f'{platform.machine()}, {os.cpu_count()} cores', 'load': os.getloadavg()[1],
        'python': platform.python_version(), 'torch': torch.__version__, 'commit': commit(),
        'threads': torch.get_num_threads(), 'device': measured['self_training']['device'],
        'crop': crop, 'batch': batch, 'rounds': rounds, 'methods': measured}


def measure(config: TrainingConfig, *, rounds: int) -> dict[str, Any]:
    """
    Time a method's steps, ours and plain in turn.

    :param config: The run.
    :param rounds: Timed steps of each.
    :return: Seconds of every step by parts, 'ours' and 'plain', and the device's name.
    """
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as name:
        trainer = _trainer(config, Path(name))
        stopwatch = watch_trainer(trainer)
        batches = make_loader(trainer.source, trainer.target, config)
        with progress_bar(f'benchmark {config.method.name}', rounds + WARM_UP) as advance:
            with plain_process(
                    config, device=trainer.device, threads=torch.get_num_threads()) as process:
                for number in range(rounds + WARM_UP):
                    plain.append(process.step())
                    stopwatch.seconds.clear()
                    began = stopwatch.now()
                    batch = next(batches).to(trainer.device)
                    loader_s = stopwatch.now() - began
                    trainer.train_step(batch)
                    trainer.step += 1
                    ours.append(parts_of({**stopwatch.seconds, 'loader': loader_s}))
                    advance(number + 1)
    return {
        'device': _device_name(trainer.device), 'ours': ours[WARM_UP:],
        'plain': plain[WARM_UP:]}


def write_frames(folder: Path, domain: str) -> DataConfig:
    """
    Write generated frames as files, which is what training usually reads.

    :param folder: Where; it is made.
    :param domain: 'source' or 'target'.
    :return: The data set of these files.
    """
    frames = open_dataset(DataConfig(options={'domain': domain, 'num_frames': NUM_FRAMES}), None)
    for name in ('images', 'labels'):
        (folder / name).mkdir(parents=True)
    for index in range(len(frames)):
        atomic.write_bytes(
            folder / 'images' / f'{index:02d}.jpg', encode_jpeg(frames.image(index)))
        atomic.write_bytes(
            folder / 'labels' / f'{index:02d}.png', encode_png(frames.labels(index)))
    return DataConfig(
        name='image_folder', root=str(folder), options={'label_space': frames.label_space.name})


def _trainer(config: TrainingConfig, directory: Path) -> Trainer:
    """Return a trainer; BKD's teacher has seen all frames, as after a pass over the data."""
    teacher = build_network(
        config.model.network, get_label_space(config.label_space).num_classes)
    trainer = Trainer(
        config, directory=directory, source=open_dataset(config.source, None),
        target=open_dataset(config.target, None),
        teacher=teacher if config.method.name == 'bilateral_distillation' else None)
    for cache in getattr(trainer.method, 'caches', ()):
        for index in range(len(cache.dataset)):
            cache.look_up(index)
    trainer.method.student.train()
    return trainer


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type
