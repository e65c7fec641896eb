# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A round from a model and unlabelled frames to a version, used or refused."""

from __future__ import annotations

from dataclasses import replace
import fcntl
import json
import os
from pathlib import Path
import shutil
from types import SimpleNamespace

from bkd_core import model_directory
from bkd_core.__main__ import main
from bkd_core.adaptation import budget, round as round_module, round_training
from bkd_core.adaptation.gate import GateSettings
from bkd_core.adaptation.privacy import class_ids, hide
from bkd_core.adaptation.round import run_round
from bkd_core.adaptation.round_context import RoundContext
from bkd_core.adaptation.round_input import RoundTask
from bkd_core.adaptation.settings import RoundSettings
from bkd_core.adaptation.versions import ModelVersions, Version
from bkd_core.config_file import load_experiment
from bkd_core.datasets.replay import JPEG_QUALITY
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.models import load_network
from bkd_core.training import Trainer
from bkd_core.visualization import encode_jpeg
import cv2
from fixtures_adaptation import TARGET, train_tiny_model
from fixtures_models import write_tiny_model
import numpy as np
import pytest
from tiny_training import register_tiny_network
import torch

SETTINGS = RoundSettings(
    teacher_steps=10, student_steps=40, checkpoint_steps=8, teacher_learning_rate=0.01,
    student_learning_rate=0.02, confidence_threshold=0.2, lambda_target=1.0, logit_adjustment=0.0,
    gate=GateSettings(min_class_share=0.2))  # so small a network drops a class at every turn


@pytest.fixture(scope='module', autouse=True)
def tiny_world(module_patch):
    """Let settings name the tiny network."""
    register_tiny_network(module_patch)


@pytest.fixture(scope='module')
def module_patch():
    """Return a monkeypatch that lasts for this file."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Train a tiny model whose source frames travel with it."""
    return train_tiny_model(tmp_path_factory.mktemp('trained'))


@pytest.fixture(scope='module')
def target(tmp_path_factory):
    """Write unlabelled target frames into a folder; some are also there with labels."""
    folder = tmp_path_factory.mktemp('target')
    for index in range(len(TARGET)):
        write(folder / 'frames' / f'{index:03d}.png', TARGET.image(index)[..., ::-1])
    for index in range(6):
        write(folder / 'labelled' / 'images' / f'{index}.png', TARGET.image(index)[..., ::-1])
        write(folder / 'labelled' / 'labels' / f'{index}.png', TARGET.labels(index))
    return folder


@pytest.fixture(scope='module')
def finished(model, target, tmp_path_factory):
    """Make one round; return its task and outcome. Don't write into its folder."""
    task = task_of(model, target, tmp_path_factory.mktemp('finished') / 'versions')
    return task, run_round(task)


def write(path, image):
    """Write an image file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def task_of(model, target, output, **changes):
    """Return a round's task."""
    return RoundTask(**{
        'model': model, 'sources': (target / 'frames',), 'output': output, 'settings': SETTINGS,
        **changes})


def stop_at(monkeypatch, step, *, training=1):
    """Let a training be interrupted, the first or the second of the round."""
    original = Trainer.train_step
    seen = []

    def train_step(self, batch):
        if self.directory not in seen:
            seen.append(self.directory)
        if len(seen) == training and self.step == step:
            raise KeyboardInterrupt
        return original(self, batch)
    monkeypatch.setattr(Trainer, 'train_step', train_step)


def weights(directory):
    """Return the bytes of a model's weights."""
    return (directory / model_directory.WEIGHTS).read_bytes()


def test_a_better_student_becomes_the_version_in_use(finished, model):
    task, outcome = finished
    assert outcome.decision.is_accepted, outcome.decision.reason
    first, second = ModelVersions(task.output).list()
    assert weights(first.directory) == weights(model)
    assert second.state == 'in use' and second.parent == first.name
    assert second.name == outcome.version.name and second.reason == outcome.decision.reason
    assert Segmenter.load(task.output).directory == second.directory
    assert weights(second.directory) != weights(model)
    assert not (task.output / '.round').exists()


