# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
One adaptation round: new target frames in, a version of the model out, used or refused.

The teacher is refreshed on the new frames by self-training from the weights of the model in use,
with the original model as its anchor; the student is distilled from it by BKD; the gate decides.
What was reached lies in a hidden folder beside the versions, from which the same command goes
on. Trains, so it belongs into a process of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
import json
from pathlib import Path
import shutil
import time

import bkd_core
from bkd_core import atomic, model_directory
from bkd_core.adaptation.disk_errors import disk_errors
from bkd_core.adaptation.gate import decide, Decision, StudentScores
from bkd_core.adaptation.measure import kept_share, measure_student
from bkd_core.adaptation.memory import write_memory
from bkd_core.adaptation.report import round_card, write_round_report
from bkd_core.adaptation.round_folder import (
    begin_versions,
    IDENTITY,
    is_same_model,
    only_round,
    require_same_round,
    WORK,
)
from bkd_core.adaptation.round_input import FRAMES, RoundInput, RoundTask
from bkd_core.adaptation.round_progress import OnProgress
from bkd_core.adaptation.target_frames import frame_files
from bkd_core.adaptation.versions import ModelVersions, Version
from bkd_core.config import (
    AnchoredSelfTrainingConfig,
    BilateralDistillationConfig,
    MethodConfig,
    TrainingConfig,
)
from bkd_core.datasets.replay import REPLAY
from bkd_core.errors import InputError
from bkd_core.evaluation import measure_reference
from bkd_core.experiment import commit, write_model
from bkd_core.inference import Segmenter
from bkd_core.methods import Rehearsal
from bkd_core.models import load_network, load_teacher
from bkd_core.progress import Advance, progress_bar
from bkd_core.training import choose_device, Trainer
from bkd_core.training.checkpoint import CHECKPOINT
from bkd_core.training.run_log import read_log
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """
    What a round came to.

    :param version: The new version; in use if it was accepted.
    :param decision: The gate's.
    :param before: Scores of the model that was in use.
    :param after: Scores of the new one.
    """

    version: Version
    decision: Decision
    before: StudentScores
    after: StudentScores


def run_round(
    task: RoundTask, *, on_progress: OnProgress = lambda stage, step, steps: None,
) -> Outcome:
    """
    Make a round, or go on with one that was stopped.

    :param task: Model, frames and settings.
    :param on_progress: Called with a stage of `round_progress.STAGES`, the steps of it that are
        done, and how many it has.
    :raises InputError: If something that it needs is missing or wrong, or the unfinished round
        in the folder is another one, or the disk is full.
    """
    with disk_errors(task.output):
        return _run_round(task, on_progress)


def _run_round(task: RoundTask, on_progress: OnProgress) -> Outcome:
    on_progress('input', 0, 0)
    versions = ModelVersions(task.output)
    parent = begin_versions(versions, task.model)
    num_bytes = parent.num_bytes
    if task.settings.memory_frames:
        num_bytes += task.settings.memory_disk_megabytes * 1_000_000
    if task.settings.max_megabytes * 1e6 < 5 * num_bytes:
        raise InputError(
            f'max_megabytes: got {task.settings.max_megabytes}; expected room for five versions '
            f'of {num_bytes / 1e6:.1f} MB')
    work = versions.folder / WORK
    with only_round(work):
        if task.restart:
            shutil.rmtree(work)
            work.mkdir()
        identity = json.loads(json.dumps({**task.identity, 'parent': parent.name}))
        require_same_round(work, identity, parent)
        given = RoundInput.read(task, parent.directory, work)
        atomic.write_text(work / IDENTITY, json.dumps(identity, indent=1))
        return Round(task, given, versions, parent, work, on_progress).run()


