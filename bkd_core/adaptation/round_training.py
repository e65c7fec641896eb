# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The training of a round: its teacher is refreshed, its student is distilled from that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bkd_core import model_directory
from bkd_core.adaptation.round_context import RoundContext
from bkd_core.config import TrainingConfig
from bkd_core.experiment import write_model
from bkd_core.method_config import (
    AnchoredSelfTrainingConfig,
    BilateralDistillationConfig,
    MethodConfig,
)
from bkd_core.methods import Rehearsal
from bkd_core.models import load_network, load_teacher
from bkd_core.progress import progress_bar
from bkd_core.training import choose_device, Trainer
from bkd_core.training.checkpoint import CHECKPOINT
import torch
from torch import nn

# The version in use is the mean of the rounds that led to it, until this is its share in the next
# one: less would follow the chance of a single round, more would never learn another world.
MOST_OF_PARENT = 0.8


class RoundTraining:
    """
    Train the networks of a round; a finished one is left as it is.

    Both start from the original each time. Ones that learn on from round to round come to know the
    few frames of the replay and their own mistakes by heart, and after some rounds the target gets
    lost. What earlier rounds found stays in the version in use, with which the student's weights
    are averaged, as in model soups (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482); that
    works for networks that start alike.

    :param context: The round.
    """

    def __init__(self, context: RoundContext) -> None:
        self.task, self.settings = context.task, context.settings
        self.given = context.given
        self.parent, self.original = context.parent, context.original
        self.num_rounds = context.num_rounds
        self.on_progress = context.on_progress

    def refresh_teacher(self, directory: Path) -> None:
        """
        Train the teacher on replay and target, from the original and held by it.

        :param directory: Its model directory.
        """
        settings = self.settings
        start = self.task.teacher or self.original.directory
        method = AnchoredSelfTrainingConfig(
            teacher=self.original.name, anchor_weight=settings.anchor_weight,
            ema_decay=settings.ema_decay, confidence_threshold=settings.confidence_threshold)
        config = self.config(
            self.given.teacher_config, method, steps=settings.teacher_steps,
            learning_rate=settings.teacher_learning_rate)
        self.train('teacher', directory, config, start=start, fixed=self.original.directory)

    def distil_student(self, directory: Path, teacher: Path) -> None:
        """
        Distil the student by BKD from the refreshed teacher, and average it with its parent.

        :param directory: Its model directory.
        :param teacher: The refreshed teacher's.
        """
        settings = self.settings
        known = self.given.config.method
        base = known if isinstance(known, BilateralDistillationConfig) else (
            BilateralDistillationConfig())
        method = replace(
            base, teacher='stage:teacher', cache_megabytes=settings.cache_megabytes,
            lambda_target=settings.lambda_target, logit_adjustment=settings.logit_adjustment)
        config = self.config(
            self.given.config, method, steps=settings.student_steps,
            learning_rate=settings.student_learning_rate)
        self.train(
            'student', directory, config, start=self.original.directory, fixed=teacher,
            parent_share=parent_share(self.num_rounds))

    def config(
        self, trained: TrainingConfig, method: MethodConfig, *, steps: int, learning_rate: float,
    ) -> TrainingConfig:
        """
        Return a run's settings: as the model was trained, but for data, method and steps.

        :param trained: The settings that the network was trained with.
        :param method: The method.
        :param steps: Optimizer steps.
        :param learning_rate: Peak rate.
        """
        warmup = min(trained.optimizer.warmup_steps, steps // 5)
        return replace(
            trained, method=method, steps=steps, seed=self.settings.seed,
            device=self.settings.device, checkpoint_steps=self.settings.checkpoint_steps,
            num_workers=0, source=self.given.source_config, target=self.given.target_config,
            model=replace(trained.model, init=self.original.name),
            optimizer=replace(
                trained.optimizer, learning_rate=learning_rate, warmup_steps=warmup))

    def train(
        self, name: str, directory: Path, config: TrainingConfig, *, start: Path, fixed: Path,
        parent_share: float = 0.0,
    ) -> None:
        """
        Train a network into a model directory, from the last checkpoint if there is one.

        :param name: Name of the stage, for people.
        :param directory: The model directory; a finished one is left as it is.
        :param config: The run's settings.
        :param start: Model directory of the weights to start from.
        :param fixed: Model directory of the method's fixed teacher.
        :param parent_share: Of the version in use in the weights.
        """
        if (directory / model_directory.MODEL_YAML).exists():
            return
        given = self.given
        trainer = Trainer(
            config, directory=directory, source=given.replay_training,
            target=given.frames.adapting, initial=load_network(start),
            teacher=load_teacher(
                fixed, label_space=given.spec.label_space,
                input_height=config.model.input_height, device=choose_device(config.device)),
            rehearsal=self.rehearsal(config))
        network = self.run_trainer(trainer, name)
        if parent_share:
            average_weights(network, load_network(self.parent.directory), share=parent_share)
        spec = replace(model_directory.read_spec(start), files={})
        write_model(directory, network, spec, config, given.frames.adapting)
        (directory / CHECKPOINT).unlink(missing_ok=True)

    def run_trainer(self, trainer: Trainer, name: str) -> nn.Module:
        """
        Train to the end, and tell how far it is.

        :param trainer: The trainer.
        :param name: Name of the stage.
        """
        steps = trainer.config.steps
        with progress_bar(f'{name}: train', steps) as advance:
            def on_step(step: int, losses: dict[str, float]) -> None:
                advance(step, ' '.join(f'{key} {value:.3f}' for key, value in losses.items()))
                self.on_progress(name, step, steps)
            self.on_progress(name, trainer.step, steps)
            return trainer.run(on_step=on_step)

    def rehearsal(self, config: TrainingConfig) -> Rehearsal | None:
        """
        Return what the version in use said about earlier domains, if it carries frames of them.

        :param config: The run's settings.
        """
        if self.given.memory is None:
            return None
        return Rehearsal(
            self.given.memory.adapting, load_teacher(
                self.parent.directory, label_space=self.given.spec.label_space,
                input_height=config.model.input_height, device=choose_device(config.device)),
            config, weight=self.settings.lambda_memory,
            max_bytes=self.settings.cache_megabytes * 1_000_000)


def parent_share(num_rounds: int) -> float:
    """
    Return the share of the version in use in the next one.

    :param num_rounds: How many rounds led to the version in use.
    :return: n / (n + 1) after n rounds, at most `MOST_OF_PARENT`.
    """
    return min(num_rounds / (num_rounds + 1), MOST_OF_PARENT)


@torch.no_grad()
def average_weights(network: nn.Module, other: nn.Module, *, share: float) -> None:
    """
    Move a network's parameters and statistics towards those of another.

    :param network: It is changed.
    :param other: Of the same architecture.
    :param share: Of the other in the result, 0 to 1.
    """
    others = other.state_dict()
    for name, values in network.state_dict().items():
        if values.is_floating_point():
            values.lerp_(others[name].to(values), share)
