# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Our scores against the evaluator of the Cityscapes data set's authors, on the same predictions.

The package `cityscapesscripts` also asks for plotting libraries and for a backport of `typing`
that breaks later installations, so it is no dependency of the tests:

    pip install --no-deps cityscapesscripts pyquaternion && pip install pillow
"""

from __future__ import annotations

import contextlib
import io

from bkd_core.evaluation import CLASS_SUBSETS, ConfusionMatrix, scores_of
from bkd_core.labels import CITYSCAPES_RAW_TO_TRAIN, get_label_space, subset_ids
import cv2
import numpy as np
import pytest

evaluator = pytest.importorskip(
    'cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling',
    reason='pip install --no-deps cityscapesscripts pyquaternion; pip install pillow')

SPACE = get_label_space('cityscapes19')
RAW_OF_TRAIN = {train: raw for raw, train in CITYSCAPES_RAW_TO_TRAIN.items()}
ABSENT = (16, 17)  # 'train' is in neither, 'motorcycle' is only predicted


def label_pairs():
    """Return truths (the set's own ids, void ones among them) and predictions (train ids)."""
    generator = np.random.default_rng(12)
    weights = generator.dirichlet(np.ones(19))
    weights[list(ABSENT)] = 0
    for _ in range(3):
        truth = generator.choice(19, (60, 97), p=weights / weights.sum())
        noise = generator.choice(np.delete(np.arange(19), ABSENT[0]), truth.shape)
        predicted = np.where(generator.random(truth.shape) < .7, truth, noise)
        raw = np.vectorize(RAW_OF_TRAIN.get)(truth)
        is_void = generator.random(truth.shape) < .1
        raw[is_void] = generator.choice([0, 1, 3, 4, 6, 9, 14, 29], is_void.sum())
        yield raw.astype(np.uint8), predicted.astype(np.uint8)


def official_scores(folder, pairs):
    """Return IoU by class name and the mean, by the authors' own reading and counting."""
    truths, predictions = [], []
    for index, (raw, predicted) in enumerate(pairs):
        paths = [str(folder / f'{index}_{kind}.png') for kind in ('truth', 'predicted')]
        ids = np.vectorize(RAW_OF_TRAIN.get)(predicted).astype(np.uint8)
        assert cv2.imwrite(paths[0], raw) and cv2.imwrite(paths[1], ids)
        truths.append(paths[0])
        predictions.append(paths[1])
    args = evaluator.args
    args.evalInstLevelScore, args.JSONOutput, args.quiet = False, False, True
    args.evalPixelAccuracy = False
    with contextlib.redirect_stdout(io.StringIO()):
        results = evaluator.evaluateImgLists(predictions, truths, args)
    return results['classScores'], results['averageScoreClasses']


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    """Return our count and scores, and the authors' scores of classes."""
    pairs = list(label_pairs())
    to_train = np.full(256, 255, np.uint8)
    for raw, train in CITYSCAPES_RAW_TO_TRAIN.items():
        to_train[raw] = train
    confusion = ConfusionMatrix(19)
    for raw, predicted in pairs:
        confusion.update(to_train[raw], predicted)
    scores = scores_of(confusion, SPACE, mean_entropy=0, num_frames=len(pairs))
    return confusion, scores, official_scores(tmp_path_factory.mktemp('labels'), pairs)


def test_every_class_has_the_iou_of_the_authors_evaluator(both):
    confusion, _, (official, _) = both
    assert sum(not np.isnan(value) for value in official.values()) == 18
    expected = [official[name] for name in SPACE.classes]
    np.testing.assert_allclose(confusion.iou(), expected, rtol=0, atol=1e-9, equal_nan=True)


def test_means_over_classes_that_occur_are_those_of_the_authors_scores(both):
    confusion, scores, (official, average) = both
    # A class that is predicted but has no true pixel: they count its 0, we leave it out.
    absent = SPACE.classes[ABSENT[1]]
    assert official[absent] == 0
    everywhere = [official[name] for name in SPACE.classes if not np.isnan(official[name])]
    assert average == pytest.approx(np.mean(everywhere), abs=1e-9)
    assert confusion.miou() == pytest.approx(average * 18 / 17, abs=1e-9)
    for subset, names in CLASS_SUBSETS.items():
        values = [official[name] for name in names if name != absent]
        expected = np.nanmean(values)
        assert scores.subset_mious[subset] == pytest.approx(expected, abs=1e-9)
        assert confusion.miou(subset_ids(SPACE, names)) == pytest.approx(expected, abs=1e-9)
