# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Noticing that a camera shows something else than its network was trained for."""

from __future__ import annotations

import json
import math

from bkd_core import model_directory
from bkd_core.adaptation.shift import ShiftDetector, ShiftSettings
from bkd_core.benchmarks import shift as benchmark
from bkd_core.benchmarks.shift import area_under_curve, run_shift_benchmark
from bkd_core.config_file import to_yaml
from bkd_core.errors import InputError
from bkd_core.evaluation import (
    describe_frame,
    FrameDescription,
    measure_reference,
    REFERENCE,
    ShiftReference,
    STATISTICS,
)
from bkd_core.inference import Segmenter
from fixtures_models import write_tiny_model
import numpy as np
import pytest
from tiny_training import PaintedFrames, tiny_config


def described(entropy=0.5, confidence=0.8, logits=(1.0, 2.0)):
    """Return a frame's description."""
    return FrameDescription(
        entropy=entropy, confidence=confidence, mean_logits=np.array(logits))


@pytest.fixture
def reference():
    """Return the reference of frames whose entropy runs from 0 to 0.99 nats."""
    return ShiftReference.of([
        described(entropy=value / 100, logits=(value % 2, 2.0)) for value in range(100)])


def test_a_frame_is_described_by_its_logits():
    # Two pixels, two classes: logits (0, log 3) and (log 3, 0), so p = 1/4, 3/4 and 3/4, 1/4.
    three = math.log(3)
    frame = describe_frame(np.array([[[0.0, three]], [[three, 0.0]]], np.float32))
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert frame.entropy == pytest.approx(entropy, rel=1e-5)
    assert frame.confidence == pytest.approx(0.75)
    np.testing.assert_allclose(frame.mean_logits, [three / 2, three / 2], rtol=1e-5)


def test_large_logits_do_not_overflow():
    frame = describe_frame(np.array([[[1000.0]], [[0.0]]], np.float32))
    assert (frame.entropy, frame.confidence) == (0.0, 1.0)


def test_the_description_is_the_one_that_a_segmenter_reports(tmp_path):
    segmenter = Segmenter.load(write_tiny_model(tmp_path))
    frame = PaintedFrames(1).image(0)
    answer, described_ = segmenter(frame), describe_frame(segmenter.logits(frame))
    assert described_.entropy == pytest.approx(answer.mean_entropy, rel=1e-5)
    assert described_.confidence == pytest.approx(answer.mean_confidence, rel=1e-5)
    np.testing.assert_allclose(described_.mean_logits, answer.mean_logits, rtol=1e-5)


def test_scores_are_distances_from_the_reference_in_its_own_spread():
    # Logits of class 0: 1 and 3, mean 2, spread 1; of class 1 always 5, so the least spread.
    reference = ShiftReference.of([
        described(logits=(1.0, 5.0)), described(logits=(3.0, 5.0))])
    np.testing.assert_allclose(reference.logit_spread, [1.0, 0.01])
    scores = reference.score(described(
        entropy=0.7, confidence=0.6, logits=(6.0, 5.03)))
    assert scores == pytest.approx({
        'entropy': 0.7, 'doubt': 0.4,
        'logit_distance': math.sqrt((4 ** 2 + 3 ** 2) / 2)})


def test_a_reference_survives_being_written(reference, tmp_path):
    reference.write(tmp_path)
    read = ShiftReference.read(tmp_path, num_classes=2)
    assert set(read.scores) == set(STATISTICS)
    for name, values in read.scores.items():
        assert values == pytest.approx(reference.scores[name], abs=1e-5)
    np.testing.assert_allclose(read.mean_logits, reference.mean_logits)


@pytest.mark.parametrize('text', ['', '[]', '{"scores": {}}', '{"mean_logits": "a"}'])
def test_a_damaged_or_missing_reference_is_named(tmp_path, text):
    with pytest.raises(InputError, match='shift.json: missing'):
        ShiftReference.read(tmp_path, num_classes=2)
    (tmp_path / REFERENCE).write_text(text)
    with pytest.raises(InputError, match='shift.json: damaged'):
        ShiftReference.read(tmp_path, num_classes=2)


def test_another_models_reference_is_named(reference, tmp_path):
    reference.write(tmp_path)
    with pytest.raises(InputError, match='expected 3 classes, as the model has; got 2'):
        ShiftReference.read(tmp_path, num_classes=3)


def test_a_reference_needs_two_frames():
    with pytest.raises(InputError, match='got 1 frames; expected at least 2'):
        ShiftReference.of([described()])


def test_at_most_a_hundred_evenly_spaced_frames_are_looked_at(tmp_path):
    class Frames:
        def __len__(self):
            return 397  # 396 / 99 = 4

        def image(self, index):
            seen.append(index)
            return np.zeros((32, 32, 3), np.uint8)
    seen, done = [], []
    measure_reference(
        Segmenter.load(write_tiny_model(tmp_path)), Frames(), progress=done.append)
    assert seen == list(range(0, 397, 4)) and done == list(range(1, 101))


