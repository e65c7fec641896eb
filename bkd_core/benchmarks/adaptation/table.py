# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of the benchmark: written from the lines of the record and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Sequence

from bkd_core import atomic
from bkd_core.benchmarks.adaptation.chart import draw_chart
from bkd_core.benchmarks.adaptation.plan import (
    ABLATIONS,
    AVERAGED,
    BKD,
    COMPACT,
    EVERYTHING,
    GROUPS,
    LARGE,
    LARGE_FLOOR,
    ORACLE,
    plan_runs,
    SECOND_ROUND,
    TEACHERS,
)
from bkd_core.benchmarks.adaptation.protocol import load_protocol
from bkd_core.benchmarks.adaptation.results import LINES, read_lines
from bkd_core.benchmarks.adaptation.rows import (
    closed_share,
    gains,
    Row,
    rows_of,
    Sample,
    teacher_of,
)
from bkd_core.errors import InputError

TABLE = 'adaptation.md'
ENOUGH_SEEDS = 3

_INTRO = f"""\
# Adaptation

Written by `bkd benchmark adaptation` from `{LINES}`; do not edit. IoU in percent, through the
exported network. ± is the standard deviation over seeds (divisor n − 1), n the number of seeds;
for one seed there is no spread. *Gain* is the mean over seeds of a student minus its own teacher
of the same seed. *Gap closed* is the share of the way from source-only to the oracle (supervised
training on the labelled target), over the seeds that all three have; in a short budget the oracle
is itself not at its end, and no upper bound.
"""


def write_table(results: Path) -> Path:
    """
    Write `adaptation.md` and its charts beside the record.

    :param results: Folder of the record.
    :return: Path of the table.
    :raises InputError: If there is no line yet, or one is damaged.
    """
    lines = read_lines(results / LINES)
    if not lines:
        raise InputError(f'{results / LINES}: holds no run yet; there is nothing to tabulate')
    text = [_INTRO]
    for protocol, budget in sorted({(line['protocol'], line['budget']) for line in lines}):
        chosen = [
            line for line in lines if (line['protocol'], line['budget']) == (protocol, budget)]
        text += _section(protocol, budget, chosen, results)
    atomic.write_text(results / TABLE, '\n'.join(text))
    return results / TABLE


def picture_name(protocol: str, budget: str) -> str:
    """
    Return the file name of a section's picture.

    :param protocol: Name of the protocol.
    :param budget: Name of the budget.
    """
    return f'adaptation_{protocol}_{budget}.jpg'


def _section(
    protocol: str, budget: str, lines: list[dict[str, Any]], results: Path,
) -> list[str]:
    rows, num_outdated = rows_of(lines)
    rows = sorted(rows, key=_place)
    main = [row for row in rows if row.method not in ABLATIONS]
    text = [f'## {protocol}, budget {budget}', '', *_main_table(main), '']
    chart = draw_chart(f'{protocol}, budget {budget}', rows)
    if chart is not None:
        path = (results / picture_name(protocol, budget)).with_suffix('.svg')
        atomic.write_text(path, chart)
        text += [f'![From each teacher to its student]({path.name})', '']
    if (results / picture_name(protocol, budget)).is_file():
        text += [f'![Frames and labels]({picture_name(protocol, budget)})', '']
    ablation = _ablation_table(rows)
    if ablation:
        text += ['### What each part of BKD earns', '', *ablation, '']
    text += ['### IoU by class', '', *_class_table(rows), '']
    older = _of_older_settings(protocol, budget, rows)
    text += [f'- {note}' for note in _notes(rows, older, num_outdated)]
    return [*text, '']


def _main_table(rows: list[Row]) -> list[str]:
    by_key = {row.key: row for row in rows}
    floor, oracle = by_key.get(('source_only', None)), by_key.get((ORACLE, None))
    cells = []
    for row in rows:
        gain = gains(row, teacher_of(row, rows), by_run=True)
        share = closed_share(row, floor, oracle)
        runs = list(row.lines.values())
        cells.append([
            row.method, row.teacher or '-', str(len(runs)), percent(row.mious()),
            points(gain) if row.teacher else '-',
            '-' if share is None or row in (floor, oracle) else f'{100 * share:.0f} %',
            _range([line['steps'] for line in runs]),
            _range([round(line['parameters'] / 1e6, 1) for line in runs]),
            f'{Sample.of([line["seconds"] / 60 for line in runs]).mean:.1f}'])
    return markdown(
        ['method', 'teacher', 'n', 'mIoU', 'gain over its teacher', 'gap closed', 'steps',
         'M parameters', 'minutes a run'], cells, num_texts=2)


def _ablation_table(rows: list[Row]) -> list[str]:
    by_key = {row.key: row for row in rows}
    cells = []
    for row in rows:
        if row.method in ABLATIONS:
            whole = by_key.get((BKD, row.teacher))
            cells.append([
                row.method, row.teacher, str(len(row.lines)), percent(row.mious()),
                points(gains(row, whole, by_run=False))])
    return markdown(
        ['method', 'teacher', 'n', 'mIoU', 'minus the whole of BKD'], cells,
        num_texts=2) if cells else []


