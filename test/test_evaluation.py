# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Confusion matrix, IoU and a run over a data set, against counts made by hand."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

from bkd_core.errors import InputError
from bkd_core.evaluation import ConfusionMatrix, evaluate, Scores
from bkd_core.labels import get_label_space, LabelSpace
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

STREET = get_label_space('street9')


def count(truth, prediction, *, num_classes=3):
    confusion = ConfusionMatrix(num_classes)
    confusion.update(np.uint8(truth), np.uint8(prediction))
    return confusion


class PaintedFrames:
    """Frames whose red channel holds the labels, in a label space of choice."""

    def __init__(self, *labels, label_space=STREET):
        self.label_space = label_space
        self._labels = [np.uint8(each) for each in labels]

    def __len__(self):
        return len(self._labels)

    def name(self, index):
        return f'frame{index}'

    def image(self, index):
        return np.stack([self._labels[index]] * 3, axis=2)

    def labels(self, index):
        return self._labels[index]


def answer_red_channel(frame):
    return SimpleNamespace(labels=frame[..., 0], mean_entropy=0.25)


def test_iou_of_a_count_made_by_hand():
    confusion = count([[0, 0, 0, 1], [1, 1, 2, 255]], [[0, 0, 1, 1], [1, 2, 2, 0]])
    # class 0: 2 hits, 3 true or predicted; 1: 2 hits of 4; 2: 1 hit of 2. 255 does not count.
    np.testing.assert_allclose(confusion.iou(), [2 / 3, 2 / 4, 1 / 2])
    assert confusion.miou() == pytest.approx((2 / 3 + 1 / 2 + 1 / 2) / 3)
    assert confusion.pixel_accuracy == pytest.approx(5 / 7)


def test_images_add_up():
    confusion = count([[0, 1]], [[0, 0]])
    confusion.update(np.uint8([[1, 1]]), np.uint8([[1, 1]]))
    np.testing.assert_allclose(confusion.iou(), [1 / 2, 2 / 3, np.nan])


def test_a_class_absent_from_the_truth_is_left_out_but_its_predictions_hurt_the_others():
    confusion = count([[0, 0, 1, 1]], [[0, 2, 1, 1]])
    np.testing.assert_allclose(confusion.iou(), [.5, 1, 0])
    assert confusion.miou() == pytest.approx(.75)


def test_the_mean_can_be_taken_over_some_classes():
    confusion = count([[0, 0, 1, 2]], [[0, 1, 1, 2]])
    assert confusion.miou([1, 2]) == pytest.approx((1 / 2 + 1) / 2)


def test_a_prediction_of_255_on_a_labelled_pixel_is_an_error():
    confusion = count([[0, 0, 1]], [[0, 255, 1]])
    np.testing.assert_allclose(confusion.iou(), [.5, 1, np.nan])
    assert confusion.pixel_accuracy == pytest.approx(2 / 3)


def test_without_any_truth_all_scores_are_nan():
    confusion = count([[255, 255]], [[0, 1]])
    assert math.isnan(confusion.miou()) and math.isnan(confusion.pixel_accuracy)
    assert np.isnan(confusion.iou()).all()


@pytest.mark.parametrize(('truth', 'prediction', 'words'), [
    ([[0, 3]], [[0, 0]], r'truth: the values \[3\]'),
    ([[0, 0]], [[7, 0]], r'prediction: the values \[7\]'),
    ([[0, 0]], [[0], [0]], r'shape \(1, 2\).*shape \(2, 1\)'),
])
def test_values_and_shapes_that_do_not_fit_are_refused(truth, prediction, words):
    with pytest.raises(InputError, match=words):
        count(truth, prediction)


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.uint8, (2, 6, 7), elements={'min_value': 0, 'max_value': 4}))
def test_iou_is_that_of_sets_of_pixels(pair):
    truth, prediction = pair
    iou = count(truth, prediction, num_classes=5).iou()
    for index in range(5):
        true, predicted = truth == index, prediction == index
        union = np.count_nonzero(true | predicted)
        expected = np.count_nonzero(true & predicted) / union if union else np.nan
        np.testing.assert_allclose(iou[index], expected)


def test_a_perfect_segmenter_scores_one_on_the_classes_that_occur():
    frames = PaintedFrames([[0, 1], [2, 255]], [[8, 8], [8, 8]])
    done = []
    scores = evaluate(
        answer_red_channel, frames, label_space=STREET, progress=done.append)
    assert scores.miou == scores.pixel_accuracy == 1
    assert [name for name, value in scores.iou.items() if not math.isnan(value)] == [
        'road', 'sidewalk', 'building', 'car']
    assert (scores.num_frames, scores.mean_entropy, done) == (2, .25, [1, 2])


