# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Protocol files: which data, which network, how long; the same for every method."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
import sys
from typing import Any, Sequence

from bkd_core.config import TrainingConfig
from bkd_core.config_file import read_yaml
from bkd_core.errors import InputError, unknown_name

# What a run is in a protocol; each may have settings of its own.
STAGES = ('source_only', 'oracle', 'teacher', 'student')
_INITS = {'teacher_init': ('source_only', 'imagenet'),
          'student_init': ('source_only', 'imagenet', 'teacher')}
_FOLDERS = (  # in a checkout, and where pip and colcon install it
    Path(__file__).resolve().parents[3] / 'config' / 'protocols',
    Path(sys.prefix) / 'share' / 'bkd_ros' / 'config' / 'protocols')


@dataclass(frozen=True, kw_only=True)
class Budget:
    """
    How much a run may cost.

    :param name: 'cpu', 'gpu' or whatever the protocol names.
    :param settings: Keys of an experiment file that hold in this budget.
    :param stages: More such keys by stage, see `STAGES`.
    :param methods: Settings of methods in this budget, by the benchmark's name of the method.
    :param runs: More keys of an experiment file, by the benchmark's name of the method.
    :param seconds_per_step: What a step is expected to take, by stage, and by method
        where one differs; for estimates only.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds_per_step: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """
    One comparison: the data, and what is common to all methods.

    :param name: The file's name without suffix.
    :param settings: Keys of an experiment file: label_space, source, target, validation, ...
    :param oracle: The labelled data that only the oracle trains on.
    :param budgets: By name.
    :param oracle_note: What a reader of the table must know about the oracle.
    :param teacher_init: 'source_only' starts a teacher from the source-only weights of its own
        seed, 'imagenet' from the network's own initialisation.
    :param student_init: The same for BKD's students, or 'teacher'.
    :param ablation_teacher: The method whose teacher the ablation's students learn from.
    :param averaged_teachers: Methods whose students are averaged, to teach one more student.
    :param methods: Settings of methods, by the benchmark's name of the method.
    :param credit: Whose frames the pictures show, and their licence.
    :param show_frames: Show frames and their true labels in pictures; off for data that may not
        be passed on, of which only the networks' answers are then shown.
    """

    name: str
    settings: dict[str, Any]
    oracle: dict[str, Any]
    budgets: dict[str, Budget]
    oracle_note: str = ''
    teacher_init: str = 'source_only'
    student_init: str = 'imagenet'
    ablation_teacher: str = 'self_training'
    averaged_teachers: Sequence[str] = ('fda', 'self_training')
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    credit: str = ''
    show_frames: bool = True

    def __post_init__(self) -> None:
        """Check the choices."""
        for name, choices in _INITS.items():
            if getattr(self, name) not in choices:
                raise unknown_name(name, str(getattr(self, name)), choices)
        several = self.averaged_teachers
        if not isinstance(several, (list, tuple)) or len(set(map(str, several))) < 2:
            raise InputError(
                f'averaged_teachers: got {several!r}; expected a list of two or more methods')

    def budget(self, name: str) -> Budget:
        """
        Return a budget.

        :param name: Its name.
        :raises InputError: If the protocol has none of this name.
        """
        if name not in self.budgets:
            raise unknown_name(f"budget of protocol '{self.name}'", name, self.budgets)
        return self.budgets[name]


def load_protocol(name: str | Path) -> Protocol:
    """
    Read a protocol.

    :param name: Name of a protocol that comes with the package, or the path of a YAML file.
    :raises InputError: If there is none, or a key in it is unknown or missing.
    """
    path = _find(name)
    values = read_yaml(path)
    own = {item.name for item in fields(Protocol)} - {'name', 'settings'}
    shared = {item.name for item in fields(TrainingConfig)} - {'method', 'seed'}
    _check_keys(values, own | shared, f'{path}: key')
    for key in ('source', 'target', 'validation', 'oracle', 'budgets'):
        if not isinstance(values.get(key), dict) or not values[key]:
            raise InputError(
                f"{path}: {key}: expected 'key: value' lines; got {values.get(key)!r}")
    budgets = {
        str(key): _read_budget(str(key), budget, shared, path)
        for key, budget in values['budgets'].items()}
    _check_methods(values, 'methods', str(path))
    mine = {key: value for key, value in values.items() if key in own and key != 'budgets'}
    try:
        return Protocol(
            name=path.stem, budgets=budgets, **mine,
            settings={key: value for key, value in values.items() if key in shared})
    except InputError as error:
        raise InputError(f'{path}: {error}') from error


def _find(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix == '.yaml':
        return path
    for folder in _FOLDERS:
        if (folder / f'{name}.yaml').is_file():
            return folder / f'{name}.yaml'
    known = {path.stem for folder in _FOLDERS for path in folder.glob('*.yaml')}
    raise unknown_name('protocol', str(name), known)


def _read_budget(name: str, values: Any, shared: set[str], path: Path) -> Budget:
    """Return a budget; in the file, its stages and settings stand side by side."""
    where = f'{path}: budgets.{name}'
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected 'key: value' lines; got {values!r}")
    _check_keys(
        values, {*shared, *STAGES, 'methods', 'runs', 'seconds_per_step'}, f'{where}: key')
    stages = {stage: values[stage] for stage in STAGES if stage in values}
    _check_methods(values, 'methods', where)
    _check_methods(values, 'runs', where)
    runs = values.get('runs', {})
    for part, settings in (*stages.items(), *((f'runs.{name}', runs[name]) for name in runs)):
        if not isinstance(settings, dict):
            raise InputError(f"{where}.{part}: expected 'key: value' lines; got {settings!r}")
        _check_keys(settings, shared, f'{where}.{part}: key')
    seconds = values.get('seconds_per_step', {})
    if not isinstance(seconds, dict) or not {*STAGES} <= {*seconds} or not all(
            isinstance(value, (int, float)) and value > 0 for value in seconds.values()):
        raise InputError(
            f'{where}.seconds_per_step: got {seconds!r}; expected seconds above 0 for each of '
            f'{list(STAGES)}')
    return Budget(
        name=name, stages=stages, methods=values.get('methods', {}), runs=runs,
        seconds_per_step=seconds,
        settings={key: value for key, value in values.items() if key in shared})


def _check_methods(values: dict[str, Any], key: str, where: str) -> None:
    methods = values.get(key, {})
    if not isinstance(methods, dict) or not all(
            isinstance(settings, dict) for settings in methods.values()):
        separator = '.' if 'budgets' in where else ': '
        raise InputError(
            f"{where}{separator}{key}: expected 'method: settings' lines; got {methods!r}")


def _check_keys(values: dict[str, Any], known: set[str], kind: str) -> None:
    for key in values:
        if key not in known:
            raise unknown_name(kind, str(key), known)
