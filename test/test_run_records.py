# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a training writes down, and that writing it down changes nothing."""

from __future__ import annotations

from dataclasses import replace
import importlib.util
import json
import sys
import time

from bkd_core.config import DataConfig, RecordsConfig, TrainingConfig
from bkd_core.config_file import override, parse, to_yaml
from bkd_core.errors import InputError
from bkd_core.evaluation import evaluate
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
from bkd_core.methods import METHODS
from bkd_core.model_directory import read_spec, WEIGHTS
from bkd_core.models import load_network
from bkd_core.runs import read_run
from bkd_core.runs.journal import Journal, read_journal
from bkd_core.runs.lines import iterate_lines, last_lines, StepLines
from bkd_core.training import RunRecords, Trainer
from bkd_core.training.checkpoint import CHECKPOINT, fingerprint
from bkd_core.training.run_log import read_log
from bkd_core.training.validation import spread
import cv2
import pytest
from tiny_training import PaintedFrames, register_tiny_network, tiny_config, tiny_teacher
import torch
import yaml

SOURCE, TARGET = PaintedFrames(6), PaintedFrames(5, seed=1, shade=0.5)
VALIDATION = PaintedFrames(4, seed=2, shade=0.5)
EVERYTHING = RecordsConfig(
    log_steps=2, pictures_steps=3, pictures_frames=2, pictures_kept=2, validation_steps=4,
    validation_frames=3)
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec('tensorboard') is None, reason='needs tensorboard')


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    """Let configurations name the tiny network."""
    register_tiny_network(monkeypatch)


def trainer(directory, config):
    """Return a trainer on painted frames."""
    teacher = tiny_teacher() if getattr(config.method, 'teacher', None) else None
    return Trainer(config, directory=directory, source=SOURCE, target=TARGET, teacher=teacher)


def train(directory, config, *, until=None, validation=VALIDATION):
    """Train with records; return the network."""
    built = trainer(directory, config)
    with RunRecords(built, name='tiny', validation=validation, commit='abc') as records:
        return built.run(observer=records, until=until)


def losses_of(directory):
    """Return the losses of each step in a run's log, without times."""
    return [
        {key: value for key, value in line.items() if key != 'seconds'}
        for line in read_log(directory)]


def lines_of(directory, name):
    """Return a file's lines without what time decides."""
    return [
        {key: value for key, value in line.items() if key not in (
            'seconds', 'step_seconds', 'images_per_second', 'peak_memory_mb')}
        for line in iterate_lines(directory / name)]


@pytest.mark.parametrize('method', METHODS)
def test_losses_and_weights_are_the_same_with_and_without_records(method, tmp_path):
    config = tiny_config(method, steps=8)
    plain = trainer(tmp_path / 'plain', config).run()
    recorded = train(tmp_path / 'recorded', replace(config, records=EVERYTHING))
    assert losses_of(tmp_path / 'recorded') == losses_of(tmp_path / 'plain')
    for key, value in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[key], value), key


def test_the_fingerprint_of_a_configuration_is_what_it_was_before_there_were_records():
    # Of the defaults, taken before TrainingConfig had records.
    assert fingerprint(to_yaml(TrainingConfig())) == '4462d7e588602968'
    assert to_yaml(replace(TrainingConfig(), records=EVERYTHING)) == to_yaml(TrainingConfig())


def test_records_are_settings_like_the_others():
    config = override(TrainingConfig(), ['--records.validation-steps', '7'], 'test')
    assert config.records == RecordsConfig(validation_steps=7)
    assert override(config, ['--seed', '1'], 'test').records == config.records
    assert parse(yaml.safe_load(to_yaml(config, is_complete=True)), 'again') == config
    with pytest.raises(InputError, match="test: records: .*'picture_steps'.*'pictures_steps'"):
        parse({'records': {'picture_steps': 1}}, 'test')


@pytest.mark.parametrize(('setting', 'value'), [
    ('log_steps', 0), ('pictures_steps', -1), ('pictures_frames', 0), ('pictures_kept', 0),
    ('validation_steps', -1), ('validation_frames', -5)])
def test_a_record_setting_out_of_range_is_named(setting, value):
    with pytest.raises(InputError, match=f'records.{setting}: got {value}; expected at least'):
        RecordsConfig(**{setting: value})


