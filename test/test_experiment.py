# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""An experiment of several stages, from settings to measured model directories."""

from __future__ import annotations

from dataclasses import replace
import fcntl
import json
import shutil
import subprocess

from bkd_core import checkout, experiment, model_directory
from bkd_core.config import DataConfig, ModelConfig, TrainingConfig
from bkd_core.config_file import load_experiment
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.datasets.replay import open_replay
from bkd_core.errors import InputError
from bkd_core.evaluation import ShiftReference
from bkd_core.experiment import run_experiment
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
from bkd_core.method_config import BilateralDistillationConfig
from bkd_core.methods.soft_label_cache import SoftLabelCache, SoftLabelMemory
from bkd_core.model_card import model_card
from bkd_core.models import load_network
from bkd_core.training import Trainer
from bkd_core.training.checkpoint import CHECKPOINT
from bkd_core.training.run_lock import LOCK
from bkd_core.training.run_log import read_log
import numpy as np
import pytest
from tiny_training import PaintedFrames, register_tiny_network, tiny_config

SOURCE_ONLY = tiny_config(steps=4, checkpoint_steps=2)
STUDENT = replace(
    SOURCE_ONLY,
    model=ModelConfig(network='tiny', input_height=64, init='stage:source_only'),
    method=BilateralDistillationConfig(teacher='stage:source_only'))
STAGES = {'source_only': SOURCE_ONLY, 'student': STUDENT}


@pytest.fixture(scope='module')
def module_patch():
    """Return a monkeypatch that lasts for this file."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope='module', autouse=True)
def painted_world(module_patch):
    """Let settings name the tiny network, and let every data set be painted frames."""
    register_tiny_network(module_patch)
    module_patch.setattr(
        experiment, 'open_dataset', lambda config, data_root: PaintedFrames(4))


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Run both stages once; return the folder and the scores. Don't write into it."""
    output = tmp_path_factory.mktemp('experiment')
    return output, run_experiment(STAGES, output=output, data_root=None)


@pytest.fixture
def copied(finished, tmp_path):
    """Return a copy of the finished experiment's folder."""
    return shutil.copytree(finished[0], tmp_path / 'copy')


def run(output, stages=None, **arguments):
    """Run an experiment without a data root."""
    return run_experiment(stages or STAGES, output=output, data_root=None, **arguments)


def forbid_training(monkeypatch):
    """Let the test fail if a trainer is built."""
    monkeypatch.setattr(experiment, 'Trainer', lambda *a, **k: pytest.fail('it trained'))


def test_each_stage_becomes_a_complete_model_directory(finished):
    output, scores = finished
    assert list(scores) == ['source_only', 'student']
    for name, config in STAGES.items():
        assert {path.name for path in (output / name).iterdir()} == {
            'model.yaml', 'model.safetensors', 'model.onnx', 'config.yaml', 'metrics.json',
            'MODEL_CARD.md', 'log.jsonl', 'shift.json', 'resources.jsonl', 'run.json',
            *(['built_on.json'] if name == 'student' else [])}
        assert load_experiment(output / name / 'config.yaml') == {'model': config}
        assert len(read_log(output / name)) == 4
        spec = model_directory.read_spec(output / name)
        assert (spec.name, spec.network, spec.input_height) == (name, 'tiny', 64)
        assert set(spec.files) == {'model.safetensors', 'model.onnx'}


def test_a_model_knows_how_it_answers_to_what_it_was_trained_for(finished):
    directory = finished[0] / 'student'
    segmenter = Segmenter.load(directory)
    reference = ShiftReference.read(
        directory, num_classes=segmenter.label_space.num_classes)
    entropies = [segmenter(PaintedFrames(4).image(index)).mean_entropy for index in range(4)]
    assert reference.scores['entropy'] == pytest.approx(sorted(entropies), abs=1e-5)


def test_source_frames_travel_with_a_model_only_if_they_are_asked_for(copied):
    assert not (copied / 'student' / 'replay').exists()
    licensed = {
        name: replace(config, data_licences='free') for name, config in STAGES.items()}
    shutil.rmtree(copied)
    with pytest.raises(InputError, match='data_licences whose images'):
        run(copied, replay_frames=3)
    assert not copied.exists()  # refused before anything was trained
    run(copied, licensed, replay_frames=3)
    assert len(open_replay(
        copied / 'student' / 'replay', label_space=get_label_space('street9'))) == 3


@pytest.mark.parametrize('setting', ['source', 'validation'])
def test_data_without_the_labels_that_it_needs_is_refused_before_training(
        tmp_path, monkeypatch, setting):
    class Unlabelled(PaintedFrames):
        has_labels = False

    monkeypatch.setattr(
        experiment, 'open_dataset',
        lambda config, data_root: (Unlabelled if config.name == 'store' else PaintedFrames)(4))
    stages = {**STAGES, 'student': replace(STUDENT, **{setting: DataConfig(name='store')})}
    message = f"'student': {setting}: the data set 'store' has no labels here; {setting} needs"
    with pytest.raises(InputError, match=message):
        run(tmp_path, stages)
    assert not (tmp_path / 'source_only').exists()


