# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The report, read back by an HTML parser that balances every tag."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
import shutil
import subprocess

from bkd_core.errors import InputError
from bkd_core.report import Comparison, Picture, Plot, Table, Verdict, write_report
import cv2
import numpy as np
import pytest

VOID = {'meta', 'img', 'input'}
LABELS = np.repeat(np.array([[[128, 64, 128], [0, 0, 142]]], np.uint8), 8, axis=0)
PHOTO = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8), (5, 5), 0)
SCORES = Table(
    title='Scores', columns=['network', 'mIoU', 'gain', 'starts from'],
    rows=[['before', '41.3', '-', 'ImageNet'], ['after', '45.0 ± 0.4', '+3.7', 'teacher']],
    note='One seed.')


class Page(HTMLParser):
    """What a page holds: texts by tag, attributes by tag; every tag that opens must close."""

    def __init__(self, path):
        """Read a page."""
        super().__init__()
        self.open, self.texts, self.tags = [], {}, {}
        self.feed(path.read_text(encoding='utf-8'))
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        """Note the attributes."""
        self.tags.setdefault(tag, []).append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Close the tag that was opened last, no other."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Note the text under its tag."""
        if data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a report and reads it back."""
    def function(**parts):
        path = tmp_path / 'report.html'
        write_report(path, **{'title': 'Streets', **parts})
        return Page(path)
    return function


def decoded(source):
    """Return the kind and the RGB pixels of a data URL."""
    kind, _, data = source.removeprefix('data:image/').partition(';base64,')
    pixels = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
    return kind, cv2.imdecode(pixels, cv2.IMREAD_COLOR)[..., ::-1]


def test_a_report_shows_title_paragraphs_and_notes(write):
    page = write(intro=['First.', 'Second.'], tables=[SCORES])
    assert page.texts['h1'] == page.texts['title'] == ['Streets']
    assert page.texts['p'] == ['First.', 'Second.', 'One seed.']
    assert page.texts['h2'] == ['Scores']


def test_a_table_names_its_rows_and_sets_columns_of_numbers_to_the_right(write):
    page = write(tables=[SCORES])
    assert page.texts['th'] == ['network', 'mIoU', 'gain', 'starts from', 'before', 'after']
    assert page.texts['td'] == ['41.3', '-', 'ImageNet', '45.0 ± 0.4', '+3.7', 'teacher']
    assert [cell.get('class') for cell in page.tags['td']] == ['number', 'number', None] * 2
    assert [cell['scope'] for cell in page.tags['th']] == ['col'] * 4 + ['row'] * 2


def test_rows_named_by_numbers_are_still_names(write):
    page = write(tables=[Table('Seeds', ['seed', 'mIoU'], [['1', '40.0'], ['2', '41.0']])])
    assert [cell.get('class') for cell in page.tags['th']] == [None, 'number', None, None]


def test_labels_travel_as_png_without_loss_and_photographs_as_jpeg(write):
    page = write(pictures=[Picture('Frame 7', [('frame', PHOTO), ('labels', LABELS)])])
    photo, labels = page.tags['img']
    kind, pixels = decoded(photo['src'])
    assert kind == 'jpeg' and photo['alt'] == 'Frame 7: frame'
    assert (photo['width'], photo['height']) == ('96', '72')
    assert np.abs(pixels.astype(int) - PHOTO).mean() < 8
    kind, pixels = decoded(labels['src'])
    assert kind == 'png'
    np.testing.assert_array_equal(pixels, LABELS)
    assert page.texts['figcaption'] == ['frame', 'labels']


def test_a_picture_of_one_grey_image_needs_no_caption(write):
    page = write(pictures=[Picture('Confidence', [('', LABELS[..., 0])])])
    assert 'figcaption' not in page.tags
    assert page.tags['img'][0]['alt'] == 'Confidence'
    assert {'class': 'pictures'} in page.tags['div']


@pytest.mark.parametrize(
    ('count', 'columns'), [(2, 'two'), (3, 'three'), (4, 'two'), (5, 'three')])
def test_several_images_stand_side_by_side(write, count, columns):
    page = write(pictures=[Picture('Frames', [('frame', LABELS)] * count)])
    assert page.tags['div'] == [{'class': f'pictures many {columns}'}]
    assert len(page.tags['figure']) == count


def test_texts_are_never_taken_for_markup(write):
    evil = '<script>alert("1 & 2")</script>\'"'
    page = write(
        title=evil, intro=[evil], tables=[Table(evil, [evil, evil], [[evil, evil]], evil)],
        pictures=[Picture(evil, [(evil, LABELS)])])
    assert 'script' not in page.tags
    shown = [page.texts[tag] for tag in ('h1', 'title', 'p', 'h2', 'th', 'td', 'figcaption')]
    assert {text for texts in shown for text in texts} == {evil}
    assert page.tags['img'][0]['alt'] == f'{evil}: {evil}'


def test_nothing_is_fetched_from_outside(write, tmp_path):
    page = write(tables=[SCORES], pictures=[Picture('Frame', [('frame', PHOTO)])])
    sources = [tag['src'] for tag in page.tags['img']]
    assert all(source.startswith('data:image/') for source in sources)
    text = (tmp_path / 'report.html').read_text(encoding='utf-8').replace(sources[0], '')
    assert not any(word in text for word in ('http:', 'https:', '//', 'url(', '@import'))
    assert not {'script', 'link', 'iframe', 'object'} & set(page.tags)
    policy = next(tag['content'] for tag in page.tags['meta'] if 'http-equiv' in tag)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_the_page_suits_phones_the_dark_and_paper(write):
    page = write()
    style = page.texts['style'][0]
    assert {'name': 'viewport', 'content': 'width=device-width, initial-scale=1'} in (
        page.tags['meta'])
    assert '@media (prefers-color-scheme: dark)' in style and '@media print' in style
    assert style.count('{') == style.count('}')


def test_missing_folders_are_made_and_an_older_report_is_replaced(tmp_path):
    path = tmp_path / 'runs' / 'demo' / 'report.html'
    for title in ('older', 'newer'):
        write_report(path, title=title)
    assert Page(path).texts['h1'] == ['newer']
    assert [file.name for file in path.parent.iterdir()] == ['report.html']


def test_a_row_with_too_few_cells_is_refused():
    with pytest.raises(ValueError, match=r"table 'Scores': expected 2 cells .* got \['before'\]"):
        Table('Scores', ['network', 'mIoU'], [['before']])


def test_what_is_no_image_leaves_the_older_report_in_place(tmp_path):
    path = tmp_path / 'report.html'
    write_report(path, title='older')
    with pytest.raises(InputError, match='got float64'):
        write_report(path, title='newer', pictures=[Picture('a', [('b', PHOTO / 255)])])
    assert Page(path).texts['h1'] == ['older']


BEFORE, AFTER = (np.full((60, 90, 3), color, np.uint8) for color in ((200, 0, 0), (0, 0, 200)))
COMPARISON = Comparison('Frame 3', ('before', BEFORE), ('after', AFTER))


def test_a_comparison_lays_two_pictures_over_each_other_with_an_edge_to_move(write):
    page = write(comparisons=[COMPARISON])
    left, right = page.tags['img']
    assert (left['alt'], right['alt']) == ('Frame 3: before', 'Frame 3: after')
    assert right['class'] == 'after' and 'class' not in left
    np.testing.assert_array_equal(decoded(right['src'])[1], AFTER)
    slider = page.tags['input'][0]
    assert slider['type'] == 'range' and slider['aria-label'] == 'Frame 3: move the edge'
    assert page.texts['span'] == ['◀ before', 'after ▶']


def test_the_only_script_is_allowed_by_its_hash_and_only_where_it_is_needed(write):
    page = write(comparisons=[COMPARISON, COMPARISON])
    script = page.texts['script'][0]
    assert len(page.tags['script']) == 1 and page.tags['script'][0] == {}
    policy = next(tag['content'] for tag in page.tags['meta'] if 'http-equiv' in tag)
    expected = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"; script-src 'sha256-{expected}'")
    assert policy.startswith("default-src 'none'; ")


def test_pictures_of_two_sizes_are_not_compared():
    with pytest.raises(ValueError, match="comparison 'a': the images' shapes"):
        Comparison('a', ('before', BEFORE), ('after', AFTER[1:]))


@pytest.mark.parametrize(('is_good', 'kind'), [(True, 'verdict good'), (False, 'verdict')])
def test_a_verdict_and_a_plot_are_shown(write, is_good, kind):
    page = write(
        verdict=Verdict(is_good, 'Refused & kept', ['One.', '2 < 3.']),
        plots=[Plot('Loss', '<svg viewBox="0 0 1 1"><title>Loss</title></svg>', 'Per step.')])
    assert page.tags['div'][0] == {'class': kind}
    assert page.texts['strong'] == ['Refused & kept']
    assert page.texts['div'] == ['One.', '2 < 3.']
    assert page.texts['h2'] == ['Loss'] and page.texts['p'] == ['Per step.']


@pytest.mark.skipif(shutil.which('chromium') is None, reason='needs Chromium')
def test_the_edge_moves_in_a_browser(tmp_path):
    path = tmp_path / 'report.html'
    write_report(path, title='a', comparisons=[COMPARISON])
    browser = [
        'chromium', '--headless', '--no-sandbox', '--disable-gpu', '--window-size=600,600',
        f'--user-data-dir={tmp_path / "profile"}']
    picture = tmp_path / 'page.png'
    subprocess.run(
        [*browser, f'--screenshot={picture}', path.as_uri()], check=True, timeout=120,
        capture_output=True)
    pixels = cv2.imread(str(picture)).astype(int)
    is_red = (pixels[..., 2] > 150) & (pixels[..., 0] < 50)
    is_blue = (pixels[..., 0] > 150) & (pixels[..., 2] < 50)
    assert is_red.sum() > 10000 and is_red.sum() == pytest.approx(is_blue.sum(), rel=0.1)
    assert np.flatnonzero(is_red.any(0)).max() < np.flatnonzero(is_blue.any(0)).min()

    # A second script, allowed by its own hash, moves the slider as a hand would.
    hand = ("const s = document.querySelector('input'); s.value = 30;"
            "s.dispatchEvent(new Event('input'));")
    its_hash = base64.b64encode(hashlib.sha256(hand.encode()).digest()).decode()
    page = path.read_text().replace("script-src '", f"script-src 'sha256-{its_hash}' '")
    path.write_text(page.replace('</body>', f'<script>{hand}</script></body>'))
    shown = subprocess.run(
        [*browser, '--dump-dom', path.as_uri()], check=True, timeout=120, capture_output=True)
    assert b'<div class="compare" style="--at: 30%;">' in shown.stdout
