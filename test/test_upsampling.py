# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From coarse logits to labels and confidence: against float64, torch, and the dense way."""

from __future__ import annotations

from bkd_core.datasets.camvid import CamVid
from bkd_core.datasets.streets import Streets
from bkd_core.inference import cells, Segmenter
from bkd_core.inference.upsampling import (
    dense_labels_and_confidence,
    labels_and_confidence,
    mean_certainty,
)
import cv2
from hypothesis import example, given, settings, strategies as st
import numpy as np
import pytest


def interpolated(logits, height, width):
    """Upsample in float64 by the textbook: half-pixel centres, edges repeated."""
    result = logits.astype(np.float64)
    for side, size in ((1, height), (2, width)):
        coarse = result.shape[side]
        position = np.clip((np.arange(size) + .5) * coarse / size - .5, 0, coarse - 1)
        before = np.floor(position).astype(int)
        after = np.minimum(before + 1, coarse - 1)
        shape = [1, 1, 1]
        shape[side] = size
        weight = (position - before).reshape(shape)
        result = result.take(before, side) * (1 - weight) + result.take(after, side) * weight
    return result


def make_logits(kind, shape):
    logits = np.random.default_rng(3).normal(size=shape).astype(np.float32) * 4
    if kind == 'smooth':
        logits = np.stack([cv2.GaussianBlur(plane, (0, 0), 3) for plane in logits]) * 8
    return logits


SIZES = [
    ((9, 8, 12), (64, 96)), ((9, 8, 12), (61, 103)), ((4, 5, 7), (33, 20)), ((19, 6, 6), (1, 1)),
    ((3, 16, 16), (7, 300)), ((2, 1, 1), (5, 4)), ((9, 16, 16), (8, 8)), ((1, 3, 4), (6, 9))]


@pytest.mark.parametrize('kind', ['random', 'smooth'])
@pytest.mark.parametrize(('shape', 'size'), SIZES)
def test_labels_and_confidence_are_those_of_the_interpolated_logits(kind, shape, size):
    logits = make_logits(kind, shape)
    labels, confidence = labels_and_confidence(logits, *size)
    expected = interpolated(logits, *size)
    ordered = np.sort(expected, axis=0)
    is_clear = np.ones(size, bool) if shape[0] == 1 else ordered[-1] - ordered[-2] > 1e-4
    assert is_clear.mean() > .99
    assert (labels == expected.argmax(axis=0))[is_clear].all()
    probabilities = np.exp(expected - expected.max(axis=0))
    largest = 255 / probabilities.sum(axis=0)
    assert np.abs(confidence - largest).max() < .51  # rounded to the nearest
    assert labels.dtype == confidence.dtype == np.uint8


@pytest.mark.parametrize(('shape', 'size'), SIZES)
def test_labels_are_those_of_torch(shape, size):
    torch = pytest.importorskip('torch')
    logits = make_logits('smooth', shape)
    labels, _ = labels_and_confidence(logits, *size)
    upsampled = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size, mode='bilinear', align_corners=False)[0]
    best = upsampled.max(0).values
    chosen = upsampled.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
    assert float((best - chosen).max()) < 1e-4  # another class only where it is as good
    assert (labels == upsampled.argmax(0).numpy()).mean() > .999


def test_the_lowest_class_wins_a_tie():
    logits = np.zeros((4, 2, 3), np.float32)
    logits[[1, 3]] = 1
    labels, confidence = labels_and_confidence(logits, 9, 7)
    assert (labels == 1).all()
    # e / (2 e + 2) of 255
    assert (confidence == round(255 * np.e / (2 * np.e + 2))).all()


def test_huge_logits_stay_finite():
    logits = np.zeros((2, 1, 2), np.float32)
    logits[0, 0, 0] = logits[1, 0, 1] = 3e4
    labels, confidence = labels_and_confidence(logits, 1, 4)
    np.testing.assert_array_equal(labels, [[0, 0, 1, 1]])
    np.testing.assert_array_equal(confidence, np.full((1, 4), 255))
    assert mean_certainty(logits) == pytest.approx((0, 1), abs=1e-30)


def test_mean_certainty_of_equally_likely_classes_by_hand():
    logits = np.full((5, 2, 2), -7, np.float32)
    assert mean_certainty(logits) == pytest.approx((np.log(5), 1 / 5))
    logits[:2, 0] = 60  # in the first row two classes share everything
    assert mean_certainty(logits) == pytest.approx(
        ((np.log(2) + np.log(5)) / 2, (1 / 2 + 1 / 5) / 2))


