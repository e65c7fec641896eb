# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Several training processes on one machine, forked from a server that loaded torch once."""

from __future__ import annotations

from contextlib import contextmanager
import multiprocessing
import os
from pathlib import Path
import socket

from bkd_core.errors import InputError
from bkd_core.methods import PhotometricAugmentation
from bkd_core.models import MODELS
from bkd_core.models.torchvision_guard import ensure_torchvision_imports
from bkd_core.training import joined, Trainer
import numpy as np
from tiny_training import PaintedFrames, tiny_teacher, TinyNetwork
import torch
from torch import nn, Tensor

TESTS = Path(__file__).parent
PhotometricAugmentation(color_jitter=0.1, blur=0.5)  # loads torchvision where it is still cheap


def norm_and_activation(channels: int) -> nn.Module:
    """Return timm's layer that normalises and activates, as in pretrained trunks."""
    ensure_torchvision_imports()
    from timm.layers import BatchNormAct2d
    return BatchNormAct2d(channels)


norm_and_activation(1)  # loads timm where it is still cheap


class PlainNetwork(TinyNetwork):
    """A tiny network that normalises each image by itself, whatever else is in the batch."""

    def __init__(
        self, num_classes: int, *, dropout: float = 0.0, pretrained: bool = True,
    ) -> None:
        super().__init__(num_classes, dropout=dropout)
        self.trunk[1] = nn.GroupNorm(2, self.trunk[1].num_features)


class UnevenFrames(PaintedFrames):
    """Painted frames of which every other one has few labels."""

    def labels(self, index: int) -> np.ndarray:
        """Return (H, W) uint8, 255 = ignore."""
        labels = super().labels(index).copy()
        if index % 2:
            labels[:, : 3 * labels.shape[1] // 4] = 255
        return labels

    def image(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8."""
        shown = PaintedFrames(self.num_frames, seed=self.seed, shade=self.shade)
        return shown.image(index)




class BrokenFrames(UnevenFrames):
    """Frames of which the last cannot be read."""

    def image(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8."""
        if index == self.num_frames - 1:
            raise InputError('frames/last.png: cannot be read (No such file or directory)')
        return super().image(index)


class LevelsNetwork(TinyNetwork):
    """A tiny network with an auxiliary head, which `forward` leaves out."""

    has_levels = True

    def __init__(self, num_classes: int, *, pretrained: bool = True) -> None:
        super().__init__(num_classes)
        self.trunk[1] = norm_and_activation(self.trunk[1].num_features)
        self.auxiliary = nn.Conv2d(self.trunk[3].out_channels, num_classes, 1)

    def forward_levels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the auxiliary head's."""
        features = self.trunk(images)
        return self.classifier(features), self.auxiliary(features)


NETWORKS = {'tiny': TinyNetwork, 'plain': PlainNetwork, 'levels': LevelsNetwork}


def make_trainer(directory: Path, config, source=None) -> Trainer:
    """Return a trainer on frames with uneven labels."""
    teacher = {} if not hasattr(config.method, 'teacher') or config.method.name == 'fda' else {
        'teacher': tiny_teacher()}
    return Trainer(
        config, directory=directory, source=source or UnevenFrames(8),
        target=UnevenFrames(6, seed=1, shade=0.5), **teacher)


@contextmanager
def launched(rank: int, size: int, port: int):
    """Set what torchrun sets."""
    values = {
        'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': size, 'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': port}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


def work(rank: int, size: int, port: int, directory: Path, arguments: dict) -> None:
    """Train as one of several processes; leave the outcome in rank_N.pt beside the run."""
    multiprocessing.set_start_method('fork', force=True)  # for loaders, as in other programs
    torch.set_num_threads(1)
    MODELS.update(NETWORKS)
    until = arguments.pop('until', None)
    try:
        with launched(rank, size, port), joined():
            trainer = make_trainer(directory / 'run', **arguments)
            network = trainer.run(until=until)
            outcome = {
                'network': network.state_dict(), 'method': trainer.method.state_dict(),
                'student': trainer.method.student.state_dict(),
                'shares': getattr(trainer.method, 'target_shares', None)}
    except InputError as error:
        outcome = {'error': str(error)}
    except SystemExit as stop:
        outcome = {'exit': stop.code}
    torch.save(outcome, directory / f'rank_{rank}.pt')


def train_together(directory: Path, config, *, size: int = 2, **arguments) -> list[dict]:
    """
    Train by several processes into directory/run.

    :return: What became of each: its weights, or the error.
    """
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    path = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    try:
        workers = [
            context.Process(
                target=work,
                args=(rank, size, port, directory, {'config': config, **arguments}))
            for rank in range(size)]
        for worker in workers:
            worker.start()
    finally:
        del os.environ['PYTHONPATH']
        if path is not None:
            os.environ['PYTHONPATH'] = path
    for worker in workers:
        worker.join(timeout=300)
        assert worker.exitcode == 0
    return [
        torch.load(directory / f'rank_{rank}.pt', weights_only=True) for rank in range(size)]
