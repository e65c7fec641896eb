# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a protocol to its runs, each after the runs that it builds on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from bkd_core.benchmarks.adaptation.factors import Change, STUDENT_INIT
from bkd_core.benchmarks.adaptation.protocol import Budget, Protocol, STAGES
from bkd_core.config import TrainingConfig
from bkd_core.config_file import merge, parse, to_yaml
from bkd_core.errors import unknown_name
from bkd_core.training.checkpoint import fingerprint

# The benchmark's teachers as keys of an experiment file; a protocol and its budget may add to
# the method's settings. A new teacher is one entry here.
TEACHERS: dict[str, dict[str, Any]] = {
    'source_only': {'method': {'name': 'source_only'}},
    'max_square': {'method': {'name': 'max_square'}},
    'fda': {'method': {'name': 'fda'}},
    'self_training': {'method': {'name': 'self_training'}},
    'masked_consistency': {
        'method': {'name': 'self_training', 'masking': {'lambda_masked': 1.0}},
        'rare_class_sampling': {'temperature': 0.01}},
}
ORACLE = 'oracle'
BKD = 'bilateral_distillation'
# BKD with one part switched off; `share: 0` weighs every pixel by exactly 1.
ABLATIONS: dict[str, dict[str, Any]] = {
    f'{BKD}_without_soft_label': {'lambda_soft': 0.0},
    f'{BKD}_without_target_flow': {'lambda_target': 0.0},
    f'{BKD}_without_mining': {'mining': {'form': 'none', 'share': 0.0}},
    f'{BKD}_without_entropy': {'lambda_entropy': 0.0},
    f'{BKD}_without_whole_frames': {'teacher_view': 'crop'},
    f'{BKD}_without_logit_adjustment': {'logit_adjustment': 0.0},
}
# A pair of other networks: the student has a seventh of its teacher's parameters.
LARGE_FLOOR = 'source_only_large'
LARGE = 'self_training_large'
COMPACT = f'{BKD}_compact'
# A student of the student that learnt from the protocol's `ablation_teacher`.
SECOND_ROUND = f'{BKD}_second_round'
# A student of the average of the students that learnt from the protocol's `averaged_teachers`.
AVERAGED = f'{BKD}_averaged'
_LARGE_MODEL = {'network': 'lite_deeplab', 'options': {'variant': 'lite2'}}  # 5.3 M
_COMPACT_MODEL = {'network': 'lite_fpn', 'options': {'num_stages': 5}}  # 0.74 M
# What is measured on request only.
GROUPS = {
    'ablation': tuple(ABLATIONS), 'compact': (LARGE_FLOOR, LARGE, COMPACT),
    'rounds': (SECOND_ROUND, AVERAGED)}
EVERYTHING = 'all'
EXPORT_AND_MEASURE_S = 40  # what a run takes beside its steps, on two cores


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    One network to train and to score.

    The name ends in the hash of the settings, and a run that builds on others names them in
    its settings: whatever is changed, a run and all that build on it get other hashes.

    :param name: Name of its model directory.
    :param stage: One of `STAGES`.
    :param method: The benchmark's name of the method.
    :param teacher: For a student, the method of its teacher.
    :param config: Its resolved configuration.
    :param config_hash: Hash of it, as checkpoints carry.
    :param settings_hash: `config_hash` of the same run at seed 0: equal for all seeds of a row.
    :param needs: The runs that it builds on; a student's teacher comes first.
    :param minutes: What it is expected to take.
    :param student_init: For a student, what it starts from.
    :param change: What the search changed in a student's settings.
    :param defaults_hash: `settings_hash` of the same run without the change.
    """

    name: str
    stage: str
    method: str
    teacher: str | None
    config: TrainingConfig
    config_hash: str
    settings_hash: str
    needs: tuple[Run, ...]
    minutes: float
    student_init: str | None
    change: Change | None
    defaults_hash: str

    @property
    def teacher_runs(self) -> tuple[str, ...]:
        """Return the names of a student's teachers; several are averaged."""
        teachers = getattr(self.config.method, 'teacher', None) or ()
        count = 1 if isinstance(teachers, str) else len(teachers)
        return tuple(need.name for need in self.needs[:count])

    @property
    def teacher_run(self) -> str | None:
        """Return the name of a student's only teacher."""
        return self.teacher_runs[0] if len(self.teacher_runs) == 1 else None

    @property
    def title(self) -> str:
        """Return the method and what the search changed in it."""
        if self.change is None:
            return self.method
        return f'BKD, {self.change.factor} = {self.change.value}'