def test_a_window_is_shifted_when_half_of_its_frames_are_unusual(reference):
    detector = ShiftDetector(reference, ShiftSettings(window=4))
    # 95 % of the way from 0 to 0.99
    assert detector.thresholds['entropy'] == pytest.approx(0.9405)
    entropies = (2.0, 2.0, 2.0, 0.1, 0.1, 0.1, 0.94, 0.95, 0.95)
    states = [detector.update(described(entropy=value)) for value in entropies]
    assert states == [False, False, False, True, True, False, False, False, True]
    assert detector.share == 0.5


def test_one_unusual_score_is_enough(reference):
    detector = ShiftDetector(reference, ShiftSettings(window=1))
    assert detector.update(described()) is False
    assert detector.strangeness(described(entropy=0.9405, confidence=1.0)) == pytest.approx(1)
    assert detector.update(described(confidence=0.7))
    # A network that is sure of everything, for reasons that its training never gave.
    assert detector.update(described(entropy=0.0, confidence=1.0, logits=(40.0, 2.0)))


def test_a_network_that_was_sure_of_everything_has_a_threshold_all_the_same():
    sure = described(entropy=0.0, confidence=1.0, logits=(1.0, 1.0))
    detector = ShiftDetector(ShiftReference.of([sure, sure]), ShiftSettings(window=1))
    assert not detector.update(sure)
    assert detector.update(described(entropy=0.01, confidence=1.0, logits=(1.0, 1.0)))


def test_an_answer_that_is_no_number_is_unusual(reference):
    detector = ShiftDetector(reference, ShiftSettings(window=1))
    assert detector.share == 0.0 and not detector.is_shifted
    assert detector.update(described(entropy=math.nan))


@pytest.mark.parametrize(('setting', 'message'), [
    ({'quantile': 1.0}, 'shift.quantile'),
    ({'window': 0}, 'shift.window'), ({'min_share': 0.0}, 'shift.min_share')])
def test_a_setting_out_of_range_is_named(setting, message):
    with pytest.raises(InputError, match=message):
        ShiftSettings(**setting)


def test_the_area_counts_how_often_a_shifted_frame_scores_higher():
    assert area_under_curve([1, 2], [3, 4]) == 1.0
    assert area_under_curve([3, 4], [1, 2]) == 0.0
    assert area_under_curve([1, 3], [2, 3]) == (1 + 0.5 + 1 + 0) / 4
    assert area_under_curve([5], [5]) == 0.5


class SkyFrames(PaintedFrames):
    """Frames that show nothing but sky."""

    def labels(self, index):
        """Return (H, W) uint8."""
        return np.full(self.size, self.label_space.classes.index('sky'), np.uint8)


def test_the_benchmark_writes_what_it_measured(tmp_path, monkeypatch):
    model = write_tiny_model(tmp_path / 'model')
    (model / 'config.yaml').write_text(to_yaml(tiny_config(seed=3)))
    asked = []

    def open_dataset(config, data_root):
        asked.append(config.name)
        if config is benchmark.SHIFTED:
            return SkyFrames(22)
        return PaintedFrames(25, seed=len(asked))
    monkeypatch.setattr(benchmark, 'open_dataset', open_dataset)
    path = run_shift_benchmark([str(model)], tmp_path / 'results', data_root=None)
    (values,) = json.loads((tmp_path / 'results' / 'shift.json').read_text())
    assert values['frames'] == {'reference': 25, 'usual': 25, 'shifted': 22}
    assert asked == ['camvid', 'camvid', 'streets']  # the last: what the model was trained on
    numbers = values['statistics']['together']
    assert set(values['statistics']) == {'together', *STATISTICS}
    assert numbers['auc'] == 1.0 and numbers['unusual_shifted'] == 1.0
    assert (numbers['alarms_shifted'], numbers['windows_shifted']) == (3, 3)
    assert (numbers['alarms_usual'], numbers['windows_usual']) == (0, 6)
    row = next(line for line in path.read_text().splitlines() if 'together |' in line)
    assert row.startswith('| source_only, seed 3 | together | 1.000 |')
    assert row.endswith('| 0 of 6 | 3 of 3 |')


def test_the_benchmark_reads_a_reference_that_is_there(tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    segmenter = Segmenter.load(model)
    measure_reference(segmenter, PaintedFrames(3)).write(model)
    found = benchmark.reference_of(segmenter, model, tiny_config(), None)
    num_classes = segmenter.label_space.num_classes
    assert found.scores == ShiftReference.read(model, num_classes=num_classes).scores


def test_the_shipped_student_has_its_reference():
    directory = model_directory.resolve('default')
    spec = model_directory.read_spec(directory)
    reference = ShiftReference.read(directory, num_classes=spec.label_space.num_classes)
    assert len(reference.scores['entropy']) == 100