def test_the_version_is_a_complete_model_with_its_replay_and_reports(finished, model):
    directory = finished[1].version.directory
    assert {path.name for path in directory.iterdir()} == {
        'model.yaml', 'model.safetensors', 'model.onnx', 'config.yaml', 'metrics.json',
        'MODEL_CARD.md', 'log.jsonl', 'replay', 'report.html', 'report.json', 'version.json',
        'shift.json'}
    replay = [sorted(os.listdir(path / 'replay' / 'labels')) for path in (directory, model)]
    assert replay[0] == replay[1] and len(replay[0]) == 12
    config = load_experiment(directory / 'config.yaml')['model']
    assert config.method.name == 'bilateral_distillation' and config.steps == 40
    assert config.method.lambda_target == SETTINGS.lambda_target == 1
    assert config.method.logit_adjustment == SETTINGS.logit_adjustment == 0
    assert 'Painted for this test' in (directory / 'MODEL_CARD.md').read_text()


def test_a_round_tells_how_far_it_is(finished, model, target, tmp_path, monkeypatch):
    task = task_of(model, target, tmp_path / 'versions', settings=replace(
        SETTINGS, teacher_steps=2, student_steps=3))
    said = []
    run_round(task, on_progress=lambda *progress: said.append(progress))
    assert said == [
        ('input', 0, 0), *(('teacher', step, 2) for step in range(3)),
        *(('student', step, 3) for step in range(4)),
        *(('gate', frame, 14) for frame in range(1, 15)), ('report', 0, 0)]


def test_a_student_that_was_rolled_back_is_not_used_again(
        finished, model, target, tmp_path, monkeypatch):
    task = task_of(model, target, tmp_path / 'versions')
    run_stages_from(finished, task, monkeypatch)
    second = run_round(task).version
    ModelVersions(task.output).rollback(reason='It saw ghosts.')
    version = run_round(task).version  # by the same frames and seed: the same student
    assert (version.name, version.state, version.reason) == (
        second.name, 'rolled back', 'It saw ghosts.')
    assert [item.state for item in ModelVersions(task.output).list()] == ['in use', 'rolled back']
    assert not (task.output / '.round').exists()


def test_a_student_that_was_refused_may_be_accepted_later_and_the_other_way_round(
        finished, model, target, tmp_path, monkeypatch):
    task = task_of(model, target, tmp_path / 'versions')
    run_stages_from(finished, task, monkeypatch)
    decide = round_module.decide
    monkeypatch.setattr(round_module, 'decide', lambda *a, **k: replace(
        decide(*a, **k), is_accepted=False))
    assert [run_round(task).version.state for _ in range(2)] == ['refused'] * 2
    monkeypatch.setattr(round_module, 'decide', decide)
    accepted = run_round(task).version  # by the same frames and seed: the same student
    versions = ModelVersions(task.output)
    assert [item.state for item in versions.list()] == ['accepted', 'refused', 'in use']
    assert versions.in_use().name == accepted.name
    versions.use('1')
    monkeypatch.setattr(round_module, 'decide', lambda *a, **k: replace(
        decide(*a, **k), is_accepted=False))
    assert run_round(task).version.state == 'refused'
    assert versions.in_use().number == 1


def test_the_json_report_holds_what_was_measured(finished):
    task, outcome = finished
    values = json.loads((outcome.version.directory / 'report.json').read_text())
    assert values['is_accepted'] is True and len(values['criteria']) == 8
    assert values['before']['replay_miou'] == outcome.before.replay_miou
    assert values['after']['agreement'] == outcome.after.agreement
    assert values['num_replay'] == 9 and values['num_replay_gate'] == 3
    assert values['num_adapting'] == 12 and values['after']['num_frames'] == 4
    assert values['settings']['gate']['max_replay_drop'] == 0.02
    assert values['blur_classes'] == []
    assert values == json.loads((outcome.version.directory / 'metrics.json').read_text())


