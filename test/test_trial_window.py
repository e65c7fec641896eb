# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A new version is compared with the one before on as many frames, and by how much it may lose."""

from __future__ import annotations

import math

from bkd_core.adaptation import FrameScores, TrialSettings, TrialWindow, Verdict
from bkd_core.adaptation.trial_window import compare
from bkd_core.errors import InputError
import numpy as np
import pytest

SETTINGS = TrialSettings(
    frames=8, max_entropy_gain=0.25, max_confidence_drop=0.125, max_label_change=0.5)


def scores(entropy=0.5, confidence=0.75, shares=(0.5, 0.5)):
    """Return a frame's answer."""
    all_shares = np.zeros(256)
    all_shares[:len(shares)] = shares
    return FrameScores(entropy=entropy, confidence=confidence, label_shares=all_shares)


def trial_of(before, after, *, settings=SETTINGS, cameras=('c',)):
    """Return a window in which 'old' answered before and 'new' after."""
    window = TrialWindow(settings)
    for camera in cameras:
        for item in before:
            window.add('old', camera, item)
    window.begin('old', 'new')
    for camera in cameras:
        for item in after:
            window.add('new', camera, item)
    return window


def test_the_shares_of_the_classes_leave_unlabelled_pixels_out():
    labels = np.full((16, 16), 255, np.uint8)
    labels[:8, :8], labels[:8, 8:] = 3, 7
    labels[8:, :4] = 7
    found = FrameScores.of(labels, entropy=0.5, confidence=0.75)
    # Every fourth row and column: 4 pixels of class 3, 4 and 2 of class 7, 6 unlabelled.
    assert found.label_shares[3] == pytest.approx(0.4)
    assert found.label_shares[7] == pytest.approx(0.6)
    assert found.label_shares.sum() == pytest.approx(1)
    nothing = FrameScores.of(np.full((4, 4), 255, np.uint8), entropy=0, confidence=0)
    assert not nothing.label_shares.any()


@pytest.mark.parametrize(('after', 'fault'), [
    (scores(), ''),
    (scores(entropy=0.75), ''),
    (scores(entropy=0.76), 'the mean entropy over 2 frames is 0.760 nats; it was 0.500, and 0.25'),
    (scores(entropy=0.1, confidence=0.99), ''),
    (scores(confidence=0.625), ''),
    (scores(confidence=0.62), 'the mean confidence over 2 frames is 0.620; it was 0.750, and 0.1'),
    (scores(shares=(1.0, 0.0)), ''),  # half of the pixels
    (scores(shares=(0.0, 0.4, 0.6)), '60% of the pixels have another class'),
    (scores(entropy=math.nan), 'nan nats'),
    (scores(confidence=math.nan), 'is nan'),
])
def test_only_what_is_worse_than_allowed_is_a_fault(after, fault):
    found = compare([scores(), scores()], [after, after], SETTINGS)
    assert (fault in found) if fault else found == ''


@pytest.mark.parametrize(('before', 'after', 'fault'), [
    ([scores()] * 20, [None, None, *[scores()] * 18], ''),
    ([scores()] * 20, [None] * 3 + [scores()] * 17,
     'it failed on 3 of 20 frames, the version before on 0; 10% more are allowed'),
    ([None] * 9 + [scores()] * 11, [None] * 11 + [scores()] * 9, ''),
    ([None] * 19 + [scores()], [None] * 20, ''),
    ([None] * 20, [scores(entropy=9.0)] * 20, ''),
    ([None] * 10 + [scores()] * 10, [scores(entropy=2.0)] * 20, 'is 2.000 nats; it was 0.500'),
])
def test_a_version_must_not_fail_on_many_more_frames(before, after, fault):
    found = compare(before, after, SETTINGS)
    assert (fault in found) if fault else found == ''


def test_a_version_that_fails_on_every_frame_is_at_fault_whatever_is_known_of_the_one_before():
    window = trial_of([], [None])
    assert window.judge() == Verdict(version='new')
    window.add('new', 'c', None)
    assert window.judge().fault == 'it failed on each of 2 frames'
    window.add('new', 'd', scores())
    assert window.judge() == Verdict(version='new')  # one camera's frames may be at fault
    window = trial_of([scores()] * 8, [None] * 2)
    assert window.judge().fault.startswith('c: it failed on 2 of 2 frames')


def test_frames_that_a_version_failed_on_are_not_in_its_averages():
    window = trial_of([scores(entropy=0.25), None, scores(entropy=0.75)], [None])
    count, mean = window.averages('old')['c']
    assert count == 2 and mean.entropy == 0.5
    assert window.averages('new') == {}


