# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The search over BKD's settings: its runs, its record, and its table worked by hand."""

from __future__ import annotations

from dataclasses import replace

from bkd_core.__main__ import main
from bkd_core.benchmarks.adaptation import load_protocol, plan_runs, plan_search, SEARCH
from bkd_core.benchmarks.adaptation.benchmark import check_data, pending
from bkd_core.benchmarks.adaptation.factors import (
    Change,
    FACTORS,
    PACKAGE_DEFAULTS,
    settings_of,
)
from bkd_core.benchmarks.adaptation.plan import BKD
from bkd_core.benchmarks.adaptation.results import ADDED_FIELDS, append_line, FIELDS, LINES
from bkd_core.benchmarks.adaptation.search_table import SEARCH_FIELDS, write_search_table
from bkd_core.errors import InputError
from bkd_core.method_config import BilateralDistillationConfig
import pytest
from test_benchmark_adaptation import forbid_training, World
from test_benchmark_table import line
from tiny_training import register_tiny_network

STREETS = load_protocol('streets')
DEFAULTS = settings_of(BilateralDistillationConfig(), 'imagenet')


def students(*factors, protocol=STREETS, seeds=(0,)):
    """Return the runs of a search without those that they build on; the default is first."""
    runs = plan_search(protocol, 'cpu', factors=factors, seeds=seeds)
    return [run for run in runs if run.stage == 'student']


def searched(seed, miou, change=None, **changes):
    """Return a line of the search around the defaults."""
    values = {
        'factor': change and change.factor, 'value': change and change.value,
        'settings': {**DEFAULTS, **(change.settings if change else {})}, 'defaults_hash': 'd',
        'teacher_run': f'T{seed}'}
    return line(BKD, seed, miou, 'self_training', **{**values, **changes})


DEFAULT = [searched(seed, miou) for seed, miou in enumerate((.40, .42, .44))]
TEACHER = [line('self_training', seed, .39 + seed / 100, run=f'T{seed}',
                **dict.fromkeys(SEARCH_FIELDS)) for seed in range(3)]


def values_of(change, *mious):
    """Return the lines of a value, one a seed."""
    return [searched(seed, miou, change) for seed, miou in enumerate(mious)]


def table_of(folder, lines):
    """Return the table's text, and its cells by (factor, value)."""
    for one in lines:
        append_line(folder / SEARCH.file, one)
    text = write_search_table(folder).read_text(encoding='utf-8')
    cells = [[cell.strip() for cell in row.strip('|').split('|')]
             for row in text.splitlines() if row.startswith('|')][2:]
    return text, {tuple(row[:2]): row[2:] for row in cells}


def test_one_factor_at_a_time_differs_from_the_defaults():
    default, *changed = students()
    assert default.change is None and default.config.method.teacher.startswith(
        'stage:self_training_seed0_')
    base = settings_of(default.config.method, default.student_init)
    assert base == DEFAULTS
    for run in changed:
        found = settings_of(run.config.method, run.student_init)
        differs = {name: value for name, value in found.items() if value != base[name]}
        assert differs and differs.items() <= run.change.settings.items()
        assert found.items() >= run.change.settings.items()
        assert run.change.settings[run.change.factor] == run.change.value
        assert run.needs[0] == default.needs[0] and run.defaults_hash == default.settings_hash
    # This protocol brings no settings of its own: the package's are the defaults.
    assert {run.change.factor for run in changed} == set(FACTORS) - {PACKAGE_DEFAULTS}


def test_package_defaults_undo_what_the_protocol_and_its_budget_set():
    protocol = replace(STREETS, methods={BKD: {'temperature': 2.0, 'mining': {'gamma': 3.0}}})
    default, own = students('package_defaults', protocol=protocol)
    assert default.config.method.temperature == 2.0
    teacher = own.config.method.teacher
    assert own.config.method == BilateralDistillationConfig(teacher=teacher)
    assert own.student_init == default.student_init and own.needs == default.needs
    assert replace(own.config, method=default.config.method) == default.config


def test_the_default_is_planned_once_and_no_settings_twice():
    runs = students()
    assert len({run.config_hash for run in runs}) == len({run.name for run in runs}) == len(runs)
    # Each factor's default is the default; mining.ratio 0.3 is mining.form top_k again.
    assert len(runs) == 1 + sum(len(values) - 1 for values in FACTORS.values())


