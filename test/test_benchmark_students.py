# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of students' designs: its page from made-up numbers, and a tiny real run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

from bkd_core.errors import InputError
import cv2
import pytest

pytest.importorskip('torch')
from bkd_core.benchmarks.latency.contestant import PEER  # noqa: E402
from bkd_core.benchmarks.students import (  # noqa: E402
    benchmark,
    choose_designs,
    DESIGNS,
    run_student_benchmark,  # noqa: E402
)
from bkd_core.benchmarks.students.designs import Design  # noqa: E402
from bkd_core.benchmarks.students.page import chart, page, points_of  # noqa: E402
from bkd_core.config import MODEL_PRESETS  # noqa: E402
from bkd_core.config_file import to_yaml  # noqa: E402
from bkd_core.models import build_network  # noqa: E402
from tiny_training import PaintedFrames  # noqa: E402

SVG = '{http://www.w3.org/2000/svg}'


def score(design, miou, *, seed=0, steps=300):
    return {
        'kind': 'score', 'design': design, 'seed': seed, 'steps': steps, 'miou': miou,
        'options': {}, 'parameters': 2.42e6, 'commit': 'abc', 'config_hash': f'{design}{seed}'}


def row(design, runtime, total_ms, *, agreement=1.0, size=(480, 640)):
    return {
        'model': design, 'runtime': runtime, 'total_ms': total_ms, 'p95_ms': 2 * total_ms,
        'agreement': agreement, 'size': list(size)}


def times(*rows):
    return {
        'kind': 'times', 'rows': [row(PEER, 'plain', 50.0), *rows], 'rounds': 5,
        'machine': 'Some CPU', 'load': .5, 'versions': 'numpy 2', 'commit': 'abc'}


LINES = [
    score('large', .5, steps=100), score('large', .70), score('large', .72, seed=1),
    score('small', .60), score('poor', .55), times(row('large', 'onnxruntime', 1.0)),
    times(
        row('large', 'plain', 100.0), row('large', 'onnxruntime', 25.0),
        row('large', 'openvino_bf16', 12.0, agreement=.98), row('small', 'plain', 60.0),
        row('small', 'onnxruntime', 10.0), row('poor', 'plain', 60.0),
        row('poor', 'onnxruntime', 11.0))]


def test_a_point_has_the_newest_times_the_ratio_to_its_own_plain_way_and_its_seeds():
    large, bfloat16, small, poor = points_of(LINES)
    assert (large.ratios, bfloat16.ratios, small.ratios) == ((4,), (100 / 12,), (6,))
    assert (large.peer_ratios, small.peer_ratios) == ((2,), (5,))
    assert large.mious == (.70, .72) and large.miou == pytest.approx(.71)
    assert points_of(LINES[:5]) == []


def test_the_best_points_are_those_that_no_other_beats_in_both():
    assert [point.is_best for point in points_of(LINES)] == [True, False, True, False]


def test_two_equal_points_are_both_the_best():
    lines = [
        score('a', .6), score('b', .6),
        times(*(row(name, way, 9.0) for name in 'ab' for way in ('plain', 'onnxruntime')))]
    assert [point.is_best for point in points_of(lines)] == [True, True]


def test_the_page_holds_every_way_but_the_plain_one():
    text = page(LINES)
    assert ('| **large** | 2.42 | 71.0 ± 1.4 | onnxruntime | 25.0 | 50.0 | 4.0 | 2.0 | '
            '100.00% |') in text
    assert '| openvino_bf16 | 12.0 | 24.0 | 8.3 | 4.2 | 98.00% |' in text
    assert '| poor | 2.42 | 55.0 | onnxruntime |' in text and '| plain |' not in text
    assert '| way | 640x480: ms | p95 |' in text and 'height 352' in text
    assert 'Some CPU; load 0.5. numpy 2. Commit of the' in text


def test_designs_that_were_not_timed_are_named_with_their_score():
    text = page([*LINES[:-1], score('untimed', .51), LINES[-1]])
    assert 'not timed here (mIoU, %): untimed 51.0.' in text and 'not timed' not in page(LINES)


def test_larger_frames_have_columns_of_their_own_and_the_first_size_decides():
    large = (720, 1280)
    lines = [score('a', .6), score('b', .5), times(
        *(row(name, way, ms, size=size) for name, way, ms, size in (
            ('a', 'plain', 40.0, (480, 640)), ('a', 'plain', 90.0, large),
            ('a', 'openvino', 8.0, (480, 640)), ('a', 'openvino', 9.0, large),
            ('b', 'plain', 40.0, (480, 640)), ('b', 'plain', 90.0, large),
            ('b', 'openvino', 10.0, (480, 640)), ('b', 'openvino', 6.0, large))),
        row(PEER, 'plain', 180.0, size=large))]
    first, second = points_of(lines)
    assert (first.ratios, first.peer_ratios) == ((5, 10), (6.25, 20))
    assert (first.is_best, second.is_best) == (True, False)
    text = page(lines)
    assert '| openvino | 8.0 | 16.0 | 5.0 | 6.2 | 100.00% | 9.0 | 18.0 | 10.0 | 20.0 |' in text
    head, rule = (line for line in text.splitlines() if line.startswith(('| design', '| ---')))
    assert '1280x720: ms' in head and head.count('|') == rule.count('|')