def test_a_stopped_round_goes_on_to_the_same_student(finished, model, target, tmp_path):
    task = task_of(model, target, tmp_path / 'versions')
    # A training that goes on is the round's first one again: the teacher's is done by then.
    for step in (3, 9, 17, 39):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop_at(patch, step, training=2 if step == 17 else 1)
            run_round(task)
        assert len(ModelVersions(task.output).list()) == 1
    outcome = run_round(task)
    assert weights(outcome.version.directory) == weights(finished[1].version.directory)
    assert outcome.version.state == 'in use'


def test_a_round_goes_on_though_its_target_is_gone(finished, model, target, tmp_path):
    frames = shutil.copytree(target / 'frames', tmp_path / 'frames')
    task = task_of(model, target, tmp_path / 'versions', sources=(frames,))
    for _ in range(2):  # the second time without the folder
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop_at(patch, 0)
            run_round(task)
        shutil.rmtree(frames, ignore_errors=True)
    shutil.rmtree(task.output / '.round')
    with pytest.raises(InputError, match='no such file or folder of target frames'):
        run_round(task)


def stop(*arguments, **keywords):
    """Stand for a function that is interrupted."""
    raise KeyboardInterrupt


def kill_at(step, task):
    """Make a round that is killed when it calls a method of its versions."""
    round_module.begin_versions(ModelVersions(task.output), task.model)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ModelVersions, step, stop)
        run_round(task)


@pytest.mark.parametrize('step', ['add', 'use'])
def test_a_round_killed_before_its_student_is_used_is_finished_once(
        step, finished, model, target, tmp_path, monkeypatch):
    task = task_of(model, target, tmp_path / 'versions')
    run_stages_from(finished, task, monkeypatch)
    kill_at(step, task)
    assert ModelVersions(task.output).in_use().number == 1
    assert run_round(task).version.state == 'in use'
    assert [version.number for version in ModelVersions(task.output).list()] == [1, 2]


def test_after_a_kill_behind_the_use_the_next_round_begins(
        finished, model, target, tmp_path, monkeypatch):
    task = task_of(model, target, tmp_path / 'versions')
    run_stages_from(finished, task, monkeypatch)
    kill_at('prune', task)
    assert ModelVersions(task.output).in_use().number == 2
    parents = []

    def train(self, name, directory, config, *, start, fixed, parent_share=0):
        assert not directory.exists()
        parents.append(self.parent.name[:6])
        raise KeyboardInterrupt
    monkeypatch.setattr(round_training.RoundTraining, 'train', train)
    with pytest.raises(KeyboardInterrupt):
        run_round(task)
    assert parents == ['000002'] and len(ModelVersions(task.output).list()) == 2


CHANGES = {
    'rolled back': lambda versions: versions.rollback(reason='It saw ghosts.'),
    'accepted': lambda versions: versions.use('1')}


def second_round(finished, model, target, tmp_path, monkeypatch):
    """Return the task of a round on the second version, which is in use, and its versions."""
    task = task_of(model, target, tmp_path / 'versions')
    run_stages_from(finished, task, monkeypatch)
    run_round(task)
    monkeypatch.setattr(round_module, 'decide', lambda *a, **k: finished[1].decision)
    return task, ModelVersions(task.output)


@pytest.mark.parametrize('state', CHANGES)
def test_a_student_is_not_used_if_the_version_in_use_changed_during_its_round(
        state, finished, model, target, tmp_path, monkeypatch, capsys):
    task, versions = second_round(finished, model, target, tmp_path, monkeypatch)
    first, second = versions.list()

    def change(stage, step, steps):
        if (stage, step) == ('gate', 1):
            CHANGES[state](versions)
    version = run_round(task, on_progress=change).version
    assert [item.state for item in versions.list()] == ['in use', state, 'not used']
    assert versions.in_use().name == first.name and version.state == 'not used'
    assert version.reason == (
        f'The version in use changed during the round: it was {second.name}, with which this one '
        f'was compared, and is {first.name} now.')
    report = json.loads((version.directory / 'report.json').read_text())
    assert report['is_accepted'] and report['parent_change'] == version.reason
    for file in ('report.html', 'MODEL_CARD.md'):
        text = (version.directory / file).read_text()
        assert 'Accepted by the gate, but not used' in text and version.reason in text
    main(['versions', str(task.output)])
    assert 'not used' in capsys.readouterr().out
    assert not (task.output / '.round').exists()


