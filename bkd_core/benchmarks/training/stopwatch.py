# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Seconds that the parts of a trainer's step take."""

from __future__ import annotations

from collections import defaultdict
from functools import wraps
import time
from typing import Any, Callable

from bkd_core.training.trainer import Trainer
import torch

PARTS = ('loader', 'teacher', 'student forward', 'losses', 'backward', 'optimizer', 'averages')


class Stopwatch:
    """
    Time calls of methods by wrapping them; a part's time includes that of parts inside it.

    :param device: CUDA works behind the caller's back, so it is waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._device = device

    def now(self) -> float:
        """Return the time, in seconds, once the device is idle."""
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def watch(self, owner: Any, method: str, part: str) -> None:
        """
        Time every call of an object's method.

        :param owner: The object.
        :param method: Name of its method.
        :param part: What the time is added to.
        """
        call: Callable[..., Any] = getattr(owner, method)

        @wraps(call)
        def timed(*arguments: Any, **options: Any) -> Any:
            began = self.now()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds[part] += self.now() - began

        setattr(owner, method, timed)


def watch_trainer(trainer: Trainer) -> Stopwatch:
    """
    Time the parts of a trainer's steps.

    :param trainer: Its methods are wrapped.
    """
    stopwatch, method = Stopwatch(trainer.device), trainer.method
    stopwatch.watch(trainer, 'train_step', 'step')
    stopwatch.watch(method, 'losses', 'all losses')
    stopwatch.watch(method.student, 'forward', 'student forward')
    for name in ('pseudo_labels', 'soft_labels_of'):
        if hasattr(method, name):
            stopwatch.watch(method, name, 'teacher')
    stopwatch.watch(trainer.optimizer, 'step', 'optimizer')
    stopwatch.watch(method, 'after_step', 'averages')
    return stopwatch


def parts_of(seconds: dict[str, float]) -> dict[str, float]:
    """
    Return the seconds of each part alone, which add up to the step and its loader.

    :param seconds: Of a `Stopwatch`, and 'loader'.
    :return: One value for each of `PARTS`.
    """
    parts = {part: seconds.get(part, 0.0) for part in PARTS}
    inside = seconds['all losses']
    parts['losses'] = inside - parts['teacher'] - parts['student forward']
    parts['backward'] = seconds['step'] - inside - parts['optimizer'] - parts['averages']
    return parts
