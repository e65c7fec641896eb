# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The last step of the demo's loop: the gate looks at the student, and the versions swap."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import tempfile
import time
from typing import Any

import bkd_core
from bkd_core.adaptation.gate import decide, GateSettings, StudentScores
from bkd_core.adaptation.measure import AdjustedTeacher, measure_student, Segment
from bkd_core.adaptation.report import JSON, write_round_report
from bkd_core.adaptation.round_version import losses_of
from bkd_core.adaptation.versions import ModelVersions, Version
from bkd_core.checkout import commit
from bkd_core.config_file import load_experiment
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.inference import Segmenter
from bkd_core.model_directory import CONFIG
from bkd_core.progress import progress_bar
from bkd_core.report import Table

BEFORE, TEACHER, STUDENT = 'source_only', 'teacher', 'student'


def swap_student(
    models: Path, folder: Path, *, frames: SegmentationDataset, replay: SegmentationDataset,
    sources: tuple[Path, ...], num_adapting: int,
) -> tuple[Version, Table]:
    """
    Make the source-only network the first version, and use the student if the gate accepts it.

    What was decided before in this folder is only read.

    :param models: Folder of the model directories source_only, teacher and student.
    :param folder: Folder of the versions.
    :param frames: Target frames in the order of time that no training saw, without labels.
    :param replay: Labelled source frames that no training saw.
    :param sources: Where the target frames that the student learnt from lie, for the report.
    :param num_adapting: How many they are.
    :return: The student's version, and the gate's criteria.
    """
    versions = ModelVersions(folder)
    if not versions.list():
        versions.add(models / BEFORE, is_accepted=True, reason='The source-only network.')
    first = versions.list()[0]
    if versions.in_use() is None:
        versions.use(first.name)
    if len(versions.list()) < 2:
        _judge(
            models, versions, first, frames=frames, replay=replay, sources=sources,
            num_adapting=num_adapting)
    student = versions.list()[1]
    values = json.loads((student.directory / JSON).read_text(encoding='utf-8'))
    if values['is_accepted'] and versions.in_use().name == first.name:
        student = versions.use(student.name)
    return student, _table(values)


def _judge(
    models: Path, versions: ModelVersions, first: Version, *, frames: SegmentationDataset,
    replay: SegmentationDataset, sources: tuple[Path, ...], num_adapting: int,
) -> None:
    began = time.perf_counter()
    segmenters = tuple(
        Segmenter.load(models / name, runtime='onnxruntime') for name in (BEFORE, STUDENT))
    config = load_experiment(models / STUDENT / CONFIG)['model']
    teacher = AdjustedTeacher(
        Segmenter.load(models / TEACHER, runtime='onnxruntime'), (frames,),
        power=config.method.logit_adjustment)
    before, after = (
        _measure(segmenter, teacher, frames, replay) for segmenter in segmenters)
    decision = decide(
        before, after, GateSettings(), class_names=segmenters[0].label_space.classes)
    facts = {
        'model': STUDENT, 'parent': first.name, 'original': first.name,
        'sources': [str(path) for path in sources], 'num_adapting': num_adapting,
        'num_replay': 0, 'num_replay_gate': len(replay), 'settings': {'seed': config.seed},
        'seconds': round(time.perf_counter() - began, 1), 'bkd_ros': bkd_core.__version__,
        'commit': commit(), 'device': 'cpu'}
    # A copy, since the report belongs to the version and not to the trained model.
    with tempfile.TemporaryDirectory(dir=versions.folder.parent, prefix='.gate.') as temporary:
        candidate = Path(shutil.copytree(models / STUDENT, Path(temporary) / STUDENT))
        write_round_report(
            candidate, facts=facts, before=before, after=after, decision=decision,
            segmenters=segmenters, blocks=(frames,),
            losses={name: losses_of(models / name) for name in (TEACHER, STUDENT)})
        versions.add(
            candidate, is_accepted=decision.is_accepted, reason=decision.reason,
            parent=first.name)


def _measure(
    segmenter: Segmenter, teacher: Segment, frames: SegmentationDataset,
    replay: SegmentationDataset,
) -> StudentScores:
    with progress_bar(f'gate: {segmenter.spec.name}', len(frames) + len(replay)) as advance:
        return measure_student(
            segmenter, teacher=teacher, replay=replay, blocks=(frames,), labelled=None,
            progress=advance)


def _table(values: dict[str, Any]) -> Table:
    verdict = 'accepted it' if values['is_accepted'] else 'refused it'
    return Table(
        title='The gate',
        columns=['criterion', 'measured', 'must be', 'holds'],
        rows=[[
            item['name'].replace('_', ' '),
            '-' if item['value'] is None else f'{round(item["value"], 3) + 0:.3f}',
            f'{item["bound"]} {item["threshold"]:g}', 'yes' if item['is_met'] else 'NO']
            for item in values['criteria']],
        note='The source-only network was in use, the student was to take its place; the gate, '
             f'which sees no label of the target, {verdict}. Frames of the target and of the '
             'source that no training step saw.')
