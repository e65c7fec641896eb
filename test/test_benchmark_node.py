# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the node: its numbers by hand, and both nodes under real ROS 2 for a second."""

from __future__ import annotations

from bkd_core.benchmarks import node as benchmark
from bkd_core.benchmarks.node import measure, percentile, Scenario, summarise, table
from bkd_core.errors import InputError
from bkd_ros.benchmark.street_logits import street_logits
import numpy as np
import pytest


def test_the_numbers_of_a_run_by_hand():
    found = summarise(
        [{'sent': 10, 'latencies_ms': [5.0, 1.0, 3.0, 2.0, 4.0]},
         {'sent': 10, 'latencies_ms': [6.0] * 10}],
        {'overheads_ms': [2.0, 1.0, 4.0, 3.0], 'memory_mb': [50.0, 100.0, 100.0, 110.0],
         'cpu_s': 0.2, 'seconds': 3.0})
    assert (found['answered'], found['answered_least'], found['answered_most']) == (.75, .5, 1)
    assert (found['latency_p50_ms'], found['overhead_p50_ms']) == (6, 3)
    assert found['cpu_ms_per_frame'] == pytest.approx(50)
    assert found['memory_growth'] == pytest.approx(0.1) and found['memory_mb'] == 110


def test_a_node_that_answered_nothing_has_no_numbers():
    found = summarise(
        [{'sent': 10, 'latencies_ms': []}],
        {'overheads_ms': [], 'memory_mb': [], 'cpu_s': 0.0, 'seconds': 0.0})
    assert found['answered'] == 0 and found['latency_p95_ms'] is None
    assert found['cpu_ms_per_frame'] is None
    assert percentile([], 0.5) is None


def test_the_table_holds_the_medians_of_each_node():
    runs = []
    for number, node in enumerate(('ours', 'plain', 'ours', 'plain')):
        runs.append({
            'scenario': 's', 'node': node, 'network_ms': 1.0, 'answered': 1.0,
            'answered_least': 1.0, 'answered_most': 1.0, 'latency_p50_ms': float(number),
            'latency_p95_ms': 2.0, 'overhead_p50_ms': 1.0, 'overhead_p95_ms': 2.0,
            'cpu_ms_per_frame': 10.0 * (number + 1), 'memory_growth': 0.01,
            'memory_mb': 100.0})
    text = table({
        'machine': 'm', 'load': 0.5, 'python': '3', 'commit': 'c', 'seconds': 60.0,
        'runs': runs})
    assert '| s | ours | 100.0% | 1.0 / 2.0 | 1.0 / 2.0 | 20.0 | 100, +1.0% |' in text
    assert '| s | plain | 100.0% | 2.0 / 2.0 | 1.0 / 2.0 | 30.0 | 100, +1.0% |' in text


def test_without_ros_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, 'has_ros', lambda: False)
    with pytest.raises(InputError, match='rclpy is not installed'):
        benchmark.run_node_benchmark(tmp_path, seconds=1)


@pytest.mark.parametrize('size', [(352, 640), (352, 480), (64, 96)])
def test_the_waiting_networks_answer_has_regions_like_a_street_and_not_noise(size):
    logits = street_logits(9, *size)
    assert logits.shape == (9, size[0] // 4, size[1] // 4) and logits.dtype == np.float32
    winner = logits.argmax(axis=0)
    corners = [winner[:-1, :-1], winner[1:, :-1], winner[:-1, 1:], winner[1:, 1:]]
    is_mixed = np.any([corner != corners[0] for corner in corners], axis=0)
    assert .1 < is_mixed.mean() < .3  # 16 % for the shipped student on CamVid
    np.testing.assert_array_equal(street_logits(9, *size), logits)


@pytest.mark.parametrize(('node', 'cameras'), [('ours', 1), ('ours', 2), ('plain', 1)])
def test_both_nodes_run_and_are_measured(node, cameras):
    pytest.importorskip('rclpy')
    scenario = Scenario(name='tiny', size=(64, 96), rate=10, cameras=cameras, network_ms=1)
    found = measure(scenario, node, seconds=2)
    assert 0 < found['answered'] <= 1
    assert 0 < found['overhead_p50_ms'] <= found['latency_p95_ms']
    assert found['cpu_ms_per_frame'] > 0
