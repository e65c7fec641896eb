# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batches shrink to what memory holds, and nobody pays for another's bad frame."""

from __future__ import annotations

from bkd_ros.batch_limit import BatchLimit
import pytest


class Device:
    """Work with room for so many items at once."""

    def __init__(self, room):
        self.room = room
        self.sizes = []
        self.limits = []

    def work(self, items):
        self.sizes.append(len(items))
        if len(items) > self.room:
            raise MemoryError(f'no room for {len(items)}')
        if 'bad' in items:
            raise ValueError('bad')
        return [item * 10 for item in items]


def test_what_fits_is_done_in_one_go():
    device = Device(room=4)
    batches = BatchLimit(4, on_reduce=device.limits.append)
    assert batches.run(device.work, [1, 2, 3]) == [10, 20, 30]
    assert device.sizes == [3] and not device.limits
    assert batches.run(device.work, []) == []


def test_what_does_not_fit_is_halved_until_it_does_and_that_is_remembered():
    device = Device(room=2)
    batches = BatchLimit(8, on_reduce=device.limits.append)
    assert batches.run(device.work, list(range(7))) == [10 * item for item in range(7)]
    assert device.sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert device.limits == [3, 1] and batches.limit == 1 and batches.most == 8
    device.sizes.clear()
    assert batches.run(device.work, [1, 2]) == [10, 20]
    assert device.sizes == [1, 1]
    batches.reset()
    assert batches.limit == 8


def test_half_a_batch_that_fits_stays_the_limit():
    device = Device(room=2)
    batches = BatchLimit(4, on_reduce=device.limits.append)
    assert batches.run(device.work, [1, 2, 3, 4]) == [10, 20, 30, 40]
    assert device.sizes == [4, 2, 2] and batches.limit == 2


def test_one_item_without_room_is_its_answer():
    device = Device(room=0)
    batches = BatchLimit(2, on_reduce=device.limits.append)
    answers = batches.run(device.work, [1, 2])
    assert [str(answer) for answer in answers] == ['no room for 1'] * 2
    assert all(isinstance(answer, MemoryError) for answer in answers)
    assert device.limits == [1]


@pytest.mark.parametrize('position', range(3))
def test_a_bad_item_costs_the_others_nothing(position):
    items = [1, 2]
    items.insert(position, 'bad')
    device = Device(room=3)
    batches = BatchLimit(3, on_reduce=device.limits.append)
    answers = batches.run(device.work, items)
    assert isinstance(answers.pop(position), ValueError)
    assert answers == [10, 20]
    assert batches.limit == 3 and not device.limits
