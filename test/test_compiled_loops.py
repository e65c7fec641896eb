# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Numba's loops: NumPy's labels to the last pixel, its certainty, and never a wait for them."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from types import SimpleNamespace

from bkd_core.datasets.streets import Streets
from bkd_core.inference import cells, Segmenter
from bkd_core.inference.compiled import Compiled, import_loops, PATIENCE, WITHOUT
from bkd_core.inference.upsampling import (
    dense_labels_and_confidence,
    labels_and_confidence,
    mean_certainty,
)
import cv2
from hypothesis import assume, given, settings, strategies as st
import numpy as np
import pytest


@pytest.fixture(scope='module')
def loops():
    pytest.importorskip('numba')
    from bkd_core.inference import loops
    return loops


@pytest.fixture(scope='module')
def settle_labels(loops):
    return loops.settle_labels


def by_numpy(logits, height, width):
    return labels_and_confidence(
        logits, height, width, with_confidence=False, compiled=WITHOUT)[0]


def smooth_logits(seed, shape, *, steps=0):
    logits = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    logits = np.stack([cv2.GaussianBlur(plane, (0, 0), 6) for plane in logits]) * 40
    return (np.round(logits * steps) / steps).astype(np.float32) if steps else logits


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10 ** 6), classes=st.integers(2, 19), height=st.integers(6, 24),
    width=st.integers(6, 24), more=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    steps=st.sampled_from([0, 1, 4]))
def test_the_labels_are_those_of_numpy(
        settle_labels, seed, classes, height, width, more, steps):
    logits = smooth_logits(seed, (classes, height, width), steps=steps)  # steps make ties
    size = 2 * height + more[0], 2 * width + more[1]
    labels = settle_labels(logits, *size)
    assume(labels is not None)
    assert labels.dtype == np.uint8 and labels.shape == size
    assert (labels == by_numpy(logits, *size)).all()


def test_the_labels_of_real_answers_are_those_of_numpy(settle_labels):
    streets = Streets(domain='target', num_frames=3)
    segmenter = Segmenter.load(runtime='onnxruntime', num_threads=1)
    for index, size in enumerate([(480, 640), (721, 1283), (1080, 1920)]):
        logits = segmenter.logits(cv2.resize(streets.image(index), size[::-1]))
        labels = settle_labels(logits, *size)
        assert len(np.unique(labels)) > 3
        assert (labels == by_numpy(logits, *size)).all()
        dense, _ = dense_labels_and_confidence(logits, *size, with_confidence=False)
        assert (labels != dense).mean() < 1e-4  # of OpenCV's rounding


def test_two_classes_within_rounding_are_settled_alike(settle_labels):
    logits = np.zeros((9, 16, 16), np.float32)
    logits[3] = 5
    logits[2, 4:7, 4:7] = logits[4, 9:12, 4:7] = 5 * (1 - cells.CLOSE / 2)
    logits[2, 4:7, 10:13] = logits[4, 9:12, 10:13] = 5 * (1 + cells.CLOSE / 2)
    labels = settle_labels(logits, 145, 160)
    assert set(np.unique(labels)) == {2, 3, 4}
    assert (labels == by_numpy(logits, 145, 160)).all()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e31, -1e31])
def test_what_is_not_finite_is_left_to_others(settle_labels, value):
    logits = smooth_logits(0, (4, 6, 6))
    for place in ((0, 0, 0), (3, 5, 5), (2, 3, 1)):
        broken = logits.copy()
        broken[place] = value
        assert settle_labels(broken, 24, 24) is None
        assert cells.settle(broken, *first_largest(broken), 24, 24) is None


def first_largest(logits):
    return logits.argmax(axis=0).astype(np.uint8), logits.max(axis=0)


def test_noise_and_small_frames_are_left_to_others(settle_labels):
    noise = np.random.default_rng(0).normal(size=(9, 12, 12)).astype(np.float32)
    assert settle_labels(noise, 96, 96) is None
    smooth = smooth_logits(0, (4, 16, 16))
    assert settle_labels(smooth, 31, 90) is None and settle_labels(smooth, 90, 31) is None
    assert settle_labels(smooth, 32, 32) is not None


def test_arrays_of_any_layout_are_taken_and_left_as_they_are(settle_labels):
    logits = smooth_logits(1, (9, 16, 20))
    expected = settle_labels(logits, 128, 160)
    frozen = logits.copy()
    frozen.flags.writeable = False
    strided = np.ascontiguousarray(logits.transpose(1, 2, 0)).transpose(2, 0, 1)
    for given_logits in (frozen, strided, logits):
        before = given_logits.copy()
        assert (settle_labels(given_logits, 128, 160) == expected).all()
        assert (given_logits == before).all()


