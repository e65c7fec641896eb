# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Zip files of packages are unpacked once, stay whole, and their number is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import threading

from bkd_core import package_cache
from bkd_core.manifest import MANIFEST, write_manifest, write_zip
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
