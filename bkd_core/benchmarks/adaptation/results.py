# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of all runs: one JSON line each, only ever appended to."""

from __future__ import annotations

from dataclasses import dataclass
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Callable

from bkd_core.atomic import sync_directory
from bkd_core.benchmarks.adaptation.plan import Run
from bkd_core.benchmarks.adaptation.protocol import Protocol
from bkd_core.errors import InputError
from bkd_core.model_directory import METRICS
from bkd_core.training.run_log import read_log

LINES = 'adaptation.jsonl'
FIELDS = (
    'protocol', 'budget', 'method', 'teacher', 'seed', 'miou', 'iou', 'num_frames', 'steps',
    'seconds', 'parameters', 'device', 'commit', 'config_hash', 'settings_hash', 'run',
    'teacher_run', 'note')
ADDED_FIELDS = ('teacher_runs',)  # lines of earlier versions lack them


@dataclass(frozen=True, kw_only=True)
class Record:
    """
    What one benchmark keeps of its runs.

    :param file: Name of the file of lines.
    :param table: Name of the table.
    :param write_table: Writes the table into the folder of the lines.
    :param more: What a run's line holds beside `FIELDS`.
    :param more_fields: The names of it.
    :param has_picture: Paint a picture of a protocol.
    """

    file: str
    table: str
    write_table: Callable[[Path], Path]
    more: Callable[[Run], dict[str, Any]] = lambda run: {}
    more_fields: tuple[str, ...] = ()
    has_picture: bool = False

    def read(self, results: Path) -> list[dict[str, Any]]:
        """
        Return the lines, oldest first.

        :param results: Their folder.
        """
        return read_lines(results / self.file, FIELDS + self.more_fields)


def make_line(
    run: Run, directory: Path, protocol: Protocol, budget: str,
) -> dict[str, Any]:
    """
    Return the line of a finished run.

    :param run: The run.
    :param directory: Its model directory.
    :param protocol: Its protocol.
    :param budget: Its budget.
    :return: `FIELDS` and `ADDED_FIELDS`; mIoU and IoU are 0 to 1, an IoU is None for a class
        that does not occur in the truth. Seconds are those of all steps, also if the run was
        interrupted.
    """
    metrics = json.loads((directory / METRICS).read_text(encoding='utf-8'))
    scores = metrics['scores']
    return {
        'protocol': protocol.name, 'budget': budget, 'method': run.method,
        'teacher': run.teacher, 'seed': run.config.seed, 'miou': scores['miou'],
        'iou': scores['iou'], 'num_frames': scores['num_frames'], 'steps': metrics['steps'],
        'seconds': round(sum(step['seconds'] for step in read_log(directory)), 1),
        'parameters': metrics['parameters'], 'device': metrics['device'],
        'commit': metrics['commit'], 'config_hash': run.config_hash,
        'settings_hash': run.settings_hash, 'run': run.name,
        'teacher_run': run.teacher_run,
        'note': protocol.oracle_note if run.stage == 'oracle' else '',
        'teacher_runs': run.teacher_runs}


def append_line(path: Path, line: dict[str, Any]) -> None:
    """
    Append a line: readers and other benchmarks see all of it or nothing.

    A last line that a power cut left torn is cut off first.

    :param path: The record; it is made if it is missing.
    :param line: From `make_line`.
    """
    text = json.dumps(line, allow_nan=False) + '\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a+b') as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b'\n') + 1)
        file.write(text.encode('utf-8'))
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def read_lines(path: Path, fields: tuple[str, ...] = FIELDS) -> list[dict[str, Any]]:
    """
    Return the record, oldest line first; a torn last line is left out.

    :param path: The record; nothing is returned if it is missing.
    :param fields: What every line must have.
    :raises InputError: If a line is damaged or lacks a field.
    """
    if not path.exists():
        return []
    *texts, _ = path.read_text(encoding='utf-8').split('\n')  # the last is '' or torn
    return [
        _parse(text, f'{path}: line {number}', fields) for number, text in enumerate(texts, 1)]


def without_outdated(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Return the lines without students whose teacher was trained again after them.

    On another machine the same teacher comes out a little different.

    :param lines: Oldest first.
    """
    newest = {line['run']: number for number, line in enumerate(lines)}
    return [
        line for number, line in enumerate(lines)
        if newest.get(line['teacher_run'], -1) < number]


def _parse(text: str, where: str, fields: tuple[str, ...]) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f'{where}: not readable as JSON ({error}); mend or delete it') from error
    missing = [name for name in fields if not isinstance(line, dict) or name not in line]
    if missing:
        raise InputError(f'{where}: lacks {missing}; expected an object with {list(fields)}')
    return line
