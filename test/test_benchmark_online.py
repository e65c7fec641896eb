# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd benchmark online`: its chains, faults and TENT on tiny worlds, its page worked by hand."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import xml.etree.ElementTree as ElementTree

from bkd_core.__main__ import main
from bkd_core.adaptation.gate import GateSettings
from bkd_core.adaptation.round_input import RoundTask
from bkd_core.adaptation.settings import RoundSettings
from bkd_core.benchmarks.online import benchmark, chain as chain_module, trial
from bkd_core.benchmarks.online.budget import Budget, BUDGETS
from bkd_core.benchmarks.online.chart import draw_rounds
from bkd_core.benchmarks.online.faults import FAULTS, GOOD
from bkd_core.benchmarks.online.journal import Journal, LINES
from bkd_core.benchmarks.online.page import below_best, write_page
from bkd_core.benchmarks.online.plan import continual_chain, long_chain, plan
from bkd_core.benchmarks.online.rate import RateSettings
from bkd_core.benchmarks.online.tent import Tent
from bkd_core.benchmarks.online.trial import plan_trials, run_trial, trials_run
from bkd_core.benchmarks.online.world import make_start, score_labelled, World
from bkd_core.config import DataConfig
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.datasets.replay import open_replay
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
from bkd_core.model_directory import read_spec
from bkd_core.models import load_network
import cv2
import numpy as np
import pytest
from tiny_training import PaintedFrames, register_tiny_network, tiny_config
import torch

SETTINGS = RoundSettings(
    teacher_steps=2, student_steps=4, checkpoint_steps=2, teacher_learning_rate=1e-3,
    student_learning_rate=1e-3, max_megabytes=100_000, confidence_threshold=0.2,
    gate=GateSettings(min_class_share=0.3))


def painted(folder, count, *, seed, shade=1.0):
    """Write painted frames with their labels; return how they are opened."""
    frames = PaintedFrames(count, seed=seed, shade=shade)
    for index in range(count):
        for part, image in (('images', frames.image(index)[..., ::-1]),
                            ('labels', frames.labels(index))):
            path = folder / part / f'{index:03d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image)
    return DataConfig(
        name='image_folder', root=str(folder), options={'label_space': 'street9'})


def world(folder, name, *targets):
    """Return a world of painted frames."""
    scored = {
        target: painted(folder / name / target, 12, seed=number, shade=0.9 - 0.2 * number)
        for number, target in enumerate(targets)}
    source = painted(folder / name / 'source', 16, seed=9)
    return World(
        name=name, scored=scored, start=tiny_config(
            steps=30, source=source, validation=source, data_licences='Painted; free.'),
        targets={
            target: replace(data, options={**data.options, 'labels': None})
            for target, data in scored.items()})


@pytest.fixture(scope='module')
def module_patch():
    """Return a monkeypatch that lasts for this file, with the tiny network known."""
    with pytest.MonkeyPatch.context() as patch:
        register_tiny_network(patch)
        yield patch


@pytest.fixture(scope='module')
def budget(tmp_path_factory, module_patch):
    """Return sizes of seconds."""
    folder = tmp_path_factory.mktemp('data')
    worlds = {
        'camvid': world(folder, 'camvid', 'day', 'dusk'),
        'streets': world(folder, 'streets', 'target', 'night', 'fog')}
    tiny = Budget(
        worlds=worlds, settings={'camvid': SETTINGS, 'streets': SETTINGS}, memory_frames=8,
        num_rounds=2, tent_rates=(1e-3,), gate_start=worlds['camvid'].start,
        gate_settings=SETTINGS, gate_size=(64, 96), gate_frames=20, good_trials=2,
        trials_per_fault=1, rate=RateSettings(), minutes=dict.fromkeys(
            ('camvid', 'streets', 'tent', 'trial', 'rate'), 1.0))
    module_patch.setitem(BUDGETS, 'tiny', lambda: tiny)
    return tiny


class Places:
    """
    The folders of a benchmark.

    :param folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.results, self.output = folder / 'results', folder / 'output'

    def run(self, *parts):
        """Run parts; return the page's text and the record's lines."""
        page = benchmark.run_online(
            self.results, parts=parts, budget='tiny', seeds=(0,), output=self.output,
            data_root=None)
        return page.read_text(encoding='utf-8'), self.lines()

    def lines(self):
        """Return the record."""
        return [json.loads(line) for line in (self.results / LINES).read_text().splitlines()]


@pytest.fixture(scope='module')
def finished(tmp_path_factory, budget):
    """Make all chains once. Don't write into its folder."""
    places = Places(tmp_path_factory.mktemp('finished'))
    places.run('round', 'ten', 'continual')
    return places