@pytest.mark.parametrize('step', ['add', 'use', 'prune'])
def test_after_a_kill_at_the_end_and_a_rollback_the_student_is_not_used(
        step, finished, model, target, tmp_path, monkeypatch, caplog):
    task, versions = second_round(finished, model, target, tmp_path, monkeypatch)
    kill_at(step, task)
    if step == 'prune':
        assert versions.rollback().number == 2
    assert versions.rollback().number == 1
    number = len(versions.list())
    assert number == (2 if step == 'add' else 3)
    # A new round begins on the first version: it makes the second once more, and that one is
    # marked.
    outcome = run_round(task)
    assert outcome.version.state == 'rolled back' and outcome.version.number == 2
    assert [item.state for item in versions.list()][2:] == {
        'add': [], 'use': ['not used'], 'prune': ['rolled back']}[step]
    thrown_away = 'the unfinished round on version 000002-' in caplog.text
    assert thrown_away == (step == 'add') and not (task.output / '.round').exists()


def run_stages_from(finished, task, monkeypatch):
    """Take the trained student from a finished round instead of training it again."""
    student = finished[1].version.directory

    def train(self, name, directory, config, *, start, fixed, parent_share=0):
        if not directory.exists():
            shutil.copytree(
                student, directory, ignore=shutil.ignore_patterns('replay', 'version.json'))
    monkeypatch.setattr(round_training.RoundTraining, 'train', train)


def test_a_refused_student_is_kept_and_the_model_stays(finished, model, target, tmp_path,
                                                       monkeypatch):
    strict = replace(
        SETTINGS, gate=GateSettings(min_label_free_gain=0.99, min_class_share=0.2))
    task = task_of(model, target, tmp_path / 'versions', settings=strict)
    run_stages_from(finished, task, monkeypatch)
    outcome = run_round(task)
    assert outcome.version.state == 'refused'
    assert ModelVersions(task.output).in_use().number == 1
    assert 'REFUSED' in (outcome.version.directory / 'MODEL_CARD.md').read_text()
    assert 'label free gain' in outcome.version.reason


def test_labelled_target_frames_are_asked_by_the_gate(finished, model, target, tmp_path,
                                                      monkeypatch):
    task = task_of(model, target, tmp_path / 'versions', labelled=target / 'labelled')
    run_stages_from(finished, task, monkeypatch)
    outcome = run_round(task)
    assert outcome.before.labelled_counts.shape == (6, 9, 10)
    assert 'on 6 labelled target frames' in outcome.decision.criteria[-1].sentence


def test_the_next_round_starts_from_the_original_and_is_averaged_with_the_version_in_use(
        finished, target, tmp_path, monkeypatch):
    output = shutil.copytree(finished[0].output, tmp_path / 'versions')
    seen = []

    def train(self, name, directory, config, *, start, fixed, parent_share=0):
        seen.append((
            name, start.name[:6], config.model.init[:6], fixed.name[:7],
            parent_share, config.method.name))
        if name == 'student':
            raise KeyboardInterrupt
    monkeypatch.setattr(round_training.RoundTraining, 'train', train)
    for given in (output, finished[0].model):
        with pytest.raises(KeyboardInterrupt):
            run_round(task_of(given, target, output))
    assert seen == [
        ('teacher', '000001', '000001', '000001-', 0, 'anchored_self_training'),
        ('student', '000001', '000001', 'teacher', 0.5, 'bilateral_distillation')] * 2


def test_a_later_student_is_halfway_between_what_it_learnt_and_the_version_in_use(
        finished, target, tmp_path, monkeypatch):
    output = shutil.copytree(finished[0].output, tmp_path / 'versions')
    trained = {}
    original = round_training.RoundTraining.run_trainer

    def run_trainer(self, trainer, name):
        network = original(self, trainer, name)
        trained[name] = {key: value.clone() for key, value in network.state_dict().items()}
        return network
    monkeypatch.setattr(round_training.RoundTraining, 'run_trainer', run_trainer)
    short = replace(SETTINGS, teacher_steps=3, student_steps=6)
    outcome = run_round(task_of(finished[0].model, target, output, settings=short))
    parent = load_network(finished[1].version.directory).state_dict()
    result = load_network(outcome.version.directory).state_dict()
    assert any((trained['student'][key] - parent[key]).abs().max() > 1e-3 for key in parent)
    for key, value in result.items():
        if value.is_floating_point():
            middle = (trained['student'][key] + parent[key]) / 2
            torch.testing.assert_close(value, middle, rtol=0, atol=2e-3)  # stored as float16