def test_records_may_be_changed_in_the_middle_of_a_run(tmp_path):
    config = tiny_config(steps=10)
    trainer(tmp_path / 'whole', config).run()
    train(tmp_path / 'parts', config, until=5)
    train(tmp_path / 'parts', replace(config, records=EVERYTHING))
    assert losses_of(tmp_path / 'parts') == losses_of(tmp_path / 'whole')
    assert [line['step'] for line in iterate_lines(tmp_path / 'parts/validation.jsonl')] == [7, 9]


def test_by_default_a_run_writes_numbers_and_no_pictures(tmp_path):
    train(tmp_path, tiny_config('self_training', steps=4))
    assert {path.name for path in tmp_path.iterdir()} == {
        CHECKPOINT, 'log.jsonl', 'resources.jsonl', 'run.json'}
    line, = iterate_lines(tmp_path / 'resources.jsonl')
    seconds = [step['seconds'] for step in read_log(tmp_path)]
    assert line['step'] == 3
    assert line['step_seconds'] == pytest.approx(sum(seconds) / 4, abs=1e-4)
    # Two crops of each of two domains in a step.
    assert line['images_per_second'] == pytest.approx(4 / line['step_seconds'], rel=0.01)
    assert line['peak_memory_mb'] > 50


def test_the_learning_rate_that_is_written_is_the_trunks(tmp_path):
    config = tiny_config(steps=4, records=RecordsConfig(log_steps=1))
    train(tmp_path, config)
    rates = [line['learning_rate'] for line in iterate_lines(tmp_path / 'resources.jsonl')]
    # 0.01, two steps of warm-up, (1 - step / 4) ** 0.9, by hand.
    assert rates == pytest.approx(
        [0.01 / 3, 0.02 / 3 * 0.75 ** 0.9, 0.01 * 0.5 ** 0.9, 0.01 * 0.25 ** 0.9])


def test_a_run_tells_its_environment_and_no_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/home/someone/bin/bkd', 'train', 'a b.yaml'])
    train(tmp_path, tiny_config(steps=2))
    values = read_journal(tmp_path)
    start, = values['starts']
    assert start['command'] == "bkd train 'a b.yaml'"
    assert start['packages']['torch'] == torch.__version__
    assert (start['commit'], start['device'], start['first_step']) == ('abc', 'cpu', 0)
    assert values['settings']['records']['log_steps'] == 20
    assert values['saved_step'] == 2
    import socket
    assert 'host' not in json.dumps(list(start))
    assert socket.gethostname() not in [start['system'], start['device_name']]


def test_each_start_is_written_down_and_their_number_is_bounded(tmp_path):
    train(tmp_path, tiny_config(), until=5)
    train(tmp_path, tiny_config(), until=10)
    assert [start['first_step'] for start in read_journal(tmp_path)['starts']] == [0, 5]
    for step in range(60):
        Journal(tmp_path, settings={}, start={'first_step': 10 + step})
    steps = [start['first_step'] for start in read_journal(tmp_path)['starts']]
    assert len(steps) == 50 and (steps[0], steps[-1]) == (0, 69)


def test_a_loop_that_breaks_off_says_why(tmp_path):
    def stop(step, losses):
        if step == 3:
            raise KeyboardInterrupt

    built = trainer(tmp_path, tiny_config())
    records = RunRecords(built, name='tiny', validation=VALIDATION, commit='abc')
    with pytest.raises(KeyboardInterrupt), records:
        built.run(observer=records, on_step=stop)
    stopped = read_journal(tmp_path)['stopped']
    assert (stopped['step'], stopped['reason']) == (3, 'KeyboardInterrupt')
    train(tmp_path, tiny_config())
    assert read_journal(tmp_path)['stopped'] is None


def test_scores_in_the_middle_are_those_of_the_same_weights_in_a_model_directory(tmp_path):
    config = tiny_config('self_training', steps=8, records=EVERYTHING)
    network = train(tmp_path, config)
    lines = list(iterate_lines(tmp_path / 'validation.jsonl'))
    assert [line['step'] for line in lines] == [3, 7]
    best = json.loads((tmp_path / 'best/best.json').read_text())
    assert best['miou'] == max(line['miou'] for line in lines)
    assert best['num_frames'] == 3
    spec = read_spec(tmp_path / 'best')
    assert (spec.name, set(spec.files)) == ('tiny', {WEIGHTS})
    scores = evaluate(
        Segmenter.load(tmp_path / 'best', runtime='torch', device='cpu'), spread(VALIDATION, 3),
        label_space=get_label_space('street9'))
    assert scores.miou == best['miou']
    if best['step'] == 8:
        kept = load_network(tmp_path / 'best')
        assert torch.equal(kept.classifier.weight, network.classifier.weight)


