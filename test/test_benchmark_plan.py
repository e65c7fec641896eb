# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Protocol files and the runs that follow from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bkd_core.benchmarks.adaptation import load_protocol, plan_runs
from bkd_core.benchmarks.adaptation.benchmark import check_data
from bkd_core.benchmarks.adaptation.plan import (
    ABLATIONS,
    all_methods,
    AVERAGED,
    BKD,
    COMPACT,
    LARGE,
    LARGE_FLOOR,
    ORACLE,
    SECOND_ROUND,
    TEACHERS,
)
from bkd_core.config_file import to_yaml
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.errors import InputError
from bkd_core.models import build_network
from bkd_core.training.checkpoint import fingerprint
import pytest
import yaml

PROTOCOLS = sorted(
    (Path(__file__).resolve().parents[1] / 'config' / 'protocols').glob('*.yaml'))
# Those of data that is too large for minutes on a CPU have budgets of their own.
SMALL = [path for path in PROTOCOLS if 'cpu' in load_protocol(path).budgets]
BUDGETS = [(path, budget) for path in PROTOCOLS for budget in load_protocol(path).budgets]
STREETS = load_protocol('streets')
# Nothing to switch off where the whole does not adjust.
UNADJUSTED = f'{BKD}_without_logit_adjustment'
MOST_MINUTES = 12  # of a run on two cores


def plan(*methods, protocol=STREETS, budget='cpu', seeds=(0,)):
    """Return the runs of a benchmark."""
    return plan_runs(protocol, budget, methods=methods, seeds=seeds)


def keys(runs):
    """Return what each run measures."""
    return [(run.method, run.teacher, run.config.seed) for run in runs]


def only(runs, method):
    """Return the one run of a method."""
    run, = (run for run in runs if run.method == method)
    return run


def changed(tmp_path, **changes):
    """Return the streets protocol with other keys, read from a file; None deletes a key."""
    values = yaml.safe_load(SMALL[-1].read_text(encoding='utf-8'))
    values = {key: value for key, value in {**values, **changes}.items() if value is not None}
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump(values), encoding='utf-8')
    return load_protocol(path)


@pytest.mark.parametrize(('path', 'budget'), BUDGETS, ids=str)
def test_every_shipped_protocol_plans_all_methods(path, budget):
    protocol = load_protocol(path.stem)
    runs = plan('all', protocol=protocol, budget=budget)
    left_out = set() if protocol.budget(budget).methods.get(BKD) else {UNADJUSTED}
    assert {run.method for run in runs} == set(all_methods()) - left_out
    assert {run.teacher for run in runs if run.method == BKD} == set(TEACHERS)
    for run in runs:
        assert run.config.target != run.config.source or run.stage == 'oracle'
        assert run.config.method.name == (
            'source_only' if run.stage in ('oracle', 'source_only')
            else BKD if run.stage == 'student' else 'self_training' if run.method == LARGE
            else TEACHERS[run.method]['method']['name'])
    if budget == 'cpu':
        assert max(run.minutes for run in runs) < MOST_MINUTES


@pytest.mark.parametrize('path', SMALL, ids=lambda path: path.stem)
def test_the_data_of_a_shipped_protocol_is_there_and_its_target_has_no_labels(path, data_root):
    protocol = load_protocol(path)
    runs = plan(protocol=protocol)
    check_data(runs, data_root)
    target = open_dataset(runs[0].config.target, data_root)
    assert not target.has_labels
    if protocol.name == 'camvid_day_to_dusk':
        floor = only(runs, 'source_only').config
        assert len(target) == len(open_dataset(floor.validation, data_root)) == 62
        source = open_dataset(floor.source, data_root)
        assert len(source) == 305
        assert not {source.name(index) for index in range(305)} & {
            target.name(index) for index in range(62)}


def test_a_run_comes_after_what_it_builds_on():
    runs = plan(seeds=(0, 1))
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    for run in runs:
        assert all(names.index(need.name) < names.index(run.name) for need in run.needs)
        assert all(need.config.seed == run.config.seed for need in run.needs)


def test_what_a_method_builds_on_is_planned_with_it():
    assert keys(plan('self_training', BKD, seeds=(3,))) == [
        ('source_only', None, 3), ('self_training', None, 3), (BKD, 'self_training', 3)]
    assert keys(plan('oracle')) == [('oracle', None, 0)]


def test_the_averaged_round_learns_from_several_students():
    runs = plan(AVERAGED, seeds=(2,))
    student = only(runs, AVERAGED)
    teachers = [run for run in runs if run.method == BKD]
    assert [run.teacher for run in teachers] == ['fda', 'self_training']
    assert student.config.method.teacher == tuple(f'stage:{run.name}' for run in teachers)
    assert student.needs[:2] == tuple(teachers) and student.teacher == BKD
    assert student.teacher_run is None
    assert all(run.teacher_run == run.needs[0].name for run in teachers)


