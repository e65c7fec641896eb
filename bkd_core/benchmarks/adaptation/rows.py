# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From lines to rows: one method, its seeds, and what is computed from them."""

from __future__ import annotations

from dataclasses import dataclass
import statistics
from typing import Any, Sequence

from bkd_core.benchmarks.adaptation.results import without_outdated


@dataclass(frozen=True, kw_only=True)
class Sample:
    """
    A number that was measured several times.

    :param mean: Its mean.
    :param spread: Its standard deviation, divisor n - 1; None for a single value.
    :param size: n.
    """

    mean: float
    spread: float | None
    size: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """
        Return mean and spread.

        :param values: At least one.
        """
        spread = statistics.stdev(values) if len(values) > 1 else None
        return cls(mean=statistics.fmean(values), spread=spread, size=len(values))


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    A method of a section.

    :param method: The benchmark's name of the method.
    :param teacher: For a student, its teacher's method.
    :param lines: The line of each seed, in the order of the seeds; all of the same settings.
    """

    method: str
    teacher: str | None
    lines: dict[int, dict[str, Any]]

    @property
    def key(self) -> tuple[str, str | None]:
        """Return what tells the row from others of its section."""
        return self.method, self.teacher

    @property
    def title(self) -> str:
        """Return its name for people."""
        return self.title_of(self.method, self.teacher)

    @staticmethod
    def title_of(method: str, teacher: str | None) -> str:
        """
        Return the name of a row.

        :param method: The method.
        :param teacher: A student's teacher, or None.
        """
        return f'{method} from {teacher}' if teacher else method

    def mious(self) -> list[float]:
        """Return the mIoU of every seed, 0 to 1."""
        return [line['miou'] for line in self.lines.values()]


def rows_of(lines: list[dict[str, Any]]) -> tuple[list[Row], int]:
    """
    Group the lines of one protocol and budget.

    A row never mixes settings: it holds those of its newest line. Of a run that was made
    again the newest line counts, and students of the run before it do not; nor do students of
    a teacher that has other settings by now.

    :param lines: Oldest first.
    :return: The rows, and the number of lines that are left out.
    """
    num_lines = len(lines)
    known = {line['run'] for line in lines}
    lines = without_outdated(lines)
    rows = _newest_rows(lines)
    while True:
        shown = {line['run'] for row in rows for line in row.lines.values()}
        kept = [
            line for row in rows for line in row.lines.values()
            if not _is_of_another_teacher(line, known=known, shown=shown)]
        if len(kept) == len(shown):
            return rows, num_lines - len(kept)
        rows = _newest_rows(kept)


def _is_of_another_teacher(line: dict[str, Any], *, known: set[str], shown: set[str]) -> bool:
    """Tell whether a student's teachers are in the record, but not in the table any more."""
    if line['teacher'] is None:
        return False
    # The record of earlier versions does not name the teachers that a student has the mean of.
    teachers = set(line.get('teacher_runs') or filter(None, [line['teacher_run']]))
    return not teachers or bool(teachers & known - shown)


def _newest_rows(lines: list[dict[str, Any]]) -> list[Row]:
    newest = {(line['method'], line['teacher']): line['settings_hash'] for line in lines}
    chosen: dict[tuple, dict[int, dict[str, Any]]] = {key: {} for key in newest}
    for line in lines:
        key = line['method'], line['teacher']
        if line['settings_hash'] == newest[key]:
            chosen[key][line['seed']] = line
    return [
        Row(method=method, teacher=teacher, lines=dict(sorted(by_seed.items())))
        for (method, teacher), by_seed in chosen.items()]


def teacher_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """
    Return the row of a student's teacher; None if it is not there.

    :param row: The student.
    :param rows: All of its section.
    """
    runs = {line['teacher_run'] for line in row.lines.values()} - {None}
    for other in rows:
        if any(line['run'] in runs for line in other.lines.values()):
            return other
    return None


def gains(row: Row, other: Row | None, *, by_run: bool) -> list[float]:
    """
    Return a row's mIoU minus another's, seed by seed, 0 to 1.

    :param row: The row.
    :param other: What is subtracted; None gives nothing.
    :param by_run: Count a seed only if the other's run is the very teacher of this one.
    """
    if other is None:
        return []
    return [
        line['miou'] - other.lines[seed]['miou'] for seed, line in row.lines.items()
        if seed in other.lines
        and (not by_run or other.lines[seed]['run'] == line['teacher_run'])]


def closed_share(row: Row, floor: Row | None, oracle: Row | None) -> float | None:
    """
    Return the share of the way from source-only to the oracle that a method goes.

    :param row: The method.
    :param floor: Source-only.
    :param oracle: The oracle.
    :return: 0 at the floor, 1 at the oracle; None if they share no seed or the oracle is not
        above the floor.
    """
    if floor is None or oracle is None:
        return None
    seeds = row.lines.keys() & floor.lines.keys() & oracle.lines.keys()
    if not seeds:
        return None
    reached, low, high = (
        statistics.fmean(part.lines[seed]['miou'] for seed in seeds)
        for part in (row, floor, oracle))
    return (reached - low) / (high - low) if high > low else None
