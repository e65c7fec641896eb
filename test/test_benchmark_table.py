# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of runs and the table: values worked by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import json
from xml.etree import ElementTree

from bkd_core.benchmarks.adaptation.plan import AVERAGED, BKD, plan_runs, SECOND_ROUND
from bkd_core.benchmarks.adaptation.protocol import load_protocol
from bkd_core.benchmarks.adaptation.results import append_line, FIELDS, LINES, read_lines
from bkd_core.benchmarks.adaptation.table import write_table
from bkd_core.errors import InputError
import pytest

SVG = '{http://www.w3.org/2000/svg}'


def line(method, seed, miou, teacher=None, **changes):
    """Return a line whose run is named by method, teacher and seed."""
    values = {
        'protocol': 'p', 'budget': 'cpu', 'method': method, 'teacher': teacher, 'seed': seed,
        'miou': miou, 'iou': {'road': 2 * miou, 'car': 0.0, 'pole': None}, 'num_frames': 5,
        'steps': 300, 'seconds': 90.0, 'parameters': 2_400_000, 'device': 'cpu',
        'commit': 'abc', 'config_hash': f'{method}{seed}', 'settings_hash': method,
        'run': f'{method}-{teacher}-{seed}',
        'teacher_run': f'{teacher}-None-{seed}' if teacher else None, 'note': ''}
    return {**values, **changes}


FLOOR = [line('source_only', seed, miou) for seed, miou in enumerate((.30, .32, .34))]
TEACHER = [line('self_training', seed, miou) for seed, miou in enumerate((.36, .36, .42))]
STUDENT = [line(BKD, seed, miou, 'self_training') for seed, miou in enumerate((.38, .37, .45))]
ORACLE = [line('oracle', seed, .40, note='Seen labels.') for seed in range(3)]
ORACLE = [{**one, 'miou': .52} for one in ORACLE]


def table_of(folder, lines):
    """Return the table's text."""
    for one in lines:
        append_line(folder / LINES, one)
    return write_table(folder).read_text(encoding='utf-8')


def rows(text, section=0):
    """Return the cells of a table by its first cells, (method, teacher)."""
    table = [part for part in text.split('\n\n') if part.startswith('| method')][section]
    cells = [
        [cell.strip() for cell in row.strip('|').split('|')] for row in table.splitlines()[2:]]
    return {tuple(row[:2]): row[2:] for row in cells}


def test_the_tables_values_are_those_worked_by_hand(tmp_path):
    found = rows(table_of(tmp_path, FLOOR + TEACHER + STUDENT + ORACLE))
    # Spreads: sqrt((4 + 0 + 4) / 2), sqrt((4 + 4 + 16) / 2), sqrt((4 + 9 + 25) / 2).
    assert found == {
        ('source_only', '-'): ['3', '32.0 ± 2.0', '-', '-', '300', '2.4', '1.5'],
        ('self_training', '-'): ['3', '38.0 ± 3.5', '-', '30 %', '300', '2.4', '1.5'],
        (BKD, 'self_training'): [
            '3', '40.0 ± 4.4', '+2.0 ± 1.0 (n = 3)', '40 %', '300', '2.4', '1.5'],
        ('oracle', '-'): ['3', '52.0 ± 0.0', '-', '-', '300', '2.4', '1.5']}


def test_the_chart_places_every_seed_and_mean_on_its_axis(tmp_path):
    text = table_of(tmp_path, FLOOR + TEACHER + STUDENT + ORACLE)
    assert '![From each teacher to its student](adaptation_p_cpu.svg)' in text
    chart = ElementTree.parse(tmp_path / 'adaptation_p_cpu.svg').getroot()
    ticks = {
        part.text: float(part.get('x')) for part in chart.iter(f'{SVG}text')
        if part.text.isdigit()}
    assert {'35', '55'} <= ticks.keys()

    def place(percent):
        return ticks['35'] + (percent - 35) / 20 * (ticks['55'] - ticks['35'])

    dots = [
        (float(dot.get('cx')), dot.get('r')) for dot in chart.iter(f'{SVG}circle')]
    expected = [(place(value), '3') for value in (36, 36, 42)] + [(place(38), '6')] + [
        (place(value), '3') for value in (38, 37, 45)] + [(place(40), '6')]
    for (x, radius), (wanted, size) in zip(dots, expected):
        assert x == pytest.approx(wanted, abs=0.11) and radius == size
    line, = (
        part for part in chart.iter(f'{SVG}line') if part.get('stroke-width') == '2')
    assert float(line.get('x1')) == pytest.approx(place(38), abs=0.11)
    assert float(line.get('x2')) == pytest.approx(place(40), abs=0.11)


def test_a_second_round_is_compared_with_the_student_that_taught_it(tmp_path):
    second = [
        line(SECOND_ROUND, seed, one['miou'] + .01, BKD, teacher_run=one['run'])
        for seed, one in enumerate(STUDENT)]
    text = table_of(tmp_path, FLOOR + TEACHER + STUDENT + second)
    assert rows(text)[SECOND_ROUND, BKD][1:3] == ['41.0 ± 4.4', '+1.0 ± 0.0 (n = 3)']
    titles = [part.text for part in ElementTree.parse(
        tmp_path / 'adaptation_p_cpu.svg').getroot().iter(f'{SVG}text')]
    assert {'self_training', BKD} <= set(titles)


