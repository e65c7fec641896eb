# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Expected calibration error against sums made by hand and the formula written out."""

from __future__ import annotations

import math
from types import SimpleNamespace

from bkd_core.errors import InputError
from bkd_core.evaluation import Calibration, evaluate
from bkd_core.labels import get_label_space
import numpy as np
import pytest
from test_evaluation import PaintedFrames


def error_of(truth, prediction, confidence, **options):
    calibration = Calibration(**options)
    calibration.update(np.array(truth), np.array(prediction), np.array(confidence))
    return calibration.error


def test_the_error_of_two_bins_is_the_sum_made_by_hand():
    # Bin (0, .5]: confidences .2 and .4, one right: |.5 - .3| = .2, of 2 samples.
    # Bin (.5, 1]: .6, .8, 1, all right: |1 - .8| = .2, of 3 samples. The 255 does not count.
    error = error_of([0, 1, 0, 1, 2, 255], [0, 0, 0, 1, 2, 0], [.2, .4, .6, .8, 1, 1], num_bins=2)
    assert error == pytest.approx((2 * .2 + 3 * .2) / 5)


def test_errors_of_opposite_sign_cancel_within_a_bin_and_not_between_bins():
    assert error_of([0, 0], [0, 1], [.5, .5], num_bins=1) == 0
    # .3 is right (70 % too little), .9 is wrong (90 % too much).
    assert error_of([0, 0], [0, 1], [.3, .9], num_bins=2) == pytest.approx((.7 + .9) / 2)


def test_a_border_belongs_to_the_bin_below_and_zero_to_the_first():
    calibration = Calibration(num_bins=4)
    calibration.update(*np.zeros((2, 5), int), np.array([0, .25, .5, .75, 1]))
    assert calibration.counts.tolist() == [2, 1, 1, 1]
    calibration = Calibration()  # 255 / 15 = 17 steps a bin
    calibration.update(*np.zeros((2, 5), int), np.uint8([0, 17, 18, 34, 255]))
    assert calibration.counts[[0, 1, 14]].tolist() == [2, 2, 1]


def test_fifteen_bins_agree_with_the_papers_formula_written_out():
    # Guo et al. 2017, Eq. 3, as a loop over bins and samples.
    generator = np.random.default_rng(4)
    confidence = generator.random(5000)
    hit = generator.random(5000) < confidence ** 2  # overconfident
    expected = 0
    for m in range(15):
        inside = [i for i in range(5000) if m / 15 < confidence[i] <= (m + 1) / 15]
        accuracy = sum(bool(hit[i]) for i in inside) / len(inside)
        mean = sum(confidence[i] for i in inside) / len(inside)
        expected += len(inside) / 5000 * abs(accuracy - mean)
    assert error_of(np.ones(5000), hit.astype(int), confidence) == pytest.approx(expected)
    assert expected > .1
    # Rounding to 255 steps moves it by half a step at most (and pixels between bins).
    rounded = np.round(255 * confidence).astype(np.uint8)
    assert error_of(np.ones(5000), hit.astype(int), rounded) == pytest.approx(expected, abs=.004)


def test_images_add_up_and_nothing_labelled_has_no_error():
    calibration = Calibration(num_bins=1)
    assert math.isnan(calibration.error)
    calibration.update(np.uint8([255]), np.uint8([0]), np.uint8([255]))
    assert math.isnan(calibration.error)
    for truth in (0, 1):
        calibration.update(np.uint8([truth]), np.uint8([0]), np.uint8([255]))
    assert calibration.error == .5


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(InputError, match=r'\(2,\).*\(1,\)'):
        error_of([0, 1], [0], [1.0])
    with pytest.raises(InputError, match='0 to 1'):
        error_of([0, 1], [0, 1], [.5, 255.0])
    with pytest.raises(InputError, match='0 to 1'):
        error_of([0, 1], [0, 1], [.5, math.nan])


def test_a_run_over_a_data_set_measures_it_where_there_is_a_confidence():
    frames = PaintedFrames([[0, 1], [2, 255]])
    space = get_label_space('street9')

    def answer(frame, confidence=(204, 204)):
        return SimpleNamespace(
            labels=np.uint8([[0, 1], [1, 0]]), confidence=np.uint8([confidence] * 2))
    # Three labelled pixels at confidence .8, two are right.
    assert evaluate(answer, frames, label_space=space).ece == pytest.approx(.8 - 2 / 3)
    without = evaluate(
        lambda frame: SimpleNamespace(labels=answer(frame).labels), frames, label_space=space)
    assert math.isnan(without.ece)