@pytest.mark.parametrize('named, message', [
    (['fda'], 'expected a list of two or more methods'),
    ('fda', 'expected a list of two or more methods'),
    (['fda', 'self_trainin'], "averaged_teachers of protocol 'mine'"),
])
def test_what_cannot_be_averaged_is_refused(named, message, tmp_path):
    with pytest.raises(InputError, match=message):
        plan(AVERAGED, protocol=changed(tmp_path, averaged_teachers=named))


def test_the_compact_student_has_a_fifth_of_its_teachers_parameters_at_most():
    runs = plan(COMPACT)
    assert keys(runs) == [(LARGE_FLOOR, None, 0), (LARGE, None, 0), (COMPACT, LARGE, 0)]
    floor, teacher, student = runs
    assert teacher.config.model.init == f'stage:{floor.name}'
    assert student.config.method.teacher == f'stage:{teacher.name}'
    assert student.config.model.init is None
    assert teacher.config.method == only(plan('self_training'), 'self_training').config.method
    assert replace(student.config.method, teacher='') == replace(
        only(plan('self_training', BKD), BKD).config.method, teacher='')
    large, small = (
        sum(weight.numel() for weight in build_network(
            model.network, 9, **{**model.options, 'pretrained': False}).parameters())
        for model in (teacher.config.model, student.config.model))
    assert small < 5e6 and 5 * small <= large


@pytest.mark.parametrize('init', ['source_only', 'teacher'])
def test_the_compact_student_starts_from_imagenet_whatever_others_start_from(init):
    runs = plan(COMPACT, protocol=replace(STREETS, student_init=init))
    assert only(runs, COMPACT).config.model.init is None


@pytest.mark.parametrize('init', ['imagenet', 'teacher'])
def test_the_second_rounds_teacher_is_the_student_of_the_first(init):
    runs = plan(SECOND_ROUND, protocol=replace(STREETS, student_init=init))
    assert keys(runs) == [
        ('source_only', None, 0), ('self_training', None, 0), (BKD, 'self_training', 0),
        (SECOND_ROUND, BKD, 0)]
    first, second = runs[-2:]
    assert second.config.method == replace(
        first.config.method, teacher=f'stage:{first.name}')
    assert second.config.model.init == (f'stage:{first.name}' if init == 'teacher' else None)


def test_without_names_the_usual_methods_are_planned_and_groups_are_on_request():
    assert {run.method for run in plan()} == {*TEACHERS, ORACLE, BKD}
    assert {run.method for run in plan('compact')} == {LARGE_FLOOR, LARGE, COMPACT}
    runs = plan('rounds', protocol=load_protocol('gazebo_to_camvid'))
    assert [(run.method, run.teacher) for run in runs if run.method not in (*TEACHERS, BKD)] == [
        (SECOND_ROUND, BKD), (AVERAGED, BKD)]
    with pytest.raises(InputError, match="'rounds'"):
        plan('round')


def test_the_ablation_switches_one_part_off_and_includes_the_whole():
    protocol = load_protocol('gazebo_to_camvid')
    runs = plan('ablation', protocol=protocol)
    whole = only(runs, BKD).config.method
    assert whole.teacher == f'stage:{only(runs, protocol.ablation_teacher).name}'
    differs = {
        name.removeprefix(f'{BKD}_without_'): only(runs, name).config.method
        for name in ABLATIONS}
    assert differs == {
        'soft_label': replace(whole, lambda_soft=0.0),
        'target_flow': replace(whole, lambda_target=0.0),
        'mining': replace(whole, mining=replace(whole.mining, form='none', share=0.0)),
        'entropy': replace(whole, lambda_entropy=0.0),
        'whole_frames': replace(whole, teacher_view='crop'),
        'logit_adjustment': replace(whole, logit_adjustment=0.0)}
    assert whole not in differs.values()


@pytest.mark.parametrize(('settings', 'stage', 'base'), [
    ({'teacher_init': 'imagenet'}, 'teacher', None),
    ({'teacher_init': 'source_only'}, 'teacher', 'source_only'),
    ({'student_init': 'imagenet'}, 'student', None),
    ({'student_init': 'source_only'}, 'student', 'source_only'),
    ({'student_init': 'teacher'}, 'student', 'self_training'),
])
def test_a_network_starts_where_the_protocol_says(settings, stage, base):
    runs = plan('self_training', BKD, protocol=replace(STREETS, **settings))
    run = next(run for run in runs if run.stage == stage)
    assert run.config.model.init == (base and f'stage:{only(runs, base).name}')
    floor = [run for run in runs if run.method == 'source_only']
    assert all(run.config.model.init is None for run in floor)


def test_only_the_oracle_trains_on_the_labelled_target():
    for run in plan():
        domain = run.config.source.options['domain']
        assert domain == ('target' if run.stage == 'oracle' else 'source')


