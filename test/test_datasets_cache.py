# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is remembered of a data set between two starts: its files, and its counts of classes."""

from __future__ import annotations

import logging
import os
import time

from bkd_core.cache_folder import cache_folder, write_cached
from bkd_core.datasets import build_dataset, file_index, paired_files
from bkd_core.datasets.class_counts import class_counts
from bkd_core.datasets.file_index import list_tree
from bkd_core.datasets.rare_class_sampling import count_classes
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space, id_mapping
from fixtures_datasets import HEIGHT, WIDTH, with_corner, write, write_cityscapes, write_gta5
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Begin with an empty cache, and let folders settle at once."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(file_index, '_SETTLED_NS', -10 ** 10)
    return tmp_path / 'cache' / 'bkd_ros'


@pytest.fixture
def tree(tmp_path):
    """Return a folder with files in it, in a folder, and in a folder below that."""
    root = tmp_path / 'tree'
    for name in ('b.png', 'a.png', 'x/c.png', 'x/y/d.png', '.hidden', '.folder/e.png'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def scans(monkeypatch):
    """Return the list of data sets' folders that are searched from now on."""
    scanned, scandir = [], os.scandir

    def noted(path):
        if str(cache_folder()) not in str(path):
            scanned.append(path)
        return scandir(path)
    monkeypatch.setattr(file_index.os, 'scandir', noted)
    return scanned


@pytest.mark.parametrize(('depth', 'expected'), [
    (0, ['a.png', 'b.png']), (1, ['a.png', 'b.png', 'x/c.png']),
    (2, ['a.png', 'b.png', 'x/c.png', 'x/y/d.png'])])
def test_files_are_listed_to_the_depth_that_is_asked_for(tree, scans, depth, expected):
    assert list_tree(tree, depth=depth) == expected
    assert len(scans) == depth + 1
    assert list_tree(tree, depth=depth) == expected
    assert len(scans) == depth + 1  # the second time nothing was searched


@pytest.mark.parametrize('change', [
    lambda tree: (tree / 'x/y/new.png').touch(), lambda tree: (tree / 'x/c.png').unlink(),
    lambda tree: (tree / 'x/c.png').rename(tree / 'x/new.png'),
    lambda tree: (tree / 'x/new').mkdir(), lambda tree: (tree / 'x').rename(tree / 'z')])
def test_a_change_is_noticed(tree, change):
    before = list_tree(tree, depth=2)
    change(tree)
    after = list_tree(tree, depth=2)
    assert after == sorted(
        path.relative_to(tree).as_posix() for path in tree.rglob('*.png')
        if '.folder' not in path.parts)
    assert after != before or (tree / 'x/new').is_dir()


def test_a_change_that_keeps_the_time_of_the_folder_is_noticed(tree):
    list_tree(tree)
    state = tree.stat()
    (tree / 'new.png').touch()
    os.utime(tree, ns=(state.st_atime_ns, state.st_mtime_ns))  # as unpacking an archive does
    assert 'new.png' in list_tree(tree)


def test_a_folder_that_has_just_changed_is_not_trusted(tree, scans, monkeypatch):
    monkeypatch.setattr(file_index, '_SETTLED_NS', 2 * 10 ** 9)
    list_tree(tree)
    list_tree(tree)
    assert len(scans) == 2
    later = time.time_ns() + 3 * 10 ** 9
    monkeypatch.setattr(file_index.time, 'time_ns', lambda: later)
    list_tree(tree)
    list_tree(tree)
    assert len(scans) == 3


@pytest.mark.parametrize('content', [
    b'', b'{"format": 1', b'[]', b'{"format": 1, "folders": {"": 7}}', b'\xff\xfe'])
def test_a_damaged_list_is_made_anew(tree, cache, content, caplog):
    expected = list_tree(tree)
    (path,) = (cache / 'file_lists').iterdir()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert list_tree(tree) == expected
    assert 'is not readable, so the files are listed anew' in caplog.text
    caplog.clear()
    assert list_tree(tree) == expected and not caplog.text


def test_a_list_of_another_format_is_made_anew(tree, cache):
    expected = list_tree(tree)
    (path,) = (cache / 'file_lists').iterdir()
    path.write_text('{"format": 2}')
    assert list_tree(tree) == expected


def test_without_a_place_for_the_cache_files_are_listed_every_time(tree, cache, scans, caplog):
    cache.parent.write_text('a file')
    with caplog.at_level(logging.WARNING):
        assert list_tree(tree) == list_tree(tree) == ['a.png', 'b.png']
    assert len(scans) == 2 and 'the list of files cannot be kept' in caplog.text


def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r'missing.*: cannot be read \(No such file'):
        list_tree(tmp_path / 'missing')


