# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Trials of the gate: rounds as they should be and sabotaged ones, each from its own start."""

from __future__ import annotations

from dataclasses import asdict, replace
import json
from pathlib import Path
import shutil
import time
from typing import Any

from bkd_core.adaptation.round import Outcome, run_round
from bkd_core.adaptation.round_input import RoundTask
from bkd_core.benchmarks.demo import write_images, write_recording
from bkd_core.benchmarks.online.budget import Budget
from bkd_core.benchmarks.online.faults import FAULTS, GOOD, REFUSED_INPUT
from bkd_core.benchmarks.online.journal import Journal
from bkd_core.benchmarks.online.world import make_start, score_labelled
from bkd_core.config_file import to_yaml
from bkd_core.datasets.streets import DRIVE_FRAMES, Streets
from bkd_core.datasets.subset import Subset
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.training.checkpoint import fingerprint

NUM_STARTS = 4
LABELLED_FRAMES = 10  # that the gate is given, of the drive behind the recording
_SCORED_FRAMES = 20  # that it is not
_WITH_LABELS = 'labelled_confidence'


def plan_trials(budget: Budget) -> list[str]:
    """
    Return the kind of each trial, in an order in which good ones and faults alternate.

    :param budget: How many of each.
    """
    faults = [name for _ in range(budget.trials_per_fault) for name in FAULTS]
    kinds = []
    for number in range(max(budget.good_trials, len(faults))):
        kinds += [GOOD] * (number < budget.good_trials) + faults[number:number + 1]
    return kinds


def trials_run(budget: Budget) -> str:
    """
    Return the trials' name, which ends in the hash of what they depend on.

    :param budget: Their settings.
    """
    known = json.dumps([
        to_yaml(budget.gate_start), asdict(budget.gate_settings), budget.gate_size,
        budget.gate_frames])
    return f'gate_{fingerprint(known)[:8]}'


def run_trials(budget: Budget, journal: Journal, *, output: Path, data_root: Path | None) -> None:
    """
    Make the trials that have no line yet.

    :param budget: Their settings.
    :param journal: The record.
    :param output: Folder of the starts; a trial's own folder is gone when it has its line.
    :param data_root: Folder that the data sets' roots are relative to.
    """
    run = trials_run(budget)
    for number, kind in enumerate(plan_trials(budget)):
        if journal.has(run, number):
            continue
        seed = number % NUM_STARTS
        start = make_start(
            budget.gate_start, seed=seed, data_root=data_root,
            folder=output / f'gate_start_{fingerprint(to_yaml(budget.gate_start))[:8]}')
        folder = output / run / f'trial{number:03d}'
        shutil.rmtree(folder, ignore_errors=True)  # of a trial that was stopped
        began = time.perf_counter()
        values = run_trial(kind, number, budget, start=start, folder=folder)
        journal.add(
            kind='trial', run=run, number=number, fault=kind, seed=seed, **values,
            seconds=round(time.perf_counter() - began, 1))
        shutil.rmtree(folder)


def run_trial(
    kind: str, number: int, budget: Budget, *, start: Path, folder: Path,
) -> dict[str, Any]:
    """
    Make one round on a drive of its own, and ask how good its student really is.

    :param kind: `GOOD` or one of `FAULTS`.
    :param number: Of the trial; the drive and what is random follow from it.
    :param budget: Settings.
    :param start: The model in use.
    :param folder: Of the round.
    :return: What the gate said, without and with labelled frames, and mIoU on other frames of
        the drive before and after, None where there is no student.
    :raises InputError: If the round is refused for another reason than the fault's.
    """
    drive = Streets(
        domain='target', num_frames=DRIVE_FRAMES, size=budget.gate_size, seed=1000 + number)
    behind = range(budget.gate_frames, budget.gate_frames + LABELLED_FRAMES + _SCORED_FRAMES)
    target, labelled, scored = (
        Subset([(drive, index) for index in indices]) for indices in (
            range(budget.gate_frames), behind[::3], [i for i in behind if i not in behind[::3]]))
    task = RoundTask(
        model=start, output=folder / 'versions',
        sources=(write_recording(target, folder / 'recording'),),
        labelled=write_images(labelled, folder / 'labelled'),
        settings=replace(budget.gate_settings, seed=number))
    if kind != GOOD:
        task = FAULTS[kind](task, target, folder, number)
    before = score_labelled(Segmenter.load(start, runtime='onnxruntime'), scored).miou
    try:
        outcome = run_round(task)
    except InputError as error:  # a round that ends without a student changes nothing
        if kind not in REFUSED_INPUT or REFUSED_INPUT[kind] not in str(error):
            raise  # the trial is at fault, not the round
        return {
            'is_refused': True, 'is_refused_without_labels': True, 'not_met': [],
            'error': str(error).replace(f'{folder}/', ''), 'miou_before': before,
            'miou_after': None}
    after = score_labelled(
        Segmenter.load(outcome.version.directory, runtime='onnxruntime'), scored).miou
    return {**_decision(outcome), 'error': '', 'miou_before': before, 'miou_after': after}


def _decision(outcome: Outcome) -> dict[str, Any]:
    not_met = [item.name for item in outcome.decision.criteria if not item.is_met]
    return {
        'is_refused': bool(not_met),
        'is_refused_without_labels': bool({*not_met} - {_WITH_LABELS}), 'not_met': not_met}
