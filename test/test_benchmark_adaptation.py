# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark end to end: a tiny network on painted frames in CamVid's layout."""

from __future__ import annotations

from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys

from bkd_core import experiment
from bkd_core.__main__ import main
from bkd_core.benchmarks.adaptation import benchmark, load_protocol, plan_runs, run_adaptation
from bkd_core.benchmarks.adaptation.pictures import write_picture
from bkd_core.benchmarks.adaptation.plan import BKD
from bkd_core.benchmarks.adaptation.results import (
    ADDED_FIELDS,
    append_line,
    FIELDS,
    LINES,
    read_lines,
)
from bkd_core.datasets import paired_files
from bkd_core.errors import InputError
from bkd_core.training import Trainer
from bkd_core.training.run_log import read_log
import cv2
import numpy as np
import pytest
from tiny_training import PaintedFrames, register_tiny_network
import yaml

TESTS = Path(__file__).resolve().parent
SHIPPED = TESTS.parent / 'config' / 'protocols'
METHODS = ('self_training', BKD, 'oracle')
SEEDS = (0, 1)
TINY = {
    'model': {'network': 'tiny', 'input_height': 64},
    'augmentation': {'crop_size': [32, 32], 'color_jitter': 0.0, 'blur': 0.0},
    'batch_size': 2, 'device': 'cpu', 'precision': 'float32', 'show_frames': True,
    'budgets': {'cpu': {
        'steps': 4, 'checkpoint_steps': 2,
        'seconds_per_step': dict.fromkeys(('source_only', 'oracle', 'teacher', 'student'), 1)}}}


class World:
    """
    A data root, a protocol file and the folders of a benchmark.

    :param folder: Where all of it lies.
    """

    def __init__(self, folder):
        self.data = folder / 'data'
        self.file = folder / 'dusk.yaml'
        self.output = folder / 'runs'
        self.results = folder / 'results'

    def build(self, **changes):
        """Write frames, and the shipped protocol from day to dusk made tiny."""
        for number, sequence in enumerate(('0001TP', '0006R0', '0016E5')):
            frames = PaintedFrames(2, seed=number, shade=0.5 if number == 0 else 1.0)
            for index in range(2):
                save(self.data, f'{sequence}_{index}', frames.image(index), frames.labels(index))
        values = yaml.safe_load(
            (SHIPPED / 'camvid_day_to_dusk.yaml').read_text(encoding='utf-8'))
        self.file.write_text(yaml.safe_dump({**values, **TINY, **changes}), encoding='utf-8')
        return self

    def plan(self, *methods, seeds=SEEDS):
        """Return protocol and runs."""
        protocol = load_protocol(self.file)
        return protocol, plan_runs(protocol, 'cpu', methods=methods or METHODS, seeds=seeds)

    def run(self, *methods, seeds=SEEDS):
        """Make the runs; return the record."""
        protocol, runs = self.plan(*methods, seeds=seeds)
        run_adaptation(
            protocol, 'cpu', runs, output=self.output, results=self.results,
            data_root=self.data)
        return read_lines(self.results / LINES)

    def command(self, *more):
        """Return the command line of the same benchmark."""
        return [
            'benchmark', 'adaptation', '--protocol', str(self.file), '--output',
            str(self.output), '--results', str(self.results), '--data-root', str(self.data),
            '--methods', *METHODS, '--seeds', *map(str, SEEDS), *more]


def save(root, name, image, labels):
    """Write a frame of CamVid's training split."""
    for folder, content in (('images', cv2.cvtColor(image, cv2.COLOR_RGB2BGR)),
                            ('labels', labels)):
        path = root / 'camvid' / folder / 'train' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), content)


def watch_labels(patch):
    """Return lists of the label files read in training and in measuring."""
    read, is_measuring = {False: [], True: []}, [False]
    original_read, original_measure = paired_files.read_label_ids, experiment.measure

    def reading(path):
        read[is_measuring[0]].append(path.stem)
        return original_read(path)

    def measure(*arguments, **named):
        is_measuring[0] = True
        try:
            return original_measure(*arguments, **named)
        finally:
            is_measuring[0] = False

    patch.setattr(paired_files, 'read_label_ids', reading)
    patch.setattr(experiment, 'measure', measure)
    return read[False], read[True]


