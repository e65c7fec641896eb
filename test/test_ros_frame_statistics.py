# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rates, delays and certainty, and what /diagnostics makes of them."""

from __future__ import annotations

import math
from types import SimpleNamespace

from bkd_core.adaptation import ShiftDetector
from bkd_core.evaluation import FrameDescription, ShiftReference
from bkd_ros.frame_statistics import FrameStatistics, percentile
import numpy as np
import pytest

pytest.importorskip('rclpy')

from bkd_ros.diagnostics import (  # noqa: E402
    camera_status,
    ERROR,
    is_shifted,
    model_status,
    ModelState,
    OK,
    STALE,
    WARN,
)


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self):
        """Return the time."""
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def statistics(clock):
    return FrameStatistics(window_s=10.0, clock=clock)


def described(*, confidence=0.9, entropy=0.5):
    """Return the network's answer to a frame."""
    return FrameDescription(
        entropy=entropy, confidence=confidence, mean_logits=np.array([1.0, 2.0]))


def answer(statistics, *, latency_s=0.1, model='student', times=1, **changes):
    for _ in range(times):
        statistics.receive()
        statistics.answer(model, described(**changes), latency_s=latency_s)


def detector():
    """Return what knows a network whose entropy was from 0.4 to 0.6 nats."""
    return ShiftDetector(ShiftReference.of(
        [described(entropy=0.4), described(entropy=0.5), described(entropy=0.6)]))


def test_rates_are_those_of_the_window(statistics, clock):
    for _ in range(40):  # 20 s at 2 Hz, of which every second frame is answered
        clock.now += 1
        answer(statistics)
        statistics.receive()
    summary = statistics.summary()
    assert summary.input_rate == pytest.approx(2, abs=0.21)
    assert summary.output_rate == pytest.approx(1, abs=0.11)
    clock.now += 60
    assert statistics.summary().input_rate == 0
    assert statistics.summary().silent_s == 60


def test_rates_are_right_before_the_window_is_full(statistics, clock):
    clock.now += 2
    for _ in range(6):
        statistics.receive()
    assert statistics.summary().input_rate == pytest.approx(3)


def test_percentiles_by_hand():
    values = [float(value) for value in range(1, 21)]
    assert (percentile(values, 0.5), percentile(values, 0.95)) == (10, 19)
    assert percentile([7.0], 0.95) == 7
    assert math.isnan(percentile([], 0.5))


def test_unknown_latencies_do_not_count(statistics, clock):
    clock.now += 1
    for latency in (math.nan, 0.2, math.nan, 0.4):
        answer(statistics, latency_s=latency)
    summary = statistics.summary()
    assert (summary.latency_p50_s, summary.latency_p95_s) == (0.2, 0.4)


def test_a_shift_is_one_from_what_the_model_was_trained_for(statistics, clock):
    answer(statistics, times=20)
    assert statistics.summary().is_shifted is None
    statistics.new_model('student', detector())
    answer(statistics, entropy=1.0, times=19)  # from the first frame on
    assert statistics.summary().is_shifted is False
    answer(statistics, entropy=1.0)
    assert statistics.summary().is_shifted is True
    assert statistics.summary().unusual_share == 1
    answer(statistics, entropy=0.5, times=11)
    assert statistics.summary().is_shifted is False
    assert statistics.summary().unusual_share == pytest.approx(9 / 20)


def test_answers_of_the_model_before_tell_of_no_shift(statistics, clock):
    statistics.new_model('next', detector())
    answer(statistics, entropy=1.0, model='student', times=20)
    assert statistics.summary().unusual_share == 0
    answer(statistics, entropy=1.0, model='next', times=20)
    assert statistics.summary().is_shifted
    statistics.new_model('unknown', None)
    assert statistics.summary().is_shifted is None
    assert math.isnan(statistics.summary().unusual_share)


def test_without_answers_lately_a_shift_is_not_known(statistics, clock):
    statistics.new_model('student', detector())
    answer(statistics, entropy=1.0, times=20)
    clock.now += 11
    assert statistics.summary().is_shifted is None