@pytest.mark.parametrize(('rounds', 'share'), [(0, 0), (1, 1 / 2), (2, 2 / 3), (4, .8), (9, .8)])
def test_the_version_in_use_counts_for_the_rounds_that_led_to_it(rounds, share):
    assert round_training.parent_share(rounds) == pytest.approx(share)


@pytest.mark.parametrize('num_known', [0, 2, 5])
def test_the_rounds_that_led_to_a_version_are_known_without_those_that_were_pruned(
        num_known, tmp_path):
    """Versions of which the first ones do not say how many rounds led to them."""
    chain = [
        Version(
            name=f'v{number}', directory=tmp_path, state='accepted', reason='', is_in_use=False,
            parent=f'v{number - 1}' if number else None, created='', num_bytes=0,
            num_rounds=number if number > 5 - num_known else None)
        for number in range(6)]
    refused = replace(chain[-1], name='refused', state='refused', parent='v5', num_rounds=6)

    def num_rounds(versions):
        return RoundContext(
            task=None, given=None, parent=chain[-1], original=chain[0], work=tmp_path,
            versions=SimpleNamespace(list=lambda: versions), on_progress=None).num_rounds
    assert num_rounds([*chain, refused]) == 5
    assert num_rounds([chain[0], chain[-1], refused]) == (5 if num_known else 1)
    assert num_rounds([chain[0], *chain[2:]]) == (5 if num_known else 4)


def test_a_version_says_how_many_rounds_led_to_it(finished):
    first, second = ModelVersions(finished[0].output).list()
    assert (first.num_rounds, second.num_rounds) == (None, 1)
    assert json.loads((second.directory / 'version.json').read_text())['num_rounds'] == 1


def test_the_next_round_also_learns_what_the_version_in_use_knew_of_earlier_frames(
        finished, target, tmp_path, monkeypatch):
    with_memory = replace(SETTINGS, memory_frames=8)
    task = task_of(finished[0].model, target, tmp_path / 'versions', settings=with_memory)
    run_stages_from(finished, task, monkeypatch)
    first = run_round(task).version
    assert first.state == 'in use'
    carried = first.directory / 'memory'
    assert len(os.listdir(carried / 'adapting')) == 6 and len(
        os.listdir(carried / 'held_back')) == 2
    assert {path.name[:6] for path in carried.glob('*/*')} == {'000001'}
    monkeypatch.undo()
    seen = []
    original = Trainer.train_step

    def train_step(self, batch):
        losses = original(self, batch)
        seen.append(('memory' in losses, self.rehearsal is not None))
        return losses
    monkeypatch.setattr(Trainer, 'train_step', train_step)
    short = replace(with_memory, teacher_steps=3, student_steps=6)
    outcome = run_round(replace(task, settings=short))
    assert seen == [(True, True)] * 9
    assert outcome.decision.criteria[-1].name == 'memory_drop'
    assert 0 <= outcome.after.memory_kept <= 1 and outcome.before.memory_kept == 1
    values = json.loads((outcome.version.directory / 'report.json').read_text())
    assert values['num_memory'] == 6
    # Only what was learnt by the version in use is remembered with it.
    has_memory = (outcome.version.directory / 'memory').is_dir()
    assert has_memory == outcome.decision.is_accepted


