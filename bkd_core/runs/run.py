# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One run as its folder tells it: its state, how far it is, its last losses and its score."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
import fcntl
import json
from pathlib import Path
from typing import Any

from bkd_core.errors import InputError
from bkd_core.model_directory import CONFIG, METRICS
from bkd_core.runs.files import (
    BEST,
    BEST_SCORE,
    CHECKPOINT,
    LOCK,
    LOG,
    RESOURCES,
    RUN,
    VALIDATION,
)
from bkd_core.runs.journal import read_journal
from bkd_core.runs.lines import last_lines
import yaml

NUM_AVERAGED = 20  # steps whose losses are averaged


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    What is known of a run.

    :param directory: Its folder.
    :param state: 'running' (a process holds its lock), 'finished' (trained and measured),
        'interrupted', or of `damaged_run` 'damaged'.
    :param made: Steps that its log holds, of which those since the last checkpoint may still
        have to be made again.
    :param steps: Steps in all; None where nothing tells.
    :param saved_step: Step of the checkpoint that it goes on from; None if it has none or it is
        not known.
    :param losses: Mean of each loss term over the last 20 steps.
    :param resources: The last line of `resources.jsonl`.
    :param miou: 0 to 1: of the finished network; None without.
    :param iou: IoU of the finished network by class, None for a class that did not occur.
    :param validation: The last line of `validation.jsonl`.
    :param best: Step and scores of the network in `best/`.
    :param settings: Resolved settings.
    :param starts: When, where and by which command it was started, the newest last.
    :param stopped: Step, time and reason, if the loop ended early and could say why.
    :param updated: When the log last grew, ISO 8601 in UTC.
    :param damage: Why it cannot be read; '' if it can.
    """

    directory: Path
    state: str
    made: int
    steps: int | None
    saved_step: int | None
    losses: dict[str, float]
    resources: dict[str, float]
    miou: float | None
    iou: dict[str, float | None]
    validation: dict[str, Any]
    best: dict[str, Any]
    settings: dict[str, Any]
    starts: list[dict[str, Any]]
    stopped: dict[str, Any] | None
    updated: str
    damage: str = ''

    @property
    def method(self) -> str:
        """Return the name of its method; '-' if it is not known."""
        return self.settings.get('method', {}).get('name', '-')

    @property
    def loss(self) -> float | None:
        """Return the mean of all loss terms together."""
        return sum(self.losses.values()) if self.losses else None

    @property
    def score(self) -> float | None:
        """Return mIoU, 0 to 1: of the finished network, or else of the last validation."""
        return self.miou if self.miou is not None else self.validation.get('miou')

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), 'directory': str(self.directory)}


def is_run(directory: Path) -> bool:
    """
    Return whether a folder holds a run.

    :param directory: Any folder.
    """
    return any((directory / name).is_file() for name in (LOG, RUN, CHECKPOINT))


def read_run(directory: str | Path) -> Run:
    """
    Read a run.

    :param directory: Its folder.
    :raises InputError: If it holds no run, or a file of it is damaged.
    """
    directory = Path(directory).expanduser()
    if not is_run(directory):
        raise InputError(
            f"{directory}: no run is here; expected a folder with {LOG}, such as a stage's "
            "runs/NAME/STAGE. 'bkd runs list' finds them")
    try:
        run = _read_files(directory)
        run.method, run.loss, run.score  # noqa: B018  they fail here or where they are shown
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise InputError(
            f'{directory}: damaged: a file holds values of another kind than a run writes '
            f'({type(error).__name__}: {error})') from error
    return run


def _read_files(directory: Path) -> Run:
    journal = read_journal(directory)
    settings = journal.get('settings') or _read(directory / CONFIG)
    metrics = _read(directory / METRICS)
    tail = last_lines(directory / LOG, NUM_AVERAGED)
    scores = metrics.get('scores', {})
    return Run(
        directory=directory, state=_state(directory), made=tail[-1]['step'] + 1 if tail else 0,
        steps=settings.get('steps', metrics.get('steps')),
        saved_step=(
            journal.get('saved_step') if (directory / CHECKPOINT).exists() else None),
        losses=_means(tail), resources=_last(directory / RESOURCES),
        miou=scores.get('miou'), iou=scores.get('iou', {}),
        validation=_last(directory / VALIDATION), best=_read(directory / BEST / BEST_SCORE),
        settings=settings, starts=journal.get('starts', []), stopped=journal.get('stopped'),
        updated=_updated(directory))


def damaged_run(directory: Path, damage: str) -> Run:
    """
    Return what is known of a run that cannot be read.

    :param directory: Its folder.
    :param damage: Why it cannot be read.
    """
    return Run(
        directory=directory, state='damaged', made=0, steps=None, saved_step=None, losses={},
        resources={}, miou=None, iou={}, validation={}, best={}, settings={}, starts=[],
        stopped=None, updated=_updated(directory), damage=damage)


def _updated(directory: Path) -> str:
    newest = max(
        (path.stat().st_mtime for path in (directory / LOG, directory / RUN) if path.exists()),
        default=directory.stat().st_mtime)
    return datetime.fromtimestamp(newest, timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def _state(directory: Path) -> str:
    if _is_locked(directory / LOCK):
        return 'running'
    return 'finished' if (directory / METRICS).exists() else 'interrupted'


def _is_locked(path: Path) -> bool:
    """Return whether a process holds the lock; a killed one holds it no more."""
    try:
        with path.open('rb') as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _means(lines: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each loss term that the last step has."""
    if not lines:
        return {}
    terms = [key for key in lines[-1] if key not in ('step', 'seconds')]
    values = {term: [line[term] for line in lines if term in line] for term in terms}
    return {term: sum(known) / len(known) for term, known in values.items()}


def _last(path: Path) -> dict[str, Any]:
    return (last_lines(path, 1) or [{}])[-1]


def _read(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON or YAML file holds; nothing if there is none."""
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding='utf-8')
        values = json.loads(text) if path.suffix == '.json' else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f'{path}: damaged: {error}') from error
    if not isinstance(values, dict):
        raise InputError(f'{path}: damaged: expected a mapping, got {type(values).__name__}')
    return values
