# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
One adaptation round: new target frames in, a version of the model out, used or refused.

The teacher is refreshed on the new frames by self-training, with the original model as its anchor;
the student is distilled from it by BKD and averaged with the model in use; the gate decides.
What was reached lies in a hidden folder beside the versions, from which the same command goes
on. Trains, so it belongs into a process of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import json
from pathlib import Path
import time

from bkd_core import atomic
from bkd_core.adaptation.disk_errors import disk_errors
from bkd_core.adaptation.failed_round import report_of_failure
from bkd_core.adaptation.gate import decide, Decision, StudentScores
from bkd_core.adaptation.measure import AdjustedTeacher, kept_share, measure_student
from bkd_core.adaptation.round_context import RoundContext
from bkd_core.adaptation.round_folder import (
    begin_versions,
    clear_work,
    IDENTITY,
    only_round,
    STUDENT,
    take_up_round,
    WORK,
)
from bkd_core.adaptation.round_input import RoundInput, RoundTask
from bkd_core.adaptation.round_progress import OnProgress
from bkd_core.adaptation.round_training import RoundTraining
from bkd_core.adaptation.round_version import describe, keep
from bkd_core.adaptation.versions import ModelVersions, Version
from bkd_core.errors import InputError
from bkd_core.progress import Advance, progress_bar


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """
    What a round came to.

    :param version: The new version; in use if it was accepted, unless the version that it was
        compared with was replaced meanwhile, or the same student was rolled back before.
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
        in the folder is another one, or the disk is full. What is wrong with what the round
        reads stands in `failed_round/report.html` beside the versions, too.
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
    with only_round(work), report_of_failure(task, parent=parent.name):
        if task.restart:
            clear_work(work)
        identity = json.loads(json.dumps({**task.identity, 'parent': parent.name}))
        take_up_round(
            work, identity, versions, parent, restart_if_changed=task.restart_if_changed)
        given = RoundInput.read(task, parent.directory, work)
        atomic.write_text(work / IDENTITY, json.dumps(identity, indent=1))
        return make_steps(RoundContext(
            task=task, given=given, versions=versions, parent=parent,
            original=versions.list()[0], work=work, on_progress=on_progress))


def make_steps(context: RoundContext) -> Outcome:
    """
    Refresh the teacher, distil the student, decide, and write the version.

    What was done before a stop is passed over.

    :param context: The round.
    """
    began = time.perf_counter()
    teacher, student = context.work / 'teacher', context.work / STUDENT
    training = RoundTraining(context)
    training.refresh_teacher(teacher)
    training.distil_student(student, teacher)
    before, after = measure(context, teacher, student)
    decision = decide(
        before, after, context.settings.gate,
        class_names=context.given.spec.label_space.classes)
    describe(context, student, before, after, decision, time.perf_counter() - began)
    version = keep(context, student, decision)
    return Outcome(version=version, decision=decision, before=before, after=after)


def measure(
    context: RoundContext, teacher: Path, student: Path,
) -> tuple[StudentScores, StudentScores]:
    """
    Measure the student in use and the new one on the same frames.

    :param context: The round.
    :param teacher: The refreshed teacher's model directory.
    :param student: The new student's.
    """
    given = context.given
    reference = AdjustedTeacher(
        context.segmenter(teacher), given.frames.held_back,
        power=context.settings.logit_adjustment)
    frames = len(given.replay_gate) + sum(map(len, given.frames.held_back))
    scores = []
    for name, directory in (('before', context.parent.directory), ('after', student)):
        with progress_bar(f'gate: {name}', frames) as advance:
            def progress(done: int, advance: Advance = advance) -> None:
                advance(done)
                context.on_progress('gate', len(scores) * frames + done, 2 * frames)
            scores.append(measure_student(
                context.segmenter(directory), teacher=reference, replay=given.replay_gate,
                blocks=given.frames.held_back, labelled=given.labelled, progress=progress))
    if given.memory is None:
        return scores[0], scores[1]
    kept = kept_share(
        context.segmenter(student), before=context.segmenter(context.parent.directory),
        memory=given.memory.held_back)
    return replace(scores[0], memory_kept=1.0), replace(scores[1], memory_kept=kept)
