# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd benchmark selection`: its measures worked by hand, and its page from small drives."""

from __future__ import annotations

import re

from bkd_core.adaptation import QualityConfig
from bkd_core.adaptation.frame_selection import KeepLatest
from bkd_core.benchmarks.frame_quality import BLURS, EXPOSURES, faults_of, quality_section, table
from bkd_core.benchmarks.frame_selection import (
    compared,
    coverage,
    draw_stream,
    Features,
    keep,
    selection_section,
    STREAMS,
)
import cv2
import numpy as np
import pytest


def drive(seed, count):
    """Return frames that are sharp, well exposed and unlike each other."""
    rng = np.random.default_rng(seed)
    return [
        cv2.resize(rng.integers(20, 230, (12, 16, 3), np.uint8), (64, 48),
                   interpolation=cv2.INTER_NEAREST) for _ in range(count)]


def test_the_coverage_worked_by_hand():
    everything = np.array([[0, 0], [3, 4], [6, 8]])
    assert coverage(everything, everything[:1]) == (10, 5)
    assert coverage(everything, everything) == (0, 0)


def test_what_a_stream_leaves_is_what_the_selection_keeps():
    embeddings = np.zeros((9, 2))
    kept = keep(KeepLatest(), embeddings, np.array([8, 1, 5, 3]), [10, 20, 30, 40], budget=2)
    assert kept.tolist() == [5, 3]


def test_a_stream_goes_through_its_drives_in_order_at_their_rates():
    drives = np.array(['0001TP'] * 30 + ['0006R0'] * 30 + ['0016E5'] * 30 + ['val'] * 30)
    frames, stamps = draw_stream(drives, 'the same with a dense part', 0)
    order = list(dict.fromkeys(drives[frames]))
    assert tuple(order) == STREAMS['the same with a dense part']
    assert np.all(np.diff(stamps) > 0) and 80 < len(frames) < 120
    of_val = np.array(stamps)[drives[frames] == 'val']
    assert np.diff(of_val).min() == 10**9 * 2 // 15
    again, _ = draw_stream(drives, 'the same with a dense part', 0)
    assert (again == frames).all()


def test_frames_that_come_twice_are_found_and_blur_too():
    images = drive(0, 6)
    images[4] = images[1]
    images[5] = cv2.GaussianBlur(images[5], (0, 0), 4)
    assert faults_of(images, QualityConfig()) == ['', '', '', '', 'near-duplicate', 'blurred']


def test_the_page_of_quality_has_a_row_for_every_way_to_spoil_a_frame():
    text = quality_section({'one': drive(1, 6), 'two': drive(2, 5)})
    for name in (*BLURS, *EXPOSURES):
        assert f'| {name} |' in text
    assert '| one | 6 | 0.0 % | 0.0 % | 0.0 % | 0.0 % |' in text
    assert '| exposure times 0.05 | too dark | 100.0 % |' in text
    assert '| moved by 15 pixels | blurred | 100.0 % |' in text


def test_the_page_of_selections_compares_all_of_them_by_the_same_frames():
    rng = np.random.default_rng(0)
    names = np.repeat(sorted({drive for drives in STREAMS.values() for drive in drives}), 40)
    places = rng.normal(size=(len(names), 4)) + (names == '0001TP')[:, None] * 9
    features = Features(
        drives=names, embeddings={'probabilities': places, 'encoder': places},
        judges={'ImageNet features': places, 'true layout': places},
        class_shares=rng.random((len(names), 11)))
    lines = selection_section(features, num_seeds=2)
    rows = [line.strip('| ').split(' | ') for line in lines if line.startswith('| ')]
    latest = [row for row in rows if row[0] == 'keep_latest']
    assert len(latest) == 6
    assert latest[0][-1] == '100.0 %' and latest[-1][-1] == '0.0 %'  # dusk is last, then first
    by_name = {row[0]: row[1:] for row in rows[2:]}
    assert by_name['k_center, encoder'] == by_name['k_center, probabilities']
    farthest = {name: float(cells[0].split()[0]) for name, cells in by_name.items()
                if re.match(r'\d', cells[0])}
    assert farthest['stratified_k_center, encoder'] < farthest['keep_latest']
    assert len(re.findall(r'(?:smaller|larger) in \d+ of 12 comparisons', lines[-1])) == 2


def test_a_comparison_names_the_way_that_most_go():
    assert compared(np.array([-.04, -.03, .01])) == (
        'smaller in 2 of 3 comparisons, by 2.0 % on average')
    assert compared(np.array([.04, .05, 0])) == (
        'larger in 2 of 3 comparisons, by 3.0 % on average')


def test_a_table_is_markdown():
    assert table(['a', 'b'], [[1, 2]]) == ['| a | b |', '| --- | ---: |', '| 1 | 2 |']


def test_without_a_data_root_it_says_so(monkeypatch, capsys):
    pytest.importorskip('torch')
    from bkd_core.__main__ import main
    monkeypatch.delenv('BKD_DATA_ROOT', raising=False)
    with pytest.raises(SystemExit) as stop:
        main(['benchmark', 'selection'])
    assert stop.value.code == 2 and 'CamVid is needed' in capsys.readouterr().err