def forbid_training(patch):
    """Let the test fail if a trainer is built."""
    patch.setattr(experiment, 'Trainer', lambda *a, **k: pytest.fail('it trained'))


def table_rows(text):
    """Return the cells of a printed table, without its head."""
    lines = [line.strip('│') for line in text.splitlines() if line.startswith('│')]
    return [[cell.strip() for cell in line.split('│')] for line in lines]


@pytest.fixture(scope='module')
def module_patch():
    """Return a monkeypatch that lasts for this file, with the tiny network known."""
    with pytest.MonkeyPatch.context() as patch:
        register_tiny_network(patch)
        yield patch


@pytest.fixture(scope='module')
def finished(tmp_path_factory, module_patch):
    """Run a whole benchmark once. Don't write into it."""
    world = World(tmp_path_factory.mktemp('benchmark')).build()
    world.run()
    return world


@pytest.fixture
def copied(finished, tmp_path):
    """Return a copy of the finished benchmark's folders."""
    shutil.copytree(finished.file.parent, tmp_path, dirs_exist_ok=True)
    return World(tmp_path)


def test_every_run_has_one_line_with_its_measured_numbers(finished):
    lines = read_lines(finished.results / LINES)
    assert [(line['method'], line['teacher'], line['seed']) for line in lines] == [
        (method, teacher, seed) for seed in SEEDS for method, teacher in (
            ('source_only', None), ('self_training', None), ('oracle', None),
            (BKD, 'self_training'))]
    _, runs = finished.plan()
    for line, run in zip(lines, runs):
        assert tuple(line) == FIELDS + ADDED_FIELDS
        folder = finished.output / 'dusk_cpu' / run.name
        metrics = json.loads((folder / 'metrics.json').read_text())
        assert (line['run'], line['config_hash']) == (run.name, run.config_hash)
        assert (line['protocol'], line['budget'], line['device']) == ('dusk', 'cpu', 'cpu')
        assert line['miou'] == metrics['scores']['miou'] and 0 <= line['miou'] <= 1
        assert line['iou'] == metrics['scores']['iou'] and len(line['iou']) == 11
        assert (line['steps'], line['num_frames']) == (4, 2)
        assert line['seconds'] >= 0 and line['commit'] == metrics['commit']
        assert ('underestimate' in line['note']) == (line['method'] == 'oracle')
    assert lines[3]['teacher_run'] == lines[1]['run']


def test_the_table_and_the_picture_lie_beside_the_lines(finished):
    text = (finished.results / 'adaptation.md').read_text(encoding='utf-8')
    assert f'| {BKD} | self_training | 2 |' in text
    assert '(n = 2)' in text and 'source_only (2)' in text and 'max_square' in text
    picture = cv2.imread(str(finished.results / 'adaptation_dusk_cpu.jpg'))
    assert '(adaptation_dusk_cpu.jpg)' in text
    # frame, truth and four networks side by side, three frames below each other
    assert picture.shape[1] > 6 * 96 and picture.shape[0] > 3 * 64 and picture.std() > 20


def test_a_picture_without_frames_shows_the_networks_colours_only(copied):
    protocol, runs = copied.plan()
    shown = write_picture(
        replace(protocol, show_frames=False), 'cpu', runs, copied.output / 'dusk_cpu',
        copied.results, copied.data)
    width = cv2.imread(str(shown)).shape[1]
    assert 4 * 96 <= width < 5 * 96  # four networks, no frame, no truth


def test_a_finished_run_is_not_made_again(finished, monkeypatch):
    monkeypatch.setattr(benchmark, 'run_stage', lambda *a, **k: pytest.fail('it ran'))
    before = (finished.results / LINES).read_bytes()
    finished.run()
    assert (finished.results / LINES).read_bytes() == before


def test_a_missing_picture_is_painted_again_without_a_run(copied, monkeypatch):
    forbid_training(monkeypatch)
    picture = copied.results / 'adaptation_dusk_cpu.jpg'
    before = picture.read_bytes()
    picture.unlink()
    copied.run()
    assert picture.read_bytes() == before


