# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd runs list | show | compare`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
import json
from pathlib import Path
from typing import Annotated, Any, Iterable, Union

from bkd_core.commands.options import refuse_options
from bkd_core.commands.scores import percent
from bkd_core.errors import InputError
from bkd_core.runs import compare_runs, find_runs, read_run, Run
from rich.console import Console
from rich.table import Table
import tyro


@dataclass(frozen=True, kw_only=True)
class List:
    """
    List the training runs in a folder: state, how far, last losses, score.

    'running' means that a process trains it now, 'damaged' that a file of it cannot be read; which
    and why stands below the table. Losses are means over the last 20 steps; mIoU is
    that of the finished network, or of the last validation.

    For example:

        bkd runs list
        bkd runs list runs/streets --json
    """

    folder: Annotated[Path, tyro.conf.Positional] = Path('runs')
    """Folder in which runs are looked for, at any depth."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """
        List.

        :raises InputError: If there is no run.
        """
        runs = find_runs(self.folder)
        if not runs:
            raise InputError(f"{self.folder}: holds no run; 'bkd train' writes them")
        if self.json:
            _print_json([run.to_dict() for run in runs])
            return
        table = Table()
        for column in ('run', 'state', 'steps', 'loss', 'mIoU %', 'images/s', 'changed'):
            table.add_column(column, overflow='fold', no_wrap=column != 'run')
        for run in runs:
            table.add_row(
                str(run.directory.relative_to(self.folder.expanduser())), run.state,
                '-' if run.damage else _made(run), _number(run.loss), _percent(run.score),
                _number(run.resources.get('images_per_second')), _age(run.updated))
        _print(table)
        for run in runs:
            if run.damage:
                print(run.damage)


@dataclass(frozen=True, kw_only=True)
class Show:
    """
    Show all that is known of a run: state, losses, scores, speed, memory, environment.

    For example:

        bkd runs show runs/streets/student
        bkd runs show runs/streets/student --json
    """

    directory: Annotated[Path, tyro.conf.Positional]
    """The run's folder."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """Show."""
        run = read_run(self.directory)
        if self.json:
            _print_json(run.to_dict())
            return
        print(run.directory)
        table = Table(show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow='fold')
        for name, value in _described(run):
            table.add_row(name, value)
        _print(table)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """
    Set runs side by side: the settings in which they differ, and what came out.

    For example:

        bkd runs compare runs/streets/teacher runs/streets/student
    """

    directories: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The runs' folders."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """Compare."""
        comparison = compare_runs([read_run(directory) for directory in self.directories])
        if self.json:
            _print_json(asdict(comparison))
            return
        table = Table()
        for column in ('', *comparison.runs):
            table.add_column(column, overflow='fold')
        for name, values in comparison.settings.items():
            table.add_row(name, *('-' if value is None else str(value) for value in values))
        table.add_section()
        for name, values in comparison.results.items():
            table.add_row(name, *(
                _percent(value) if name.endswith('miou') else _number(value)
                for value in values))
        table.add_section()
        for name, values in comparison.iou.items():
            table.add_row(f'IoU % {name}', *map(_percent, values))
        _print(table)


@dataclass(frozen=True, kw_only=True)
class Runs:
    """
    List, show and compare training runs.

    For example:

        bkd runs list
        bkd runs show --help
    """

    what: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Union[List, Show, Compare]]]

    def run(self, overrides: list[str]) -> None:
        """
        Run the command.

        :param overrides: Must be empty.
        """
        refuse_options(self.what, overrides, 'runs ')
        self.what.run()


def _described(run: Run) -> Iterable[tuple[str, str]]:
    """Yield what is known of a run, in words and numbers."""
    yield 'state', run.state
    yield 'steps', _made(run)
    if run.state != 'finished' and run.saved_step is not None:
        yield 'goes on from step', str(run.saved_step)
    if run.stopped is not None:
        yield 'stopped', '{time}, step {step}: {reason}'.format_map(run.stopped)
    yield 'method', run.method
    yield 'seed', str(run.settings.get('seed', '-'))
    for name, value in run.losses.items():
        yield f'loss {name}', _number(value)
    for name, value in run.resources.items():
        if name != 'step':
            yield name.replace('_', ' '), _number(value)
    if run.validation:
        yield 'validation', f'{_percent(run.validation["miou"])} % mIoU after step ' + str(
            run.validation['step'] + 1)
    if run.best:
        yield 'best', f'{_percent(run.best["miou"])} % mIoU after step {run.best["step"]}'
    if run.miou is not None:
        yield 'finished network', f'{_percent(run.miou)} % mIoU'
    for name, value in run.iou.items():
        yield f'IoU % {name}', _percent(value)
    if run.starts:
        yield 'starts', str(len(run.starts))
        for name, value in run.starts[-1].items():
            yield f'last start, {name.replace("_", " ")}', _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{key} {inner}' for key, inner in value.items())
    return str(value)


def _made(run: Run) -> str:
    return f'{run.made:,}' + ('' if run.steps is None else f'/{run.steps:,}')


def _number(value: Any) -> str:
    if value is None:
        return '-'
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _percent(value: float | None) -> str:
    return '-' if value is None else percent(value)


def _age(updated: str) -> str:
    """Return how long ago a time of `Run.updated` was, such as '3 h ago'."""
    seconds = (datetime.now(timezone.utc) - datetime.fromisoformat(
        updated.replace('Z', '+00:00'))).total_seconds()
    for unit, length in (('d', 86400), ('h', 3600), ('min', 60)):
        if seconds >= length:
            return f'{seconds // length:.0f} {unit} ago'
    return f'{max(seconds, 0):.0f} s ago'


def _print(table: Table) -> None:
    # Names and messages may hold brackets, which are no markup here.
    Console(markup=False, highlight=False).print(table)


def _print_json(values: Any) -> None:
    print(json.dumps(values, indent=1))
