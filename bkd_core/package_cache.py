# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Zip files of packages, unpacked once into `~/.cache/bkd_ros/packages`.

    HASH        content of the zip file with this SHA-256
    .HASH.lock  held by the process that unpacks it
"""

from __future__ import annotations

from contextlib import contextmanager
import fcntl
from pathlib import Path
import shutil
from typing import Iterator

from bkd_core import atomic
from bkd_core.cache_folder import cache_folder
from bkd_core.errors import InputError
from bkd_core.manifest import file_hash, MANIFEST, unpack

_MOST_PACKAGES = 8


def unpacked(path: Path) -> Path:
    """
    Return the folder of a zip file's content, kept for the next time.

    Processes that ask for the same file at once unpack it once; the others wait for it.

    :param path: The zip file.
    :raises InputError: As `manifest.unpack`, and if the cache cannot be written.
    """
    folder = cache_folder() / 'packages' / file_hash(path)[:32]
    if (folder / MANIFEST).is_file():
        return folder
    try:
        with _only_process(folder):
            if not (folder / MANIFEST).is_file():  # none was faster
                with atomic.directory(folder) as fresh:
                    unpack(path, fresh)
                _forget_old(folder)
    except OSError as error:
        raise InputError(
            f'{path}: cannot be unpacked into {folder.parent}: {error.strerror}. Unpack it '
            'yourself and give the folder') from error
    return folder


@contextmanager
def _only_process(folder: Path) -> Iterator[None]:
    """Wait until no other process unpacks into a folder; a killed one lets go by itself."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The file stays: one who waits for it and one who comes later must mean the same file.
    with folder.with_name(f'.{folder.name}.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(newest: Path) -> None:
    """Delete what was unpacked first, so that eight packages stay."""
    folders = [path for path in newest.parent.glob('[!.]*') if path != newest]
    for folder in sorted(
            folders, key=lambda path: path.stat().st_mtime_ns)[:-(_MOST_PACKAGES - 1)]:
        shutil.rmtree(folder, ignore_errors=True)