def all_methods() -> tuple[str, ...]:
    """Return the names that a user may choose from, apart from groups."""
    return (*usual_methods(), *(name for names in GROUPS.values() for name in names))


def usual_methods() -> tuple[str, ...]:
    """Return what is measured unless methods are named."""
    return (*TEACHERS, ORACLE, BKD)


def plan_runs(
    protocol: Protocol, budget: str, *, methods: Sequence[str] = (), seeds: Sequence[int] = (0,),
) -> list[Run]:
    """
    Return the runs of a benchmark in an order in which they can be made.

    :param protocol: From `load_protocol`.
    :param budget: Name of one of its budgets.
    :param methods: What to measure, by name or by one of `GROUPS` or `EVERYTHING`; none for
        `usual_methods`. BKD learns from every teacher that is named, or from all if none is; the
        ablation from the protocol's `ablation_teacher`, the second round from the student of
        that one, the averaged round from the students of its `averaged_teachers`, the compact
        student from the large teacher.
    :param seeds: One run of each for each of them.
    :raises InputError: If a name is unknown or settings are wrong.
    """
    chosen = _expand(methods)
    planner = Planner(protocol, protocol.budget(budget))
    teachers = [name for name in TEACHERS if name in chosen] or list(TEACHERS)
    for seed in dict.fromkeys(seeds):
        for name in (*TEACHERS, ORACLE, LARGE_FLOOR, LARGE):
            if name in chosen:
                planner.add(name, None, seed)
        for teacher in teachers if BKD in chosen else ():
            planner.add(BKD, teacher, seed)
        for name in (SECOND_ROUND, AVERAGED):
            if name in chosen:
                planner.add(name, BKD, seed)
        if COMPACT in chosen:
            planner.add(COMPACT, LARGE, seed)
        ablations = [name for name in ABLATIONS if name in chosen]
        for name in (BKD, *ablations) if ablations else ():  # the whole is what they lack parts of
            planner.add(name, protocol.ablation_teacher, seed)
    return planner.in_order()


def _expand(methods: Sequence[str]) -> set[str]:
    known = {
        **{name: (name,) for name in all_methods()}, **GROUPS, EVERYTHING: all_methods()}
    chosen: set[str] = set()
    for name in methods or usual_methods():
        if name not in known:
            raise unknown_name('method of the benchmark', name, known)
        chosen.update(known[name])
    return chosen