def test_without_the_setting_no_frame_travels_and_none_is_used(
        finished, target, tmp_path, monkeypatch):
    assert not (finished[1].version.directory / 'memory').exists()
    task = task_of(
        finished[0].model, target, tmp_path / 'versions',
        settings=replace(SETTINGS, memory_frames=8))
    run_stages_from(finished, task, monkeypatch)
    run_round(task)
    seen = []

    def train(self, name, directory, config, *, start, fixed, parent_share=0):
        seen.append(self.rehearsal(config))
        raise KeyboardInterrupt
    monkeypatch.setattr(round_training.RoundTraining, 'train', train)
    with pytest.raises(KeyboardInterrupt):
        run_round(replace(task, settings=SETTINGS))
    assert seen == [None]


def test_an_unfinished_round_is_not_mixed_with_another_one(model, target, tmp_path, monkeypatch):
    task = task_of(model, target, tmp_path / 'versions')
    stop_at(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        run_round(task)
    other = replace(task, settings=replace(SETTINGS, seed=1))
    with pytest.raises(InputError, match='round with other settings is here.*--restart'):
        run_round(other)
    identity = task.output / '.round' / 'round.json'
    assert json.loads(identity.read_text())['settings']['seed'] == 0


def test_another_round_takes_the_place_of_an_unfinished_one_if_that_is_wanted(
        model, target, tmp_path, monkeypatch, caplog):
    task = task_of(model, target, tmp_path / 'versions', restart_if_changed=True)
    stop_at(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        run_round(task)
    frames = task.output / '.round' / 'frames'
    began = frames.stat().st_ino
    with pytest.raises(KeyboardInterrupt):
        run_round(task)  # the same round goes on
    assert frames.stat().st_ino == began and 'thrown away' not in caplog.text
    with pytest.raises(KeyboardInterrupt):
        run_round(replace(task, settings=replace(SETTINGS, seed=1)))
    assert 'the unfinished round with other settings is thrown away' in caplog.text
    identity = json.loads((task.output / '.round' / 'round.json').read_text())
    assert identity['settings']['seed'] == 1


def frames_of(work):
    """Return the frames that a round stored, by name."""
    return {path.name: cv2.imread(str(path))[..., ::-1] for path in work.glob('frames/*/*.jpg')}


def stored(image):
    """Return what a round's JPEG file makes of a frame."""
    file = np.frombuffer(encode_jpeg(image, quality=JPEG_QUALITY), np.uint8)
    return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1]


def test_classes_are_hidden_in_the_frames_of_a_round_before_it_stores_them(
        model, target, tmp_path, monkeypatch, caplog):
    plain = task_of(model, target, tmp_path / 'plain')
    hidden = replace(plain, output=tmp_path / 'hidden', blur_classes=('road', 'sky'))

    def stop(self, batch):
        raise KeyboardInterrupt
    monkeypatch.setattr(Trainer, 'train_step', stop)
    for task in (plain, hidden):
        with pytest.raises(KeyboardInterrupt):
            run_round(task)
    assert "not known to find 'sky' reliably" in caplog.text
    before, after = (frames_of(task.output / '.round') for task in (plain, hidden))
    assert before.keys() == after.keys()
    segmenter = Segmenter.load(model)
    ids = class_ids(hidden.blur_classes, segmenter.label_space)
    for name, image in after.items():
        whole = TARGET.image(int(Path(name).stem[-3:]))
        expected = hide(whole, segmenter.logits(whole), ids)
        np.testing.assert_array_equal(image, stored(expected))
        assert (image != before[name]).any()
    # What was hidden belongs to the round: one that goes on hides the same.
    for other in (plain, replace(hidden, blur_classes=('road',))):
        with pytest.raises(InputError, match='round with other target frames is here'):
            run_round(replace(other, output=hidden.output))
    with pytest.raises(KeyboardInterrupt):
        run_round(hidden)
    with pytest.raises(InputError, match="'rode'.*Did you mean 'road'"):
        run_round(replace(hidden, output=tmp_path / 'other', blur_classes=('rode',)))


def test_only_one_round_runs_in_a_folder(model, target, tmp_path):
    task = task_of(model, target, tmp_path / 'versions')
    task.output.mkdir()
    with (task.output / '.round.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for restart in (False, True):
            with pytest.raises(InputError, match='another round is running here'):
                run_round(replace(task, restart=restart))


MISTAKES = {
    'no labelled source frames travel with it': lambda directory, task: (
        shutil.rmtree(directory / 'replay'), task)[1],
    "only models that 'bkd train' or 'bkd adapt' wrote": lambda directory, task: (
        (directory / 'config.yaml').unlink(), task)[1],
    'no such file or folder of target frames': lambda directory, task: replace(
        task, sources=(directory / 'none',)),
    'holds 6 labelled target frames; expected at least 10': lambda directory, task: replace(
        task, labelled=task.sources[0].parent / 'labelled', settings=replace(
            SETTINGS, gate=GateSettings(min_labelled_frames=10))),
    'max_megabytes: got 1; expected room for five versions': lambda directory, task: (
        (directory / 'large').write_bytes(bytes(250_000)),
        replace(task, settings=replace(SETTINGS, max_megabytes=1)))[1],
    r'no colour in the frames \(0.0 of 255\).*thermal or depth camera\?.*--topic.*--allow-grey': (
        lambda directory, task: replace(task, sources=(grey(task.sources[0], directory),))),
    "teacher '.*': its label space 'street9' is not that of the model": lambda directory, task: (
        replace(task, teacher=other_space(directory))),
}


def grey(frames, directory):
    """Write frames without their colour beside a model."""
    for path in frames.iterdir():
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)
        write(directory.parent / 'grey' / path.name, image)
    return directory.parent / 'grey'


def test_frames_without_colour_are_adapted_to_if_that_is_meant(model, target, tmp_path):
    sources = (grey(target / 'frames', tmp_path / 'model'),)
    short = replace(SETTINGS, teacher_steps=1, student_steps=1)
    task = task_of(model, target, tmp_path / 'versions', sources=sources, settings=short)
    with pytest.raises(InputError, match='no colour'):
        run_round(task)
    assert run_round(replace(task, allow_grey=True)).version.number == 2


def test_a_model_of_grey_frames_adapts_to_grey_frames(model, target, tmp_path):
    replay = tmp_path / 'replay'
    shutil.copytree(model / 'replay', replay)
    for path in (replay / 'images').iterdir():
        write(path, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY))
    sources = (grey(target / 'frames', tmp_path / 'model'),)
    short = replace(SETTINGS, teacher_steps=1, student_steps=1)
    task = task_of(
        model, target, tmp_path / 'versions', sources=sources, replay=replay, settings=short)
    assert run_round(task).version.number == 2