def test_the_best_network_stays_when_a_later_one_is_worse(tmp_path, monkeypatch):
    scores = iter([0.2, 0.5, 0.4, None, 0.5])
    monkeypatch.setattr(
        'bkd_core.training.validation.Validation.score',
        lambda self, network: {'miou': next(scores), 'iou': {}})
    config = tiny_config(steps=10, records=RecordsConfig(validation_steps=2))
    train(tmp_path, config)
    assert json.loads((tmp_path / 'best/best.json').read_text()) == {
        'step': 4, 'miou': 0.5, 'iou': {}}
    assert read_run(tmp_path).best['step'] == 4


def test_a_resumed_run_has_the_records_of_a_whole_one(tmp_path):
    config = tiny_config(steps=12, records=EVERYTHING)
    train(tmp_path / 'whole', config)
    built = trainer(tmp_path / 'parts', config)
    records = RunRecords(built, name='tiny', validation=VALIDATION, commit='abc')

    def kill(step, losses):
        if step == 9:  # steps 6 to 9 are made again
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), records:
        built.run(observer=records, on_step=kill)
    train(tmp_path / 'parts', config)
    for name in ('log.jsonl', 'validation.jsonl', 'resources.jsonl'):
        assert lines_of(tmp_path / 'parts', name) == lines_of(tmp_path / 'whole', name), name
    for name in ('best/best.json', f'best/{WEIGHTS}'):
        assert (tmp_path / 'parts' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()


def test_a_picture_shows_frame_labels_and_prediction_and_old_ones_are_deleted(tmp_path):
    train(tmp_path, tiny_config(steps=10, records=EVERYTHING))
    names = sorted(path.name for path in (tmp_path / 'pictures').iterdir())
    assert names == ['00000009.jpg', '00000010.jpg']  # of 3, 6, 9 and the last step
    picture = cv2.cvtColor(
        cv2.imread(str(tmp_path / 'pictures' / names[0])), cv2.COLOR_BGR2RGB).astype(int)
    assert picture.shape[1] == 3 * (480 + 6) + 6
    space = get_label_space('street9')
    # The first block of the first frame: 80 pixels of the picture for 16 of the frame.
    color = space.colors[VALIDATION.labels(0)[0, 0]]
    assert abs(picture[6 + 32 + 40, 6 + 480 + 6 + 40] - color).max() < 12
    assert abs(picture[6 + 32 + 40, 6 + 40] - [0.5 * value for value in color]).max() < 24


def test_frames_without_labels_can_be_pictured_but_not_scored(tmp_path):
    unlabelled = PaintedFrames(4)
    unlabelled.has_labels = False
    config = tiny_config(steps=3, records=RecordsConfig(pictures_steps=3))
    train(tmp_path, config, validation=unlabelled)
    picture = cv2.imread(str(tmp_path / 'pictures' / '00000003.jpg'))
    assert picture.shape[1] == 2 * (480 + 6) + 6
    config = tiny_config(
        steps=3, validation=DataConfig(name='camvid'), records=RecordsConfig(validation_steps=3))
    with pytest.raises(InputError, match="records.validation_steps: .*'camvid' has no labels"):
        train(tmp_path / 'scored', config, validation=unlabelled)


def test_tensorboard_without_its_package_is_refused_with_the_line_that_installs_it(
        tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *rest: (
        None if name == 'tensorboard' else find_spec(name, *rest)))
    config = tiny_config(steps=2, records=RecordsConfig(tensorboard=True))
    with pytest.raises(InputError, match=r"pip install 'bkd_ros\[tensorboard\]'"):
        train(tmp_path, config)
    assert not (tmp_path / 'log.jsonl').exists()


@needs_tensorboard
def test_tensorboard_reads_losses_scores_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    train(tmp_path, tiny_config(steps=8, records=replace(EVERYTHING, tensorboard=True)))
    events = EventAccumulator(str(tmp_path / 'tensorboard'))
    events.Reload()
    tags = events.Tags()
    assert {'loss/source', 'run/images_per_second', 'run/learning_rate', 'validation/miou'} <= set(
        tags['scalars'])
    assert tags['images'] == ['predictions']
    losses = {event.step: event.value for event in events.Scalars('loss/source')}
    expected = {line['step'] + 1: line['source'] for line in losses_of(tmp_path)}
    assert losses == pytest.approx({step: expected[step] for step in (2, 4, 6, 8)})


@needs_tensorboard
def test_tensorboard_shows_each_point_of_a_resumed_run_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    config = tiny_config(steps=12, records=RecordsConfig(
        log_steps=1, pictures_steps=5, pictures_frames=1, tensorboard=True))
    built = trainer(tmp_path, config)
    records = RunRecords(built, name='tiny', validation=VALIDATION, commit='abc')

    def kill(step, losses):
        if step == 9:  # steps 6 to 9 are made again
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), records:
        built.run(observer=records, on_step=kill)
    time.sleep(1.1)  # the names of event files, by which they are ordered, hold whole seconds
    train(tmp_path, config)
    events = EventAccumulator(str(tmp_path / 'tensorboard'))
    events.Reload()
    losses = events.Scalars('loss/source')
    assert [event.step for event in losses] == list(range(1, 13))
    assert [event.value for event in losses] == pytest.approx(
        [line['source'] for line in losses_of(tmp_path)])
    assert [event.step for event in events.Images('predictions')] == [5, 10, 12]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_cuda_the_devices_memory_is_written_and_losses_stay_the_same(tmp_path):
    config = tiny_config('self_training', steps=8, device='cuda')
    trainer(tmp_path / 'plain', config).run()
    train(tmp_path / 'recorded', replace(config, records=EVERYTHING))
    assert losses_of(tmp_path / 'recorded') == losses_of(tmp_path / 'plain')
    *_, line = iterate_lines(tmp_path / 'recorded' / 'resources.jsonl')
    assert 0 < line['gpu_memory_mb'] <= line['gpu_peak_memory_mb']
    start, = read_journal(tmp_path / 'recorded')['starts']
    assert start['device_name'] == torch.cuda.get_device_name()


