# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a round tells people, and the same for programs."""

from __future__ import annotations

from dataclasses import replace
import json
import math
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

from bkd_core.adaptation.gate import decide, GateSettings, StudentScores
from bkd_core.adaptation.plots import class_share_plot, loss_plot
from bkd_core.adaptation.report import write_round_report
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
import cv2
from fixtures_models import write_tiny_model
import numpy as np
import pytest
from test_report import Page
from tiny_training import PaintedFrames

SPACE = get_label_space('street9')
FACTS = {
    'model': 'student <1>', 'parent': '000001-aaaaaaaa', 'sources': ('drive.mcap',),
    'num_adapting': 12, 'num_replay': 9, 'num_replay_gate': 3, 'seconds': 61.5, 'device': 'cpu',
    'bkd_ros': '1.0', 'commit': 'abc', 'settings': {'seed': 4}}
SCORES = StudentScores(
    replay_miou=0.5, agreement=0.8, consistency=0.7, flicker=0.2, mean_entropy=0.6,
    class_shares=(0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1), num_frames=4)


@pytest.fixture
def report(tmp_path):
    """Return a function that writes both reports and reads them back."""
    segmenter = Segmenter.load(write_tiny_model(tmp_path / 'model'))

    def function(after, before=SCORES):
        decision = decide(before, after, GateSettings(), class_names=SPACE.classes)
        values = write_round_report(
            tmp_path, facts=FACTS, before=before, after=after, decision=decision,
            segmenters=(segmenter, segmenter),
            blocks=(PaintedFrames(3), PaintedFrames(2, seed=1)),
            losses={'teacher': [2.0, 1.0], 'student': [3.0]})
        assert json.loads((tmp_path / 'report.json').read_text()) == json.loads(
            json.dumps(values))
        return Page(tmp_path / 'report.html'), values
    return function


def test_an_accepted_round_shows_why_with_scores_pictures_and_plots(report):
    page, values = report(replace(SCORES, agreement=0.85))
    assert page.texts['h1'] == ['Adaptation of student <1>']
    assert page.texts['strong'] == ['Accepted'] and len(page.texts['div']) == 8
    assert page.tags['div'][0] == {'class': 'verdict good'}
    assert page.texts['h2'] == [
        'The gate', 'Scores', 'Held-back frame painted_000', 'Held-back frame painted_002',
        'Held-back frame painted_000', 'Held-back frame painted_001', 'Class shares',
        'Loss of the teacher', 'Loss of the student', 'Classes']
    assert {'80.0', '85.0', '+5.0', '0.600'} <= set(page.texts['td'])
    assert '-0.0000' not in page.texts['td']
    assert not any('-0,' in text for text in page.texts['div'])
    assert page.texts['td'].count('yes') == 8 and 'at most 0.0200' in page.texts['td']
    assert len(page.tags['input']) == 4 and values['is_accepted'] is True


@pytest.mark.skipif(shutil.which('chromium') is None, reason='needs Chromium')
def test_a_browser_shows_pictures_and_plots_of_a_round_from_a_file(report, tmp_path):
    report(replace(SCORES, agreement=0.85))
    picture = tmp_path / 'page.png'
    browser = [
        'chromium', '--headless', '--no-sandbox', '--disable-gpu', '--window-size=900,5000',
        '--enable-logging=stderr', f'--user-data-dir={tmp_path / "profile"}']
    path = tmp_path / 'report.html'
    # A script of the page's own would be refused; the console says so, and what cannot be read.
    result = subprocess.run(
        [*browser, f'--screenshot={picture}', path.as_uri()], check=True, timeout=120,
        capture_output=True, text=True)
    assert ':CONSOLE' not in result.stderr
    shown = cv2.imread(str(picture))[..., ::-1]
    colors = {tuple(color) for color in np.unique(shown.reshape(-1, 3), axis=0).tolist()}
    # The bars of the class shares, and thousands of colours of the frames.
    assert colors >= {tuple(SPACE.colors[index]) for index in range(9)} and len(colors) > 1000


def test_a_refused_round_names_what_was_not_met_and_what_could_not_be_computed(report):
    page, values = report(replace(SCORES, flicker=math.nan, replay_miou=0.4))
    assert page.texts['strong'] == ['Refused'] and page.tags['div'][0] == {'class': 'verdict'}
    assert len(page.texts['div']) == 3 and 'Mean IoU' in page.texts['div'][0]
    assert page.texts['td'].count('NO') == 3
    assert values['after']['flicker'] is None and values['before']['flicker'] == 0.2


def test_labelled_frames_are_in_the_numbers_and_unknown_shares_are_no_number(report):
    counts = np.ones((6, 9, 10), np.int64)
    page, values = report(
        replace(SCORES, labelled_counts=counts, class_shares=(math.nan,) * 9),
        replace(SCORES, labelled_counts=counts))
    assert values['after']['class_shares'] == [None] * 9
    assert values['before']['labelled_counts'] == counts.tolist()
    assert len(values['criteria']) == 9 and page.texts['strong'] == ['Refused']
    assert '6 labelled target frames.' in page.texts['p'][0]


def numbers(svg, tag, name):
    """Return an attribute of every element of a kind."""
    return [float(item.get(name)) for item in ElementTree.fromstring(svg).iter(tag)]


def test_bars_are_as_long_as_the_shares():
    svg = class_share_plot((0.5, *(0.0,) * 8), (0.25, 0.75, *(0.0,) * 7), SPACE)
    widths = numbers(svg, 'rect', 'width')
    assert len(widths) == 18 and widths[3] == max(widths)
    np.testing.assert_allclose(
        widths[:4], np.array([0.5, 0.25, 0, 0.75]) / 0.75 * max(widths), atol=0.1)
    texts = [item.text for item in ElementTree.fromstring(svg).iter('text')]
    assert texts[:3] == ['road', '50.0', '25.0']


def test_no_share_at_all_draws_no_bar():
    assert set(numbers(class_share_plot((0.0,) * 9, (0.0,) * 9, SPACE), 'rect', 'width')) == {0}


@pytest.mark.parametrize('losses', [[1.0], [2.0, 2.0], [3.0, 1.0, 2.0]])
def test_a_loss_is_drawn_between_its_extremes(losses):
    root = ElementTree.fromstring(loss_plot(losses, title='a < b'))
    assert root.find('title').text == 'a < b'
    points = [
        tuple(map(float, point.split(','))) for point in root.find('polyline').get(
            'points').split()]
    assert len(points) == len(losses)
    assert all(12 <= y <= 160 for _, y in points)
    assert np.argmin(losses) == np.argmax([y for _, y in points])
