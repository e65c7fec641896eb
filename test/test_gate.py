# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The gate: what is accepted, what is refused, and by which number."""

from __future__ import annotations

from dataclasses import fields, replace
import json
import math

from bkd_core.adaptation.bootstrap import bootstrap_gain, miou_of
from bkd_core.adaptation.gate import (
    Criterion,
    decide,
    Decision,
    effective_classes,
    GateSettings,
    StudentScores,
)
from bkd_core.errors import InputError
from bkd_core.evaluation import ConfusionMatrix
from hypothesis import given, strategies
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

CLASSES = ('road', 'sky', 'car', 'sign')
NAN = math.nan
BEFORE = StudentScores(
    replay_miou=0.60, agreement=0.80, consistency=0.85, flicker=0.20, mean_entropy=0.50,
    class_shares=(0.4, 0.3, 0.28, 0.02), num_frames=12)
BETTER = replace(BEFORE, agreement=0.84, consistency=0.86, flicker=0.19, mean_entropy=0.40)


def decision(after, before=BEFORE, **settings):
    """Return the gate's decision."""
    return decide(before, after, GateSettings(**settings), class_names=CLASSES)


def failed(result: Decision) -> list[str]:
    """Return the names of the criteria that are not met."""
    return [item.name for item in result.criteria if not item.is_met]


def criterion(result: Decision, name: str) -> Criterion:
    """Return a criterion by its name."""
    return next(item for item in result.criteria if item.name == name)


def frames_of(*hits, size=100):
    """Return a confusion matrix a frame of two classes, each with `size` true pixels."""
    return np.array([
        [[hit, size - hit, 0], [size - hit, hit, 0]] for hit in hits], np.int64)


def test_a_student_that_is_better_everywhere_is_accepted_with_all_its_numbers():
    result = decision(BETTER)
    assert result.is_accepted and failed(result) == []
    values = {item.name: item.value for item in result.criteria}
    assert values == pytest.approx({
        'replay_drop': 0.0, 'agreement_loss': -0.04, 'consistency_loss': -0.01,
        'flicker_loss': -0.01, 'label_free_gain': 0.06, 'class_diversity': 1.0,
        'lost_classes': 0.0, 'entropy_ratio': 0.8})
    assert 'Agreement with the teacher 80.0 -> 84.0 %' in result.reason
    assert '0.06, at least 0.01' in result.reason


def test_an_unchanged_student_is_no_better_one():
    result = decision(BEFORE)
    assert failed(result) == ['label_free_gain']
    assert '0, not at least 0.01' in result.reason


@pytest.mark.parametrize(('agreement', 'is_accepted'), [(0.809, False), (0.811, True)])
def test_a_gain_of_less_than_a_point_is_chance(agreement, is_accepted):
    result = decision(replace(BEFORE, agreement=agreement))
    assert result.is_accepted == is_accepted
    assert failed(result) == ([] if is_accepted else ['label_free_gain'])


@pytest.mark.parametrize(('replay', 'is_accepted'), [(0.581, True), (0.579, False), (0.7, True)])
def test_two_points_may_be_lost_on_the_replay_and_no_more(replay, is_accepted):
    result = decision(replace(BETTER, replay_miou=replay))
    assert result.is_accepted == is_accepted
    assert criterion(result, 'replay_drop').value == pytest.approx(0.6 - replay)
    assert ('60.0 -> 57.9 %' in result.reason) == (not is_accepted)


@pytest.mark.parametrize(('name', 'value'), [
    ('agreement', 0.785), ('consistency', 0.835), ('flicker', 0.215)])
def test_no_single_score_without_labels_may_get_much_worse(name, value):
    otherwise_better = replace(BETTER, consistency=0.88, flicker=0.17)
    assert failed(decision(replace(otherwise_better, **{name: value}))) == [f'{name}_loss']