@pytest.mark.parametrize('scale', [.1, 1, 10, 1000])
def test_the_certainty_is_that_of_numpy(loops, scale):
    for seed, classes in enumerate((1, 2, 9, 19)):
        logits = scale * np.random.default_rng(seed).normal(size=(classes, 17, 23))
        logits = logits.astype(np.float32)
        exact = logits.astype(float) - logits.max(axis=0)
        share = np.exp(exact) / np.exp(exact).sum(axis=0)
        entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(axis=0).mean()
        for found in (loops.mean_certainty(logits), mean_certainty(logits, compiled=WITHOUT)):
            assert found == pytest.approx((entropy, share.max(axis=0).mean()), abs=2e-6)
            assert all(isinstance(value, float) for value in found)


def test_the_certainty_of_logits_that_are_not_finite_is_numpys(loops):
    logits = np.zeros((3, 4, 5), np.float32)
    logits[2] = -np.inf  # a class that is switched off
    for found in (loops.mean_certainty(logits), mean_certainty(logits, compiled=WITHOUT)):
        assert found == pytest.approx((np.log(2), .5), abs=1e-6)
    for place in ((0, 0, 0), (2, 3, 4)):
        logits[place] = np.nan
        with np.errstate(invalid='ignore'):
            for found in (loops.mean_certainty(logits), mean_certainty(logits, compiled=WITHOUT)):
                assert np.isnan(found).all()


def test_the_loops_take_over_without_a_wait():
    logits = smooth_logits(2, (3, 5, 5))
    arrived, calls = threading.Event(), []

    def load():
        assert arrived.wait(60)
        return SimpleNamespace(
            settle_labels=lambda *arguments: calls.append(arguments) or np.uint8([7]))

    compiled = Compiled(load)
    for _ in range(PATIENCE + 5):  # more than it waits for, while loading hangs
        labels, _ = labels_and_confidence(
            logits, 20, 20, with_confidence=False, compiled=compiled)
        assert (labels == by_numpy(logits, 20, 20)).all()
    assert not compiled.loops() and not calls
    arrived.set()
    compiled.start().join(60)
    labels, _ = labels_and_confidence(logits, 20, 20, with_confidence=False, compiled=compiled)
    assert len(calls) == 1 and labels == 7


def test_a_process_of_few_frames_loads_nothing():
    loads = []
    compiled = Compiled(lambda: loads.append(1))
    for _ in range(PATIENCE - 1):
        assert compiled.loops() is None
    assert not loads
    for _ in range(3):
        assert compiled.loops() is None
    compiled.start().join(60)
    assert loads == [1] and compiled.loops() is None


def test_a_segmenter_gives_the_same_with_and_without(loops, monkeypatch):
    frame = cv2.resize(Streets(domain='target', num_frames=1).image(0), (640, 480))
    segmenter = Segmenter.load(runtime='onnxruntime', num_threads=1)
    ready = Compiled(lambda: loops)
    ready.start().join(60)
    found = []
    for compiled in (WITHOUT, ready):
        for function in (labels_and_confidence, mean_certainty):
            monkeypatch.setitem(function.__kwdefaults__, 'compiled', compiled)
        found.append([segmenter(frame, with_confidence=choice) for choice in (True, False)])
    for before, after in zip(*found):
        assert (before.labels == after.labels).all()
        assert before.mean_entropy == pytest.approx(after.mean_entropy, abs=1e-6)
        assert before.mean_confidence == pytest.approx(after.mean_confidence, abs=1e-6)
    assert (found[0][0].confidence == found[1][0].confidence).all()


def test_without_numba_nothing_is_said(monkeypatch, caplog):
    monkeypatch.setattr(
        'importlib.import_module', _raising(ModuleNotFoundError('no numba', name='numba')))
    assert import_loops() is None and not caplog.records


@pytest.mark.parametrize('error', [
    ImportError('Numba needs NumPy 1.24 or less'),
    RuntimeError("cannot cache function '_settle': no locator available"),
    ModuleNotFoundError("No module named 'llvmlite'", name='llvmlite')])
def test_a_numba_that_fails_is_said_once_and_numpy_goes_on(monkeypatch, caplog, error):
    monkeypatch.setattr('importlib.import_module', _raising(error))
    compiled = Compiled()
    logits = smooth_logits(2, (3, 5, 5))
    with caplog.at_level(logging.WARNING):
        compiled.start().join(60)
        for _ in range(PATIENCE + 1):
            labels, _ = labels_and_confidence(
                logits, 20, 20, with_confidence=False, compiled=compiled)
    assert (labels == by_numpy(logits, 20, 20)).all()
    (record,) = caplog.records
    assert str(error) in record.message and 'NUMBA_CACHE_DIR' in record.message


def _raising(error):
    def fail(name):
        raise error
    return fail


def test_a_process_that_ends_amid_the_compilation_ends_well(tmp_path):
    pytest.importorskip('numba')
    code = (
        'from bkd_core.inference.compiled import COMPILED\n'
        'COMPILED.start()\nprint("end")')
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120,
        env={'PATH': '/usr/bin:/bin', 'NUMBA_CACHE_DIR': str(tmp_path / 'cache')})
    assert (done.returncode, done.stdout, done.stderr) == (0, 'end\n', '')
    assert list((tmp_path / 'cache').rglob('*.nbi'))  # the next one doesn't compile again