class Planner:
    """Build runs once each; what a run builds on comes before it."""

    def __init__(self, protocol: Protocol, budget: Budget) -> None:
        self.protocol = protocol
        self.budget = budget
        named = [('ablation_teacher', protocol.ablation_teacher)]
        named += [('averaged_teachers', name) for name in protocol.averaged_teachers]
        for key, name in named:
            if name not in TEACHERS:
                raise unknown_name(f"{key} of protocol '{protocol.name}'", str(name), TEACHERS)
        timed = {*budget.seconds_per_step} - {*STAGES}
        for names in (protocol.methods, budget.methods, budget.runs, timed):
            for name in names:
                if name not in all_methods():
                    raise unknown_name('method of the benchmark', name, all_methods())
        self.runs: dict[tuple, Run] = {}
        self.order: dict[str, Run] = {}

    def add(
        self, method: str, teacher: str | None, seed: int, change: Change | None = None,
    ) -> None:
        """Plan a run and what it needs; a variant that is a planned run again adds none."""
        run = self._run(method, teacher, seed, change)
        is_variant = change is not None or method in ABLATIONS
        planned = {other.config_hash for other in self.order.values()} if is_variant else ()
        if run.config_hash not in planned:
            self._append(run)

    def in_order(self) -> list[Run]:
        """Return what was planned."""
        return list(self.order.values())

    def _append(self, run: Run) -> None:
        for need in run.needs:
            self._append(need)
        self.order.setdefault(run.name, run)

    def _run(
        self, method: str, teacher: str | None, seed: int, change: Change | None = None,
    ) -> Run:
        key = (method, teacher, seed, change)
        if key not in self.runs:
            self.runs[key] = self._build(*key)
        return self.runs[key]

    def _build(
        self, method: str, teacher: str | None, seed: int, change: Change | None,
    ) -> Run:
        stage = _stage(method)
        values, needs = self._values(method, stage), []
        if change is not None:  # it comes last, so that nothing sets it back
            values['method'] = merge(values['method'], change.method)
        if stage == 'student':
            needs += self._teachers(method, teacher, seed)
            names = tuple(f'stage:{need.name}' for need in needs)
            values['method'] = {
                **values['method'], 'teacher': names if len(names) > 1 else names[0]}
        init = self._init(method, stage, change)
        base = self._base(init, LARGE_FLOOR if method == LARGE else 'source_only', needs, seed)
        if base is not None:
            needs.append(base)
            values['model'] = {**values.get('model', {}), 'init': f'stage:{base.name}'}
        label = f'{method}_{change}' if change else method
        label = f'{label}_from_{teacher}' if teacher else label
        where = f"protocol '{self.protocol.name}', budget '{self.budget.name}', method '{method}'"
        config = parse({**values, 'seed': seed}, where)
        config_hash = fingerprint(to_yaml(config))
        settings_hash = (
            config_hash if seed == 0 else self._run(method, teacher, 0, change).config_hash)
        step = self.budget.seconds_per_step
        seconds = config.steps * step.get(method, step[stage]) + EXPORT_AND_MEASURE_S
        return Run(
            name=f'{label}_seed{seed}_{config_hash[:8]}', stage=stage, method=method,
            teacher=teacher, config=config, config_hash=config_hash,
            settings_hash=settings_hash, needs=tuple(needs), minutes=seconds / 60,
            student_init=init if stage == 'student' else None, change=change,
            defaults_hash=(
                self._run(method, teacher, 0).config_hash if change else settings_hash))

    def _teachers(self, method: str, teacher: str, seed: int) -> list[Run]:
        """Return the runs that a student learns from, by its method and its teacher's."""
        if teacher != BKD:
            return [self._run(teacher, None, seed)]
        protocol = self.protocol
        several = method == AVERAGED
        first = protocol.averaged_teachers if several else (protocol.ablation_teacher,)
        return [self._run(BKD, name, seed) for name in first]

    def _values(self, method: str, stage: str) -> dict[str, Any]:
        """Return the plain settings of a run, still without what it builds on."""
        values = merge(self.protocol.settings, self.budget.settings)
        values = merge(values, self.budget.stages.get(stage, {}))
        for name in _names(method):
            values = merge(values, self.budget.runs.get(name, {}))
        if stage == 'oracle':
            values['source'] = self.protocol.oracle
        values = merge(values, _keys(method))
        return {**values, 'method': merge(values['method'], self._changes(method))}

    def _changes(self, method: str) -> dict[str, Any]:
        """Return what the protocol, its budget and an ablation change in a method's settings."""
        changes: dict[str, Any] = {}
        for more in (self.protocol.methods, self.budget.methods):
            for name in _names(method):
                changes = merge(changes, more.get(name, {}))
        # The ablation comes last, so that nothing switches the part on again.
        return merge(changes, ABLATIONS.get(method, {}))

    def _init(self, method: str, stage: str, change: Change | None) -> str:
        """Return what a run starts from."""
        if method == COMPACT:  # no other run has its network
            return 'imagenet'
        inits = {'teacher': self.protocol.teacher_init, 'student': self.protocol.student_init}
        changed = change.settings if change else {}
        return changed.get(STUDENT_INIT, inits.get(stage, 'imagenet'))

    def _base(self, init: str, floor: str, teachers: list[Run], seed: int) -> Run | None:
        """Return the run whose weights a run starts from; None for ImageNet."""
        if init == 'imagenet':
            return None
        if init == 'source_only':
            return self._run(floor, None, seed)
        return teachers[0]


# Methods that are another with other networks or a part switched off, and share its settings.
_VARIANTS = {
    LARGE_FLOOR: 'source_only', LARGE: 'self_training', COMPACT: BKD, SECOND_ROUND: BKD,
    AVERAGED: BKD,
    **dict.fromkeys(ABLATIONS, BKD)}


def _names(method: str) -> tuple[str, ...]:
    """Return the methods whose settings a method has, its own last."""
    return (_VARIANTS[method], method) if method in _VARIANTS else (method,)


def _stage(method: str) -> str:
    method = _VARIANTS.get(method, method)
    if method in ('source_only', ORACLE):
        return method
    return 'teacher' if method in TEACHERS else 'student'


def _keys(method: str) -> dict[str, Any]:
    if method in (LARGE_FLOOR, LARGE):
        return {**TEACHERS[_VARIANTS[method]], 'model': _LARGE_MODEL}
    if method == COMPACT:
        return {'method': {'name': BKD}, 'model': _COMPACT_MODEL}
    if method in TEACHERS:
        return TEACHERS[method]
    return {'method': {'name': 'source_only' if method == ORACLE else BKD}}