def test_data_that_can_not_be_opened_is_named_by_its_stage_and_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, 'open_dataset', open_dataset)
    stages = {'source_only': replace(SOURCE_ONLY, source=DataConfig(
        name='streets', options={'domain': 'source', 'num_frames': 4}))}
    with pytest.raises(InputError, match="'source_only': validation: data set 'streets' needs"):
        run(tmp_path, stages)


def test_an_option_that_a_later_stages_network_has_not_is_refused_before_training(tmp_path):
    model = replace(STUDENT.model, options={'weights': 'a.pth'})
    with pytest.raises(InputError, match="stage 'student': .*'weights'.*--stage names"):
        run(tmp_path, {**STAGES, 'student': replace(STUDENT, model=model)})
    assert not (tmp_path / 'source_only').exists()


def test_the_measured_numbers_are_those_of_the_returned_scores(finished):
    output, scores = finished
    metrics = json.loads((output / 'student' / 'metrics.json').read_text())
    assert metrics['scores']['miou'] == scores['student'].miou
    assert metrics['scores']['num_frames'] == 4
    assert metrics['parameters'] == sum(
        weight.numel() for weight in load_network(output / 'student').parameters())
    card = (output / 'student' / 'MODEL_CARD.md').read_text()
    assert f'{100 * scores["student"].miou:.1f}' in card
    assert 'bilateral_distillation' in card and 'seed: 0' in card


def test_both_runtimes_label_alike_with_a_stages_model(finished):
    frame = PaintedFrames(4).image(2)
    directory = finished[0] / 'student'
    onnx, torch = (
        Segmenter.load(directory, runtime=name)(frame).labels for name in ('onnxruntime', 'torch'))
    assert (onnx == torch).mean() > 0.999
    assert len(np.unique(onnx)) > 1


def test_a_finished_stage_is_read_and_not_run_again(finished, monkeypatch):
    output, scores = finished
    forbid_training(monkeypatch)
    again = run(output)
    assert {name: score.miou for name, score in again.items()} == {
        name: score.miou for name, score in scores.items()}


def test_a_finished_stage_with_other_settings_is_refused(finished, monkeypatch):
    forbid_training(monkeypatch)
    changed = {**STAGES, 'source_only': replace(SOURCE_ONLY, steps=5)}
    with pytest.raises(InputError, match='source_only: a finished model with other settings'):
        run(finished[0], changed)


@pytest.mark.parametrize('is_finished', [True, False])
def test_a_stage_whose_teacher_was_trained_again_is_refused(copied, monkeypatch, is_finished):
    if not is_finished:
        (copied / 'student' / 'metrics.json').unlink()
    shutil.rmtree(copied / 'source_only')
    other = replace(SOURCE_ONLY, seed=7)
    changed = {'source_only': other, 'student': STUDENT}
    run(copied, changed, only=('source_only',))
    forbid_training(monkeypatch)
    with pytest.raises(InputError, match="student: this run was begun with another "
                                         "'stage:source_only'.*Delete the folder"):
        run(copied, changed)


def test_a_finished_stage_is_read_also_without_its_teacher(copied, monkeypatch):
    forbid_training(monkeypatch)
    shutil.rmtree(copied / 'source_only')
    assert list(run(copied, only=('student',))) == ['student']


def test_students_of_one_teacher_share_its_soft_labels_and_others_do_not(copied, monkeypatch):
    memory = SoftLabelMemory()
    looks = []
    original = SoftLabelCache._look
    monkeypatch.setattr(
        SoftLabelCache, '_look', lambda self, index: looks.append(index) or original(self, index))

    def train(name, config):
        looks.clear()
        experiment.run_stage(
            name, config, directory=copied / name, data_root=None, memory=memory)
        return len(looks), (copied / name / 'model.safetensors').read_bytes()
    method = STUDENT.method
    first, weights = train('again', STUDENT)
    assert first == 8  # each of four source and four target frames, once
    assert weights == (copied / 'student' / 'model.safetensors').read_bytes()
    assert train('ablated', replace(STUDENT, method=replace(method, lambda_entropy=0.0)))[0] == 0
    assert train('seeded', replace(STUDENT, seed=5))[0] == 0
    assert train('softer', replace(STUDENT, method=replace(method, temperature=2.0)))[0] == 8
    run(copied, {'other': replace(SOURCE_ONLY, seed=9)})
    other = replace(STUDENT, method=replace(method, teacher='stage:other'))
    assert train('another', other)[0] == 8