@pytest.mark.parametrize(('count', 'expected'), [
    (0, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 2, 4]), (7, [0, 1, 2, 3, 4, 5, 6]), (1, [0]),
    (99, [0, 1, 2, 3, 4, 5, 6])])
def test_frames_are_spread_evenly(count, expected):
    frames = PaintedFrames(7)
    chosen = spread(frames, count)
    assert [chosen.name(index)[-3:] for index in range(len(chosen))] == [
        frames.name(index)[-3:] for index in expected]


@pytest.mark.parametrize(('text', 'kept'), [
    ('', 0), ('{"step": 0}\n{"step": 1}\n', 2), ('{"step": 0}\n{"step": 1}', 1),
    ('{"step": 0}\n{"st\n{"step": 1}\n', 1), ('{"step": 0}\n{"step": 2}\n', 1),
    ('{"step": 0}\n[1]\n', 1), ('{"step": 0}\n\xff\n', 1)])
def test_lines_from_a_step_on_and_torn_ones_are_dropped(tmp_path, text, kept):
    path = tmp_path / 'lines.jsonl'
    path.write_text(text, encoding='latin-1')
    lines = StepLines(path, first_step=2)
    lines.write({'step': 2, 'x': 1})
    lines.close()
    assert list(iterate_lines(path)) == [*({'step': step} for step in range(kept)), {
        'step': 2, 'x': 1}]


def test_the_end_of_a_long_file_is_read_without_its_beginning(tmp_path):
    path = tmp_path / 'lines.jsonl'
    assert last_lines(path, 3) == []
    path.write_text(''.join(f'{{"step": {step}, "x": 0.5}}\n' for step in range(20_000)) + '{"st')
    assert [line['step'] for line in last_lines(path, 3)] == [19_997, 19_998, 19_999]
    assert len(last_lines(path, 10_000)) < 3000
    path.write_text('{"step": 0}\n')
    assert last_lines(path, 3) == [{'step': 0}]