def test_a_network_that_calls_everything_one_class_is_refused_though_its_scores_are_perfect():
    one = replace(
        BEFORE, agreement=1.0, consistency=1.0, flicker=0.0, mean_entropy=0.4,
        class_shares=(1.0, 0.0, 0.0, 0.0))
    result = decision(one)
    assert failed(result) == ['class_diversity', 'lost_classes']
    assert 'Classes lost: sky, car, sign' in result.reason
    # exp(-(.4 ln .4 + .3 ln .3 + .28 ln .28 + .02 ln .02)) = exp(1.162) = 3.197
    assert criterion(result, 'class_diversity').value == pytest.approx(1 / 3.197, rel=1e-3)


def test_a_rare_class_that_vanishes_is_lost_though_the_diversity_stays():
    result = decision(replace(BETTER, class_shares=(0.41, 0.3, 0.289, 0.001)))
    assert failed(result) == ['lost_classes'] and 'sign' in result.reason
    assert decision(replace(BETTER, class_shares=(0.41, 0.3, 0.287, 0.003))).is_accepted
    below_a_percent = replace(BEFORE, class_shares=(0.4, 0.3, 0.291, 0.009))
    assert decision(
        replace(BETTER, class_shares=(0.4, 0.3, 0.3, 0.0)), below_a_percent).is_accepted


def test_certainty_about_everything_is_a_collapse():
    result = decision(replace(BETTER, mean_entropy=0.04))
    assert failed(result) == ['entropy_ratio']
    assert criterion(result, 'entropy_ratio').value == pytest.approx(0.08)
    assert 'entropy_ratio' in failed(decision(BETTER, replace(BEFORE, mean_entropy=0.0)))


@pytest.mark.parametrize(('name', 'criteria'), [
    ('replay_miou', ['replay_drop']), ('agreement', ['agreement_loss', 'label_free_gain']),
    ('consistency', ['consistency_loss', 'label_free_gain']),
    ('flicker', ['flicker_loss', 'label_free_gain']), ('mean_entropy', ['entropy_ratio'])])
@pytest.mark.parametrize('is_before', [True, False])
def test_a_score_that_cannot_be_computed_refuses(name, criteria, is_before):
    pair = [replace(BETTER, **{name: NAN}), BEFORE] if not is_before else [
        BETTER, replace(BEFORE, **{name: NAN})]
    result = decision(*pair)
    assert failed(result) == criteria
    assert 'cannot be computed, which is a refusal' in result.reason
    assert criterion(result, criteria[0]).to_dict()['value'] is None


def test_unknown_class_shares_refuse():
    assert failed(decision(replace(BETTER, class_shares=(NAN,) * 4))) == [
        'class_diversity', 'lost_classes']


@given(strategies.sampled_from([item.name for item in fields(StudentScores)][:5]),
       strategies.sampled_from([NAN, math.inf, -math.inf]))
def test_no_number_that_is_not_finite_is_ever_accepted(name, value):
    assert not decision(replace(BETTER, **{name: value})).is_accepted
    assert not decision(BETTER, replace(BEFORE, **{name: value})).is_accepted


def test_labelled_frames_that_all_improve_make_sure_of_it():
    counts = frames_of(*[60] * 10), frames_of(*[80] * 10)
    result = decision(
        replace(BETTER, labelled_counts=counts[1]), replace(BEFORE, labelled_counts=counts[0]))
    assert result.is_accepted
    assert criterion(result, 'labelled_confidence').value == 1.0
    # 60 hits of 100: IoU 60 / 140 = 42.9 %; 80: 80 / 120 = 66.7 %
    assert '10 labelled target frames 42.9 -> 66.7 %' in result.reason
    assert 'gain 23.8 to 23.8 points' in result.reason


def test_labelled_frames_overrule_better_scores_without_labels():
    counts = frames_of(*[60] * 10), frames_of(*[55] * 10)
    result = decision(
        replace(BETTER, labelled_counts=counts[1]), replace(BEFORE, labelled_counts=counts[0]))
    assert failed(result) == ['labelled_confidence']
    assert criterion(result, 'labelled_confidence').value == 0.0


