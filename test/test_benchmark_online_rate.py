# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd benchmark online --parts rate`: by hand, and once with real nodes for seconds."""

from __future__ import annotations

from dataclasses import replace
import json
import os

from bkd_core.benchmarks.online import benchmark, rate
from bkd_core.benchmarks.online.budget import BUDGETS, cpu_budget
from bkd_core.benchmarks.online.journal import Journal
from bkd_core.benchmarks.online.rate import cores, rate_run, RateSettings, summarise
from bkd_core.benchmarks.online.rate_page import rate_section
from bkd_core.errors import InputError
from fixtures_adaptation import Hold, train_tiny_model
import pytest

# A machine that is busy leaves an idle round nothing, and a test is no measurement.
SHORT = RateSettings(
    sizes=((64, 96),), camera_rate=10.0, seconds=1.5, turns=1, priority='low')


def turn(without, during):
    """Return what the camera notes, with as many labels a second."""
    return {
        'steps_per_s_alone': 2.0, 'steps_per_s': 0.5, **{
            key: {'sent': 30, 'sent_per_s': 30.0, 'labels_per_s': labels,
                  'latencies_ms': [4.0, 1.0, 2.0, 3.0]}
            for key, labels in (('without', without), ('during', during))}}


def record(folder, *turns):
    """Return a journal with a line of turns."""
    journal = Journal(folder, 'cpu')
    journal.add(
        kind='rate', run=rate_run(RateSettings()), number=0, seed=0, size=(480, 640),
        runtime='onnxruntime', priority='idle', num_cores=2, load=0.25,
        turns=[summarise(item) for item in turns], seconds=1.0)
    return journal


def test_what_is_kept_of_the_rate_by_hand():
    found = summarise(turn(30.0, 24.0))
    assert found['kept'] == pytest.approx(0.8)
    assert found['without'] == {
        'sent_per_s': 30.0, 'labels_per_s': 30.0, 'latency_p50_ms': 3.0, 'latency_p95_ms': 4.0}
    assert (found['steps_per_s_alone'], found['steps_per_s']) == (2, 0.5)


@pytest.mark.parametrize(('during', 'words'), [
    (24.0, 'at least 80 %; at least 80 % is asked for: it holds'),
    (23.0, 'at least 77 %; at least 80 % is asked for: it does **not** hold')])
def test_the_worst_turn_decides(during, words, tmp_path):
    journal = record(tmp_path, turn(30.0, 30.0), turn(30.0, during))
    text = '\n'.join(rate_section(journal.lines(), RateSettings()))
    assert words in text
    kept = f'100 %, {100 * during / 30:.0f} %'
    assert (
        f'| 640x480 | onnxruntime | 30.0 | 3.0 / 4.0 | {(30 + during) / 2:.1f} | 3.0 / 4.0 | '
        f'{kept} | 2.00 | 0.50 | 0.2 |') in text
    assert rate_section(journal.lines(), replace(RateSettings(), seconds=1.0)) == []


def test_processes_get_two_cores_and_this_one_its_own_back():
    before = os.sched_getaffinity(0)
    with cores(1) as number:
        assert number == 1 and len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_without_ros_it_says_so_before_it_begins(monkeypatch, tmp_path):
    monkeypatch.setattr(rate, 'has_ros', lambda: False)
    with pytest.raises(InputError, match='rclpy is not installed'):
        benchmark.run_online(
            tmp_path, parts=('round', 'rate'), budget='cpu', seeds=(0,), output=tmp_path,
            data_root=None)


@pytest.mark.slow
def test_a_camera_is_filmed_without_a_round_and_while_one_trains(tmp_path, monkeypatch):
    pytest.importorskip('rclpy')
    (tmp_path / 'customize').mkdir()
    Hold(tmp_path / 'customize', monkeypatch)  # the round knows the tiny network
    model = train_tiny_model(tmp_path / 'trained')
    monkeypatch.setitem(BUDGETS, 'short', lambda: replace(
        cpu_budget(), rate=replace(SHORT, model=str(model))))
    page = benchmark.run_online(
        tmp_path, parts=('rate',), budget='short', seeds=(0,), output=tmp_path / 'output',
        data_root=None)
    line, = map(json.loads, (tmp_path / 'online.jsonl').read_text().splitlines())
    found, = line['turns']
    for kind in ('without', 'during'):
        assert 0 < found[kind]['labels_per_s'] <= found[kind]['sent_per_s'] * 1.01
        assert 0 < found[kind]['latency_p50_ms'] <= found[kind]['latency_p95_ms']
    assert found['steps_per_s_alone'] > 0
    assert '## The rate of the labels while a round trains' in page.read_text()
    monkeypatch.setattr(rate, 'measure', lambda *given: pytest.fail('it measured again'))
    benchmark.run_online(
        tmp_path, parts=('rate',), budget='short', seeds=(0,), output=tmp_path / 'output',
        data_root=None)