def test_a_second_process_on_the_same_run_is_refused(tmp_path):
    folder = tmp_path / 'source_only'
    folder.mkdir()
    with (folder / LOCK).open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match='source_only: another process is training here'):
            run(tmp_path)
    run(tmp_path, only=('source_only',))
    assert not (folder / LOCK).exists()


def test_an_unfinished_stage_goes_on_from_its_checkpoint(copied, finished, monkeypatch):
    shutil.rmtree(copied / 'student')
    steps = []

    class StopsAfterTwo(Trainer):
        def run(self, **arguments):
            super().run(until=2)
            raise KeyboardInterrupt

    class Watched(Trainer):
        def run(self, **arguments):
            steps.append(self.step)
            return super().run(**arguments)

    monkeypatch.setattr(experiment, 'Trainer', StopsAfterTwo)
    with pytest.raises(KeyboardInterrupt):
        run(copied)
    assert (copied / 'student' / CHECKPOINT).exists()
    assert not (copied / 'student' / 'model.yaml').exists()
    monkeypatch.setattr(experiment, 'Trainer', Watched)
    scores = run(copied)
    assert steps == [2]
    assert not (copied / 'student' / CHECKPOINT).exists()
    assert scores['student'].miou == finished[1]['student'].miou
    assert (copied / 'student' / 'model.safetensors').read_bytes() == (
        finished[0] / 'student' / 'model.safetensors').read_bytes()


def test_an_unfinished_stage_with_other_settings_is_refused(copied, monkeypatch):
    shutil.rmtree(copied / 'student')

    class StopsAfterTwo(Trainer):
        def run(self, **arguments):
            super().run(until=2)
            raise KeyboardInterrupt

    monkeypatch.setattr(experiment, 'Trainer', StopsAfterTwo)
    with pytest.raises(KeyboardInterrupt):
        run(copied)
    changed = {**STAGES, 'student': replace(STUDENT, seed=4)}
    with pytest.raises(InputError, match='checkpoint.pt: .*other settings'):
        run(copied, changed)


def test_a_single_stage_can_be_run_on_an_earlier_one(copied):
    shutil.rmtree(copied / 'student')
    assert list(run(copied, only=('student',))) == ['student']


def test_a_stage_whose_base_is_not_finished_says_so(tmp_path):
    with pytest.raises(InputError, match="source_only': no such directory"):
        run(tmp_path, only=('student',))


def test_an_unknown_stage_is_named(tmp_path):
    with pytest.raises(InputError, match=r"stage 'studnet'.*\['source_only', 'student'\]"):
        run(tmp_path, only=('studnet',))


@pytest.mark.parametrize(('changes', 'setting'), [
    ({'method': BilateralDistillationConfig(teacher='stage:source_only')}, 'method.teacher'),
    ({'model': ModelConfig(network='tiny', init='stage:source_only')}, 'model.init'),
])
def test_a_model_of_another_label_space_is_refused(copied, changes, setting):
    config = replace(SOURCE_ONLY, label_space='camvid11', **changes)
    message = f"{setting}: 'stage:source_only' was trained in the label space 'street9'"
    with pytest.raises(InputError, match=message):
        run(copied, {'other': config})


@pytest.mark.parametrize('teacher', ['', 'no/such/model'])
def test_a_teacher_that_is_not_there_is_named_by_its_setting(tmp_path, teacher):
    config = replace(STUDENT, method=BilateralDistillationConfig(teacher=teacher))
    with pytest.raises(InputError, match='method.teacher'):
        run(tmp_path, {'student': replace(config, model=SOURCE_ONLY.model)})


def test_a_card_marks_classes_that_were_not_seen():
    metrics = {
        'scores': {'miou': 0.5, 'iou': {'road': 0.5, 'car': None}, 'pixel_accuracy': 0.75,
                   'num_frames': 3},
        'parameters': 2_420_000, 'uses_target': False, 'device': 'cpu', 'seconds': 1.6,
        'version': '1.2.3', 'commit': 'abc', 'runtime': 'onnxruntime'}
    card = model_card('Tiny', TrainingConfig(), metrics)
    assert '| mIoU | road | car |' in card and '| 50.0 | 50.0 | - |' in card
    assert '2.42 M parameters' in card and 'target (unlabelled): none' in card


def test_the_commit_is_dirty_by_code_but_not_by_results(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(
            ['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *words], cwd=tmp_path,
            check=True, capture_output=True)
    code, results = tmp_path / 'bkd_core' / 'checkout.py', tmp_path / 'docs/results/a.jsonl'
    for path in (code, results):
        path.parent.mkdir(parents=True)
        path.write_text('1')
    monkeypatch.setattr(checkout, '__file__', str(code))
    assert checkout.commit() == 'unknown'
    git('init')
    git('add', '.')
    git('commit', '-m', 'x')
    assert len(checkout.commit()) == 12
    results.write_text('2')
    assert len(checkout.commit()) == 12
    code.write_text('2')
    assert checkout.commit().endswith('-dirty')