def test_every_round_has_one_line_with_the_score_of_the_version_in_use(finished, budget):
    lines = finished.lines()
    # Ten rounds (here two) and TENT, and two worlds of three rounds, with and without memory.
    assert len(lines) == 2 * 3 + 2 * 2 * 4
    long = [line for line in lines if line['run'] == long_chain(budget, 2, 0).run]
    assert [line['number'] for line in long] == [0, 1, 2]
    assert [line['target'] for line in long] == [None, 'day', 'day']
    assert [line['is_accepted'] is None for line in long] == [True, False, False]
    for line in lines:
        assert set(line['miou']) == set(budget.worlds[line['world']].scored)
        assert all(0 <= value <= 1 for value in line['miou'].values())
        assert line['commit'] and line['budget'] == 'tiny'
    start = finished.output / next(
        path.name for path in finished.output.glob('camvid_start_*')) / 'seed0' / 'source_only'
    scored = open_dataset(budget.worlds['camvid'].scored['day'], None)
    assert long[0]['miou']['day'] == score_labelled(
        Segmenter.load(start, runtime='onnxruntime'), scored).miou


def test_the_memory_is_carried_from_the_first_target_to_the_next(finished, budget):
    for name in ('streets', 'camvid'):
        for frames in (8, 0):
            run = continual_chain(budget, name, frames, 0).run
            lines = [line for line in finished.lines() if line['run'] == run]
            assert [line['target'] for line in lines][1:] == (
                ['target', 'night', 'fog'] if name == 'streets' else ['day', 'dusk', 'day'])
            assert lines[1]['memory_kept'] is None
            was_kept = bool(frames) and lines[1]['is_accepted']
            assert (lines[2]['memory_kept'] is not None) == was_kept
            # Nothing is remembered yet: the first round is the same with and without.
            if frames:
                first = lines[1]['miou']
            else:
                assert lines[1]['miou'] == first


def test_the_page_and_its_charts_lie_beside_the_lines(finished):
    text = (finished.results / 'online.md').read_text()
    for title in ('## One round', '## Rounds in a row', '## One target after the other',
                  '### streets: target, then night, then fog', '### camvid: day, then dusk'):
        assert title in text
    for chart in ('rounds', 'streets', 'camvid'):
        assert f'(online_{chart}_tiny.svg)' in text
        assert (finished.results / f'online_{chart}_tiny.svg').exists()
    assert '| TENT, rate 0.001 | 0 |' in text


def test_what_has_its_line_is_not_made_again(finished, monkeypatch):
    monkeypatch.setattr(chain_module, 'run_round', lambda task: pytest.fail('it adapted'))
    monkeypatch.setattr(Tent, 'adapt', lambda self, frame: pytest.fail('it adapted'))
    before = finished.lines()
    assert finished.run('round', 'ten', 'continual')[1] == before
    assert benchmark.list_work(
        finished.results, parts=('ten',), budget='tiny', seeds=(0,))[-1].startswith('about 0 min')


def test_a_benchmark_killed_before_a_line_goes_on_without_another_round(
        finished, budget, tmp_path, monkeypatch):
    import shutil
    shutil.copytree(finished.results.parent, tmp_path / 'copy')
    places = Places(tmp_path / 'copy')
    path = places.results / LINES
    run = long_chain(budget, 2, 0).run
    whole = places.lines()
    lost = next(line for line in whole if line['run'] == run and line['number'] == 2)
    path.write_text(''.join(json.dumps(line) + '\n' for line in whole if line != lost))
    monkeypatch.setattr(chain_module, 'run_round', lambda task: pytest.fail('it adapted'))
    again = next(line for line in places.run('ten')[1] if line == lost)
    assert again['miou'] == lost['miou']