def test_the_means_count_not_single_frames():
    after = [scores(entropy=1.5), *[scores(entropy=0.4)] * 7]
    assert compare([scores()] * 8, after, SETTINGS) == ''


def test_a_worse_version_is_found_after_a_quarter_of_the_frames():
    window = trial_of([scores()] * 8, [scores(entropy=2.0)])
    assert window.judge().fault == '' and window.progress() == (1, 8)
    window.add('new', 'c', scores(entropy=2.0))
    assert window.judge().fault.startswith('c: the mean entropy over 2 frames is 2.000')
    assert window.on_trial == 'new'  # until somebody has gone back
    window.end()
    assert window.judge().fault == '' and window.on_trial == ''


def test_as_many_frames_before_count_as_after_and_those_are_the_newest():
    # The light went out shortly before the version changed: no fault of the new one.
    before = [*[scores(entropy=0.1)] * 6, *[scores(entropy=1.9)] * 2]
    assert trial_of(before, [scores(entropy=2.0)] * 2).judge().fault == ''
    assert 'it was 0.100' in trial_of(before[:6], [scores(entropy=2.0)] * 2).judge().fault


def test_a_version_that_does_well_is_no_longer_on_trial_after_its_frames():
    window = trial_of([scores()] * 9, [scores()] * 7)
    assert window.judge().fault == '' and window.on_trial == 'new'
    window.add('new', 'c', scores())
    assert window.judge() == Verdict(version='new', is_over=True) and window.on_trial == ''
    for _ in range(8):
        window.add('new', 'c', scores(entropy=9.0))
    assert window.judge().fault == ''


def test_frames_that_were_in_work_count_for_the_version_that_answered_them():
    window = trial_of([scores()] * 8, [scores()])
    for _ in range(3):
        window.add('old', 'c', scores(entropy=9.0))
    assert window.judge().fault == '' and window.progress() == (1, 8)


def test_each_camera_is_compared_with_itself_and_one_that_sees_worse_decides():
    window = TrialWindow(SETTINGS)
    for camera, entropy in (('dark', 2.0), ('bright', 0.1)):
        for _ in range(8):
            window.add('old', camera, scores(entropy=entropy))
    window.begin('old', 'new')
    for _ in range(4):
        window.add('new', 'dark', scores(entropy=2.0))
        window.add('new', 'bright', scores(entropy=0.1))
    assert window.judge().fault == ''
    for _ in range(4):
        window.add('new', 'bright', scores(entropy=1.0))
    assert window.judge().fault.startswith('bright: the mean entropy over 8 frames is 0.550')


def test_without_frames_before_nothing_is_compared_and_the_verdict_says_so():
    window = trial_of([scores()], [scores(entropy=9.0)] * 7)
    assert window.judge() == Verdict(version='new')
    window.add('new', 'c', scores())
    assert window.judge() == Verdict(version='new', is_over=True, not_compared=('c',))
    assert window.on_trial == '' and window.judge() == Verdict()
    window = trial_of([scores()] * 8, [scores()] * 8)
    for _ in range(8):
        window.add('new', 'plugged in later', scores())
    assert window.judge().not_compared == ('plugged in later',)


def test_a_version_that_comes_a_second_time_is_judged_by_new_answers():
    window = trial_of([scores()] * 8, [scores()] * 8)
    window.begin('new', 'old')
    window.begin('old', 'new')
    assert window.progress() == (0, 8)
    for _ in range(2):
        window.add('old', 'c', scores())
    window.begin('old', 'new')
    for _ in range(2):
        window.add('new', 'c', scores(entropy=2.0))
    assert 'is 2.000' in window.judge().fault


def test_zero_frames_are_no_trial_and_settings_change_while_one_goes_on():
    off = TrialSettings(frames=0)
    assert trial_of([scores()] * 8, [scores(entropy=9.0)] * 8, settings=off).on_trial == ''
    window = trial_of([scores()] * 8, [scores(entropy=9.0)] * 4)
    window.change(TrialSettings(frames=8, max_entropy_gain=9, max_confidence_drop=1))
    assert window.judge().fault == ''
    window.change(SETTINGS)
    assert window.judge().fault != ''


@pytest.mark.parametrize(('name', 'value'), [
    ('frames', -1), ('max_entropy_gain', -0.1), ('max_entropy_gain', math.nan),
    ('max_confidence_drop', 1.5), ('max_label_change', -1)])
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(InputError, match=f'trial.{name}: got {value}'):
        TrialSettings(**{name: value})
