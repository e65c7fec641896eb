# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A round begins by itself when enough frames are new, or when the scene has shifted."""

from __future__ import annotations

import os
import time

from bkd_core.adaptation import RoundTrigger
from bkd_core.datasets.frame_store import FRAMES
import pytest


class Store:
    """A store's folder, a folder of versions, and a clock."""

    def __init__(self, folder):
        self.now_s = 100.0
        self.folder, self.versions = folder / 'store', folder / 'versions'
        self.versions.mkdir()

    def trigger(self, start_on, **changes):
        return RoundTrigger(start_on, **{
            'store': self.folder, 'versions': self.versions, 'min_frames': 3,
            'shift_seconds': 10.0, 'clock': lambda: self.now_s, **changes})

    def add(self, *names, age_s=0.0):
        (self.folder / FRAMES).mkdir(parents=True, exist_ok=True)
        for name in names:
            for suffix in ('.json', '.jpg'):
                path = self.folder / FRAMES / f'{name}{suffix}'
                path.touch()
                changed = time.time() - age_s
                os.utime(path, (changed, changed))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_nothing_begins_by_itself_unless_it_is_wanted(store):
    store.add('a', 'b', 'c', 'd')
    trigger = store.trigger('request')
    trigger.on_shift('camera', True)
    store.now_s += 20
    trigger.on_shift('camera', True)
    assert not trigger.is_due and trigger.num_new_frames() == 4


def test_frames_count_from_the_newest_round_on_also_for_the_next_process(store):
    trigger = store.trigger('frames')
    assert not trigger.is_due and trigger.num_new_frames() == 0  # there is no store yet
    store.add('a', 'b', age_s=50)
    assert not trigger.is_due
    store.add('c', age_s=50)
    assert trigger.is_due
    trigger.begin()
    assert not trigger.is_due and store.trigger('frames').num_new_frames() == 0
    store.add('d', 'e', age_s=-1)
    assert not trigger.is_due
    store.add('f', age_s=-1)
    assert trigger.is_due and store.trigger('frames').is_due


def test_a_shift_must_last_and_bring_new_frames(store):
    trigger = store.trigger('shift')
    store.add('a', 'b', 'c', age_s=50)
    assert not trigger.is_due

    def hear(is_shifted, seconds):
        for _ in range(seconds):
            store.now_s += 1
            trigger.on_shift('camera', is_shifted)
    hear(True, 10)
    assert not trigger.is_due  # nine seconds since the first word
    hear(True, 1)
    assert trigger.is_due
    hear(False, 1)
    hear(True, 10)
    assert not trigger.is_due  # it was interrupted
    hear(True, 1)
    assert trigger.is_due
    store.now_s += 6
    assert not trigger.is_due  # nobody has said so for six seconds
    hear(True, 1)
    trigger.begin()
    assert not trigger.is_due  # the same frames teach nothing new
    store.add('d', 'e', 'f', age_s=-1)
    assert trigger.is_due


def test_one_camera_does_not_end_the_shift_of_another(store):
    trigger = store.trigger('shift')
    store.add('a', 'b', 'c', age_s=50)
    for _ in range(11):
        store.now_s += 1
        trigger.on_shift('front', True)
        trigger.on_shift('rear', False)
    assert trigger.is_due
    trigger.on_shift('front', False)
    assert not trigger.is_due


def test_a_silent_cameras_shift_does_not_last_because_another_one_speaks(store):
    trigger = store.trigger('shift')
    store.add('a', 'b', 'c', age_s=50)
    trigger.on_shift('front', True)
    for _ in range(11):
        store.now_s += 1
        trigger.on_shift('rear', False)
    assert not trigger.is_due
    trigger.on_shift('rear', True)
    assert not trigger.is_due