def status(statistics, **changes):
    """Return the status of a camera."""
    return camera_status('node: camera', statistics.summary(), **{
        'silence_limit_s': 5.0, 'is_enabled': True, 'is_wanted': True, **changes})


def test_a_silent_camera_is_stale(statistics, clock):
    assert status(statistics).level == STALE
    answer(statistics)
    assert status(statistics).level == OK
    clock.now += 6
    assert status(statistics).level == STALE
    assert status(statistics).message == 'no frame for 6 s'
    assert status(statistics, silence_limit_s=0.0).level == OK


def test_bad_frames_warn_and_most_of_them_are_an_error(statistics, clock):
    clock.now += 10
    answer(statistics, times=10)
    assert status(statistics).level == OK
    statistics.fail()
    assert status(statistics).level == WARN
    for _ in range(9):
        statistics.receive()
        statistics.fail()
    assert status(statistics).level == ERROR


def test_late_labels_and_a_shift_warn(statistics, clock):
    answer(statistics, latency_s=1.2)
    assert status(statistics).level == WARN and '1.2 s late' in status(statistics).message
    clock.now += 20
    assert is_shifted(status(statistics)) is False
    statistics.new_model('student', detector())
    answer(statistics, entropy=0.8, times=20)
    assert status(statistics).level == WARN and 'something else' in status(statistics).message
    assert is_shifted(status(statistics))
    assert status(statistics, is_enabled=False).level == OK


def test_the_values_are_texts_for_people(statistics):
    statistics.replace()
    values = {pair.key: pair.value for pair in status(statistics).values}
    assert values['latency p50 (ms)'] == 'not known'
    assert values['frames replaced by newer ones'] == '1'


SEGMENTER = SimpleNamespace(
    spec=SimpleNamespace(name='student'), version='a1b2c3', directory='runs/student',
    runtime='torch', device_memory=lambda: (3 * 2**20, 5 * 2**30))


def model(**changes):
    """Return the status of a model, and its values."""
    found = model_status('node: model', ModelState(**{
        'segmenter': SEGMENTER, 'num_swaps': 2, 'is_active': True, 'is_loading': False,
        'fault': '', 'batch_limit': 4, 'max_batch': 4, 'trial': '', 'rolled_back': '',
        **changes}))
    return found, {pair.key: pair.value for pair in found.values}


@pytest.mark.parametrize(('changes', 'level', 'text'), [
    ({}, OK, 'serves'),
    ({'is_loading': True}, OK, 'loads another model'),
    ({'fault': 'no such directory'}, WARN, 'still serves the model before: no such directory'),
    ({'batch_limit': 2}, WARN, 'batch reduced to 2: out of memory'),
    ({'trial': 'version 2 is on trial'}, OK, 'serves; version 2 is on trial'),
    ({'rolled_back': 'version 2 was rolled back', 'batch_limit': 2}, WARN,
     'version 2 was rolled back'),
    ({'segmenter': None, 'fault': 'no such directory'}, ERROR, 'no such directory'),
    ({'segmenter': None}, ERROR, 'no model is loaded'),
    ({'segmenter': None, 'is_active': False}, OK, 'the node is not active'),
])
def test_the_models_status(changes, level, text):
    found, values = model(**changes)
    assert (found.level, found.message) == (level, text)
    assert values['swaps'] == '2'


def test_the_models_values_tell_which_it_is_and_what_memory_it_takes():
    _, values = model()
    assert [values[name] for name in ('model', 'version', 'directory', 'runtime')] == [
        'student', 'a1b2c3', 'runs/student', 'torch']
    assert values['device memory allocated (MiB)'] == '3'
    assert values['device memory free (MiB)'] == '5120'
    # Of this very process, which has Python, NumPy and ROS loaded.
    assert 20 < float(values['process memory (MiB)']) < 20_000
    _, values = model(segmenter=SimpleNamespace(
        **{**vars(SEGMENTER), 'device_memory': lambda: None}))
    assert not [name for name in values if name.startswith('device memory')]
