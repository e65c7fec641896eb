# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The trial of runtimes takes the fastest that agrees, keeps its choice, and survives failures."""

from __future__ import annotations

import json
import logging

from bkd_core.errors import InputError
from bkd_core.inference import Segmenter, trial
from bkd_core.model_directory import read_spec
from fixtures_models import write_tiny_model
import numpy as np
import pytest


class Clock:
    """Time that passes only when a fake runtime works."""

    now = 0.0

    def perf_counter(self):
        return self.now


class FakeRuntime:
    """Answers after a given time, with one class everywhere but for a share of the pixels."""

    def __init__(self, name, clock, seconds, *, wrong=0.0):
        self.name, self.clock, self.seconds, self.wrong = name, clock, seconds, wrong
        self.runs = 0

    def logits(self, images):
        self.clock.now += self.seconds
        self.runs += 1
        logits = np.zeros((1, 9, 40, 50), np.float32)
        logits[:, 3] = 1
        logits.reshape(9, -1)[5, :round(self.wrong * 2000)] = 2
        return logits


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Return a model directory; choices go to a folder of the test's own."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return write_tiny_model(tmp_path / 'tiny')


@pytest.fixture
def choose(model, monkeypatch):
    """Return a function that lets fake runtimes compete: name -> (seconds, share of errors)."""
    clock = Clock()
    monkeypatch.setattr(trial, 'time', clock)

    def run(**speeds):
        def load(name, directory, spec, **options):
            if isinstance(speeds[name], Exception):
                raise speeds[name]
            seconds, wrong = speeds[name]
            run.loaded.append(FakeRuntime(name, clock, seconds, wrong=wrong))
            return run.loaded[-1]

        run.loaded = []
        monkeypatch.setattr(trial, 'candidates', lambda directory, device: list(speeds))
        monkeypatch.setattr(trial, 'load_runtime', load)
        return trial.fastest_runtime(model, read_spec(model), num_threads=1, device='cpu').name

    return run


def test_the_fastest_is_taken_and_the_log_says_why(choose, caplog):
    with caplog.at_level(logging.INFO, logger='bkd_core.inference'):
        assert choose(onnxruntime=(.04, 0), openvino=(.03, 0), openvino_bf16=(.02, 0)) == (
            'openvino_bf16')
    assert 'onnxruntime 40.0 ms' in caplog.text and 'takes openvino_bf16' in caplog.text


def test_a_gain_of_chance_changes_nothing(choose):
    assert choose(onnxruntime=(.0400, 0), openvino=(.0385, 0)) == 'onnxruntime'


def test_one_that_names_other_classes_is_not_taken(choose):
    # 2 of 2000 pixels are as many as the limit allows.
    assert choose(onnxruntime=(.04, 0), openvino=(.03, 0), openvino_bf16=(.02, .0015)) == (
        'openvino')
    assert choose(onnxruntime=(.04, 0), openvino=(.04, 0), openvino_bf16=(.02, .001)) == (
        'openvino')  # what the first trial chose is kept


def test_the_choice_is_kept_and_no_other_runtime_is_loaded_again(choose):
    speeds = {'onnxruntime': (.04, 0), 'openvino': (.02, 0)}
    assert choose(**speeds) == 'openvino'
    assert choose(**speeds) == 'openvino'
    assert [runtime.name for runtime in choose.loaded] == ['openvino']
    assert choose.loaded[0].runs == 0


def test_another_setting_is_another_trial(choose, model):
    assert choose(onnxruntime=(.04, 0), openvino=(.02, 0)) == 'openvino'
    spec = read_spec(model)
    trial.fastest_runtime(model, spec, num_threads=2, device='cpu')
    assert len(json.loads(trial.choices_path().read_text())) == 2


def test_another_cuda_device_is_another_trial(choose, monkeypatch):
    assert choose(onnxruntime=(.04, 0), torch=(.02, 0)) == 'torch'
    monkeypatch.setattr(trial.machine, 'nvidia_devices', lambda: ['another one'])
    assert choose(onnxruntime=(.04, 0), torch=(.03, .002)) == 'onnxruntime'


