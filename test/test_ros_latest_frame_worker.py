# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The worker keeps the newest frame, survives bad ones and ends in good order."""

from __future__ import annotations

import threading

from bkd_ros.latest_frame_worker import LatestFrameWorker
import pytest

PATIENCE_S = 30.0


class Gate:
    """Processing that a test holds up and lets go."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.processed = []
        self.errors = []
        self.replaced = []
        self.batch_limit = 1
        self.batches = []
        self.worker = LatestFrameWorker(
            self.process, on_error=lambda camera, error: self.errors.append((camera, str(error))),
            on_replace=self.replaced.append, batch_limit=lambda: self.batch_limit)

    def process(self, batch):
        self.entered.release()
        assert self.let_go.acquire(timeout=PATIENCE_S)
        self.batches.append([camera for camera, _ in batch])
        frames = [frame for _, frame in batch]
        self.processed += frames
        if 'bad' in frames:
            raise ValueError('bad frame')

    def submit_and_wait(self, frame, camera='front'):
        self.worker.submit(camera, frame)
        assert self.entered.acquire(timeout=PATIENCE_S)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    for _ in range(100):
        gate.let_go.release()
    assert gate.worker.close(timeout_s=PATIENCE_S)


def test_the_newest_frame_replaces_those_that_wait(gate):
    gate.submit_and_wait(1)
    for frame in (2, 3, 4):
        gate.worker.submit('front', frame)
    assert gate.replaced == ['front', 'front']
    gate.let_go.release()
    assert gate.entered.acquire(timeout=PATIENCE_S)
    gate.let_go.release()
    gate.submit_and_wait(5)
    assert gate.processed == [1, 4]


def test_no_camera_keeps_another_from_its_turn(gate):
    gate.submit_and_wait('a1', 'a')
    for frame in ('a2', 'b1', 'a3', 'c1', 'b2', 'a4'):
        gate.worker.submit(frame[0], frame)
    for _ in range(3):
        gate.let_go.release()
        assert gate.entered.acquire(timeout=PATIENCE_S)
    gate.let_go.release()
    gate.submit_and_wait('end', 'd')
    assert gate.processed == ['a1', 'a4', 'b2', 'c1']  # in turn, each camera's newest
    assert gate.replaced == ['a', 'b', 'a']


def test_what_waits_is_handed_over_together_as_far_as_the_limit_allows(gate):
    gate.batch_limit = 3
    gate.submit_and_wait('a1', 'a')
    for frame in ('b1', 'a2', 'c1', 'd1', 'b2', 'e1'):
        gate.worker.submit(frame[0], frame)
    gate.let_go.release()
    assert gate.entered.acquire(timeout=PATIENCE_S)
    gate.worker.submit('b', 'b3')  # behind those whose turn has not come
    gate.batch_limit = 2
    for _ in range(2):
        gate.let_go.release()
        assert gate.entered.acquire(timeout=PATIENCE_S)
    gate.let_go.release()
    gate.submit_and_wait('end', 'a')
    assert gate.processed == ['a1', 'b2', 'a2', 'c1', 'd1', 'e1', 'b3']
    assert gate.batches == [['a'], ['b', 'a', 'c'], ['d', 'e'], ['b']]
    assert gate.replaced == ['b']


def test_an_error_of_a_whole_batch_is_reported_for_each_of_its_cameras(gate):
    gate.batch_limit = 2
    gate.submit_and_wait(1)
    gate.worker.submit('front', 'bad')
    gate.worker.submit('rear', 2)
    gate.let_go.release()
    assert gate.entered.acquire(timeout=PATIENCE_S)
    gate.let_go.release()
    gate.submit_and_wait('end')
    assert gate.errors == [('front', 'bad frame'), ('rear', 'bad frame')]


def test_an_error_is_reported_and_the_next_frame_is_processed(gate):
    gate.submit_and_wait('bad')
    gate.let_go.release()
    gate.submit_and_wait('good')
    assert gate.errors == [('front', 'bad frame')]
    gate.let_go.release()
    gate.submit_and_wait('another')
    assert gate.processed == ['bad', 'good']


def test_close_lets_the_frame_in_work_end_and_drops_the_waiting_one(gate):
    gate.submit_and_wait(1)
    gate.worker.submit('front', 2)
    assert not gate.worker.close(timeout_s=0.05)
    gate.let_go.release()
    assert gate.worker.close(timeout_s=PATIENCE_S)
    gate.worker.submit('front', 3)
    assert gate.processed == [1]


def test_none_is_a_frame_like_any_other():
    frames = []
    seen = threading.Event()

    def process(batch):
        frames.extend(batch)
        seen.set()
    worker = LatestFrameWorker(process, on_error=lambda *error: frames.append(error))
    worker.submit('front', None)
    assert seen.wait(PATIENCE_S)
    worker.close()
    assert frames == [('front', None)]