def _class_table(rows: list[Row]) -> list[str]:
    classes = list(dict.fromkeys(
        name for row in rows for line in row.lines.values() for name in line['iou']))
    cells = []
    for row in rows:
        values = [
            [line['iou'].get(name) for line in row.lines.values()] for name in classes]
        cells.append([row.title, *(
            '-' if not _known(column) else f'{100 * Sample.of(_known(column)).mean:.1f}'
            for column in values)])
    return markdown(['method', *classes], cells, num_texts=1)


def _of_older_settings(protocol: str, budget: str, rows: list[Row]) -> list[Row]:
    """Return the rows that the protocol, as it is now, would not give; none of an unknown one."""
    try:
        now = {run.settings_hash for run in plan_runs(
            load_protocol(protocol), budget, methods=(EVERYTHING,))}
    except InputError:
        return []
    return [
        row for row in rows
        if any(line['settings_hash'] not in now for line in row.lines.values())]


def _notes(rows: list[Row], older: list[Row], num_outdated: int) -> list[str]:
    notes = []
    few = [f'{row.title} ({len(row.lines)})' for row in rows if len(row.lines) < ENOUGH_SEEDS]
    if few:
        notes.append(
            f'**Fewer than {ENOUGH_SEEDS} seeds, too few for a claim:** {", ".join(few)}.')
    if older:
        notes.append(
            '**Of older settings, to be measured again:** '
            f'{", ".join(row.title for row in older)}.')
    missing = _missing(rows)
    if missing:
        notes.append(f'**Not measured:** {", ".join(missing)}.')
    present = {row.method for row in rows}
    on_request = {
        group: [name for name in names if name not in present]
        for group, names in GROUPS.items()}
    notes += [
        f'Not measured, on request (`--methods {group}`): {", ".join(names)}.'
        for group, names in on_request.items() if names]
    # A note that was reworded between two seeds is given once, as the last seed has it.
    latest = (list(row.lines.values())[-1]['note'] for row in rows if row.lines)
    notes += filter(None, dict.fromkeys(latest))
    lines = [line for row in rows for line in row.lines.values()]
    notes.append(
        f'Scored on {_range([line["num_frames"] for line in lines])} frames. Device: '
        f'{count(lines, "device")}. Commit: {count(lines, "commit")}. Seeds: '
        f'{", ".join(map(str, sorted({line["seed"] for line in lines})))}.')
    if num_outdated:
        notes.append(
            f'{num_outdated} older lines of the record, of other settings or runs that were '
            'made again, are left out.')
    return notes


def _missing(rows: list[Row]) -> list[str]:
    """Return what of the usual runs has no row."""
    present = {row.key for row in rows}
    expected = [
        *((name, None) for name in (*TEACHERS, ORACLE)), *((BKD, name) for name in TEACHERS)]
    return [Row.title_of(*key) for key in expected if key not in present]


def _place(row: Row) -> tuple:
    """Return what a section's rows are sorted by: floor, each teacher and its student, oracle."""
    teachers = [*TEACHERS, BKD, LARGE_FLOOR, LARGE]
    first = row.teacher or row.method
    group = teachers.index(first) if first in teachers else len(teachers)
    kinds = [None, BKD, SECOND_ROUND, AVERAGED, COMPACT, *ABLATIONS]
    kind = kinds.index(row.method) if row.method in kinds else 0
    return row.method == ORACLE, group, first, kind, row.method


def percent(values: Sequence[float]) -> str:
    """
    Return mean and spread in percent.

    :param values: At least one, 0 to 1.
    """
    sample = Sample.of([100 * value for value in values])
    return f'{sample.mean:.1f}' + _spread(sample)


def points(values: Sequence[float]) -> str:
    """
    Return mean, spread and number of differences, in points of a percentage.

    :param values: -1 to 1; '-' stands for none.
    """
    if not values:
        return '-'
    sample = Sample.of([100 * value for value in values])
    pairs = f' (n = {sample.size})'
    return f'{sample.mean:+.1f}' + _spread(sample) + pairs


def _spread(sample: Sample) -> str:
    return '' if sample.spread is None else f' ± {sample.spread:.1f}'


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f'{low}' if low == high else f'{low} to {high}'


def count(lines: list[dict[str, Any]], name: str) -> str:
    """
    Return the values of a field, and how often each comes if there are several.

    :param lines: At least one.
    :param name: The field.
    """
    counts = Counter(line[name] for line in lines)
    return ', '.join(
        value if len(counts) == 1 else f'{value} ({count} runs)'
        for value, count in counts.items())


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def markdown(head: list[str], rows: list[list[str]], *, num_texts: int) -> list[str]:
    """
    Return a table's lines.

    :param head: Titles of the columns.
    :param rows: The cells of each row.
    :param num_texts: So many columns from the left hold text, the others numbers.
    """
    rules = ['---'] * num_texts + ['---:'] * (len(head) - num_texts)
    return ['| ' + ' | '.join(cells) + ' |' for cells in (head, rules, *rows)]