def test_a_record_alone_is_enough_when_the_models_are_gone(copied, monkeypatch):
    forbid_training(monkeypatch)
    shutil.rmtree(copied.output)
    assert len(copied.run()) == 8


def test_a_missing_teacher_is_made_again_when_a_student_needs_it(copied):
    _, runs = copied.plan()
    lines = read_lines(copied.results / LINES)
    student = runs[3]
    (copied.results / LINES).write_text(''.join(
        json.dumps(line) + '\n' for line in lines if line['run'] != student.name))
    for run in (student, *student.needs):
        shutil.rmtree(copied.output / 'dusk_cpu' / run.name)
    added = copied.run()[7:]
    assert [line['run'] for line in added] == [student.needs[0].name, student.name]
    assert [line['miou'] for line in added] == [lines[1]['miou'], lines[3]['miou']]


def test_a_student_is_made_again_after_its_teacher(copied):
    lines = read_lines(copied.results / LINES)
    student, teacher = lines[3], lines[1]
    append_line(copied.results / LINES, teacher)
    added = copied.run()[len(lines) + 1:]
    assert [line['run'] for line in added] == [student['run']]


def test_a_run_that_was_killed_before_its_line_gets_it_without_training(copied, monkeypatch):
    forbid_training(monkeypatch)
    lines = read_lines(copied.results / LINES)
    text = (copied.results / LINES).read_text().splitlines(keepends=True)
    (copied.results / LINES).write_text(''.join(text[:-1]) + text[-1][:40])
    assert copied.run() == lines


# A process of its own that is killed after two of the four steps of self_training.
KILLED = """
import os, signal, sys
from bkd_core import experiment
from bkd_core.__main__ import main
from bkd_core.models import MODELS
from bkd_core.training import Trainer
from tiny_training import TinyNetwork

class Killed(Trainer):
    def run(self, **arguments):
        if self.config.method.name == 'self_training':
            super().run(until=2)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(**arguments)

experiment.Trainer = Killed
MODELS['tiny'] = TinyNetwork
main(sys.argv[1:])
"""


def test_a_killed_benchmark_goes_on_from_the_checkpoint(copied, monkeypatch):
    lines = read_lines(copied.results / LINES)
    weights = copied.output / 'dusk_cpu' / lines[1]['run'] / 'model.safetensors'
    whole = weights.read_bytes()
    shutil.rmtree(copied.output)
    shutil.rmtree(copied.results)
    folders = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
    killed = subprocess.run(
        [sys.executable, '-c', KILLED, *copied.command()], capture_output=True, text=True,
        timeout=120, env={**os.environ, 'PYTHONPATH': folders})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [line['method'] for line in read_lines(copied.results / LINES)] == ['source_only']
    first_steps = []

    class Watched(Trainer):
        def run(self, **arguments):
            first_steps.append((self.config.method.name, self.step))
            return super().run(**arguments)

    monkeypatch.setattr(experiment, 'Trainer', Watched)
    again = copied.run('self_training', BKD, seeds=(0,))
    assert first_steps == [('self_training', 2), (BKD, 0)]
    assert [line['miou'] for line in again] == [lines[index]['miou'] for index in (0, 1, 3)]
    assert weights.read_bytes() == whole
    steps = [step['seconds'] for step in read_log(weights.parent)]
    assert len(steps) == 4 and again[1]['seconds'] == round(sum(steps), 1)


def test_no_label_of_the_target_is_read_in_training(tmp_path, module_patch, monkeypatch):
    world = World(tmp_path).build()
    trained, measured = watch_labels(monkeypatch)
    monkeypatch.setattr(benchmark, 'write_picture', lambda *a: None)  # it shows the truth
    world.run('self_training', BKD, seeds=(0,))
    assert {name[:6] for name in trained} == {'0006R0', '0016E5'}
    assert measured == ['0001TP_0', '0001TP_1'] * 3
    trained.clear()
    world.run('oracle', seeds=(0,))
    assert {name[:6] for name in trained} == {'0001TP'}


def test_a_target_that_is_opened_with_labels_is_refused(tmp_path, module_patch, monkeypatch):
    target = {'name': 'camvid', 'root': 'camvid',
              'options': {'split': 'train', 'sequence': '0001TP'}}
    world = World(tmp_path).build(target=target)
    forbid_training(monkeypatch)
    with pytest.raises(InputError, match='opened with its labels.*has_labels: false'):
        world.run('self_training')


