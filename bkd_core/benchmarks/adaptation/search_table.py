# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of the search: written from the lines of its record and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bkd_core import atomic
from bkd_core.benchmarks.adaptation.factors import Change, FACTORS
from bkd_core.benchmarks.adaptation.results import FIELDS, read_lines
from bkd_core.benchmarks.adaptation.rows import gains, Row, Sample
from bkd_core.benchmarks.adaptation.table import count, ENOUGH_SEEDS, markdown, percent, points
from bkd_core.errors import InputError

SEARCH_LINES = 'search.jsonl'
SEARCH_TABLE = 'search.md'
SEARCH_FIELDS = ('factor', 'value', 'settings', 'defaults_hash')

_INTRO = f"""\
# Search over BKD's unknown values

Written by `bkd benchmark search` from `{SEARCH_LINES}`; do not edit. One setting at a time is
changed, all others stay at their defaults, which are the protocol's; `package_defaults` sets all
of them to this package's own at once. mIoU in percent, through the exported network; ± is the
standard deviation over seeds (divisor n − 1), n the number of seeds. *Minus the defaults* is
paired: the mean over the seeds of the difference to the defaults' run of the same seed and
teacher.

**A difference that is not larger than the spread over seeds means nothing.** The spread it must
exceed is the larger of the defaults' own and the difference's; with fewer than {ENOUGH_SEEDS}
seeds in common it means nothing either. Of many values the best looks good by luck alone: a
value that is above the spread is to be confirmed with other seeds or another protocol.
"""


def write_search_table(results: Path) -> Path:
    """
    Write `search.md` beside the record.

    :param results: Folder of the record.
    :return: Path of the table.
    :raises InputError: If there is no line yet, or one is damaged.
    """
    lines = read_lines(results / SEARCH_LINES, FIELDS + SEARCH_FIELDS)
    if not lines:
        raise InputError(
            f'{results / SEARCH_LINES}: holds no run yet; there is nothing to tabulate')
    text = [_INTRO]
    for protocol, budget in sorted({(line['protocol'], line['budget']) for line in lines}):
        chosen = [
            line for line in lines if (line['protocol'], line['budget']) == (protocol, budget)]
        text += [f'## {protocol}, budget {budget}', '', *_section(chosen), '']
    atomic.write_text(results / SEARCH_TABLE, '\n'.join(text))
    return results / SEARCH_TABLE


def _section(lines: list[dict[str, Any]]) -> list[str]:
    students = [line for line in lines if line['defaults_hash']]
    # Only what differs from the newest defaults in one factor belongs together.
    newest = students[-1]['defaults_hash'] if students else None
    current = [line for line in students if line['defaults_hash'] == newest]
    default = _row([line for line in current if line['factor'] is None])
    if default is None:
        return ['**The defaults have no run yet, so there is nothing to compare with.**']
    teacher_runs = {line['teacher_run'] for line in default.lines.values()}
    teacher = _row([line for line in lines if line['run'] in teacher_runs])
    head = f'Defaults, {default.title}: {percent(default.mious())} (n = {len(default.lines)})'
    if teacher is not None:
        head += (f'; its teacher {percent(teacher.mious())} (n = {len(teacher.lines)}), '
                 f'gain {points(gains(default, teacher, by_run=True))}')
    cells, missing = [], []
    for change in _changes(current):
        row, name = _find(change, default, current)
        if row is None:
            missing.append(f'{change.factor} = {name}')
        else:
            cells.append([change.factor, name, *_numbers(row, default)])
    table = markdown(
        ['factor', 'value', 'what the difference says', 'n', 'mIoU', 'minus the defaults'],
        cells, num_texts=3)
    notes = _notes(current, missing, len(students) - len(current))
    return [f'{head}.', '', *table, '', *(f'- {note}' for note in notes)]


def _changes(lines: list[dict[str, Any]]) -> list[Change]:
    """Return every value of the search, and values of the record that it no longer tries."""
    changes = [Change(factor, value) for factor, values in FACTORS.items() for value in values]
    changes += [
        Change(line['factor'], line['value']) for line in lines
        if line['factor'] is not None]
    names = [*FACTORS, *(change.factor for change in changes)]
    return sorted(dict.fromkeys(changes), key=lambda change: names.index(change.factor))


def _find(
    change: Change, default: Row, lines: list[dict[str, Any]],
) -> tuple[Row | None, str]:
    """Return the row of a value, and the value with what is changed beside it."""
    base = next(iter(default.lines.values()))['settings']
    beside = [
        f'{factor} {value}' for factor, value in change.settings.items()
        if factor != change.factor and base.get(factor) != value]
    name = f'{change.value}' + (f' (with {", ".join(beside)})' if beside else '')
    wanted = {**base, **change.settings}
    if wanted == base:
        return default, f'{name} (default)'
    return _row([line for line in lines if line['settings'] == wanted]), name


def _row(lines: list[dict[str, Any]]) -> Row | None:
    """Return the lines as a row; of a run that was made again the newest line counts."""
    if not lines:
        return None
    by_seed = {line['seed']: line for line in lines}
    return Row(
        method=lines[-1]['method'], teacher=lines[-1]['teacher'],
        lines=dict(sorted(by_seed.items())))


def _numbers(row: Row, default: Row) -> list[str]:
    differences = [] if row is default else gains(row, default, by_run=False)
    return [
        '-' if row is default else _verdict(differences, default), str(len(row.lines)),
        percent(row.mious()), points(differences)]


def _verdict(differences: list[float], default: Row) -> str:
    if len(differences) < ENOUGH_SEEDS:
        return f'nothing: fewer than {ENOUGH_SEEDS} seeds'
    difference = Sample.of([100 * value for value in differences])
    own = Sample.of([100 * value for value in default.mious()])
    # As they are shown, so that the table agrees with itself.
    if round(abs(difference.mean), 1) <= round(max(difference.spread, own.spread), 1):
        return 'nothing: within the spread'
    return 'above the spread'


def _notes(
    lines: list[dict[str, Any]], missing: list[str], num_outdated: int,
) -> list[str]:
    seeds = sorted({line['seed'] for line in lines})
    notes = [f'**Not measured:** {", ".join(missing)}.'] if missing else []
    if len(seeds) < ENOUGH_SEEDS:
        notes.append(f'**Fewer than {ENOUGH_SEEDS} seeds, too few for a claim.**')
    notes.append(
        f'Seeds: {", ".join(map(str, seeds))}. Device: {count(lines, "device")}. Commit: '
        f'{count(lines, "commit")}.')
    if num_outdated:
        notes.append(f'{num_outdated} lines around other defaults are left out.')
    return notes
