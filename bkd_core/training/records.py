# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run writes down: `RunRecords` is the observer of its training."""

from __future__ import annotations

from pathlib import Path
import platform
import resource
import sys
import time
from typing import Any, TYPE_CHECKING

from bkd_core import atomic
from bkd_core.config_file import to_yaml
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.runs.files import PICTURES, RESOURCES, TENSORBOARD, VALIDATION
from bkd_core.runs.journal import environment, Journal
from bkd_core.runs.lines import StepLines
from bkd_core.training.event_file import EventFile
from bkd_core.training.validation import Validation
from bkd_core.visualization import encode_jpeg
import torch
import yaml

if TYPE_CHECKING:
    from bkd_core.training.trainer import Trainer


class RunRecords:
    """
    Keep a run's records: hand it to `Trainer.run` inside its context.

    Of a run of several processes one keeps them. The others wait for its scores and pictures where
    they next exchange gradients.

    :param trainer: The trainer, restored from the checkpoint if there is one.
    :param name: Name of the run, for people.
    :param validation: Frames for scores and pictures, with or without labels.
    :param commit: The commit of the code.
    :raises InputError: If a record is asked for that cannot be made.
    """

    def __init__(
        self, trainer: Trainer, *, name: str, validation: SegmentationDataset, commit: str,
    ) -> None:
        self.trainer, self.settings = trainer, trainer.config.records
        config, directory, first_step = trainer.config, trainer.directory, trainer.step
        self.directory = directory
        domains = 1 if trainer.target is None else 2
        self.images_per_step = domains * config.batch_size  # of all processes
        self.validation = Validation(
            config, directory=directory, name=name, frames=validation,
            device=str(trainer.device))
        self.events = EventFile(
            directory / TENSORBOARD, first_step=first_step) if self.settings.tensorboard else None
        self.resources = StepLines(directory / RESOURCES, first_step=first_step)
        self.scores = StepLines(
            directory / VALIDATION,
            first_step=first_step) if self.settings.validation_steps else None
        self.journal = Journal(
            directory, settings=yaml.safe_load(to_yaml(config, is_complete=True)), start={
                'first_step': first_step,
                **environment(
                    device=str(trainer.device), device_name=_device_name(trainer.device),
                    commit=commit)})
        self._seconds: list[float] = []

    def after_step(self, losses: dict[str, float], seconds: float) -> None:
        """
        Write down what is due after a step.

        :param losses: The value of each loss term.
        :param seconds: How long the step took, with waiting for its images.
        """
        step, settings = self.trainer.step, self.settings
        is_last = step == self.trainer.config.steps
        self._seconds.append(seconds)
        if step % settings.log_steps == 0 or is_last:
            self._write_numbers(losses, step)
        if settings.validation_steps and (step % settings.validation_steps == 0 or is_last):
            self._validate(step)
        if settings.pictures_steps and (step % settings.pictures_steps == 0 or is_last):
            self._draw(step)

    def after_save(self) -> None:
        """Write down which step the run goes on from."""
        self.journal.saved(self.trainer.step)

    def __enter__(self) -> RunRecords:
        """Return this object."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        """Close the files; write down why the loop ended early, if it did."""
        if error is not None:
            reason = str(error).splitlines()[0] if str(error) else kind.__name__
            self.journal.stopped(self.trainer.step, reason)
        self.resources.close()
        for file in (self.scores, self.events):
            if file is not None:
                file.close()

    def _write_numbers(self, losses: dict[str, float], step: int) -> None:
        line = self._measure()
        self._seconds.clear()
        self.resources.write({'step': step - 1, **line})
        self.resources.flush()
        if self.events is not None:
            self.events.numbers({
                **{f'loss/{name}': value for name, value in losses.items()},
                **{f'run/{name}': value for name, value in line.items()}}, step=step)

    def _measure(self) -> dict[str, float]:
        """Return speed since the last line, the lowest learning rate, and memory in MiB."""
        seconds = sum(self._seconds) / len(self._seconds)
        device = self.trainer.device
        values = {
            'step_seconds': round(seconds, 5),
            'images_per_second': round(self.images_per_step / seconds, 3),
            'learning_rate': min(group['lr'] for group in self.trainer.optimizer.param_groups),
            'peak_memory_mb': round(_peak_memory_mb(), 1)}
        if device.type == 'cuda':
            values['gpu_memory_mb'] = round(torch.cuda.memory_allocated(device) / 2**20, 1)
            values['gpu_peak_memory_mb'] = round(
                torch.cuda.max_memory_allocated(device) / 2**20, 1)
        return values

    def _validate(self, step: int) -> None:
        began = time.perf_counter()
        network = self.trainer.method.result().network
        scores = self.validation.score(network)
        self.validation.keep_if_best(network, scores, step=step)
        self.scores.write({
            'step': step - 1, 'seconds': round(time.perf_counter() - began, 2), **scores})
        self.scores.flush()
        if self.events is not None:
            values = {'miou': scores['miou'], **{
                f'iou_{name}': value for name, value in scores['iou'].items()}}
            self.events.numbers({
                f'validation/{name}': value for name, value in values.items()
                if value is not None}, step=step)

    def _draw(self, step: int) -> None:
        picture = self.validation.picture(self.trainer.method.result().network)
        folder = self.directory / PICTURES
        folder.mkdir(exist_ok=True)
        atomic.write_bytes(folder / f'{step:08d}.jpg', encode_jpeg(picture))
        for path in sorted(folder.glob('[0-9]*.jpg'))[:-self.settings.pictures_kept]:
            path.unlink()
        if self.events is not None:
            self.events.picture('predictions', picture, step=step)


def _peak_memory_mb() -> float:
    """Return the most that this process has held in memory, MiB."""
    unit = 1 if sys.platform == 'darwin' else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _device_name(device: torch.device) -> str:
    """Return the name of a device's model, such as 'NVIDIA L4'."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()