def test_a_stopped_chain_goes_on_where_it_was(finished, budget, tmp_path, monkeypatch):
    places = Places(tmp_path)
    original = chain_module.run_round
    calls = []

    def run_round(task):
        calls.append(task.settings.seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(task)
    monkeypatch.setattr(chain_module, 'run_round', run_round)
    with pytest.raises(KeyboardInterrupt):
        places.run('ten')
    assert [line['number'] for line in places.lines()] == [0, 1]
    places.run('ten')
    assert calls == [1, 2, 2]
    run = long_chain(budget, 2, 0).run
    numbers = [
        [line['miou'] for line in lines if line['run'] == run]
        for lines in (places.lines(), finished.lines())]
    assert numbers[0] == numbers[1]


@pytest.fixture(scope='module')
def start(budget, tmp_path_factory):
    """Return a trained start. Don't write into it."""
    return make_start(
        budget.gate_start, folder=tmp_path_factory.mktemp('start'), seed=0, data_root=None)


def test_tent_learns_scale_and_shift_alone_and_lowers_the_entropy(start):
    network = load_network(start)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tent = Tent(network, read_spec(start), learning_rate=1e-2)
    frame = PaintedFrames(3, seed=4).image(0)
    entropies = [tent.adapt(frame) for _ in range(20)]
    assert entropies[-1] < entropies[0] - 0.01
    changed = {
        name for name, value in network.state_dict().items()
        if not torch.equal(value, before[name])}
    assert changed == {'trunk.1.weight', 'trunk.1.bias'}
    answer = tent(frame)
    assert answer.labels.shape == frame.shape[:2] and answer.labels.dtype == np.uint8
    assert answer.mean_entropy == pytest.approx(tent.adapt(frame), rel=1e-4)


def test_tent_normalises_by_the_frame_it_sees(start):
    tent = Tent(load_network(start), read_spec(start), learning_rate=1e-3)
    frame = PaintedFrames(1).image(0)
    # A linear change of all colours is undone by the statistics of the frame itself.
    darker = (frame // 2).astype(np.uint8)
    alike = [
        (network(frame).labels == network(darker).labels).mean()
        for network in (tent, Segmenter.load(start, runtime='onnxruntime'))]
    assert alike[0] > 0.8 and alike[0] > alike[1] + 0.1


def test_tent_goes_on_from_what_it_saved(start):
    frames = PaintedFrames(4, seed=4)
    tents = [Tent(load_network(start), read_spec(start), learning_rate=1e-2) for _ in range(2)]
    for index in range(2):
        tents[0].adapt(frames.image(index))
    tents[1].restore({name: value.clone() for name, value in tents[0].state().items()})
    for tent in tents:
        for index in (2, 3):
            tent.adapt(frames.image(index))
    for one, other in zip(tents[0].parameters, tents[1].parameters):
        assert torch.equal(one, other)


def faulty(name, start, folder):
    """Return a task with a fault, and the frames that it began with."""
    target = PaintedFrames(12, seed=5)
    task = RoundTask(model=start, sources=(folder / 'none',), output=folder / 'versions',
                     settings=SETTINGS)
    return FAULTS[name](task, target, folder, 3), task, target


def test_a_shuffled_teacher_takes_every_class_for_another_one(start, tmp_path):
    task, _, target = faulty('shuffled teacher', start, tmp_path)
    right, wrong = (Segmenter.load(path)(target.image(0)).labels for path in (start, task.teacher))
    assert not (right == wrong).any() and task.settings.teacher_steps == 1
    pairs = {(a, b) for a, b in zip(right.ravel().tolist(), wrong.ravel().tolist())}
    assert len(pairs) == len({a for a, _ in pairs})  # one class becomes one other


def test_faults_of_the_recording_are_in_its_frames(start, tmp_path):
    for name, expected in (('black frames', np.zeros_like), ('wrong camera', lambda image: (
            255 - image.astype(float).mean(2, keepdims=True)))):
        task, before, target = faulty(name, start, tmp_path / name.replace(' ', '_'))
        assert task.sources != before.sources and task.settings == before.settings
        recorded = open_dataset(DataConfig(name='recording', root=str(task.sources[0])), None)
        difference = recorded.image(2).astype(int) - expected(target.image(2))
        assert np.abs(difference).mean() < 8  # JPEG


def test_noise_labels_keep_the_frames(start, tmp_path):
    task, _, _ = faulty('noise labels', start, tmp_path)
    space = get_label_space('street9')
    noisy, known = (
        open_replay(path, label_space=space) for path in (task.replay, start / 'replay'))
    assert len(noisy) == len(known)
    agreement = np.mean([
        (noisy.labels(index) == known.labels(index)).mean() for index in range(len(known))])
    assert agreement < 0.25 and noisy.labels(0).max() <= 8
    assert np.abs(noisy.image(0).astype(int) - known.image(0)).mean() < 8
    assert (noisy.labels(0)[:8, :8] == noisy.labels(0)[0, 0]).all()


def test_the_high_rate_is_a_hundred_times_both(start, tmp_path):
    task, before, _ = faulty('learning rate x100', start, tmp_path)
    for name in ('teacher_learning_rate', 'student_learning_rate'):
        assert getattr(task.settings, name) == 100 * getattr(before.settings, name)


def test_a_trial_tells_what_the_gate_said_and_what_was_true(start, budget, tmp_path):
    good = run_trial(GOOD, 0, budget, start=start, folder=tmp_path / 'good')
    assert good['error'] == '' and 0 <= good['miou_after'] <= 1
    assert good['is_refused'] == bool(good['not_met'])
    assert good['is_refused_without_labels'] == bool({*good['not_met']} - {'labelled_confidence'})
    black = run_trial('black frames', 1, budget, start=start, folder=tmp_path / 'black')
    assert black['is_refused'] and black['is_refused_without_labels']
    assert 'show nothing' in black['error'] and black['miou_after'] is None
    thermal = run_trial('wrong camera', 2, budget, start=start, folder=tmp_path / 'thermal')
    assert thermal['error'].startswith('changed_recording: no colour')  # wherever the folder is


@pytest.mark.parametrize('kind', [GOOD, 'black frames', 'noise labels'])
def test_a_round_that_is_refused_for_another_reason_than_its_fault_ends_the_trials(
        kind, start, budget, tmp_path, monkeypatch):
    def full(task):
        raise InputError('the disk is full')
    monkeypatch.setattr(trial, 'run_round', full)
    with pytest.raises(InputError, match='disk is full'):
        run_trial(kind, 0, budget, start=start, folder=tmp_path / 'trial')


def test_trials_of_both_kinds_take_turns():
    budget = BUDGETS['cpu']()
    kinds = plan_trials(budget)
    assert len(kinds) == 40 and kinds.count(GOOD) == 20
    assert all(kinds.count(name) == 4 for name in FAULTS)
    assert kinds[:4] == [GOOD, 'shuffled teacher', GOOD, 'black frames']


def test_the_page_counts_trials_and_says_what_holds(budget, tmp_path):
    journal = Journal(tmp_path, 'tiny')
    for number, (fault, is_refused) in enumerate([
            (GOOD, False), (GOOD, False), ('wrong camera', True), ('noise labels', False)]):
        journal.add(
            kind='trial', run=trials_run(budget), number=number, fault=fault, seed=0,
            is_refused=True if fault != GOOD else is_refused,
            is_refused_without_labels=is_refused, not_met=[], error='', miou_before=0.5,
            miou_after=0.5 + 0.01 * (number - 1), seconds=1.0)
    text = write_page(tmp_path, journal, budget).read_text()
    assert f'| {GOOD} | 2 | 0 | 0 | 0 | -0.5 | -1.0 | +0.0 |' in text
    assert '| black frames | 0 | 0 | 0 | 0 | - | - | - |' in text
    assert 'refuses 1 of 2 sabotaged rounds and accepts 2 of 2 good ones' in text
    assert 'Without labelled frames' in text and 'it does **not** hold' in text
    assert 'With 10 labelled frames the gate refuses 2 of 2' in text and 'it holds' in text


def test_what_lies_below_the_best_worked_by_hand():
    assert below_best([3.0]) == 0
    assert below_best([3.0, 5.0, 4.0, 6.0, 5.5]) == 1
    assert below_best([1.0, 2.0, 3.0]) == 0


def test_lines_of_other_settings_are_left_out(finished, budget, tmp_path):
    other = replace(budget, settings={**budget.settings, 'camvid': replace(SETTINGS, seed=5)})
    assert long_chain(other, 2, 0).run != long_chain(budget, 2, 0).run
    page = write_page(tmp_path, Journal(finished.results, 'tiny'), other).read_text()
    assert '## One round' not in page and '### streets' in page


def test_the_chart_has_a_point_for_every_round():
    svg = draw_rounds(
        'a < b', {'one': [[(0, 10.0), (1, 12.0)], [(0, 9.0)]], 'two': [[(0, 20.0)]]},
        ticks=['start', '1'])
    root = ElementTree.fromstring(svg)
    circles = root.findall('{http://www.w3.org/2000/svg}circle')
    assert len(circles) == 4
    heights = [float(circle.get('cy')) for circle in circles]
    assert heights[1] < heights[0] < heights[2] and heights[3] == min(heights)


def test_the_command_says_what_is_left_and_names_unknown_parts(tmp_path, capsys):
    main(['benchmark', 'online', '--dry-run', '--results', str(tmp_path)])
    text = capsys.readouterr().out
    assert 'gate_' in text and '40 of 40 left' in text and 'minutes in all' in text
    assert 'rate_' in text and '2 of 2 left' in text
    assert 'camvid_day_rounds_seed0' in text and '11 of 11 left' in text
    with pytest.raises(SystemExit):
        main(['benchmark', 'online', '--dry-run', '--parts', 'gait'])
    assert "Did you mean 'gate'" in capsys.readouterr().err
    with pytest.raises(InputError, match='budget'):
        plan_of_unknown_budget(tmp_path)


def plan_of_unknown_budget(folder):
    """Ask for a budget that there is none of."""
    benchmark.list_work(folder, parts=('gate',), budget='cpuu', seeds=(0,))


def test_one_round_is_the_first_of_ten(budget):
    assert plan(budget, ('round',), (0,)).chains[0].run == plan(budget, ('ten',), (0,)).chains[
        0].run
    assert len(plan(budget, ('round', 'ten'), (0, 1)).chains) == 2