def test_the_defaults_are_the_benchmarks_own_run():
    own = plan_runs(STREETS, 'cpu', methods=('self_training', BKD))
    assert plan_search(STREETS, 'cpu', factors=['kl_direction'])[:3] == own


def test_a_change_wins_over_the_protocols_setting():
    protocol = replace(STREETS, methods={BKD: {'temperature': 2.0}})
    default, *changed = students('temperature', protocol=protocol)
    assert default.config.method.temperature == 2.0
    assert [run.config.method.temperature for run in changed] == [0.5, 1.0, 4.0]


def test_a_setting_without_effect_gets_the_form_that_uses_it():
    _, *changed = students('mining.ratio', 'mining.gamma')
    assert [(run.config.method.mining.form, run.config.method.mining.ratio,
             run.config.method.mining.gamma) for run in changed] == [
        ('top_k', 0.1, 1.0), ('top_k', 0.3, 1.0), ('top_k', 0.5, 1.0),
        ('focal', 0.3, 0.5), ('focal', 0.3, 2.0)]


def test_the_student_starts_where_the_search_says():
    runs = students('student_init', seeds=(0, 1))
    inits = [(run.config.model.init or 'imagenet').split('_seed')[0] for run in runs]
    assert inits == ['imagenet', 'stage:source_only', 'stage:self_training'] * 2
    assert [run.settings_hash for run in runs[:3]] == [run.settings_hash for run in runs[3:]]


def test_the_tables_values_are_those_worked_by_hand(tmp_path):
    text, found = table_of(tmp_path, [
        *TEACHER, *DEFAULT, *values_of(Change('temperature', 2.0), .43, .45, .47),
        *values_of(Change('temperature', 0.5), .41, .41, .47),
        *values_of(Change('mining.ratio', 0.3), .36, .38, .43),
        *values_of(Change('lambda_soft', 0.0), .50)])
    assert 'self_training: 42.0 ± 2.0 (n = 3); its teacher 40.0 ± 1.0 (n = 3), gain ' \
        '+2.0 ± 1.0 (n = 3).' in text
    assert found['temperature', '1.0 (default)'] == ['-', '3', '42.0 ± 2.0', '-']
    assert found['temperature', '2.0'] == [
        'above the spread', '3', '45.0 ± 2.0', '+3.0 ± 0.0 (n = 3)']
    # Differences 1, -1, 3; -4, -4, -1: spreads sqrt((0 + 4 + 4) / 2), sqrt((1 + 1 + 4) / 2).
    assert found['temperature', '0.5'] == [
        'nothing: within the spread', '3', '43.0 ± 3.5', '+1.0 ± 2.0 (n = 3)']
    assert found['mining.ratio', '0.3 (with mining.form top_k)'] == [
        'above the spread', '3', '39.0 ± 3.6', '-3.0 ± 1.7 (n = 3)']
    assert found['mining.form', 'top_k'] == found['mining.ratio', '0.3 (with mining.form top_k)']
    assert found['lambda_soft', '0.0'] == [
        'nothing: fewer than 3 seeds', '1', '50.0', '+10.0 (n = 1)']


def test_a_difference_as_large_as_the_defaults_spread_says_nothing(tmp_path):
    _, found = table_of(tmp_path, DEFAULT + values_of(Change('kl_direction', 'reverse'),
                                                      .42, .44, .46))
    assert found['kl_direction', 'reverse'] == [
        'nothing: within the spread', '3', '44.0 ± 2.0', '+2.0 ± 0.0 (n = 3)']


def test_the_table_names_what_was_not_measured_and_what_a_difference_means(tmp_path):
    text, found = table_of(tmp_path, DEFAULT[:2] + values_of(Change('temperature', 2.0), .4, .5))
    missing = next(part for part in text.splitlines() if 'Not measured' in part)
    assert 'temperature = 0.5, temperature = 4.0, lambda_soft = 0.0' in missing
    assert 'temperature = 2.0' not in missing and '= imagenet' not in missing
    assert 'student_init = teacher.' in missing
    assert 'not larger than the spread over seeds means nothing' in text
    assert 'Fewer than 3 seeds' in text
    assert ('student_init', 'imagenet (default)') in found


def test_values_that_are_no_longer_tried_stay_in_the_table(tmp_path):
    _, found = table_of(tmp_path, DEFAULT + values_of(Change('temperature', 3.0), .4, .4, .4))
    assert found['temperature', '3.0'][1:3] == ['3', '40.0 ± 0.0']