def made_of(kind, shape, seed):
    """Return logits (C, h, w) float32 of a kind that is hard in its own way."""
    random = np.random.default_rng(seed)
    if kind == 'ties':  # many equal corners and crossings that fall on pixels
        return random.integers(-2, 3, shape).astype(np.float32)
    if kind == 'constant':
        return np.full(shape, random.normal() * 9, np.float32)
    logits = random.normal(size=shape).astype(np.float32)
    if kind == 'smooth':
        logits = np.stack([cv2.GaussianBlur(plane, (0, 0), 2) for plane in logits]) * 20
    elif kind == 'far from zero':  # classes a few units of rounding apart
        logits = np.float32(1e4) + logits * np.float32(.002)
    elif kind == 'leads by rounding':  # the higher id leads, by one unit in the last place
        logits = np.repeat(logits[:1], shape[0], axis=0)
        logits[-1] = np.nextafter(logits[-1], np.float32(np.inf))
    elif kind == 'steep':
        logits *= 300
    return logits


KINDS = ['noise', 'smooth', 'ties', 'constant', 'far from zero', 'leads by rounding', 'steep']
SIDES = st.tuples(st.integers(1, 9), st.floats(2, 9.7)).map(
    lambda side: (side[0], int(np.ceil(side[0] * side[1]))))


@pytest.fixture
def cells_always(monkeypatch):
    """Let no share of candidates be too large for cells."""
    monkeypatch.setattr(cells, 'MOST_CANDIDATES', 1e9)


def settle(logits, height, width, **options):
    """Run the cells alone."""
    winner = logits.argmax(axis=0).astype(np.uint8)
    return cells.settle(logits, winner, logits.max(axis=0), height, width, **options)


def assert_labels_are_best(labels, logits):
    """Compare with float64: the largest class, but for what rounding can't tell apart."""
    exact = interpolated(logits, *labels.shape)
    chosen = np.take_along_axis(exact, labels[None].astype(np.intp), axis=0)[0]
    rounding = 1e-6 * np.abs(logits).max()
    assert (exact.max(axis=0) - chosen).max() <= 2 * rounding
    if len(logits) > 1:
        ordered = np.sort(exact, axis=0)
        is_clear = ordered[-1] - ordered[-2] > 2 * rounding
        np.testing.assert_array_equal(labels[is_clear], exact.argmax(axis=0)[is_clear])


@pytest.mark.usefixtures('cells_always')
@settings(max_examples=150, deadline=None)
@example('ties', 19, (1, 2), (9, 4097), 0)
@example('smooth', 4, (9, 4097), (1, 2), 1)
@example('noise', 5, (7, 97), (5, 61), 2)
@given(
    kind=st.sampled_from(KINDS), classes=st.integers(1, 19), rows=SIDES, columns=SIDES,
    seed=st.integers(0, 2 ** 32 - 1))
def test_cells_name_the_largest_class_of_every_pixel(kind, classes, rows, columns, seed):
    logits = made_of(kind, (classes, rows[0], columns[0]), seed)
    labels, _ = settle(logits, rows[1], columns[1])
    assert labels.dtype == np.uint8 and labels.shape == (rows[1], columns[1])
    assert_labels_are_best(labels, logits)


@pytest.mark.usefixtures('cells_always')
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([kind for kind in KINDS if kind != 'far from zero']),
    classes=st.integers(1, 19), rows=SIDES, columns=SIDES, seed=st.integers(0, 2 ** 32 - 1))
def test_the_confidence_is_that_of_the_dense_way(kind, classes, rows, columns, seed):
    logits = made_of(kind, (classes, rows[0], columns[0]), seed)
    _, confidence = labels_and_confidence(logits, rows[1], columns[1])
    _, expected = dense_labels_and_confidence(logits, rows[1], columns[1])
    assert np.abs(confidence.astype(int) - expected).max() <= 1


@pytest.mark.usefixtures('cells_always')
@pytest.mark.parametrize('seed', range(20))
def test_ties_that_are_exact_go_to_the_lowest_class(seed):
    # Small whole numbers and factors that are powers of two: no operation rounds.
    logits = made_of('ties', (5, 4, 6), seed)
    labels, _ = settle(logits, 16, 48)
    np.testing.assert_array_equal(labels, interpolated(logits, 16, 48).argmax(axis=0))