def test_a_student_of_a_teacher_of_earlier_settings_is_left_out(tmp_path):
    second = [
        line(SECOND_ROUND, seed, .5, BKD, teacher_run=one['run'])
        for seed, one in enumerate(STUDENT)]
    longer = [
        {**one, 'settings_hash': 'longer', 'run': f'longer{one["seed"]}'} for one in STUDENT]
    before = FLOOR + TEACHER + STUDENT + second
    assert (SECOND_ROUND, BKD) in rows(table_of(tmp_path, before))
    text = table_of(tmp_path, longer)
    assert (BKD, 'self_training') in rows(text) and (SECOND_ROUND, BKD) not in rows(text)
    assert '6 older lines of the record' in text


def test_a_student_of_several_goes_with_the_first_of_them_that_is_left_out(tmp_path):
    names = [one['run'] for one in STUDENT[:2]]
    averaged = line(AVERAGED, 0, .5, BKD, teacher_run=None, teacher_runs=names)
    before = FLOOR + TEACHER + STUDENT[:2] + [averaged]
    assert (AVERAGED, BKD) in rows(table_of(tmp_path, before))
    longer = {**STUDENT[1], 'settings_hash': 'longer', 'run': 'longer'}
    assert (AVERAGED, BKD) not in rows(table_of(tmp_path, [longer]))
    del averaged['teacher_runs']
    assert (AVERAGED, BKD) not in rows(table_of(tmp_path / 'nameless', before))


def test_the_chart_compares_over_the_seeds_that_both_have(tmp_path):
    table_of(tmp_path, FLOOR + TEACHER + STUDENT[:1])
    chart = ElementTree.parse(tmp_path / 'adaptation_p_cpu.svg').getroot()
    dots = [dot.get('r') for dot in chart.iter(f'{SVG}circle')]
    assert dots[:4] == ['3', '6', '3', '6']  # one seed and the mean of each


def test_a_student_of_another_run_of_its_teacher_is_not_in_the_chart(tmp_path):
    others = [{**one, 'teacher_run': 'older'} for one in STUDENT]
    assert '.svg' not in table_of(tmp_path, FLOOR + TEACHER + others)


def test_a_section_without_a_student_has_no_chart(tmp_path):
    assert '.svg' not in table_of(tmp_path, FLOOR + ORACLE)
    assert not list(tmp_path.glob('*.svg'))


def test_a_single_seed_has_no_spread_and_is_called_too_few(tmp_path):
    text = table_of(tmp_path, FLOOR[:1] + TEACHER + STUDENT[:1])
    found = rows(text)
    assert found['source_only', '-'][:2] == ['1', '30.0']
    assert found[BKD, 'self_training'][2] == '+2.0 (n = 1)'
    assert (
        '**Fewer than 3 seeds, too few for a claim:** source_only (1), '
        f'{BKD} from self_training (1).') in text


def test_methods_without_a_run_are_named(tmp_path):
    text = table_of(tmp_path, FLOOR + STUDENT)
    missing = next(part for part in text.splitlines() if 'Not measured' in part)
    for name in ('self_training', 'oracle', f'{BKD} from source_only'):
        assert f' {name},' in missing or missing.endswith(f' {name}.')
    assert f'{BKD}_without_mining' not in missing
    request, = (part for part in text.splitlines() if '--methods ablation' in part)
    assert f'{BKD}_without_mining, ' in request
    assert f'{BKD} from self_training' not in missing and ': source_only' not in missing
    found = rows(text)
    assert found[BKD, 'self_training'][1:4] == ['40.0 ± 4.4', '-', '-']


def test_rows_that_the_protocol_would_not_give_any_more_are_named(tmp_path):
    now = {run.method: run.settings_hash for run in plan_runs(
        load_protocol('streets'), 'cpu', methods=('source_only', 'oracle'))}
    lines = [
        line(method, 0, .3, protocol=protocol, settings_hash=settings)
        for protocol in ('streets', 'not-shipped')
        for method, settings in (
            ('source_only', now['source_only']), ('oracle', 'of last year'), ('fda', 'gone'))]
    text = table_of(tmp_path, lines)
    named = [note for note in text.splitlines() if note.startswith('- **Of older settings')]
    assert named == ['- **Of older settings, to be measured again:** fda, oracle.']
    assert text.index(named[0]) > text.index('## streets')


def test_a_student_is_only_paired_with_its_very_teacher(tmp_path):
    other = [{**TEACHER[0], 'run': 'made elsewhere'}, *TEACHER[1:]]
    assert rows(table_of(tmp_path, other + STUDENT))[BKD, 'self_training'][2] == (
        '+2.0 ± 1.4 (n = 2)')  # gains 1 and 3


