# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The plain steps in a process of their own, which nothing of the trainer has touched."""

from __future__ import annotations

from contextlib import contextmanager
import multiprocessing
from multiprocessing.connection import Connection
from typing import Iterator

from bkd_core.benchmarks.training.plain_step import PlainDistillation, PlainSelfTraining, PlainStep
from bkd_core.benchmarks.training.stopwatch import Stopwatch
from bkd_core.config import TrainingConfig
from bkd_core.datasets.loader import make_loader
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
from bkd_core.method_config import SelfTrainingConfig
from bkd_core.methods import PhotometricAugmentation
from bkd_core.model_directory import IMAGENET_MEAN, IMAGENET_STD
from bkd_core.models import build_network, Normalized
import torch


class PlainProcess:
    """
    Ask the process for one step at a time.

    :param connection: To the process.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def step(self) -> dict[str, float]:
        """
        Load a batch and make a step.

        :return: Seconds: 'loader' and 'step'.
        :raises InputError: If the process has died.
        """
        try:
            self._connection.send(True)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise InputError(
                'benchmark training: the process of the plain steps died; its error stands '
                'above. Too little memory? Give a smaller --crop or --batch') from error


@contextmanager
def plain_process(
    config: TrainingConfig, *, device: torch.device, threads: int,
) -> Iterator[PlainProcess]:
    """
    Start the process; it ends with the block.

    :param config: The run whose method is written plainly.
    :param device: Where it runs.
    :param threads: Processor threads.
    """
    context = multiprocessing.get_context('spawn')
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(its, config, str(device), threads), daemon=True)
    process.start()
    its.close()
    try:
        yield PlainProcess(ours)
    finally:
        ours.close()  # it then reads the end and ends
        process.join(30)
        process.kill()


def build_plain_step(config: TrainingConfig, device: torch.device) -> PlainStep:
    """
    Return the plain step of a run's method, with an ImageNet student.

    :param config: The run; its method is `self_training` or `bilateral_distillation`.
    :param device: Where it runs.
    """
    options = {
        'augment': PhotometricAugmentation(
            color_jitter=config.augmentation.color_jitter, blur=config.augmentation.blur),
        'clip_norm': config.optimizer.clip_norm}
    student = _network(config).to(device)
    if isinstance(config.method, SelfTrainingConfig):
        return PlainSelfTraining(student, config.method, **options)
    return PlainDistillation(
        student, config.method, teacher=_network(config).to(device), **options)


def _network(config: TrainingConfig) -> torch.nn.Module:
    network = build_network(
        config.model.network, get_label_space(config.label_space).num_classes)
    return Normalized(network, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _serve(
    connection: Connection, config: TrainingConfig, device: str, threads: int,
) -> None:
    torch.set_num_threads(threads)
    device = torch.device(device)
    stopwatch, step = Stopwatch(device), build_plain_step(config, device)
    source, target = (open_dataset(data, None) for data in (config.source, config.target))
    batches = make_loader(source, target, config)
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        began = stopwatch.now()
        batch = next(batches).to(device)
        loaded = stopwatch.now()
        step(batch)
        connection.send({'loader': loaded - began, 'step': stopwatch.now() - loaded})