@pytest.mark.usefixtures('cells_always')
def test_a_class_that_is_nowhere_first_wins_between():
    logits = np.float32([[[4, -4]], [[-4, 4]], [[1, 1]]])  # class 2: second at both corners
    labels, mixed = settle(logits, 2, 16)
    # At x (in coarse pixels) classes 0 and 1 have 4 - 8 x and 8 x - 4: above 1 but for
    # 3/8 < x < 5/8. Pixel k of 16 lies at (k + .5) / 8 - .5, and beyond 0 and 1 on the border.
    np.testing.assert_array_equal(labels, [[0] * 7 + [2] * 2 + [1] * 7] * 2)
    assert set(np.unique(mixed.index)) == {*range(4, 12), *range(20, 28)}


def test_where_one_class_leads_everywhere_nothing_is_interpolated():
    logits = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    logits[3] += 20
    labels, mixed = settle(logits, 50, 51)
    assert (labels == 3).all() and mixed is None


def test_a_side_is_cut_at_the_centres_of_its_coarse_pixels():
    side = cells.cut(2, 5)  # centres of the pixels in coarse pixels: -.3, .1, .5, .9, 1.3
    np.testing.assert_array_equal(side.sizes, [1, 3, 1])
    np.testing.assert_array_equal(side.corners, [[0, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(side.pixels, [[0, 1, 4], [0, 2, 4], [0, 3, 4]])
    np.testing.assert_allclose(side.weights, [.7, .1, .5, .9, .3], atol=1e-6)
    np.testing.assert_array_equal(side.starts, [0, 1, 4, 5])


@pytest.mark.parametrize(('coarse', 'size'), [(1, 2), (3, 6), (7, 97), (88, 720), (41, 4097)])
def test_no_cell_is_empty_and_every_pixel_is_in_one(coarse, size):
    side = cells.cut(coarse, size)
    assert side.sizes.sum() == size and side.sizes.min() >= 1
    np.testing.assert_array_equal(np.unique(side.pixels), np.arange(size))


@pytest.mark.parametrize(('change', 'size'), [
    ([], (40, 40)),                           # noise: every cell is mixed
    ([((0, 3, 3), np.nan)], (40, 40)),
    ([((4, 0, 0), np.inf)], (40, 40)),
    ([((4, 0, 0), -np.inf)], (40, 40)),
    ([(slice(1, None), -50)], (15, 40)),      # less than twice the coarse height
    ([(slice(1, None), -1000)], (40, 40)),    # beyond the range of exp: the confidence only
])
def test_where_cells_do_not_pay_or_do_not_hold_the_dense_way_answers(change, size):
    logits = np.random.default_rng(1).normal(size=(5, 8, 8)).astype(np.float32)
    for place, value in change:
        logits[place] = value
    with np.errstate(invalid='ignore', over='ignore'):
        for with_confidence in (False, True):
            result = labels_and_confidence(logits, *size, with_confidence=with_confidence)
            expected = dense_labels_and_confidence(
                logits, *size, with_confidence=with_confidence)
            for ours, theirs in zip(result, expected):
                np.testing.assert_array_equal(ours, theirs)


def test_a_result_stays_as_it_is_when_the_next_frame_comes():
    first, second = (made_of('smooth', (5, 8, 8), seed) for seed in (0, 1))
    results = labels_and_confidence(first, 64, 64)
    copies = [result.copy() for result in results]
    labels_and_confidence(second, 64, 64)
    for result, copy in zip(results, copies):
        np.testing.assert_array_equal(result, copy)


def assert_student_agrees(frames, size):
    """Compare both ways on the shipped student's logits; cells must be what answers."""
    student = Segmenter.load('default', num_threads=1)
    for frame in frames:
        logits = student.logits(cv2.resize(frame, size[::-1]))
        assert settle(logits, *size) is not None
        labels, confidence = labels_and_confidence(logits, *size)
        expected, expected_confidence = dense_labels_and_confidence(logits, *size)
        different = np.argwhere(labels != expected)
        assert len(different) <= 2  # of hundreds of thousands: ties within rounding
        assert_labels_are_best(labels, logits)
        assert np.abs(confidence.astype(int) - expected_confidence).max() <= 1


@pytest.mark.parametrize('size', [(480, 640), (720, 1280), (501, 763)])
def test_both_ways_agree_on_generated_streets(size):
    streets = Streets(domain='target', num_frames=2, seed=5)
    assert_student_agrees([streets.image(index) for index in range(2)], size)


@pytest.mark.parametrize('size', [(480, 640), (720, 1280)])
def test_both_ways_agree_on_real_frames(size, data_root):
    if not (data_root / 'camvid').is_dir():
        pytest.skip('BKD_DATA_ROOT holds no camvid')
    frames = CamVid(root=data_root / 'camvid', split='val')
    assert_student_agrees([frames.image(index) for index in range(0, len(frames), 20)], size)