def test_the_second_opening_of_a_data_set_searches_no_folder(tmp_path, scans):
    root = write_cityscapes(tmp_path / 'data')
    names = [build_dataset('cityscapes', root=root, split='train') for _ in range(2)]
    assert len(scans) == 6  # leftImg8bit/train and gtFine/train, with two cities each
    assert names[0].name(1) == names[1].name(1)


def test_the_cache_keeps_the_newest_files(cache):
    folder = cache / 'file_lists'
    for number in range(66):
        write_cached(folder / f'{number}.json', b'{}')
        os.utime(folder / f'{number}.json', ns=(number, number))
    write_cached(folder / '2.json', b'{}')  # the oldest becomes the newest
    write_cached(folder / '66.json', b'{}')
    kept = {int(path.stem) for path in folder.iterdir()}
    assert kept == {2, *range(4, 67)} and len(kept) == 64


@pytest.fixture
def gta5(tmp_path):
    """Return three frames of GTA5, of which the first has a corner of other classes."""
    root = write_gta5(tmp_path / 'gta5')
    write(root / 'labels' / '00002.png', with_corner((7,)))
    return root


@pytest.fixture
def label_reads(monkeypatch):
    """Return the list of label files that are read from now on."""
    read, original = [], paired_files.PairedFiles.labels
    monkeypatch.setattr(
        paired_files.PairedFiles, 'labels',
        lambda self, index: read.append(index) or original(self, index))
    return read


def test_classes_are_counted_once(gta5, label_reads):
    dataset = build_dataset('gta5', root=gta5)
    counts = class_counts(dataset)
    pixels = HEIGHT * WIDTH
    assert counts.shape == (3, 20) and counts.dtype == np.int64
    assert (counts.sum(1) == pixels).all()
    # Road everywhere but for car, license plate and static in the first and third frame.
    assert counts[:, 0].tolist() == [pixels - 3, pixels, pixels - 3]
    assert counts[:, 13].tolist() == [1, 0, 1] and counts[:, 19].tolist() == [2, 0, 2]
    assert sorted(label_reads) == [0, 1, 2]
    again = class_counts(build_dataset('gta5', root=gta5))
    np.testing.assert_array_equal(again, counts)
    assert len(label_reads) == 3


def test_counts_are_kept_apart_by_label_space_and_by_what_the_label_files_hold(gta5, label_reads):
    class_counts(build_dataset('gta5', root=gta5))
    small = class_counts(build_dataset('gta5', root=gta5, label_space='cityscapes13'))
    assert small.shape == (3, 14) and len(label_reads) == 6
    write(gta5 / 'labels' / '00002.png', with_corner((26,)))
    counts = class_counts(build_dataset('gta5', root=gta5))
    assert counts[1, 13] == HEIGHT * WIDTH and len(label_reads) == 9


def test_rare_class_sampling_takes_the_kept_counts(gta5, label_reads):
    dataset = build_dataset('gta5', root=gta5)
    counts = class_counts(dataset)
    space = get_label_space('street9')
    mapping = id_mapping(dataset.label_space, space)
    mapped = count_classes(dataset, mapping, space.num_classes)
    assert len(label_reads) == 3
    expected = [np.bincount(mapping[dataset.labels(index)].ravel(), minlength=256)[:9]
                for index in range(3)]
    np.testing.assert_array_equal(mapped, expected)
    assert mapped[0, space.classes.index('car')] == counts[0, 13] == 1


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'no archive'])
def test_damaged_counts_are_counted_anew(gta5, cache, content, caplog):
    dataset = build_dataset('gta5', root=gta5)
    counts = class_counts(dataset)
    (path,) = (cache / 'class_counts').iterdir()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(class_counts(dataset), counts)
    assert 'so the classes are counted anew' in caplog.text


def test_counting_ends_at_the_first_broken_label_file(gta5, cache):
    (gta5 / 'labels' / '00002.png').write_bytes(b'')
    with pytest.raises(InputError, match=r'00002\.png: is empty'):
        class_counts(build_dataset('gta5', root=gta5))
    assert not (cache / 'class_counts').exists()


def test_a_label_file_that_vanished_is_named(gta5):
    dataset = build_dataset('gta5', root=gta5)
    (gta5 / 'labels' / '00002.png').unlink()
    with pytest.raises(InputError, match=r'00002\.png: cannot be read \(No such file'):
        class_counts(dataset)


def test_a_data_set_that_is_generated_is_counted_without_being_kept(cache):
    dataset = build_dataset('streets', domain='source', num_frames=1, size=(64, 96))
    assert class_counts(dataset).sum() == 64 * 96
    assert not cache.exists() and cache_folder() == cache
