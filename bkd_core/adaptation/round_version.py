# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a round's student to a version: what is written about it, and whether it is used."""

from __future__ import annotations

from dataclasses import asdict
import json
from pathlib import Path
import shutil

import bkd_core
from bkd_core import atomic, model_directory
from bkd_core.adaptation.gate import Decision, StudentScores
from bkd_core.adaptation.memory import write_memory
from bkd_core.adaptation.report import round_card, write_round_report
from bkd_core.adaptation.round_context import RoundContext
from bkd_core.adaptation.round_folder import clear_work, version_of
from bkd_core.adaptation.round_input import FRAMES
from bkd_core.adaptation.target_frames import frame_files
from bkd_core.adaptation.versions import Version, why_not_used
from bkd_core.checkout import commit
from bkd_core.datasets.replay import REPLAY
from bkd_core.evaluation import measure_reference
from bkd_core.training import choose_device
from bkd_core.training.run_log import read_log


def describe(
    context: RoundContext, student: Path, before: StudentScores, after: StudentScores,
    decision: Decision, seconds: float,
) -> None:
    """
    Write into the student's directory what people and the next round want to know.

    :param context: The round.
    :param student: The model directory.
    :param before: Scores of the model in use.
    :param after: Scores of the student.
    :param decision: The gate's.
    :param seconds: How long the round took since it was begun or taken up again.
    """
    context.on_progress('report', 0, 0)
    measure_reference(context.segmenter(student), context.given.frames.adapting).write(student)
    replay = context.parent.directory / REPLAY
    if replay.is_dir():
        with atomic.directory(student / REPLAY) as folder:
            shutil.copytree(replay, folder, dirs_exist_ok=True)
    if context.settings.memory_frames and decision.is_accepted:
        remember(context, student)
    facts = {
        'model': context.given.spec.name, 'parent': context.parent.name,
        'original': context.original.name, 'sources': context.given.source_names,
        'blur_classes': context.task.blur_classes,
        'num_adapting': len(context.given.frames.adapting),
        'num_replay': len(context.given.replay_training),
        'num_replay_gate': len(context.given.replay_gate),
        'num_memory': len(context.given.memory.adapting) if context.given.memory else 0,
        'settings': asdict(context.settings), 'seconds': round(seconds, 1),
        'bkd_ros': bkd_core.__version__, 'commit': commit(),
        'device': str(choose_device(context.settings.device))}
    values = write_round_report(
        student, facts=facts, before=before, after=after, decision=decision,
        segmenters=(context.segmenter(context.parent.directory), context.segmenter(student)),
        blocks=context.given.frames.held_back,
        losses={name: losses_of(context.work / name) for name in ('teacher', 'student')},
        parent_change=parent_change(context))
    atomic.write_text(student / model_directory.METRICS, json.dumps(values, indent=1))
    atomic.write_text(
        student / model_directory.CARD,
        round_card(context.given.spec.name, context.given.config, values, decision))


def remember(context: RoundContext, student: Path) -> None:
    """
    Let a student carry some of the frames that it and the versions before it learnt from.

    :param context: The round.
    :param student: Its model directory.
    """
    settings = context.settings
    adapting, held_back = frame_files(context.work / FRAMES)
    write_memory(
        student, before=context.parent.directory, round_name=context.parent.name[:6],
        frames={'adapting': adapting, 'held_back': held_back},
        max_frames=settings.memory_frames, seed=settings.seed,
        max_bytes=settings.memory_disk_megabytes * 1_000_000)


def keep(context: RoundContext, student: Path, decision: Decision) -> Version:
    """
    Make the student a version, use it if it was accepted, and clear away the rest.

    It is not used if the version that it was compared with no longer is in use, nor if it is the
    same student as one that was rolled back.

    :param context: The round.
    :param student: Its model directory.
    :param decision: The gate's.
    """
    versions, parent = context.versions, context.parent.name
    version = version_of(versions, student, parent=parent)
    # The gate may find otherwise than before, of the same student: by labelled frames, say.
    if version is None or version.state == 'damaged' or (
            decision.is_accepted == (version.state == 'refused')):
        version = versions.add(
            student, is_accepted=decision.is_accepted, reason=decision.reason, parent=parent,
            num_rounds=context.num_rounds + 1)
    if decision.is_accepted and version.state != 'rolled back':
        version = versions.use(version.name, only_from=parent)
    versions.prune(int(context.settings.max_megabytes * 1e6))
    clear_work(context.work)
    context.work.rmdir()
    return version


def parent_change(context: RoundContext) -> str:
    """
    Return why the student will not be used, as far as is known before it is a version.

    :param context: The round.
    :return: A sentence; '' if the version that it was compared with still is in use.
    """
    in_use = context.versions.in_use()
    if in_use is not None and in_use.name == context.parent.name:
        return ''
    return why_not_used(context.parent.name, [in_use.name] if in_use else [])


def losses_of(directory: Path) -> list[float]:
    """
    Return the loss of each step of a run, all terms together.

    :param directory: The run's folder.
    """
    return [
        sum(value for key, value in line.items() if key not in ('step', 'seconds'))
        for line in read_log(directory)]