def test_missing_data_is_found_before_anything_is_trained(tmp_path, module_patch, monkeypatch):
    world = World(tmp_path).build()
    shutil.rmtree(world.data)
    forbid_training(monkeypatch)
    with pytest.raises(InputError, match='does not exist; expected images'):
        world.run()


def test_other_settings_are_measured_beside_the_old_ones(copied):
    values = yaml.safe_load(copied.file.read_text())
    values['methods'] = {BKD: {'lambda_soft': 0.25}}
    copied.file.write_text(yaml.safe_dump(values))
    lines = copied.run(seeds=(0,))
    assert len(lines) == 9 and lines[8]['method'] == BKD
    assert lines[8]['settings_hash'] != lines[3]['settings_hash']
    text = (copied.results / 'adaptation.md').read_text()
    assert '2 older lines' in text and f'| {BKD} | self_training | 1 |' in text


def test_a_dry_run_lists_what_is_left_and_changes_nothing(copied, monkeypatch, capsys):
    forbid_training(monkeypatch)
    monkeypatch.setenv('COLUMNS', '160')
    _, runs = copied.plan()
    main(copied.command('--dry-run'))
    text = capsys.readouterr().out
    assert '8 runs, 8 done; about 0 minutes left' in text
    assert [row[-2] for row in table_rows(text)] == ['done'] * 8
    (copied.results / LINES).unlink()
    shutil.rmtree(copied.output / 'dusk_cpu' / runs[0].name)
    for name in ('metrics.json', 'model.yaml'):
        (copied.output / 'dusk_cpu' / runs[1].name / name).unlink()
    log = copied.output / 'dusk_cpu' / runs[1].name / 'log.jsonl'
    log.write_text(''.join(log.read_text().splitlines(keepends=True)[:2]))
    before = sorted(copied.file.parent.rglob('*'))
    main(copied.command('--dry-run'))
    text = capsys.readouterr().out
    rows = table_rows(text)
    assert rows[0] == ['source_only', '', '0', '4', 'to do', '1']
    assert rows[1] == ['self_training', '', '0', '4', 'stopped near step 2', '0']
    assert rows[3] == [BKD, 'self_training', '0', '4', 'trained, without a line', '']
    # A run is 4 steps of 1 s and 40 s beside them; half of the second is done.
    assert f'8 runs, 0 done; about {44 / 60 * 1.5:.0f} minutes left' in text
    assert sorted(copied.file.parent.rglob('*')) == before


def test_the_command_makes_the_runs_and_names_the_table(copied, capsys):
    _, runs = copied.plan()
    last = runs[-1].name
    lines = read_lines(copied.results / LINES)
    (copied.results / LINES).write_text(
        ''.join(json.dumps(line) + '\n' for line in lines if line['run'] != last))
    shutil.rmtree(copied.output / 'dusk_cpu' / last)
    main(copied.command())
    assert f'table: {copied.results / "adaptation.md"}' in capsys.readouterr().out
    found = read_lines(copied.results / LINES)
    assert [line['miou'] for line in found] == [line['miou'] for line in lines]


@pytest.mark.parametrize(('arguments', 'message'), [
    (('speed',), 'adaptation'),
    (('adaptation', '--protocol', 'nowhere'), "Unknown protocol 'nowhere'"),
    (('adaptation', '--protocol', 'nowhere.yaml'), 'nowhere.yaml: no such'),
    (('adaptation', '--budget', 'tpu'), "'tpu'; choose one of ['cpu', 'gpu']"),
    (('adaptation', '--methods', 'dacs'), "Unknown method of the benchmark 'dacs'"),
    (('adaptation', '--protocl', 'x'), "Did you mean '--protocol'"),
])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(['benchmark', *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1


def test_frames_of_one_set_differ_in_this_test():
    images = [PaintedFrames(2, seed=seed).image(index) for seed in range(3) for index in range(2)]
    assert len({image.tobytes() for image in images}) == 6
    assert np.mean(PaintedFrames(2, shade=0.5).image(0)) < np.mean(PaintedFrames(2).image(0))