def test_the_chart_names_the_best_and_stands_right():
    root = ElementTree.fromstring(chart(points_of(LINES)))
    words = [node.text for node in root.iter(f'{SVG}text')]
    assert {'small', 'large'} <= set(words) and 'poor' not in words
    dots = [(float(node.get('cx')), float(node.get('cy'))) for node in root.iter(f'{SVG}circle')]
    small, poor, large = dots[:3]  # by their milliseconds; bfloat16 is not shown
    assert small[0] < poor[0] < large[0] and large[1] < small[1] < poor[1]


def test_names_of_neighbours_in_the_chart_do_not_overlap():
    points = points_of([score('a', .60), score('b', .601), times(
        *(row(name, way, ms) for name, way, ms in (
            ('a', 'plain', 50.0), ('b', 'plain', 50.0), ('a', 'openvino', 9.0),
            ('b', 'openvino', 9.1))))])
    places = [
        float(node.get('y')) for node in ElementTree.fromstring(chart(points)).iter(f'{SVG}text')
        if node.text in ('a', 'b')]
    assert len(places) == 2 and abs(places[0] - places[1]) >= 12


def test_every_design_is_another_network_or_size_and_trains_on_the_training_split_only():
    assert len(DESIGNS) >= 8
    assert len({str((item.options, item.input_height)) for item in DESIGNS}) == len(DESIGNS)
    for design in DESIGNS:
        build_network('lite_fpn', 9, **design.options, pretrained=False)
        config = design.config(steps=5, seed=3)
        assert (config.steps, config.seed, config.method.name) == (5, 3, 'source_only')
        assert config.source.options['split'] == 'train'
        assert config.validation.options['split'] == 'val'
    assert DESIGNS[0].options == {} and DESIGNS[0].input_height == 352


def test_the_presets_are_designs_of_the_table():
    defaults = {'variant': 'lite0', 'num_stages': 6, 'width': 96, 'logits_stride': 4}
    designs = [({**defaults, **item.options}, item.input_height) for item in DESIGNS]
    for preset in MODEL_PRESETS.values():
        assert (preset['options'], preset['input_height']) in designs


def test_designs_are_chosen_by_name_in_the_order_of_the_table():
    assert [item.name for item in choose_designs(['stride 8', 'default'])] == [
        'default', 'stride 8']
    with pytest.raises(InputError, match="design 'stride8'.*Did you mean 'stride 8'"):
        choose_designs(['stride8'])


@pytest.fixture
def camvid(tmp_path, monkeypatch):
    """Return a data root with painted frames in CamVid's layout; one tiny design is known."""
    for split, seed in (('train', 0), ('val', 1)):
        frames = PaintedFrames(2, seed=seed)
        for index in range(2):
            image = cv2.cvtColor(frames.image(index), cv2.COLOR_RGB2BGR)
            for folder, content in (('images', image), ('labels', frames.labels(index))):
                path = tmp_path / 'data' / 'camvid' / folder / split / f'{index}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), content)
    tiny = Design(
        name='tiny, 4', input_height=32,
        options={'num_stages': 4, 'width': 8, 'logits_stride': 8, 'pretrained': False})
    monkeypatch.setattr('bkd_core.benchmarks.students.designs.DESIGNS', (tiny,))
    return tmp_path / 'data'


def run(tmp_path, data, **options):
    return run_student_benchmark(
        tmp_path / 'results', output=tmp_path / 'runs', data_root=data, steps=1, rounds=1,
        sizes=[(48, 64), (96, 128)], **options)


def test_a_design_is_trained_once_and_timed_each_time(tmp_path, camvid, monkeypatch):
    written = run(tmp_path, camvid)
    record = tmp_path / 'results' / 'students.jsonl'
    lines = [json.loads(text) for text in record.read_text().splitlines()]
    assert [item['kind'] for item in lines] == ['score', 'times']
    assert lines[0]['design'] == 'tiny, 4' and 0 <= lines[0]['miou'] <= 1
    assert lines[0]['num_frames'] == 2 and lines[0]['steps'] == 1
    assert [(item['model'], item['runtime']) for item in lines[1]['rows'][:3]] == [
        (PEER, 'plain'), ('tiny, 4', 'plain'), ('tiny, 4', 'onnxruntime')]
    assert {tuple(item['size']) for item in lines[1]['rows']} == {(48, 64), (96, 128)}
    assert '| tiny, 4' in written.read_text() or '**tiny, 4**' in written.read_text()
    assert (tmp_path / 'results' / 'students.svg').is_file()
    monkeypatch.setattr('bkd_core.experiment._run_stage', None)  # would fail if it were called
    run(tmp_path, camvid)
    again = [json.loads(text) for text in record.read_text().splitlines()]
    assert [item['kind'] for item in again] == ['score', 'times', 'times']
    name = f'tiny_4_seed0_{lines[0]["config_hash"][:8]}'
    assert [path.name for path in (tmp_path / 'runs').iterdir()] == [name]
    known = (tmp_path / 'runs' / name / 'config.yaml').read_text()
    assert benchmark.fingerprint(known) == lines[0]['config_hash']
    assert known == to_yaml(choose_designs(())[0].config(steps=1, seed=0))


def test_without_camvid_or_rounds_nothing_is_trained(tmp_path, camvid):
    with pytest.raises(InputError, match='does not exist; expected images'):
        run(tmp_path, tmp_path / 'nowhere')
    with pytest.raises(InputError, match='seeds .*expected one or more'):
        run(tmp_path, camvid, seeds=())
    assert not (tmp_path / 'runs').exists() and not (tmp_path / 'results').exists()
