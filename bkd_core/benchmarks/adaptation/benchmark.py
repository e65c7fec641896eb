# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Make the runs of a protocol that are not made yet, and write the table."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bkd_core.benchmarks.adaptation.pictures import write_picture
from bkd_core.benchmarks.adaptation.plan import Run
from bkd_core.benchmarks.adaptation.protocol import Protocol
from bkd_core.benchmarks.adaptation.results import (
    append_line,
    LINES,
    make_line,
    Record,
    without_outdated,
)
from bkd_core.benchmarks.adaptation.table import picture_name, TABLE, write_table
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.errors import InputError
from bkd_core.experiment import run_stage
from bkd_core.methods import METHODS, SoftLabelMemory
from bkd_core.model_directory import METRICS, MODEL_YAML
from bkd_core.training.run_log import read_log
from rich.console import Console
from rich.table import Table

ADAPTATION = Record(file=LINES, table=TABLE, write_table=write_table, has_picture=True)


def run_adaptation(
    protocol: Protocol, budget: str, runs: Sequence[Run], *, output: Path, results: Path,
    data_root: Path | None, record: Record = ADAPTATION,
) -> None:
    """
    Make the runs that have no line yet; after each, add its line and write the table anew.

    An interrupted run goes on from its checkpoint. A run that has its line is made again only
    if its model directory is gone and another run builds on it, or if its teacher was; it then
    gets a new line.

    :param protocol: From `load_protocol`.
    :param budget: Name of the budget.
    :param runs: From `plan_runs`.
    :param output: Folder of the model directories.
    :param results: Folder of the record, the table and the pictures.
    :param data_root: Folder that the data sets' roots are relative to.
    :param record: What is kept of the runs.
    :raises InputError: If data is missing, or the target is opened with its labels.
    """
    folder = model_folder(output, protocol, budget)
    missing = pending(protocol, budget, runs, output=output, results=results, record=record)
    check_data(missing, data_root)
    memory = SoftLabelMemory()
    for run in missing:
        directory = folder / run.name
        run_stage(
            run.name, run.config, directory=directory, data_root=data_root, memory=memory)
        line = make_line(run, directory, protocol, budget)
        append_line(results / record.file, {**line, **record.more(run)})
        record.write_table(results)
    painted = results / picture_name(protocol.name, budget)
    if record.has_picture and (missing or not painted.exists()):
        write_picture(protocol, budget, runs, folder, results, data_root)
    if record.read(results):
        record.write_table(results)


def model_folder(output: Path, protocol: Protocol, budget: str) -> Path:
    """
    Return the folder of a protocol's model directories.

    :param output: Folder of all protocols.
    :param protocol: The protocol.
    :param budget: Name of the budget.
    """
    return output / f'{protocol.name}_{budget}'


def pending(
    protocol: Protocol, budget: str, runs: Sequence[Run], *, output: Path, results: Path,
    record: Record = ADAPTATION,
) -> list[Run]:
    """
    Return the runs that must be made: those without a line, and models that these lack.

    :param protocol: From `load_protocol`.
    :param budget: Name of the budget.
    :param runs: From `plan_runs`.
    :param output: Folder of the model directories.
    :param results: Folder of the record.
    :param record: What is kept of the runs.
    """
    folder = model_folder(output, protocol, budget)
    measured = {  # the search measures again what it compares with other defaults
        (line['config_hash'], line.get('defaults_hash'))
        for line in without_outdated(record.read(results))
        if (line['protocol'], line['budget']) == (protocol.name, budget)}
    names: set[str] = set()

    def require(run: Run) -> None:
        names.add(run.name)
        for need in run.needs:
            if not (folder / need.name / METRICS).exists():
                require(need)

    for run in runs:
        if (run.config_hash, record.more(run).get('defaults_hash')) not in measured:
            require(run)
    return [run for run in runs if run.name in names]


def check_data(runs: Sequence[Run], data_root: Path | None) -> None:
    """
    Open every data set once, before hours of training, not after.

    :param runs: The runs that will be made.
    :param data_root: Folder that the data sets' roots are relative to.
    :raises InputError: If one is missing, or the target comes with its labels.
    """
    for config in {run.config_hash: run.config for run in runs}.values():
        open_dataset(config.source, data_root)
        open_dataset(config.validation, data_root)
        if not METHODS[config.method.name].uses_target:
            continue
        if open_dataset(config.target, data_root).has_labels:
            place = f" in '{config.target.root}'" if config.target.root else ''
            raise InputError(
                f"target: data set '{config.target.name}'{place} is opened with its labels, "
                'which adaptation must not see. Set has_labels: false (camvid, streets) or '
                'labels: null (image_folder) in its options')


def list_runs(
    protocol: Protocol, budget: str, runs: Sequence[Run], *, output: Path, results: Path,
    record: Record = ADAPTATION,
) -> None:
    """
    Print the runs, what is done, and the minutes that the rest is expected to take.

    :param protocol: From `load_protocol`.
    :param budget: Name of the budget.
    :param runs: From `plan_runs`.
    :param output: Folder of the model directories.
    :param results: Folder of the record.
    :param record: What is kept of the runs.
    """
    folder = model_folder(output, protocol, budget)
    missing = {
        run.name for run in pending(
            protocol, budget, runs, output=output, results=results, record=record)}
    shown = Table(title=f'{protocol.name}, budget {budget}')
    for column in ('method', 'teacher', 'seed', 'steps', 'state', 'minutes left'):
        is_text = column in ('method', 'teacher', 'state')
        shown.add_column(column, justify='left' if is_text else 'right', overflow='fold')
    total = 0.0
    for run in runs:
        state, minutes = _state(run, folder / run.name, run.name in missing)
        total += minutes
        shown.add_row(
            run.title, run.teacher or '', str(run.config.seed), str(run.config.steps), state,
            f'{minutes:.0f}' if minutes else '')
    console = Console()
    console.print(shown)
    console.print(
        f'{len(runs)} runs, {len(runs) - len(missing)} done; about {total:.0f} minutes left')


def _state(run: Run, directory: Path, is_missing: bool) -> tuple[str, float]:
    if not is_missing:
        return 'done', 0.0
    if (directory / METRICS).exists():
        return 'trained, without a line', 0.0
    if (directory / MODEL_YAML).exists():
        return 'trained, not measured', 0.0
    steps = len(read_log(directory))
    state = f'stopped near step {steps}' if steps else 'to do'
    return state, run.minutes * (1 - steps / run.config.steps)
