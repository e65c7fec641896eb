# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How a step's batch is divided among processes and into parts one after the other."""

from __future__ import annotations

from dataclasses import replace

from bkd_core.batch import DomainBatch, Part
from bkd_core.config import TrainingConfig
from bkd_core.errors import InputError
from bkd_core.labels import IGNORE_INDEX
from bkd_core.methods.resolution import subsample_labels
from bkd_core.training.processes import Processes
import torch
from torch import Tensor


class StepDivision:
    """
    Equal parts of a step's batch, whose mean gradient is that of the whole.

    A step's batch is the same for any number of processes: process r takes its r-th slice, and
    makes of it `gradient_accumulation_steps` parts. A loss that is a mean over labelled pixels
    is not the mean of the parts' means, where one part has fewer labels than another; so every
    part divides by the mean number of labelled pixels of all parts (`Part.num_labelled`).

    :param config: The run's configuration.
    :param processes: The processes that share its steps.
    :param counts_classes: Tell every part how many classes the crops of the others hold.
    :raises InputError: If the batch cannot be divided evenly.
    """

    def __init__(
        self, config: TrainingConfig, processes: Processes, *, counts_classes: bool,
    ) -> None:
        self.processes = processes
        self.num_own = config.gradient_accumulation_steps
        self.count = processes.size * self.num_own
        if config.batch_size % processes.size:
            raise InputError(
                f'batch_size: got {config.batch_size}; expected a multiple of {processes.size}, '
                "the number of processes, which share each step's crops evenly")
        own = config.batch_size // processes.size
        if own % self.num_own:
            raise InputError(
                f'gradient_accumulation_steps: got {self.num_own}; expected a divisor of {own}: '
                f'the crops of each domain that one of {processes.size} processes takes of a '
                f'batch_size of {config.batch_size}')
        self.size = own // self.num_own
        self.positions = range(processes.rank * own, (processes.rank + 1) * own)
        self._loss_stride = config.loss_stride
        self._counts_classes = counts_classes

    def parts(self, batch: DomainBatch) -> list[DomainBatch]:
        """
        Return this process's parts of a step.

        :param batch: This process's crops of the step, on any device.
        """
        if self.count == 1:
            return [batch]
        labels = batch.source_labels
        counted = subsample_labels(labels, self._loss_stride) != IGNORE_INDEX
        numbers = [int(counted.sum())]
        if self._counts_classes:
            numbers.extend(map(_num_classes, labels))
        gathered = self.processes.gather(numbers)
        num_labelled = sum(first for first, *_ in gathered) / self.count
        num_classes = tuple(number for _, *others in gathered for number in others)
        return [
            _slice(batch, slice(number * self.size, (number + 1) * self.size), Part(
                index=self.processes.rank * self.num_own + number, count=self.count,
                size=self.size, num_labelled=num_labelled, num_classes=num_classes))
            for number in range(self.num_own)]


def _num_classes(labels: Tensor) -> int:
    is_there = torch.bincount(labels.flatten(), minlength=IGNORE_INDEX + 1) > 0
    is_there[IGNORE_INDEX] = False
    return int(is_there.sum())


def _slice(batch: DomainBatch, crops: slice, part: Part) -> DomainBatch:
    target = batch.target_images
    return replace(
        batch, part=part, source_images=batch.source_images[crops],
        source_labels=batch.source_labels[crops], source_windows=batch.source_windows[crops],
        target_images=None if target is None else target[crops],
        target_windows=batch.target_windows[crops])