def test_one_that_fails_is_left_out_with_a_warning(choose, caplog):
    assert choose(onnxruntime=InputError('no such library'), openvino=(.02, 0)) == 'openvino'
    assert "'onnxruntime' is left out: no such library" in caplog.text


def test_one_that_fails_at_its_first_frame_is_left_out(choose, monkeypatch, caplog):
    def fail(self, images):
        if self.name == 'openvino':
            raise RuntimeError('no memory')
        return answer(self, images)

    answer = FakeRuntime.logits
    monkeypatch.setattr(FakeRuntime, 'logits', fail)
    assert choose(onnxruntime=(.04, 0), openvino=(.02, 0)) == 'onnxruntime'
    assert "'openvino' is left out: no memory" in caplog.text


def test_if_all_fail_the_first_ones_error_is_raised(choose):
    with pytest.raises(InputError, match='first'):
        choose(onnxruntime=InputError('first'), openvino=InputError('second'))


def test_a_kept_choice_that_fails_now_is_tried_again(choose, caplog):
    assert choose(onnxruntime=(.04, 0), openvino=(.02, 0)) == 'openvino'
    assert choose(onnxruntime=(.04, 0), openvino=InputError('gone')) == 'onnxruntime'
    assert 'won the trial before and fails now: gone' in caplog.text


@pytest.mark.parametrize('content', ['{"half', '[]', '{"other": "openvino"}'])
def test_a_damaged_or_foreign_file_of_choices_is_replaced(choose, content):
    path = trial.choices_path()
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert choose(onnxruntime=(.04, 0), openvino=(.02, 0)) == 'openvino'
    assert 'openvino' in json.loads(path.read_text()).values()


def test_where_nothing_can_be_kept_a_warning_says_so(choose, tmp_path, monkeypatch, caplog):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    assert choose(onnxruntime=(.04, 0), openvino=(.02, 0)) == 'openvino'
    assert 'cannot be kept' in caplog.text


def test_the_file_of_choices_does_not_grow_without_end(choose, monkeypatch):
    path = trial.choices_path()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({str(number): 'torch' for number in range(300)}))
    choose(onnxruntime=(.04, 0), openvino=(.02, 0))
    assert len(json.loads(path.read_text())) == 100


@pytest.mark.parametrize(('installed', 'device', 'has_bfloat16', 'has_driver', 'expected'), [
    ((), 'auto', True, False, ['onnxruntime']),
    (('openvino', 'torch'), 'auto', False, False, ['onnxruntime', 'openvino']),
    (('openvino', 'torch'), 'cpu', True, True, ['onnxruntime', 'openvino', 'openvino_bf16']),
    (('openvino', 'torch'), 'cuda', True, True, ['onnxruntime', 'torch']),
    (('torch',), 'auto', False, True, ['onnxruntime', 'torch']),
])
def test_the_candidates_are_what_is_installed_and_fits_the_device(
        model, monkeypatch, installed, device, has_bfloat16, has_driver, expected):
    (model / 'model.safetensors').write_bytes(b'weights')
    monkeypatch.setattr(trial, '_is_installed', lambda package: package in installed)
    monkeypatch.setattr(trial.machine, 'has_bfloat16', lambda: has_bfloat16)
    monkeypatch.setattr(trial.machine, 'has_nvidia_driver', lambda: has_driver)
    assert trial.candidates(model, device) == expected


def test_without_an_onnx_file_there_is_only_torch(model):
    (model / 'model.onnx').unlink()
    assert trial.candidates(model, 'auto') == ['torch']


def test_the_real_runtimes_compete_and_the_segmenter_says_who_won(model):
    segmenter = Segmenter.load(model, num_threads=1, device='cpu')
    names = trial.candidates(model, 'cpu')
    assert segmenter.runtime in names
    if len(names) > 1:
        assert set(trial.read_choices().values()) == {segmenter.runtime}
