# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one loop: the only place that calls backward, the optimizer and the checkpoint."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
import copy
from dataclasses import replace
import math
from pathlib import Path
import time
from typing import Callable, ContextManager, Iterator
import warnings

from bkd_core.batch import DomainBatch, Part, WHOLE
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
from bkd_core.training.batch_norm import (
    running_statistics,
    separate_batch_norm,
    synchronise_batch_norm,
)
from bkd_core.training.checkpoint import (
    CHECKPOINT,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from bkd_core.training.device import choose_device, make_deterministic, use_bfloat16
from bkd_core.training.division import StepDivision
from bkd_core.training.memory import keep_freed_memory
from bkd_core.training.observer import Observer
from bkd_core.training.optimizer import build_optimizer, set_learning_rate
from bkd_core.training.processes import present_processes
from bkd_core.training.run_log import NoLog, RunLog
from bkd_core.training.step_losses import StepLosses
import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

OnStep = Callable[[int, 'dict[str, float]'], None]


class Trainer:
    """
    Train one network by one method; goes on from the run's checkpoint if there is one.

    Of several processes (`joined`) each has a trainer, makes its own part of every step and
    comes to the same weights; the first alone writes checkpoint and log. The number of processes
    may change when a run goes on.

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
        self.processes = present_processes()
        self.division = StepDivision(
            config, self.processes, counts_classes=METHODS[config.method.name].mixes_classes)
        self.rehearsal = rehearsal
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.device = choose_device(config.device)
        self.use_autocast = use_bfloat16(config.precision, self.device)
        self.source = source
        self.target = target if METHODS[config.method.name].uses_target else None
        if self.target is None and METHODS[config.method.name].uses_target:
            raise InputError(f"method '{config.method.name}' needs target images; got none")
        make_deterministic(config.seed)
        if self.device.type == 'cpu':
            keep_freed_memory()
        student = self._wrap(self._build_student(initial))
        if config.sync_batch_norm and self.processes.size > 1:
            synchronise_batch_norm(student, self.device)
        self.augment = PhotometricAugmentation(
            color_jitter=config.augmentation.color_jitter, blur=config.augmentation.blur)
        self.method = build_method(
            config.method, student,
            teacher=None if teacher is None else self._place_teacher(teacher),
            augment=self.augment, loss_stride=config.loss_stride,
            batch_statistics=config.batch_statistics)
        self.method.prepare(
            source=source, target=self.target, input_height=config.model.input_height,
            soft_labels=soft_labels)
        self.optimizer = build_optimizer(student, config.optimizer)
        self.config_hash = fingerprint(to_yaml(config))
        self.step = 0
        self._restore()
        self._shared_losses = self._across_processes() if self.processes.size > 1 else None

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
        :raises InputError: If a loss is no longer finite, or a file of a data set cannot be read
            any more; the last checkpoint stays.
        """
        last = self.config.steps if until is None else min(until, self.config.steps)
        with self.processes.first_before_others():  # it counts classes, the others read counts
            batches = make_loader(
                self.source, self.target, self.config, first_step=self.step,
                positions=self.division.positions)
        log = RunLog(self.directory, first_step=self.step) if self.processes.is_first else NoLog()
        self.method.student.train()
        try:
            while self.step < last:
                began = time.perf_counter()
                with self._checkpoint_named():
                    batch = next(batches)
                losses = self.train_step(batch)
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
        network = copy.deepcopy(self.method.result().network).eval().cpu()
        separate_batch_norm(network)
        return network

    def train_step(self, batch: DomainBatch) -> dict[str, float]:
        """
        Make one optimizer step.

        :param batch: This process's crops of both domains, on any device.
        :return: The value of each loss term, of the whole step.
        """
        set_learning_rate(
            self.optimizer, self.config.optimizer, step=self.step, steps=self.config.steps)
        self.optimizer.zero_grad(set_to_none=True)
        compute_losses = self._shared_losses or self._losses
        parts = self.division.parts(batch)
        values = []
        for part in parts:
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)
            with self._gradients_exchanged(part is parts[-1]):
                losses = compute_losses(part.to(self.device))
                (sum(losses.values()) / len(parts)).backward()
            values.append(torch.stack(list(losses.values())).detach())
        means = self.processes.mean(torch.stack(values).mean(0)).tolist()
        values = dict(zip(losses, means))
        self._require_finite({f"loss term '{name}'": value for name, value in values.items()})
        norm = nn.utils.clip_grad_norm_(
            self.method.student.parameters(), self.config.optimizer.clip_norm or math.inf)
        self._require_finite({"the gradient's norm": float(norm)})
        self.optimizer.step()
        if self.processes.size > 1 and not self.config.sync_batch_norm:
            self.processes.average(running_statistics(self.method.student))
        self.method.after_step(self.step)
        return values

    def _losses(self, batch: DomainBatch) -> dict[str, torch.Tensor]:
        """Return the named losses of a part of a step, before backward."""
        self.augment.part = batch.part
        if batch.part.count > 1:
            self.method.before_forward = lambda: self._seed_network(batch.part)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_autocast), (
                self._checkpoint_named()):
            losses = self.method.losses(self._in_target_style(batch))
            if self.rehearsal is not None:
                self.augment.part = WHOLE  # its crops are the same in every part
                losses['memory'] = self.rehearsal.loss(self.method, step=self.step)
        self.method.before_forward = None
        return losses

    def _seed_network(self, part: Part) -> None:
        """Let parts drop out other channels; all that came before is drawn alike in all parts."""
        words = np.random.SeedSequence([self.config.seed, self.step, part.index])
        torch.manual_seed(int(words.generate_state(1, np.uint32)[0]))

    def _across_processes(self) -> DistributedDataParallel:
        """
        Return what computes a step's losses, so that backward leaves the processes' mean gradient.

        `DistributedDataParallel` exchanges gradients while backward still runs, and wants one
        call of forward a step; methods call the student in many ways, once or twice, on one or
        two levels. So it wraps the whole computation of the losses, not the student.
        """
        # An auxiliary head gets gradients only from the method that asks for both levels.
        has_unused = self.method.student.has_levels and self.config.method.name != 'max_square'
        with warnings.catch_warnings():  # newer torch has another name for broadcast_buffers
            warnings.simplefilter('ignore', FutureWarning)
            return DistributedDataParallel(
                StepLosses(self.method.student, self._losses), broadcast_buffers=False,
                find_unused_parameters=has_unused)

    def _gradients_exchanged(self, is_last_part: bool) -> ContextManager:
        if is_last_part or self._shared_losses is None:
            return nullcontext()
        return self._shared_losses.no_sync()

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

    @contextmanager
    def _checkpoint_named(self) -> Iterator[None]:
        """Add to a user's error, such as a file that is gone, what stays of the run."""
        try:
            yield
        except InputError as error:
            path = self.directory / CHECKPOINT
            kept = f'{path} stays, and the same command goes on from it' if (
                path.exists()) else 'there is no checkpoint yet'
            raise InputError(f'{error}. Training stopped at step {self.step}; {kept}') from error

    def _save(self) -> None:
        if not self.processes.is_first:
            return
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
        steps = [step for step, in self.processes.gather([self.step])]
        if len({*steps}) > 1:
            raise InputError(
                f'{self.directory}: the processes see checkpoints of the steps {steps}; expected '
                'the same one: the output folder must be on a disk that all machines share')
