# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Writing that leaves the old content or the new one."""

from __future__ import annotations

import os
from pathlib import Path

from bkd_core import atomic
import pytest


class PowerCut(BaseException):
    """Stands for anything that may end a program."""


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / 'file.txt'
    atomic.write_text(path, 'grün')
    assert path.read_bytes() == 'grün'.encode()
    atomic.write_bytes(path, b'new')
    assert path.read_bytes() == b'new'
    assert os.listdir(tmp_path) == ['file.txt']
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_file_stays_as_it_was_when_writing_stops_midway(tmp_path, monkeypatch, step):
    path = tmp_path / 'file.txt'
    atomic.write_text(path, 'old')

    def stop(*arguments):
        raise PowerCut

    monkeypatch.setattr(os, step, stop)
    with pytest.raises(PowerCut):
        atomic.write_text(path, 'new')
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file.txt']


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda handle: (calls.append('fsync'), fsync(handle)))
    monkeypatch.setattr(os, 'replace', lambda *a: (calls.append('replace'), replace(*a)))
    atomic.write_text(tmp_path / 'file.txt', 'text')
    assert calls == ['fsync', 'replace', 'fsync']  # the file, its name, the folder


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic.write_text(tmp_path / 'missing' / 'file.txt', 'text')


def test_a_directory_appears_complete_with_its_parents(tmp_path):
    path = tmp_path / 'a' / 'b'
    with atomic.directory(path) as temporary:
        (temporary / 'deep').mkdir()
        (temporary / 'deep' / 'file').write_text('text')
        assert not path.exists()
    assert (path / 'deep' / 'file').read_text() == 'text'
    assert os.listdir(path.parent) == ['b']


def test_a_directory_replaces_the_old_one_wholly(tmp_path):
    path = tmp_path / 'model'
    path.mkdir()
    (path / 'old').touch()
    with atomic.directory(path) as temporary:
        (temporary / 'new').touch()
    assert os.listdir(path) == ['new']
    assert os.listdir(tmp_path) == ['model']


def test_a_directory_stays_as_it_was_when_its_block_fails(tmp_path):
    path = tmp_path / 'model'
    path.mkdir()
    (path / 'old').touch()
    with pytest.raises(PowerCut), atomic.directory(path) as temporary:
        (temporary / 'new').touch()
        raise PowerCut
    assert os.listdir(path) == ['old']
    assert os.listdir(tmp_path) == ['model']


def test_the_old_directory_comes_back_when_the_new_one_cannot_take_its_place(
        tmp_path, monkeypatch):
    path = tmp_path / 'model'
    path.mkdir()
    (path / 'old').touch()
    rename = Path.rename

    def fail_for_the_new_one(self, target):
        if Path(target) == path and 'before' not in self.name:
            raise OSError('no')
        return rename(self, target)

    monkeypatch.setattr(Path, 'rename', fail_for_the_new_one)
    with pytest.raises(OSError, match='no'), atomic.directory(path) as temporary:
        (temporary / 'new').touch()
    assert os.listdir(path) == ['old']
