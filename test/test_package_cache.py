# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Zip files of packages are unpacked once, stay whole, and their number is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import os
import threading
import time

from bkd_core import package_cache
from bkd_core.errors import InputError
from bkd_core.manifest import check_folder, file_hash, MANIFEST, write_manifest, write_zip
from bkd_core.package_cache import unpacked
import pytest


@pytest.fixture(autouse=True)
def packages(tmp_path, monkeypatch):
    """Keep what is unpacked out of the user's cache; return where it goes."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'bkd_ros' / 'packages'


@pytest.fixture
def write_package(tmp_path):
    """Return a function that writes a package of one file."""
    def write(name):
        folder = tmp_path / f'of_{name}'
        folder.mkdir()
        (folder / 'weights').write_text(name)
        write_manifest(folder, {})
        write_zip(folder, tmp_path / f'{name}.zip')
        return tmp_path / f'{name}.zip'
    return write


def kept_in(packages):
    """Return what is in the cache, without locks."""
    return {path for path in packages.iterdir() if path.suffix != '.lock'}


def test_those_who_ask_at_once_get_one_folder_that_is_unpacked_once(
        write_package, packages, monkeypatch):
    path, times, unpack = write_package('a'), [], package_cache.unpack
    together = threading.Barrier(3)

    def counted(*arguments):
        times.append(arguments)
        unpack(*arguments)
        threading.Event().wait(0.3)  # the others ask meanwhile

    def ask(_):
        together.wait()
        return unpacked(path)

    monkeypatch.setattr(package_cache, 'unpack', counted)
    with ThreadPoolExecutor(3) as pool:
        folder, = set(pool.map(ask, range(3)))
    assert len(times) == 1
    assert kept_in(packages) == {folder}
    assert (folder / 'weights').read_text() == 'a' and (folder / MANIFEST).is_file()


def test_the_eight_packages_that_were_used_last_stay(write_package, packages):
    first, second = (unpacked(write_package(name)) for name in ('first', 'second'))
    for folder, age in ((first, 200), (second, 100)):
        os.utime(folder, (time.time() - age,) * 2)
    unpacked(packages.parents[2] / 'first.zip')  # used once more
    for number in range(7):
        unpacked(write_package(str(number)))
    kept = kept_in(packages)
    assert len(kept) == 8 and first in kept and second not in kept


@pytest.mark.parametrize('spoil', [
    lambda folder: (folder / 'weights').write_text('b'),
    lambda folder: (folder / 'weights').unlink(),
    lambda folder: (folder / 'more').write_text('b'),
    lambda folder: (folder / MANIFEST).write_text('{'),
    lambda folder: (folder / MANIFEST).unlink()])
def test_a_folder_that_is_damaged_in_the_cache_is_unpacked_anew(
        write_package, packages, caplog, spoil):
    path = write_package('a')
    folder = unpacked(path)
    assert unpacked(path) == folder and caplog.records == []
    spoil(folder)
    assert unpacked(path) == folder
    record, = caplog.records
    assert record.levelname == 'WARNING'
    assert f'{folder}: damaged in the cache: ' in record.message and str(path) in record.message
    assert (folder / 'weights').read_text() == 'a'
    assert kept_in(packages) == {folder}
    check_folder(folder)


def test_a_damaged_folder_and_a_damaged_file_give_the_error_of_the_file(
        write_package, packages):
    path = write_package('a')
    folder = unpacked(path)
    (folder / 'weights').write_text('b')
    path.write_bytes(b'no zip file')
    os.rename(folder, packages / file_hash(path)[:32])
    with pytest.raises(InputError, match='a.zip: not a whole zip file'):
        unpacked(path)
    assert kept_in(packages) == set()