def test_the_truth_is_mapped_into_the_space_of_the_model():
    # camvid11: 0 sky, 3 road, 7 fence, 9 pedestrian; street9: 6 sky, 0 road, none, 7 pedestrian.
    frames = PaintedFrames([[0, 3, 7, 9]], label_space=get_label_space('camvid11'))
    scores = evaluate(
        lambda _: SimpleNamespace(labels=np.uint8([[6, 0, 5, 0]])), frames, label_space=STREET)
    assert scores.iou['sky'] == 1 and scores.iou['road'] == .5 and scores.iou['pedestrian'] == 0
    assert scores.miou == pytest.approx(.5)  # the fence is ignored, so tree (5) costs nothing
    assert math.isnan(scores.iou['tree']) and math.isnan(scores.mean_entropy)


def test_a_class_that_is_only_predicted_has_no_score_of_its_own():
    scores = evaluate(
        lambda _: SimpleNamespace(labels=np.uint8([[0, 8]])), PaintedFrames([[0, 0]]),
        label_space=STREET)
    assert scores.miou == scores.iou['road'] == .5
    assert math.isnan(scores.iou['car'])


def test_a_prediction_of_another_size_names_the_frame():
    with pytest.raises(InputError, match=r"frame 'frame0'.*\(1, 2\).*\(1, 1\)"):
        evaluate(lambda _: SimpleNamespace(labels=np.uint8([[0]])), PaintedFrames([[0, 1]]),
                 label_space=STREET)


def test_an_empty_data_set_and_spaces_without_a_common_class_are_refused():
    with pytest.raises(InputError, match='no frames'):
        evaluate(answer_red_channel, PaintedFrames(), label_space=STREET)
    other = LabelSpace(name='fruit', classes=('apple',), colors=((1, 2, 3),))
    with pytest.raises(InputError, match='no class in common'):
        evaluate(answer_red_channel, PaintedFrames([[0]], label_space=other), label_space=STREET)


def test_scores_survive_strict_json():
    scores = Scores(
        miou=.5, iou={'road': .5, 'car': math.nan}, pixel_accuracy=.75, mean_entropy=math.nan,
        num_frames=3)
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False)) == {
        'miou': .5, 'iou': {'road': .5, 'car': None}, 'pixel_accuracy': .75,
        'mean_entropy': None, 'num_frames': 3, 'ece': None, 'subset_mious': {}}


def test_scores_read_back_are_those_that_were_written():
    scores = Scores(
        miou=.5, iou={'road': .5, 'car': math.nan}, pixel_accuracy=.75, mean_entropy=math.nan,
        num_frames=3)
    again = Scores.from_dict(json.loads(json.dumps(scores.to_dict())))
    assert repr(again) == repr(scores)  # NaN does not equal itself


def test_the_means_of_synthia_leave_out_the_classes_that_it_lacks():
    iou = dict.fromkeys(get_label_space('cityscapes19').classes, .5)
    iou.update({'terrain': 0.0, 'truck': 0.0, 'train': 0.0, 'wall': .1, 'fence': .1, 'pole': .1})
    scores = Scores(miou=.4, iou=iou, pixel_accuracy=.75, mean_entropy=1, num_frames=3)
    assert scores.subset_mious == {
        'synthia16': pytest.approx((13 * .5 + 3 * .1) / 16), 'synthia13': pytest.approx(.5)}
    assert scores.miou_over(['wall', 'road']) == pytest.approx(.3)
    assert scores.to_dict()['subset_mious'] == scores.subset_mious
    with pytest.raises(InputError, match="Did you mean 'truck'"):
        scores.miou_over(['truk'])


def test_a_mean_over_classes_leaves_out_those_without_truth():
    scores = Scores(
        miou=.5, iou={'road': .5, 'car': math.nan}, pixel_accuracy=.75, mean_entropy=1,
        num_frames=3)
    assert scores.miou_over(['road', 'car']) == .5
    assert math.isnan(scores.miou_over(['car']))
    assert scores.subset_mious == {}


def test_scores_written_before_there_was_a_calibration_error_are_read():
    old = {'miou': .5, 'iou': {'road': .5}, 'pixel_accuracy': .75, 'mean_entropy': .1,
           'num_frames': 3}
    assert math.isnan(Scores.from_dict(old).ece)


def test_a_callers_own_count_is_filled():
    confusion = ConfusionMatrix(9)
    evaluate(answer_red_channel, PaintedFrames([[0, 8]]), label_space=STREET, confusion=confusion)
    assert confusion.counts.sum() == confusion.counts[0, 0] + confusion.counts[8, 8] == 2
