# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd data`: what it tells of sound data sets and of broken ones."""

from __future__ import annotations

import json
import re

from bkd_core.__main__ import main
from bkd_core.datasets import build_dataset, DATASETS, paired_files
from bkd_core.datasets.class_counts import class_counts
from bkd_core.datasets.contact_sheet import contact_sheet
from bkd_core.labels import get_label_space
import cv2
from fixtures_datasets import (
    HEIGHT,
    WIDTH,
    with_corner,
    write,
    write_cityscapes,
    write_frame,
    write_gta5,
)
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """Run every command in an empty folder, with an empty cache and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('COLUMNS', '120')


def fails(capfd, *arguments):
    """Run a command that must fail by the user's mistake; return what it told and its error."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    told = capfd.readouterr()
    errors = [line for line in told.err.splitlines() if line.startswith('bkd: error: ')]
    assert len(errors) == 1
    return told.out, errors[0]


def test_a_sound_set_is_told_counted_and_drawn(tmp_path, capfd):
    root = write_gta5(tmp_path / 'gta5')
    main(['data', 'check', 'gta5', str(root), '--output', 'found', '--samples', '2'])
    out = capfd.readouterr().out
    assert 'gta5: 3 frames of the 24,966 published, 24,963 are missing' in out
    assert f'sizes: {WIDTH}x{HEIGHT} (3)' in out
    pixels = HEIGHT * WIDTH
    rows = {line.split('│')[1].strip(): line.split('│')[2:5] for line in out.splitlines()
            if line.startswith('│')}
    assert list(rows) == list(get_label_space('cityscapes19').classes)
    share = (pixels - 3) / (pixels - 2)  # of the pixels with a class; two have none
    assert [cell.strip() for cell in rows['road']] == [f'{100 * share:.3f}', '3', '█' * 24]
    assert [cell.strip() for cell in rows['car']] == [f'{100 * (1 - share):.3f}', '3', '▏']
    assert [cell.strip() for cell in rows['bus']] == ['0.000', '0', '']
    assert f'{100 * 2 / pixels:.2f} % of all pixels have no class' in out

    found = json.loads((tmp_path / 'found' / 'statistics.json').read_text())
    assert found['name'] == 'gta5' and found['label_space'] == 'cityscapes19'
    assert (found['frames'], found['sound_frames'], found['published_frames']) == (3, 3, 24966)
    assert found['sizes'] == {f'{WIDTH}x{HEIGHT}': 3} and found['faults'] == {}
    assert found['classes']['road'] == {
        'pixels': 3 * (pixels - 3), 'share': pytest.approx(share), 'frames': 3}
    assert found['classes']['bus']['frames'] == 0
    assert found['unlabelled_share'] == pytest.approx(2 / pixels)
    sheet = cv2.imread(str(tmp_path / 'found' / 'contact_sheet.jpg'))
    assert sheet.shape[1] > 3 * 480 and sheet.shape[0] > 2 * 360


def test_the_check_spares_rare_class_sampling_the_reading(tmp_path, monkeypatch):
    root = write_gta5(tmp_path / 'gta5')
    main(['data', 'check', 'gta5', str(root)])
    monkeypatch.setattr(paired_files.PairedFiles, 'labels', None)
    assert class_counts(build_dataset('gta5', root=root)).shape == (3, 20)


def test_a_part_of_the_frames_is_spaced_evenly_and_kept_for_nobody(tmp_path, capfd):
    root = write_gta5(tmp_path / 'gta5')
    (root / 'labels' / '00002.png').write_bytes(b'')  # is not read
    main(['data', 'check', 'gta5', str(root), '--frames', '2'])
    assert f'{WIDTH}x{HEIGHT} (2)' in capfd.readouterr().out
    assert not (tmp_path / 'cache' / 'bkd_ros' / 'class_counts').exists()


def test_every_broken_frame_is_told_before_the_end(tmp_path, capfd):
    root = write_gta5(tmp_path / 'gta5')
    (root / 'images' / '00001.png').write_bytes(b'')
    write(root / 'labels' / '24966.png', np.full((HEIGHT, WIDTH, 3), 7, np.uint8))
    out, error = fails(capfd, 'data', 'check', 'gta5', root, '--output', 'found')
    assert '2 of 3 frames cannot be used' in error and '00001.png: is empty' in error
    assert '24966.png: 192 of 192 pixels have one of 1 colours outside the palette' in out
    found = json.loads((tmp_path / 'found' / 'statistics.json').read_text())
    assert set(found['faults']) == {'00001', '24966'} and found['sound_frames'] == 1
    assert (tmp_path / 'found' / 'contact_sheet.jpg').is_file()
    assert not (tmp_path / 'cache' / 'bkd_ros' / 'class_counts').exists()


