# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Zip files of packages, unpacked once into `~/.cache/bkd_ros/packages`.

    HASH        content of the zip file with this SHA-256
    .HASH.lock  held by the process that unpacks it
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
import fcntl
import logging
import os
from pathlib import Path
import tempfile
from typing import Iterator

from bkd_core import atomic
from bkd_core.cache_folder import cache_folder
from bkd_core.errors import InputError
from bkd_core.manifest import check_folder, file_hash, unpack

_MOST_PACKAGES = 8

logger = logging.getLogger(__name__)


def unpacked(path: Path) -> Path:
    """
    Return the folder of a zip file's content, kept for the next time.

    Processes that ask for the same file at once unpack it once; the others wait for it. A folder
    that is not as its manifest says any more is unpacked anew.

    :param path: The zip file.
    :raises InputError: As `manifest.unpack`, and if the cache cannot be written.
    """
    folder = cache_folder() / 'packages' / file_hash(path)[:32]
    if _damage(folder) == '':
        return folder
    try:
        with _only_process(folder):
            damage = _damage(folder)  # another may have been faster
            if damage == '':
                return folder
            if damage is not None:
                logger.warning('%s; it is unpacked anew from %s', damage, path)
                _delete(folder)
            with atomic.directory(folder) as fresh:
                unpack(path, fresh)
            _forget_old(folder)
    except OSError as error:
        raise InputError(
            f'{path}: cannot be unpacked into {folder.parent}: {error.strerror}. Unpack it '
            'yourself and give the folder') from error
    return folder


def _damage(folder: Path) -> str | None:
    """Return what is wrong with a kept folder, '' for nothing, None if there is none."""
    if not folder.exists():
        return None
    try:
        with suppress(OSError):  # of a cache that cannot be written nothing is forgotten either
            os.utime(folder)  # it is in use: others are forgotten before it
        check_folder(folder)
    except (InputError, OSError) as error:
        return f'{folder}: damaged in the cache: {error}'
    return ''


@contextmanager
def _only_process(folder: Path) -> Iterator[None]:
    """Wait until no other process unpacks into a folder; a killed one lets go by itself."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The file stays: one who waits for it and one who comes later must mean the same file.
    with folder.with_name(f'.{folder.name}.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(newest: Path) -> None:
    """Delete what was not used for longest, so that eight packages stay."""
    ages = []
    for folder in newest.parent.glob('[!.]*'):
        with suppress(FileNotFoundError):  # another process was faster
            ages.append((folder.stat().st_mtime_ns, folder))
    others = [folder for _, folder in sorted(ages) if folder != newest]
    for folder in others[:-(_MOST_PACKAGES - 1)]:
        _delete(folder)


def _delete(folder: Path) -> None:
    """Delete a folder at one blow, so that nobody takes half of it."""
    with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix='.old.', ignore_cleanup_errors=True) as aside, suppress(
            FileNotFoundError):  # another process was faster
        folder.rename(Path(aside) / folder.name)