class Round:
    """
    The steps of a round, each of which is passed over if it was done before a stop.

    :param task: Model, frames and settings.
    :param given: What was read for it.
    :param versions: Where the result goes.
    :param parent: The version in use.
    :param work: Folder of what was reached.
    :param on_progress: As in `run_round`.
    """

    def __init__(
        self, task: RoundTask, given: RoundInput, versions: ModelVersions, parent: Version,
        work: Path, on_progress: OnProgress,
    ) -> None:
        self.task = task
        self.settings = task.settings
        self.given = given
        self.versions = versions
        self.parent = parent
        self.original = versions.list()[0]
        self.work = work
        self.on_progress = on_progress

    def run(self) -> Outcome:
        """Refresh the teacher, distil the student, decide, and write the version."""
        began = time.perf_counter()
        teacher, student = self.work / 'teacher', self.work / 'student'
        self.refresh_teacher(teacher)
        self.distil_student(student, teacher)
        before, after = self.measure(teacher, student)
        decision = decide(
            before, after, self.settings.gate,
            class_names=self.given.spec.label_space.classes)
        self.describe(student, before, after, decision, time.perf_counter() - began)
        version = self.keep(student, decision)
        return Outcome(version=version, decision=decision, before=before, after=after)

    def refresh_teacher(self, directory: Path) -> None:
        """
        Train the teacher on replay and target, from its own weights, held by the original.

        :param directory: Its model directory.
        """
        settings = self.settings
        start = self.task.teacher or self.parent.directory
        method = AnchoredSelfTrainingConfig(
            teacher=self.original.name, anchor_weight=settings.anchor_weight,
            ema_decay=settings.ema_decay, confidence_threshold=settings.confidence_threshold)
        config = self.config(
            self.given.teacher_config, method, steps=settings.teacher_steps,
            learning_rate=settings.teacher_learning_rate)
        self.train('teacher', directory, config, start=start, fixed=self.original.directory)

    def distil_student(self, directory: Path, teacher: Path) -> None:
        """
        Distil the student by BKD from the refreshed teacher, from the weights in use.

        :param directory: Its model directory.
        :param teacher: The refreshed teacher's.
        """
        settings = self.settings
        known = self.given.config.method
        base = known if isinstance(known, BilateralDistillationConfig) else (
            BilateralDistillationConfig())
        method = replace(base, teacher='stage:teacher', cache_megabytes=settings.cache_megabytes)
        config = self.config(
            self.given.config, method, steps=settings.student_steps,
            learning_rate=settings.student_learning_rate)
        self.train('student', directory, config, start=self.parent.directory, fixed=teacher)

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
            model=replace(trained.model, init=self.parent.name),
            optimizer=replace(
                trained.optimizer, learning_rate=learning_rate, warmup_steps=warmup))

    def train(
        self, name: str, directory: Path, config: TrainingConfig, *, start: Path, fixed: Path,
    ) -> None:
        """
        Train a network into a model directory, from the last checkpoint if there is one.

        :param name: Name of the stage, for people.
        :param directory: The model directory; a finished one is left as it is.
        :param config: The run's settings.
        :param start: Model directory of the weights to start from.
        :param fixed: Model directory of the method's fixed teacher.
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

    def segmenter(self, directory: Path) -> Segmenter:
        """
        Load a model by one runtime for all, so that only the weights make a difference.

        :param directory: The model directory.
        """
        return Segmenter.load(
            directory, runtime='onnxruntime', num_threads=self.task.threads)

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

    def measure(self, teacher: Path, student: Path) -> tuple[StudentScores, StudentScores]:
        """
        Measure the student in use and the new one on the same frames.

        :param teacher: The refreshed teacher's model directory.
        :param student: The new student's.
        """
        given = self.given
        reference = self.segmenter(teacher)
        frames = len(given.replay_gate) + sum(map(len, given.frames.held_back))
        scores = []
        for name, directory in (('before', self.parent.directory), ('after', student)):
            with progress_bar(f'gate: {name}', frames) as advance:
                def progress(done: int, advance: Advance = advance) -> None:
                    advance(done)
                    self.on_progress('gate', len(scores) * frames + done, 2 * frames)
                scores.append(measure_student(
                    self.segmenter(directory), teacher=reference, replay=given.replay_gate,
                    blocks=given.frames.held_back, labelled=given.labelled, progress=progress))
        if given.memory is None:
            return scores[0], scores[1]
        kept = kept_share(
            self.segmenter(student), before=self.segmenter(self.parent.directory),
            memory=given.memory.held_back)
        return replace(scores[0], memory_kept=1.0), replace(scores[1], memory_kept=kept)

    def describe(
        self, student: Path, before: StudentScores, after: StudentScores, decision: Decision,
        seconds: float,
    ) -> None:
        """
        Write into the student's directory what people and the next round want to know.

        :param student: The model directory.
        :param before: Scores of the model in use.
        :param after: Scores of the student.
        :param decision: The gate's.
        :param seconds: How long the round took since it was begun or taken up again.
        """
        self.on_progress('report', 0, 0)
        measure_reference(self.segmenter(student), self.given.frames.adapting).write(student)
        replay = self.parent.directory / REPLAY
        if replay.is_dir():
            with atomic.directory(student / REPLAY) as folder:
                shutil.copytree(replay, folder, dirs_exist_ok=True)
        if self.settings.memory_frames and decision.is_accepted:
            self.remember(student)
        facts = {
            'model': self.given.spec.name, 'parent': self.parent.name,
            'original': self.original.name, 'sources': self.given.source_names,
            'num_adapting': len(self.given.frames.adapting),
            'num_replay': len(self.given.replay_training),
            'num_replay_gate': len(self.given.replay_gate),
            'num_memory': len(self.given.memory.adapting) if self.given.memory else 0,
            'settings': asdict(self.settings), 'seconds': round(seconds, 1),
            'bkd_ros': bkd_core.__version__, 'commit': commit(),
            'device': str(choose_device(self.settings.device))}
        values = write_round_report(
            student, facts=facts, before=before, after=after, decision=decision,
            segmenters=(self.segmenter(self.parent.directory), self.segmenter(student)),
            blocks=self.given.frames.held_back,
            losses={name: losses_of(self.work / name) for name in ('teacher', 'student')})
        atomic.write_text(student / model_directory.METRICS, json.dumps(values, indent=1))
        atomic.write_text(
            student / model_directory.CARD,
            round_card(self.given.spec.name, self.given.config, values, decision))

    def remember(self, student: Path) -> None:
        """
        Let a student carry some of the frames that it and the versions before it learnt from.

        :param student: Its model directory.
        """
        settings = self.settings
        adapting, held_back = frame_files(self.work / FRAMES)
        write_memory(
            student, before=self.parent.directory, round_name=self.parent.name[:6],
            frames={'adapting': adapting, 'held_back': held_back},
            max_frames=settings.memory_frames, seed=settings.seed,
            max_bytes=settings.memory_disk_megabytes * 1_000_000)

    def keep(self, student: Path, decision: Decision) -> Version:
        """
        Make the student a version, use it if it was accepted, and clear away the rest.

        The same student as one that was rolled back is not used again.

        :param student: Its model directory.
        :param decision: The gate's.
        """
        version = self.kept_before(student) or self.versions.add(
            student, is_accepted=decision.is_accepted, reason=decision.reason,
            parent=self.parent.name)
        if decision.is_accepted and version.state != 'rolled back':
            version = self.versions.use(version.name)
        self.versions.prune(int(self.settings.max_megabytes * 1e6))
        shutil.rmtree(self.work)
        return version

    def kept_before(self, student: Path) -> Version | None:
        """
        Return the version that a round which was killed at its very end made of the student.

        :param student: Its model directory.
        """
        for version in self.versions.list():
            if version.parent == self.parent.name and is_same_model(version.directory, student):
                return version
        return None


def losses_of(directory: Path) -> list[float]:
    """
    Return the loss of each step of a run, all terms together.

    :param directory: The run's folder.
    """
    return [
        sum(value for key, value in line.items() if key not in ('step', 'seconds'))
        for line in read_log(directory)]