def test_a_set_without_one_sound_frame_still_ends_in_one_line(tmp_path, capfd):
    root = write_gta5(tmp_path / 'gta5')
    for path in (root / 'labels').iterdir():
        path.write_bytes(b'')
    out, error = fails(capfd, 'data', 'check', 'gta5', root, '--output', 'found')
    assert '3 of 3 frames cannot be used' in error
    assert not (tmp_path / 'found' / 'contact_sheet.jpg').exists()


def test_frames_that_are_left_out_are_named(tmp_path, capfd):
    root = write_gta5(tmp_path / 'gta5')
    write_frame(root / 'images' / '15188.png', width=WIDTH + 1)
    write(root / 'labels' / '15188.png', with_corner((7,)))
    main(['data', 'check', 'gta5', str(root), '--output', 'found'])
    out = capfd.readouterr().out
    assert '24,962 are missing' in out
    assert 'left out, since image and labels differ in size: 15188' in out
    found = json.loads((tmp_path / 'found' / 'statistics.json').read_text())
    assert found['left_out'] == ['15188']


def test_a_wrong_layout_says_what_is_expected(tmp_path, capfd):
    _, error = fails(capfd, 'data', 'check', 'gta5', tmp_path)
    assert 'images: does not exist; expected images/00001.png and labels/00001.png' in error


def test_the_split_and_other_settings_reach_the_data_set(tmp_path, capfd):
    root = write_cityscapes(tmp_path / 'cityscapes')
    main(['data', 'check', 'cityscapes', str(root), '--split', 'val', '--output', 'found',
          '--options', 'label_space=cityscapes13'])
    assert 'cityscapes: 1 frames of the 500 published' in capfd.readouterr().out
    found = json.loads((tmp_path / 'found' / 'statistics.json').read_text())
    assert found['settings'] == {'split': 'val', 'label_space': 'cityscapes13'}
    assert len(found['classes']) == 13


def test_a_set_without_labels_has_pictures_but_no_histogram(tmp_path, capfd):
    root = write_cityscapes(tmp_path / 'cityscapes')
    main(['data', 'check', 'cityscapes', str(root), '--split', 'test', '--output', 'found'])
    assert 'class' not in capfd.readouterr().out
    found = json.loads((tmp_path / 'found' / 'statistics.json').read_text())
    assert 'classes' not in found and found['sound_frames'] == 1
    assert cv2.imread(str(tmp_path / 'found' / 'contact_sheet.jpg')).shape[1] < 2 * 480


def test_a_generated_set_needs_no_folder(capfd):
    main(['data', 'check', 'streets', '--options', 'domain=source', 'num_frames=2',
          'size=[64, 96]'])
    assert 'sizes: 96x64 (2)' in capfd.readouterr().out


@pytest.mark.parametrize(('arguments', 'message'), [
    (('gta6', '.'), "Unknown data set 'gta6'.*Did you mean 'gta5'"),
    (('gta5',), "data set 'gta5' needs root"),
    (('gta5', '.', '--split', 'train'), "Unknown setting of data set 'gta5' 'split'"),
    (('gta5', '.', '--options', 'label_space'), "got 'label_space'; expected KEY=VALUE"),
    (('gta5', '.', '--options', 'label_space=['), r"label_space: '\[' is no YAML value"),
    (('gta5', '.', '--frames', '0'), '--frames: got 0; expected at least 1'),
    (('gta5', '.', '--samples', '0'), '--samples: got 0; expected at least 1'),
    (('gta5', '.', '--outptu', 'x'), "'--outptu'.*Did you mean '--output'")])
def test_a_mistake_is_one_line(arguments, message, capfd):
    _, error = fails(capfd, 'data', 'check', *arguments)
    assert re.search(message, error), error


def test_the_list_names_every_data_set_and_what_must_be_given(capfd):
    main(['data', 'list'])
    out = capfd.readouterr().out
    assert all(f'│ {name} ' in out for name in DATASETS)
    assert 'root*, split*' in out


def test_a_contact_sheet_shows_frames_labels_and_overlay_side_by_side(tmp_path):
    dataset = build_dataset('gta5', root=write_gta5(tmp_path))
    sheet = contact_sheet(dataset, [0], np.zeros(19))
    road = np.array(get_label_space('cityscapes19').colors[0])
    middle, columns = 24 + 6 + 180, [6 + 240 + 486 * number for number in range(3)]
    frame, labels, both = (sheet[middle, column].astype(int) for column in columns)
    assert np.abs(labels - road).max() <= 2
    assert np.abs(both - (frame + road) / 2).max() <= 2
    assert np.abs(frame - (dataset.image(0)[6, 8])).max() <= 2
