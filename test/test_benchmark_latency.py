# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of latency: its page from made-up numbers, and a tiny real run."""

from __future__ import annotations

import json
import math
import shutil
import xml.etree.ElementTree as ElementTree

from bkd_core import model_directory
from bkd_core.benchmarks.latency.contestant import PEER_AS_SHIPPED
from bkd_core.benchmarks.latency.measure import summarise
from bkd_core.benchmarks.latency.page import add_ratios, chart, page
from bkd_core.errors import InputError
from fixtures_models import write_tiny_model
import pytest


def row(runtime, total_ms, *, model='net', size=(480, 640), threads=1, neighbour=False):
    return {
        'model': model, 'runtime': runtime, 'size': list(size), 'threads': threads,
        'neighbour': neighbour, 'agreement': .9995, 'pre_ms': 1.0, 'post_ms': 2.0,
        'post_numpy_ms': 4.0, 'network_ms': total_ms - 3, 'total_ms': total_ms,
        'p95_ms': 2 * total_ms, 'cpu_ms': total_ms / 2}


ROWS = [
    row('plain', 100.0), row('onnxruntime', 25.0), row('plain', 300.0, size=(720, 1280)),
    row('onnxruntime', 50.0, size=(720, 1280)), row('plain', 80.0, model='peer'),
    row('openvino', 20.0, model='peer'), row('plain', 60.0, threads=2, neighbour=True),
    row('onnxruntime', 90.0, threads=2, neighbour=True)]


def test_the_numbers_of_a_way_are_medians_and_a_percentile():
    answers = [
        {'pre': 1.0, 'network': value, 'post': 2.0, 'total': value + 3, 'cpu': value,
         'post_numpy': 4.0} for value in (10.0, 30.0, 20.0)]
    assert summarise(answers) == {
        'pre_ms': 1, 'network_ms': 20, 'post_ms': 2, 'total_ms': 23, 'cpu_ms': 20,
        'post_numpy_ms': 4, 'p95_ms': pytest.approx(32)}  # 23 + .9 * 10 between the last two


def test_the_ratio_is_to_the_plain_way_of_the_same_network_size_threads_and_neighbour():
    assert [round(found['ratio'], 3) for found in add_ratios(ROWS)] == [
        1, 4, 1, 6, 1, 4, 1, .667]
    assert add_ratios(ROWS)[3]['cpu_ratio'] == 6


def test_the_ratio_to_the_peer_is_that_of_the_same_size_threads_and_neighbour():
    rows = [*ROWS, row('plain', 250.0, model=PEER_AS_SHIPPED)]
    ratios = [found['peer_ratio'] for found in add_ratios(rows)]
    assert ratios[:2] == [2.5, 10] and ratios[4:6] == [3.125, 12.5] and ratios[-1] == 1
    assert all(map(math.isnan, [*ratios[2:4], *ratios[6:8]]))


def test_the_page_holds_every_row_and_every_start():
    text = page({
        'rows': ROWS, 'rounds': 5, 'machine': 'x86_64 Some CPU', 'load': .5, 'commit': 'abc',
        'versions': 'numpy 2', 'starts': [
            {'model': 'net', 'runtime': 'plain', 'threads': 1, 'load_s': 1.0, 'start_s': 3.25,
             'memory_mb': 400.4}]})
    assert ('| 1280x720 | net | onnxruntime | 50.0 / 100.0 | 6.00 | - | 25.0, 6.00 | '
            '1.00 / 47.00 / 2.00 | 4.00 | 99.95% |') in text
    assert '| 1 | net | plain | 1.00 | 3.25 | 400 |' in text
    alone, beside = text.split('## 1 thread, alone')[1].split('## 2 threads, beside')
    assert alone.count('| net |') == 4 and beside.split('## Start')[0].count('| net |') == 2
    assert 'Machine: x86_64 Some CPU; load 0.5. numpy 2. Commit: abc.' in text


def test_the_chart_shows_one_thread_alone_without_plain():
    root = ElementTree.fromstring(chart(ROWS))
    words = [node.text for node in root.iter('{http://www.w3.org/2000/svg}text')]
    assert words[1:] == [
        'net, onnxruntime, 640x480', '4.0', 'net, onnxruntime, 1280x720', '6.0',
        'peer, openvino, 640x480', '4.0']
    bars = [
        float(node.get('width')) for node in root.iter('{http://www.w3.org/2000/svg}rect')][1:]
    assert bars[1] == max(bars) and bars[0] == pytest.approx(bars[1] * 4 / 6, abs=.2)


def test_every_way_of_the_shipped_student_is_measured_for_real(tmp_path):
    pytest.importorskip('torch')
    from bkd_core.benchmarks.latency.run import run_latency_benchmark
    from bkd_core.inference.trial import candidates
    model = tmp_path / 'model'
    shutil.copytree(model_directory.resolve('default'), model)
    shutil.copy(model / model_directory.ONNX, model / model_directory.INT8)
    written = run_latency_benchmark(
        tmp_path / 'results', model=model, rounds=1, sizes=[(48, 64)], threads=[1],
        has_peer=False)
    numbers = json.loads((written.parent / 'latency.json').read_text())
    ways = ['plain', 'torch', *candidates(model, 'cpu')]
    ways += [f'{name}_int8' for name in ('onnxruntime', 'openvino') if name in ways]
    assert [found['runtime'] for found in numbers['rows']] == 2 * ways  # alone, and not alone
    for found in numbers['rows']:
        assert found['agreement'] > .9 and 0 < found['network_ms'] < found['total_ms']
    assert [start['runtime'] for start in numbers['starts']] == ways
    memory = {start['runtime']: start['memory_mb'] for start in numbers['starts']}
    assert memory['onnxruntime'] < .7 * memory['plain']  # it has not loaded torch
    assert all(0 < start['load_s'] < start['start_s'] for start in numbers['starts'])
    assert written.read_text().startswith('# From a frame to labels')


def test_the_peer_is_exported_as_a_model_directory(tmp_path):
    pytest.importorskip('torch')
    from bkd_core.benchmarks.latency.run import write_peer
    from bkd_core.inference import Segmenter
    import numpy as np
    spec = model_directory.read_spec(model_directory.resolve('default'))
    peer = Segmenter.load(write_peer(tmp_path / 'peer', spec), runtime='onnxruntime')
    side = spec.input_height // 8  # its stride
    assert peer.logits(np.zeros((64, 64, 3), np.uint8)).shape == (9, side, side)


def test_a_way_that_ends_says_why(tmp_path):
    pytest.importorskip('torch')
    from bkd_core.benchmarks.latency.measure import Contestant, measure
    from bkd_core.benchmarks.latency.run import write_frames
    write_frames(tmp_path, [(48, 64)])
    broken = Contestant(model='m', directory=tmp_path / 'nowhere', runtime='onnxruntime')
    with pytest.raises(InputError, match='m by onnxruntime ended: .*nowhere'):
        measure([broken], tmp_path, sizes=[(48, 64)], threads=1, rounds=1)


def test_a_model_without_weights_or_without_rounds_is_refused(tmp_path):
    pytest.importorskip('torch')
    from bkd_core.benchmarks.latency.run import run_latency_benchmark
    tiny = write_tiny_model(tmp_path / 'tiny')
    with pytest.raises(InputError, match='model.safetensors is missing'):
        run_latency_benchmark(tmp_path / 'results', model=str(tiny))
    with pytest.raises(InputError, match='rounds: got 0'):
        run_latency_benchmark(tmp_path / 'results', rounds=0)
