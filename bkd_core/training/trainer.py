# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one loop: the only place that calls backward, the optimizer and the checkpoint."""

from __future__ import annotations

import copy
from dataclasses import replace
import math
import os
from pathlib import Path
import time
from typing import Callable

from bkd_core.batch import DomainBatch
from bkd_core.config import TrainingConfig
from bkd_core.config_file import to_yaml
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.loader import make_loader
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
from bkd_core.methods import (
    build_method,
    METHODS,
    PhotometricAugmentation,
    Rehearsal,
    SharedMaps,
    swap_low_frequencies,
)
from bkd_core.model_directory import IMAGENET_MEAN, IMAGENET_STD
from bkd_core.models import build_network, Normalized, Teacher
from bkd_core.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from bkd_core.training.memory import keep_freed_memory
from bkd_core.training.observer import Observer
from bkd_core.training.optimizer import build_optimizer, set_learning_rate
from bkd_core.training.run_log import RunLog
import torch
from torch import nn

OnStep = Callable[[int, 'dict[str, float]'], None]


class Trainer:
    """
    Train one network by one method; goes on from the run's checkpoint if there is one.

    :param config: The run's configuration.
    :param directory: Where checkpoint and log go.
    :param source: Labelled images.
    :param target: Unlabelled images; may be None if the method needs none.
    :param teacher: A fixed teacher's network (normalised images -> logits), a `Teacher` or a
        ModuleList of several, or None.
    :param initial: Network whose weights the student starts from, or None.
    :param soft_labels: Soft labels that an earlier run of the same teacher kept, or None.
    :param rehearsal: What the network must not forget, learnt again beside the method.
    """

    def __init__(
        self, config: TrainingConfig, *, directory: Path, source: SegmentationDataset,
        target: SegmentationDataset | None = None, teacher: nn.Module | None = None,
        initial: nn.Module | None = None, soft_labels: SharedMaps | None = None,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        self.config = config
        self.rehearsal = rehearsal
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.device = choose_device(config.device)
        self.use_autocast = _use_bfloat16(config.precision, self.device)
        self.source = source
        self.target = target if METHODS[config.method.name].uses_target else None
        if self.target is None and METHODS[config.method.name].uses_target:
            raise InputError(f"method '{config.method.name}' needs target images; got none")
        _make_deterministic(config.seed)
        if self.device.type == 'cpu':
            keep_freed_memory()
        student = self._wrap(self._build_student(initial))
        self.method = build_method(
            config.method, student,
            teacher=None if teacher is None else self._place_teacher(teacher),
            augment=PhotometricAugmentation(
                color_jitter=config.augmentation.color_jitter, blur=config.augmentation.blur),
            loss_stride=config.loss_stride, batch_statistics=config.batch_statistics)
        self.method.prepare(
            source=source, target=self.target, input_height=config.model.input_height,
            soft_labels=soft_labels)
        self.optimizer = build_optimizer(student, config.optimizer)
        self.config_hash = fingerprint(to_yaml(config))
        self.step = 0
        self._restore()

    def run(
        self, *, on_step: OnStep | None = None, until: int | None = None,
        observer: Observer | None = None,
    ) -> nn.Module:
        """
        Train to the end and return the network that the method is for.

        :param on_step: Called after each step with the number of steps made and the losses.
        :param until: Stop after this many steps of the run (a checkpoint is written there).
        :param observer: Called after each step and each checkpoint.
        :return: The network, without the normalisation, in evaluation mode, on the CPU.
        :raises InputError: If a loss is no longer finite; the last checkpoint stays.
        """
        last = self.config.steps if until is None else min(until, self.config.steps)
        batches = make_loader(self.source, self.target, self.config, first_step=self.step)
        log = RunLog(self.directory, first_step=self.step)
        self.method.student.train()
        try:
            while self.step < last:
                began = time.perf_counter()
                losses = self.train_step(next(batches).to(self.device))
                self.step += 1
                seconds = time.perf_counter() - began
                log.write({'step': self.step - 1, 'seconds': round(seconds, 4), **losses})
                if observer is not None:
                    observer.after_step(losses, seconds)
                if self.step % self.config.checkpoint_steps == 0 or self.step == last:
                    log.flush()
                    self._save()
                    if observer is not None:
                        observer.after_save()
                if on_step is not None:
                    on_step(self.step, losses)
        finally:
            log.close()
        return copy.deepcopy(self.method.result().network).eval().cpu()

    def train_step(self, batch: DomainBatch) -> dict[str, float]:
        """
        Make one optimizer step.

        :param batch: Both domains, on the trainer's device.
        :return: The value of each loss term.
        """
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        set_learning_rate(
            self.optimizer, self.config.optimizer, step=self.step, steps=self.config.steps)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_autocast):
            losses = self.method.losses(self._in_target_style(batch))
            if self.rehearsal is not None:
                losses['memory'] = self.rehearsal.loss(self.method, step=self.step)
        values = dict(zip(losses, torch.stack(list(losses.values())).tolist()))
        self._require_finite({f"loss term '{name}'": value for name, value in values.items()})
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        norm = nn.utils.clip_grad_norm_(
            self.method.student.parameters(), self.config.optimizer.clip_norm or math.inf)
        self._require_finite({"the gradient's norm": float(norm)})
        self.optimizer.step()
        self.method.after_step(self.step)
        return values

    def _in_target_style(self, batch: DomainBatch) -> DomainBatch:
        beta = self.config.augmentation.source_style
        if beta == 0 or self.target is None:
            return batch
        return replace(batch, source_images=swap_low_frequencies(
            batch.source_images, batch.target_images, beta=beta))

    def _build_student(self, initial: nn.Module | None) -> nn.Module:
        config = self.config.model
        classes = get_label_space(self.config.label_space).num_classes
        options = {**config.options, 'pretrained': False} if initial else config.options
        network = build_network(config.network, classes, **options)
        if initial is not None:
            try:
                network.load_state_dict(initial.state_dict())
            except RuntimeError as error:
                raise InputError(
                    f"model.init '{config.init}': its network is not a '{config.network}' with "
                    f'{classes} classes: {error}') from error
        return network

    def _wrap(self, network: nn.Module) -> nn.Module:
        wrapped = Normalized(network, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return wrapped.to(self.device, memory_format=torch.channels_last)

    def _place_teacher(self, teacher: nn.Module) -> nn.Module:
        if isinstance(teacher, (Teacher, nn.ModuleList)):  # these normalise by themselves
            return teacher.to(self.device, memory_format=torch.channels_last)
        return self._wrap(teacher)

    def _require_finite(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise InputError(
                    f'{self.directory}: {name} became {value} at step {self.step}; '
                    'training stopped, the last checkpoint stays. Lower '
                    'optimizer.learning_rate, or set optimizer.clip_norm')

    def _save(self) -> None:
        save_checkpoint(self.directory, {
            'config_hash': self.config_hash,
            'step': self.step,
            'student': self.method.student.state_dict(),
            'method': self.method.state_dict(),
            'optimizer': self.optimizer.state_dict(),
        })

    def _restore(self) -> None:
        state = load_checkpoint(self.directory, config_hash=self.config_hash)
        if state is not None:
            self.step = state['step']
            self.method.student.load_state_dict(state['student'])
            self.method.load_state_dict(state['method'])
            self.optimizer.load_state_dict(state['optimizer'])


def choose_device(name: str) -> torch.device:
    """
    Return the device that a name stands for.

    :param name: 'auto', 'cpu', 'cuda' or 'cuda:N'.
    :raises InputError: If it is not available.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device: got '{name}', which is not available here: "
            f"{str(error).splitlines()[0]}. Use 'auto' or 'cpu'") from error
    return device


def _use_bfloat16(precision: str, device: torch.device) -> bool:
    if precision == 'auto':
        return device.type == 'cuda' and torch.cuda.is_bf16_supported()
    return precision == 'bfloat16'


def _make_deterministic(seed: int) -> None:
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory before it is written; filling it first costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.manual_seed(seed)