def test_lines_around_other_defaults_are_left_out(tmp_path):
    old = [{**one, 'defaults_hash': 'old'} for one in values_of(Change('temperature', 2.0), .9)]
    text, found = table_of(tmp_path, old + DEFAULT)
    assert ('temperature', '2.0') not in found and '1 lines around other defaults' in text


def test_the_old_default_is_measured_again_around_a_new_one(tmp_path):
    places = {'output': tmp_path, 'results': tmp_path, 'record': SEARCH}
    runs = plan_search(STREETS, 'cpu', factors=['temperature'])
    for run in runs:
        values = {'config_hash': run.config_hash, 'protocol': 'streets', **SEARCH.more(run)}
        append_line(tmp_path / SEARCH.file, line(run.method, 0, .4, run.teacher, **values))
    assert pending(STREETS, 'cpu', runs, **places) == []
    moved = replace(STREETS, methods={BKD: {'temperature': 2.0}})
    again = plan_search(moved, 'cpu', factors=['temperature'])
    assert {run.config_hash for run in again} == {run.config_hash for run in runs}
    missing = [run for run in pending(moved, 'cpu', again, **places) if run.stage == 'student']
    assert [run.config.method.temperature for run in missing] == [2.0, 0.5, 1.0, 4.0]


def test_a_table_without_the_defaults_compares_nothing(tmp_path):
    text, found = table_of(tmp_path, values_of(Change('temperature', 2.0), .9))
    assert 'The defaults have no run yet' in text and found == {}
    with pytest.raises(InputError, match='holds no run yet'):
        write_search_table(tmp_path / 'empty')


def test_a_search_makes_each_run_once_with_its_line(tmp_path, monkeypatch, capsys):
    register_tiny_network(monkeypatch)
    world = World(tmp_path).build()
    command = ['search', '--protocol', str(world.file), '--output', str(world.output),
               '--results', str(world.results), '--data-root', str(world.data),
               '--factors', 'kl_direction', 'student_init', '--seeds', '0']
    main(['benchmark', *command, '--dry-run'])
    assert '6 runs, 0 done' in capsys.readouterr().out and not world.results.exists()
    main(['benchmark', *command])
    assert 'search.md' in capsys.readouterr().out
    lines = SEARCH.read(world.results)
    assert all(tuple(one) == FIELDS + ADDED_FIELDS + SEARCH_FIELDS for one in lines)
    assert [(one['method'], one['factor'], one['value']) for one in lines] == [
        ('source_only', None, None), ('masked_consistency', None, None), (BKD, None, None),
        (BKD, 'kl_direction', 'reverse'), (BKD, 'student_init', 'source_only'),
        (BKD, 'student_init', 'teacher')]
    assert lines[3]['settings']['kl_direction'] == 'reverse'
    assert lines[5]['settings'] == {**lines[2]['settings'], 'student_init': 'teacher'}
    assert sorted(path.name for path in world.results.iterdir()) == ['search.jsonl', 'search.md']
    text = (world.results / 'search.md').read_text(encoding='utf-8')
    assert '| kl_direction | reverse | nothing: fewer than 3 seeds | 1 |' in text
    forbid_training(monkeypatch)
    main(['benchmark', *command])
    assert SEARCH.read(world.results) == lines
    # The other benchmark takes the same models: it only adds its own lines.
    world.run('masked_consistency', BKD, seeds=(0,))
    assert len((world.results / LINES).read_text().splitlines()) == 3


@pytest.mark.parametrize(('arguments', 'message'), [
    (('search', '--factors', 'temprature'), "Did you mean 'temperature'"),
    (('search', '--methods', 'fda'), "unknown option '--methods'"),
    (('adaptation', '--factors', 'temperature'), "unknown option '--factors'"),
])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(['benchmark', *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1


def test_generated_streets_as_a_target_are_opened_without_labels():
    runs = plan_runs(STREETS, 'cpu', methods=('self_training',))
    check_data(runs, None)
    target = {'name': 'streets', 'options': {'domain': 'target', 'num_frames': 60}}
    labelled = replace(STREETS, settings={**STREETS.settings, 'target': target})
    with pytest.raises(InputError, match="data set 'streets' is opened with its labels"):
        check_data(plan_runs(labelled, 'cpu', methods=('self_training',)), None)
