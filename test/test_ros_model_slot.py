# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A network is replaced while another serves, and put back."""

from __future__ import annotations

import threading

from bkd_core.errors import InputError
from bkd_ros.model_slot import ModelSlot
import pytest

PATIENCE_S = 30.0


class Shelf:
    """Models that load when a test lets them."""

    def __init__(self):
        self.let_go = threading.Semaphore(0)
        self.loaded = []
        self.swapped = []
        self.faults = []
        self.ended = threading.Semaphore(0)
        self.slot = ModelSlot(self.load, on_swap=self.swapped.append)

    def load(self, model):
        if model != 'first':
            assert self.let_go.acquire(timeout=PATIENCE_S)
        self.loaded.append(model)
        if model == 'bad':
            raise InputError('no such directory')
        if model == 'torn':
            raise ValueError('torn')
        return f'network of {model}'

    def swap(self, model):
        self.slot.swap(model, self.done)

    def done(self, fault):
        self.faults.append(fault)
        self.ended.release()

    def wait(self, count=1):
        for _ in range(count):
            self.let_go.release()
        for _ in range(count):
            assert self.ended.acquire(timeout=PATIENCE_S)


@pytest.fixture
def shelf():
    shelf = Shelf()
    shelf.slot.load_now('first')
    return shelf


def test_the_old_network_serves_until_the_new_one_is_there(shelf):
    shelf.swap('second')
    assert shelf.slot.current == 'network of first' and shelf.slot.is_loading
    shelf.wait()
    assert shelf.slot.current == 'network of second'
    assert shelf.slot.previous == 'network of first'
    assert shelf.swapped == ['network of first', 'network of second']
    assert shelf.faults == [''] and shelf.slot.num_swaps == 1


@pytest.mark.parametrize(('model', 'fault'), [
    ('bad', 'no such directory'), ('torn', 'ValueError: torn')])
def test_a_model_that_cannot_be_loaded_changes_nothing(shelf, model, fault):
    shelf.swap(model)
    shelf.wait()
    assert shelf.slot.current == 'network of first' and shelf.slot.previous is None
    assert shelf.faults == [fault] and shelf.slot.fault == fault
    shelf.swap('second')
    shelf.wait()
    assert shelf.slot.fault == ''


def test_only_the_newest_of_several_wishes_is_loaded_and_all_are_answered(shelf):
    shelf.swap('second')
    for model in ('third', 'fourth'):
        shelf.swap(model)
    for _ in range(2):
        shelf.let_go.release()
    for _ in range(3):
        assert shelf.ended.acquire(timeout=PATIENCE_S)
    assert shelf.loaded[-1] == 'fourth' and shelf.slot.current == 'network of fourth'
    assert 'third' not in shelf.loaded or shelf.loaded.index('third') < len(shelf.loaded) - 1


def test_rollback_goes_back_and_forth(shelf):
    assert not shelf.slot.rollback()
    shelf.swap('second')
    shelf.wait()
    assert shelf.slot.rollback() and shelf.slot.current == 'network of first'
    assert shelf.slot.rollback() and shelf.slot.current == 'network of second'
    assert shelf.swapped[-1] == 'network of second'


def test_a_freed_slot_holds_nothing_and_takes_a_first_network_again(shelf):
    shelf.slot.free()
    assert shelf.slot.current is None and not shelf.slot.rollback()
    shelf.slot.load_now('first')
    assert shelf.slot.current == 'network of first'