def other_space(directory):
    """Copy a model and give it other classes."""
    copy = shutil.copytree(directory, directory.parent / 'other')
    text = (copy / 'model.yaml').read_text()
    (copy / 'model.yaml').write_text(text.replace('- road\n', '- lawn\n'))
    return copy


@pytest.mark.parametrize('message', MISTAKES)
def test_a_mistake_is_named_before_anything_is_trained(
        message, model, target, tmp_path, monkeypatch):
    monkeypatch.setattr(round_training, 'Trainer', lambda *a, **k: pytest.fail('it trained'))
    directory = shutil.copytree(model, tmp_path / 'model')
    task = MISTAKES[message](directory, task_of(directory, target, tmp_path / 'versions'))
    with pytest.raises(InputError, match=message):
        run_round(task)


def test_versions_of_another_model_are_not_mixed(finished, model, target, tmp_path):
    other = shutil.copytree(model, tmp_path / 'other')
    text = (other / 'model.yaml').read_text()
    (other / 'model.yaml').write_text(text.replace('name: model', 'name: other'))
    with pytest.raises(InputError, match='holds versions of another model'):
        run_round(replace(finished[0], model=other))


def test_the_command_adapts_and_says_what_came_of_it(
        finished, model, target, tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(budget, 'lower_priority', lambda **options: called.append(1))
    run_stages_from(finished, finished[0], monkeypatch)
    output = tmp_path / 'versions'
    command = [
        'adapt', str(model), str(target / 'frames'), '--output', str(output),
        '--confidence-threshold', '0.2', '--min-class-share', '0.2', '--device', 'cpu']
    main(command)
    text = capsys.readouterr().out
    assert called == [1] and text.count('met ') == 8
    assert f'report: {output}' in text and ': in use' in text
    with pytest.raises(SystemExit) as stop:
        main(['adapt', str(model), str(target / 'frames')])
    assert stop.value.code == 2 and 'say with --output' in capsys.readouterr().err


def test_the_command_says_what_is_to_be_hidden(model, target, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, 'lower_priority', lambda **options: None)
    tasks = []

    def stop(task, **options):
        tasks.append(task)
        raise KeyboardInterrupt
    monkeypatch.setattr(round_module, 'run_round', stop)
    command = ['adapt', str(model), str(target / 'frames'), '--output', str(tmp_path / 'versions')]
    for more in ((), ('--blur-classes', 'pedestrian', 'car')):
        with pytest.raises(SystemExit):
            main([*command, *more])
    assert [task.blur_classes for task in tasks] == [(), ('pedestrian', 'car')]
    # Rounds that were stopped before there was this option go on.
    assert tasks[0].identity['target frames'] == [str(target / 'frames'), 'None', 1]


def test_a_stopped_round_is_thrown_away_when_its_version_is_no_longer_in_use(
        finished, model, target, tmp_path, monkeypatch, caplog):
    task, versions = second_round(finished, model, target, tmp_path, monkeypatch)
    monkeypatch.setattr(round_module, 'measure', stop)
    with pytest.raises(KeyboardInterrupt):
        run_round(task)
    versions.rollback()
    parents = []
    monkeypatch.setattr(
        round_training.RoundTraining, 'train',
        lambda self, name, directory, *a, **k: parents.append(
            (self.parent.number, directory.exists())))
    with pytest.raises(KeyboardInterrupt):
        run_round(task)
    assert parents == [(1, False)] * 2
    first, second = versions.list()
    assert (
        f'the unfinished round on version {second.name} is thrown away, since version '
        f'{first.name} is in use now') in caplog.text


def test_a_check_finds_what_is_missing_before_there_are_frames(model, tmp_path, capsys):
    command = ['adapt', str(model), str(tmp_path / 'store'), '--output', str(tmp_path / 'v')]
    main([*command, '--check'])
    for more, fault in (
            (['--replay', str(tmp_path)], 'images: does not exist'),
            (['--labelled', str(tmp_path)], 'images: does not exist'),
            (['--device', 'cuda:77'], 'cuda:77'), (['--blur-classes', 'rode'], "'road'"),
            (['--teacher', str(tmp_path)], str(tmp_path))):
        with pytest.raises(SystemExit) as stop:
            main([*command, '--check', *more])
        assert stop.value.code == 2 and fault in capsys.readouterr().err
    assert not (tmp_path / 'v').exists()
    ModelVersions(tmp_path / 'v').begin(write_tiny_model(tmp_path / 'other'), reason='first')
    ModelVersions(tmp_path / 'v').use('1')
    with pytest.raises(SystemExit):
        main([*command, '--check'])
    assert 'versions of another model' in capsys.readouterr().err


def test_restart_throws_away_what_a_stopped_round_reached(
        finished, model, target, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(budget, 'lower_priority', lambda **options: None)
    work = tmp_path / 'versions' / '.round'
    work.mkdir(parents=True)
    ModelVersions(work.parent).begin(model, reason='first')
    parent = ModelVersions(work.parent).in_use().name
    (work / 'round.json').write_text(json.dumps({'parent': parent}))
    command = [
        'adapt', str(model), str(target / 'frames'), '--output', str(work.parent),
        '--device', 'cpu', '--teacher-steps', '1']
    with pytest.raises(SystemExit):
        main(command)
    assert 'unfinished round' in capsys.readouterr().err
    stop_at(monkeypatch, 0)
    with pytest.raises(SystemExit) as stop:
        main([*command, '--restart'])
    assert stop.value.code == 130
    assert json.loads((work / 'round.json').read_text())['settings']['teacher_steps'] == 1


def test_labels_of_the_new_student_are_no_constant(finished):
    labels = Segmenter.load(finished[0].output)(TARGET.image(0)).labels
    assert len(np.unique(labels)) > 3