def test_another_setting_renames_a_run_and_all_that_build_on_it():
    before = plan('self_training', BKD, 'oracle')
    after = plan('self_training', BKD, 'oracle', protocol=replace(
        STREETS, methods={'self_training': {'lambda_mixed': 0.5}}))
    assert only(after, 'self_training').config.method.lambda_mixed == 0.5
    same = [old.config_hash == new.config_hash for old, new in zip(before, after)]
    assert list(zip([run.method for run in before], same)) == [
        ('source_only', True), ('self_training', False), ('oracle', True), (BKD, False)]
    assert [run.name.endswith(run.config_hash[:8]) for run in after] == [True] * 4


def test_the_hash_is_the_one_that_checkpoints_carry():
    run = plan('oracle')[0]
    assert run.config_hash == fingerprint(to_yaml(run.config))


def test_seeds_share_the_hash_of_the_settings_and_nothing_else():
    first, second = (only(plan(BKD, 'self_training', seeds=(seed,)), BKD) for seed in (0, 5))
    assert first.settings_hash == second.settings_hash == first.config_hash
    assert first.config_hash != second.config_hash
    assert replace(second.config, seed=0, method=first.config.method) == first.config


def test_a_budget_and_a_stage_replace_the_protocols_settings(tmp_path):
    budget = {
        'steps': 7, 'oracle': {'steps': 9, 'model': {'input_height': 64}},
        'methods': {BKD: {'temperature': 2.0}},
        'seconds_per_step': dict.fromkeys(('source_only', 'oracle', 'teacher', 'student'), 60)}
    runs = plan('oracle', 'source_only', BKD, protocol=changed(tmp_path, budgets={'cpu': budget}))
    assert {run.stage: run.config.steps for run in runs} == {
        'source_only': 7, 'oracle': 9, 'student': 7}
    assert only(runs, 'oracle').config.model.input_height == 64
    assert only(runs, BKD).config.method.temperature == 2.0
    assert only(runs, BKD).config.method.teacher.startswith('stage:source_only_seed0_')
    assert only(runs, 'oracle').minutes == pytest.approx(9 + 40 / 60)


def test_masked_consistency_is_self_training_with_masks_and_rare_classes():
    runs = plan('self_training', 'masked_consistency', protocol=replace(STREETS, budgets={
        'cpu': replace(STREETS.budgets['cpu'], methods={})}))
    plain = only(runs, 'self_training').config
    masked = only(runs, 'masked_consistency').config
    assert (masked.method.masking.lambda_masked, masked.rare_class_sampling.temperature) == (
        1.0, 0.01)
    assert plain == replace(
        masked, rare_class_sampling=plain.rare_class_sampling,
        method=replace(masked.method, masking=plain.method.masking))


@pytest.mark.parametrize(('changes', 'message'), [
    ({'targte': {}}, "Unknown .*mine.yaml: key 'targte'.*Did you mean 'target'"),
    ({'source': None}, 'mine.yaml: source: expected'),
    ({'oracle': None}, 'mine.yaml: oracle: expected'),
    ({'budgets': {'cpu': 3}}, 'budgets.cpu: expected'),
    ({'budgets': {'cpu': {'stepz': 3}}}, "budgets.cpu: key 'stepz'.*Did you mean 'steps'"),
    ({'budgets': {'cpu': {'seconds_per_step': {'teacher': 1}}}}, 'seconds_per_step: got'),
    ({'teacher_init': 'random'}, "Unknown teacher_init 'random'"),
    ({'methods': {'fda': 3}}, 'methods: expected'),
])
def test_a_wrong_protocol_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        changed(tmp_path, **changes)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'methods': {'dacs': {}}}, "Unknown method of the benchmark 'dacs'"),
    ({'methods': {'self_training': {'ema': 0.9}}}, "method 'self_training': .*'ema'"),
    ({'ablation_teacher': 'dacs'}, "ablation_teacher of protocol 'mine' 'dacs'"),
    ({'label_space': 'streets9'}, "label space 'streets9'"),
])
def test_a_wrong_setting_is_named_when_the_runs_are_planned(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        plan('self_training', protocol=changed(tmp_path, **changes))


def test_unknown_names_list_the_choices(monkeypatch):
    with pytest.raises(InputError, match="'self_trainig'.*Did you mean 'self_training'"):
        plan('self_trainig')
    with pytest.raises(InputError, match=r"budget of protocol 'streets' 'tpu'.*\['cpu', 'gpu'\]"):
        plan(budget='tpu')
    with pytest.raises(InputError, match="Unknown protocol 'street'.*Did you mean 'streets'"):
        load_protocol('street')
    monkeypatch.setitem(TEACHERS, 'prototypes', {'method': {'name': 'prototypes'}})
    with pytest.raises(InputError, match="method 'prototypes': Unknown method 'prototypes'"):
        plan('prototypes')