def test_equal_students_are_as_good_as_a_coin_toss():
    counts = frames_of(60, 70, 80, 90, 60)
    result = decision(
        replace(BETTER, labelled_counts=counts), replace(BEFORE, labelled_counts=counts))
    assert criterion(result, 'labelled_confidence').value == 0.5
    assert failed(result) == ['labelled_confidence']


def test_too_few_labelled_frames_refuse_with_the_number_that_is_needed():
    counts = frames_of(60, 70, 80, 90), frames_of(99, 99, 99, 99)
    result = decision(
        replace(BETTER, labelled_counts=counts[1]), replace(BEFORE, labelled_counts=counts[0]))
    assert failed(result) == ['labelled_confidence'] and 'at least 5 are needed' in result.reason


def test_one_frame_that_gets_much_worse_lowers_the_confidence():
    # Frame 1 loses 50 hits, four gain 10 each: together -10. The resamples without frame 1,
    # (4/5)^5 = 33 %, gain; with it once, 5 * (1/5) * (4/5)^4 = 41 %, they lose.
    before, after = frames_of(80, 80, 80, 80, 80), frames_of(30, 90, 90, 90, 90)
    gain = bootstrap_gain(before, after, num_resamples=4000, seed=0)
    assert gain.confidence == pytest.approx(0.8 ** 5, abs=0.02)
    assert gain.low < 0 < gain.high
    assert gain == bootstrap_gain(before, after, num_resamples=4000, seed=0)


@given(arrays.arrays(np.int64, (3, 4), elements=strategies.integers(0, 50)))
def test_the_mean_iou_of_counts_is_that_of_the_confusion_matrix(counts):
    confusion = ConfusionMatrix(3)
    confusion.counts += counts
    assert float(miou_of(counts)) == pytest.approx(confusion.miou(), nan_ok=True)
    assert miou_of(np.stack([counts, counts])).shape == (2,)


def test_labelled_frames_without_a_true_pixel_refuse():
    empty = np.zeros((5, 2, 3), np.int64)
    result = decision(
        replace(BETTER, labelled_counts=empty), replace(BEFORE, labelled_counts=empty))
    assert failed(result) == ['labelled_confidence']


def test_effective_classes_are_one_for_one_class_and_all_for_equal_shares():
    assert effective_classes((1.0, 0.0)) == 1.0
    assert effective_classes((0.25,) * 4) == pytest.approx(4)
    assert effective_classes((0.5, 0.5, 0.0)) == pytest.approx(2)


def test_a_decision_is_plain_json():
    values = json.loads(json.dumps(decision(BETTER).to_dict(), allow_nan=False))
    assert values['is_accepted'] is True and len(values['criteria']) == 8
    assert set(values['criteria'][0]) == {item.name for item in fields(Criterion)}
    refused = decision(replace(BETTER, replay_miou=NAN)).to_dict()
    assert json.loads(json.dumps(refused, allow_nan=False))['criteria'][0]['value'] is None


def test_students_measured_on_different_things_are_a_defect():
    for other in (
            replace(BETTER, num_frames=11), replace(BETTER, class_shares=(1.0,)),
            replace(BETTER, labelled_counts=frames_of(1))):
        with pytest.raises(ValueError, match='measured on different things'):
            decision(other)


@pytest.mark.parametrize('setting', [
    {'max_replay_drop': -0.1}, {'min_confidence': 1.5}, {'num_resamples': 1},
    {'min_labelled_frames': 1}, {'bootstrap_seed': -1}, {'min_entropy_ratio': NAN}])
def test_a_setting_out_of_range_is_named(setting):
    with pytest.raises(InputError, match=f'gate.{next(iter(setting))}: got'):
        GateSettings(**setting)
