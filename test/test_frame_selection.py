# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which frame gives way: cases worked by hand, and what holds for every selection."""

from __future__ import annotations

from collections import Counter

from bkd_core.adaptation.embedding import distances, embedding_of, GRID
from bkd_core.adaptation.frame_selection import (
    KCenter,
    KeepLatest,
    Reservoir,
    SELECTIONS,
    StratifiedKCenter,
    StratifiedReservoir,
)
from bkd_core.datasets.frame_record import FrameMetadata, FrameRecord
from hypothesis import given, settings, strategies
import numpy as np
import pytest

SECOND = 10**9


def frame(name, place=(), *, second=0, topic='/c'):
    return FrameRecord(
        name=name, metadata=FrameMetadata(stamp_ns=second * SECOND, topic=topic), suffix='.jpg',
        height=1, width=1, num_bytes=1, crc32=0, thumbnail=np.zeros(0, np.uint8),
        embedding=np.float16(place))


def after(selection, frames, count):
    """Return the names that are left of a stream when only so many may stay."""
    names = []
    for record in frames:
        selection.add(record)
        names.append(record.name)
        if len(names) > count:
            victim = selection.victim()
            selection.remove(victim)
            names.remove(victim)
    return names


def test_the_latest_frames_stay_whatever_the_order_they_come_in():
    stream = [frame(name, second=second) for name, second in zip('abcde', (3, 9, 1, 5, 2))]
    assert after(KeepLatest(), stream, 2) == ['b', 'd']


def test_of_the_closest_pair_the_one_nearer_to_a_third_frame_gives_way():
    # On a line at 0, 10, 11, 20: the pair is 10 and 11; 11 is 9 from 20, 10 is 10 from 0.
    stream = [frame(name, (x,)) for name, x in zip('abcd', (0, 10, 11, 20))]
    assert after(KCenter(), stream, 3) == ['a', 'b', 'd']


def test_k_center_covers_a_line_evenly():
    rng = np.random.default_rng(0)
    places = rng.permutation(np.r_[0:100, [50] * 100])
    stream = [frame(f'{x} {n}', (x,)) for n, x in enumerate(places)]
    kept = sorted(int(name.split()[0]) for name in after(KCenter(), stream, 6))
    assert max(np.diff([-5, *kept, 105])) <= 35  # at random, 50 would be most of them


def test_frames_that_cannot_be_compared_go_first_the_oldest_at_the_head():
    selection = KCenter()
    for number, place in enumerate([(1, 2), (), (3, 4), (5,), (6,)]):
        selection.add(frame('abcde'[number], place, second=number))
    order = []
    for _ in range(5):
        order.append(selection.victim())
        selection.remove(order[-1])
    assert order[:3] == ['a', 'b', 'c'] and set(order[3:]) == {'d', 'e'}


def test_a_reservoir_keeps_every_frame_with_the_same_probability():
    counts = Counter()
    for seed in range(400):
        counts.update(after(Reservoir(seed=seed), [frame(name) for name in 'abcdefgh'], 2))
    # 400 draws with probability 1/4: mean 100, deviation 8.7.
    assert all(65 < counts[name] < 135 for name in 'abcdefgh')


@pytest.mark.parametrize('kind', [StratifiedReservoir, StratifiedKCenter])
def test_a_short_dusk_keeps_its_share_beside_a_long_day(kind):
    rng = np.random.default_rng(1)
    day = [frame(f'day {n}', rng.normal(size=4), second=60 + n % 60) for n in range(300)]
    dusk = [frame(f'dusk {n}', (9, 9, 9, 9 + n / 99), second=600 + n) for n in range(20)]
    kept = after(kind(), [*day, *dusk], 12)
    assert sum(name.startswith('dusk') for name in kept) == 6


def test_cameras_keep_their_shares_too():
    stream = [frame(f'{n} {topic}', second=n, topic=topic)
              for n in range(50) for topic in ('/front', '/rear')[n % 2:]]
    kept = after(StratifiedReservoir(), stream, 10)
    assert sum('/front' in name for name in kept) == 5


def test_with_more_minutes_than_room_old_and_new_ones_stay():
    stream = [frame(str(minute), second=60 * minute) for minute in range(1000)]
    kept = [int(name) for name in after(StratifiedReservoir(), stream, 40)]
    assert 8 < sum(minute < 500 for minute in kept) < 32  # mean 20, deviation 3.2


@pytest.mark.parametrize('name', sorted(SELECTIONS))
@settings(deadline=None, max_examples=30)
@given(steps=strategies.lists(
    strategies.tuples(strategies.integers(0, 3), strategies.integers(0, 5),
                      strategies.integers(0, 400)), min_size=1, max_size=25))
def test_every_selection_names_a_frame_that_it_has_and_forgets_what_is_removed(name, steps):
    selection, present = SELECTIONS[name](seed=3), []
    for number, (kind, place, second) in enumerate(steps):
        if kind < 3 or not present:
            selection.add(frame(str(number), (place, 1)[:1 + place % 2], second=second))
            present.append(str(number))
        else:
            gone = present.pop(second % len(present))
            selection.remove(gone)
        if present:
            assert selection.victim() in present
            assert selection.victim() == selection.victim()


@pytest.mark.parametrize('name', sorted(SELECTIONS))
def test_a_restart_changes_no_choice(name):
    rng = np.random.default_rng(2)
    stream = [frame(str(n), rng.normal(size=3), second=7 * n) for n in range(40)]
    straight = SELECTIONS[name](seed=5)
    kept = after(straight, stream, 10)
    again = SELECTIONS[name](seed=5)
    for record in stream:
        if record.name in kept:
            again.add(record)
    for _ in range(9):
        victim = straight.victim()
        assert again.victim() == victim
        straight.remove(victim)
        again.remove(victim)


def test_the_embedding_worked_by_hand():
    # Two classes, certain: class 0 in the left half, class 1 in the right.
    logits = np.full((2, 6, 8), -100, np.float32)
    logits[0, :, :4] = logits[1, :, 4:] = 100
    cells = GRID[0] * GRID[1]
    embedding = embedding_of(logits).astype(np.float64)
    assert embedding.shape == (2 * cells,)
    left = np.tile([1, 1, 0, 0], 3) / np.sqrt(cells)
    assert np.allclose(embedding, np.r_[left, left[::-1]], atol=1e-3)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-3)
    # What shares no class anywhere is sqrt(2) apart.
    other = embedding_of(logits[::-1]).astype(np.float32)
    assert distances(other, np.float32([embedding, other])) == pytest.approx([2 ** .5, 0], abs=.01)
