# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores without labels, on sequences of a few pixels."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

from bkd_core.errors import InputError
from bkd_core.evaluation import score_without_labels
from bkd_core.labels import get_label_space, LabelSpace
import numpy as np
import pytest
from test_evaluation import answer_red_channel, PaintedFrames


def test_flicker_is_the_mean_share_of_pixels_that_change():
    frames = PaintedFrames([[0, 0], [0, 0]], [[0, 1], [0, 0]], [[1, 0], [1, 1]], [[1, 0], [1, 1]])
    done = []
    scores = score_without_labels(answer_red_channel, frames, progress=done.append)
    assert scores.flicker == pytest.approx((1 / 4 + 4 / 4 + 0) / 3)
    assert (scores.mean_entropy, scores.num_frames, done) == (.25, 4, [1, 2, 3, 4])
    assert math.isnan(scores.agreement)


def test_a_single_frame_cannot_flicker():
    scores = score_without_labels(answer_red_channel, PaintedFrames([[3]]))
    assert math.isnan(scores.flicker)
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False)) == {
        'mean_entropy': .25, 'agreement': None, 'flicker': None, 'num_frames': 1}


def test_agreement_is_the_share_of_all_pixels_that_two_segmenters_label_alike():
    frames = PaintedFrames([[0, 1, 2, 3]], [[0, 0, 1, 1]])
    roads = SimpleNamespace(labels=np.zeros((1, 4), np.uint8))
    scores = score_without_labels(answer_red_channel, frames, reference=lambda _: roads)
    assert scores.agreement == 3 / 8
    assert score_without_labels(
        answer_red_channel, frames, reference=answer_red_channel).agreement == 1


def test_a_reference_of_another_label_space_is_mapped_and_foreign_classes_are_left_out():
    # camvid11: 0 sky, 3 road, 7 fence; street9: 6 sky, 0 road, no fence.
    scores = score_without_labels(
        answer_red_channel, PaintedFrames([[6, 0, 5, 1]]), label_space=get_label_space('street9'),
        reference=lambda _: SimpleNamespace(labels=np.uint8([[0, 3, 7, 3]])),
        reference_space=get_label_space('camvid11'))
    assert scores.agreement == pytest.approx(2 / 3)
    fruit = LabelSpace(name='fruit', classes=('apple',), colors=((1, 2, 3),))
    with pytest.raises(InputError, match='no class in common'):
        score_without_labels(
            answer_red_channel, PaintedFrames([[0]]), label_space=get_label_space('street9'),
            reference=answer_red_channel, reference_space=fruit)


def test_a_sequence_of_mixed_sizes_and_an_empty_one_are_refused():
    with pytest.raises(InputError, match=r"frame 'frame1'.*\(1, 1\).*\(1, 2\)"):
        score_without_labels(answer_red_channel, PaintedFrames([[0, 0]], [[0]]))
    with pytest.raises(InputError, match='no frames'):
        score_without_labels(answer_red_channel, PaintedFrames())


def test_a_segmenter_without_an_entropy_has_none():
    scores = score_without_labels(
        lambda frame: SimpleNamespace(labels=frame[..., 0]), PaintedFrames([[0]]))
    assert math.isnan(scores.mean_entropy)
