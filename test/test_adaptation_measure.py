# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the gate is told about a student."""

from __future__ import annotations

import math

from bkd_core.adaptation.measure import (
    AdjustedTeacher,
    changed_view,
    counts_by_frame,
    measure_student,
    Watched,
)
from bkd_core.errors import InputError
from bkd_core.inference import Segmentation, Segmenter
from bkd_core.labels import get_label_space
from fixtures_models import write_tiny_model
import numpy as np
import pytest
from tiny_training import PaintedFrames

SPACE = get_label_space('street9')


class Scripted:
    """A segmenter that answers by a function of the frame."""

    label_space = SPACE

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, frame, **options):
        """Return what the function says, with an entropy of a quarter nat."""
        return Segmentation(
            labels=self.answer(frame), confidence=None, mean_entropy=0.25, mean_confidence=0.9,
            mean_logits=np.zeros(SPACE.num_classes, np.float32))


class Frames:
    """Frames of one value each; the labels are the values."""

    label_space = SPACE
    has_labels = True

    def __init__(self, *values):
        self.values = values

    def __len__(self):
        """Return the number of frames."""
        return len(self.values)

    def name(self, index):
        """Return a frame's name."""
        return str(index)

    def image(self, index):
        """Return (2, 4, 3)."""
        return np.full((2, 4, 3), self.values[index], np.uint8)

    def labels(self, index):
        """Return (2, 4)."""
        return self.image(index)[..., 0]


def measure(student, *, teacher=None, replay=None, blocks=None, labelled=None):
    """Measure a scripted student."""
    return measure_student(
        student, teacher=teacher or student, replay=replay or Frames(5, 10),
        blocks=blocks or [Frames(5, 10, 15)], labelled=labelled, progress=lambda done: None)


def test_the_changed_view_is_mirrored_and_four_fifths_as_bright():
    frame = np.arange(12, dtype=np.uint8).reshape(1, 4, 3) * 10
    view = changed_view(frame)
    assert view[0, 0].tolist() == [72, 80, 88]  # 90, 100, 110 of the last column
    assert view.flags.c_contiguous and view.dtype == np.uint8


def test_a_student_that_ignores_light_and_side_is_wholly_consistent():
    watched = Watched(Scripted(lambda frame: np.ones(frame.shape[:2], np.uint8)), 9)
    assert math.isnan(watched.consistency) and all(map(math.isnan, watched.class_shares))
    watched(Frames(5).image(0))
    assert watched.consistency == 1.0
    assert watched.class_shares == (0, 1, 0, 0, 0, 0, 0, 0, 0)


def test_a_student_that_labels_by_the_side_is_inconsistent_where_the_sides_differ():
    def left_is_one(frame):
        labels = np.zeros(frame.shape[:2], np.uint8)
        labels[:, 0] = 1
        return labels
    watched = Watched(Scripted(left_is_one), 9)
    watched(Frames(5).image(0))
    assert watched.consistency == 0.5  # the first and the last of four columns
    assert watched.class_shares[:2] == (0.75, 0.25)


def test_flicker_between_two_blocks_does_not_count_and_frames_weigh_alike():
    student = Scripted(lambda frame: (frame[..., 0] // 8 % 9).astype(np.uint8))
    still = measure(student, blocks=[Frames(8, 8, 8), Frames(40, 40)])
    assert still.flicker == 0.0 and still.num_frames == 5
    moving = measure(student, blocks=[Frames(8, 40, 8, 40), Frames(40, 40)])
    assert moving.flicker == 0.75  # of 3 + 1 pairs, three change
    assert math.isnan(measure(student, blocks=[Frames(8), Frames(8)]).flicker)


def test_agreement_entropy_and_replay_are_those_of_the_evaluation():
    teacher = Scripted(lambda frame: np.full(frame.shape[:2], 3, np.uint8))
    student = Scripted(lambda frame: np.tile(np.uint8([3, 4, 4, 4]), (2, 1)))
    scores = measure(student, teacher=teacher, replay=Frames(4, 4))
    assert scores.agreement == 0.25 and scores.mean_entropy == 0.25
    assert scores.replay_miou == 0.75  # three of four columns are 4, as is the truth
    assert scores.labelled_counts is None


class Answering:
    """A teacher that says the same logits about each frame of a value."""

    label_space = SPACE

    def __init__(self, **probabilities):
        self.probabilities = probabilities

    def logits(self, frame):
        """Return (9, 1, 1); classes that are not named get next to nothing."""
        values = np.full(9, -60, np.float32)
        named = self.probabilities[f'of_{frame[0, 0, 0]}']
        values[:len(named)] = np.log(np.float32(named))
        return values.reshape(9, 1, 1) + 7  # the softmax takes a constant away


def test_the_teachers_labels_are_adjusted_by_its_mean_probabilities():
    teacher = Answering(of_5=[.6, .4], of_10=[.8, .2], of_15=[.7, .3])
    frames = [Frames(5, 10), Frames(15)]  # mean probabilities .7 and .3
    answers = {
        power: [int(AdjustedTeacher(teacher, frames, power=power)(Frames(value).image(0)).labels[
            0, 0]) for value in (5, 10, 15)] for power in (0, .25, .75, 1)}
    # p(1) / p(0) (7 / 3) ^ power: .67, .25 and .43 need a factor of 1.5, 4 and 2.33.
    assert answers[0] == [0, 0, 0]
    assert answers[.25] == [0, 0, 0]    # 1.24
    assert answers[.75] == [1, 0, 0]    # 1.89
    assert answers[1][:2] == [1, 0]     # 2.33


def test_without_a_target_frame_the_teachers_labels_are_its_own():
    adjusted = AdjustedTeacher(Answering(of_5=[.6, .4]), [], power=1.0)
    answer = adjusted(Frames(5).image(0))
    assert answer.labels.shape == (2, 4) and (answer.labels == 0).all()


def test_each_labelled_frame_has_a_confusion_matrix_of_its_own():
    student = Scripted(lambda frame: np.full(frame.shape[:2], 2, np.uint8))
    counts = measure(student, labelled=Frames(2, 3)).labelled_counts
    assert counts.shape == (2, 9, 10)
    assert counts[0, 2, 2] == 8 and counts[1, 3, 2] == 8 and counts.sum() == 16


def test_a_labelled_frame_that_does_not_fit_is_named():
    student = Scripted(lambda frame: np.zeros((1, 1), np.uint8))
    with pytest.raises(InputError, match="labelled frame '0': labels of shape"):
        counts_by_frame(student, Frames(2))


def test_a_real_segmenter_is_measured_and_progress_counts_every_frame(tmp_path):
    segmenter = Segmenter.load(write_tiny_model(tmp_path / 'model'))
    frames = PaintedFrames(3)
    done = []
    scores = measure_student(
        segmenter, teacher=segmenter, replay=frames, blocks=[frames, PaintedFrames(2, seed=1)],
        labelled=frames, progress=done.append)
    assert done == list(range(1, 9))
    assert scores.agreement == 1.0 and 0 < scores.consistency < 1 and scores.replay_miou > 0.5
    assert sum(scores.class_shares) == pytest.approx(1)
    assert scores.labelled_counts.sum() == 3 * 64 * 96