def test_the_gap_is_taken_over_the_seeds_that_all_three_have(tmp_path):
    text = table_of(tmp_path, FLOOR[:2] + TEACHER[1:] + ORACLE)
    assert rows(text)['self_training', '-'][3] == '20 %'  # seed 1: (36 - 32) / (52 - 32)


def test_an_oracle_below_the_floor_gives_no_share(tmp_path):
    low = [{**one, 'miou': .2} for one in ORACLE]
    assert rows(table_of(tmp_path, FLOOR + TEACHER + low))['self_training', '-'][3] == '-'


def test_lines_of_other_settings_are_not_mixed_in(tmp_path):
    old = [{**one, 'miou': .9, 'settings_hash': 'old'} for one in TEACHER]
    text = table_of(tmp_path, old + FLOOR + TEACHER[:2])
    assert rows(text)['self_training', '-'][:2] == ['2', '36.0 ± 0.0']
    assert '3 older lines' in text


def test_of_a_run_that_was_made_again_the_newest_line_counts(tmp_path):
    text = table_of(tmp_path, [{**FLOOR[0], 'miou': .1}, *FLOOR])
    assert rows(text)['source_only', '-'][1] == '32.0 ± 2.0'
    assert '1 older lines' in text


def test_a_student_does_not_count_once_its_teacher_was_made_again(tmp_path):
    text = table_of(tmp_path, TEACHER + STUDENT + TEACHER[:1])
    assert rows(text)[BKD, 'self_training'][:3] == ['2', '41.0 ± 5.7', '+2.0 ± 1.4 (n = 2)']
    assert '2 older lines' in text  # the first teacher and its student


def test_the_ablation_is_compared_with_the_whole_seed_by_seed(tmp_path):
    ablation = f'{BKD}_without_mining'
    lines = [line(ablation, seed, miou, 'self_training')
             for seed, miou in enumerate((.37, .35, .42))]
    text = table_of(tmp_path, STUDENT + lines)
    assert rows(text, 1) == {
        (ablation, 'self_training'): ['3', '38.0 ± 3.6', '-2.0 ± 1.0 (n = 3)']}
    assert (ablation, 'self_training') not in rows(text)


def test_classes_are_averaged_and_absent_ones_marked(tmp_path):
    text = table_of(tmp_path, FLOOR)
    assert '| method | road | car | pole |' in text
    assert '| source_only | 64.0 | 0.0 | - |' in text


def test_protocols_and_budgets_have_sections_of_their_own(tmp_path):
    text = table_of(tmp_path, [
        *FLOOR, line('source_only', 0, .5, budget='gpu', device='cuda'),
        line('source_only', 0, .6, protocol='q')])
    assert [part for part in text.splitlines() if part.startswith('## ')] == [
        '## p, budget cpu', '## p, budget gpu', '## q, budget cpu']
    assert rows(text, 0)['source_only', '-'][1] == '32.0 ± 2.0'
    assert 'Device: cuda.' in text and 'Seeds: 0, 1, 2.' in text


def test_the_note_on_the_oracle_reaches_the_table(tmp_path):
    assert table_of(tmp_path, ORACLE).count('- Seen labels.') == 1


def test_a_table_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match='holds no run yet'):
        write_table(tmp_path)


def test_lines_come_back_as_they_were_written(tmp_path):
    path = tmp_path / 'new' / LINES
    assert read_lines(path) == []
    for one in FLOOR:
        append_line(path, one)
    assert read_lines(path) == FLOOR
    assert [json.loads(text) for text in path.read_text().splitlines()] == FLOOR
    assert tuple(FLOOR[0]) == FIELDS


def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path):
    path = tmp_path / LINES
    append_line(path, FLOOR[0])
    with path.open('a') as file:
        file.write('{"protocol": "p", "mi')
    assert read_lines(path) == FLOOR[:1]
    append_line(path, FLOOR[1])
    assert read_lines(path) == FLOOR[:2]


def test_appending_at_the_same_time_loses_nothing(tmp_path):
    lines = [line('source_only', seed, seed / 100) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: append_line(tmp_path / LINES, one), lines))
    found = sorted(read_lines(tmp_path / LINES), key=lambda one: one['seed'])
    assert found == lines


@pytest.mark.parametrize(('text', 'message'), [
    ('{"protocol"', 'line 2: not readable as JSON'),
    ('[]', 'line 2: lacks'), ('{"protocol": "p"}', r"line 2: lacks \['budget', 'method'"),
])
def test_a_damaged_line_is_named(tmp_path, text, message):
    append_line(tmp_path / LINES, FLOOR[0])
    with (tmp_path / LINES).open('a') as file:
        file.write(text + '\n')
    with pytest.raises(InputError, match=message):
        read_lines(tmp_path / LINES)


def test_a_number_that_json_lacks_is_never_written(tmp_path):
    with pytest.raises(ValueError, match='JSON'):
        append_line(tmp_path / LINES, {**FLOOR[0], 'miou': float('nan')})
    assert not (tmp_path / LINES).exists()
