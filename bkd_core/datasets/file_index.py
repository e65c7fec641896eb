# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The files of a folder, listed once and remembered.

A listing is kept in the cache folder together with the time stamps of the folders it comes from.
It holds as long as these do: adding, removing or renaming a file changes its folder's. On a
network drive, a hundred thousand files then cost one look at each folder instead of minutes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
import time
from typing import Iterator

from bkd_core.cache_folder import cache_folder, write_cached
from bkd_core.errors import InputError

logger = logging.getLogger(__name__)

_FORMAT = 1
# A folder that has changed this recently may change again within one tick of its clock.
_SETTLED_NS = 2_000_000_000
_Listing = dict[str, list]  # folder, relative -> [its time stamps, the names of its files]


def list_tree(root: Path, *, depth: int = 0) -> list[str]:
    """
    Return the files below a folder, sorted; hidden files and folders are left out.

    :param root: The folder.
    :param depth: How many levels of subfolders are searched; 0 for none.
    :return: Paths relative to the folder, with '/'.
    :raises InputError: If the folder is missing or cannot be read.
    """
    path = _cache_path(root, depth)
    listing = _read(path)
    if listing is None or not _holds(listing, root):
        started_ns = time.time_ns()
        try:
            listing = dict(_scan(root, '', depth))
        except OSError as error:
            raise InputError(f'{error.filename}: cannot be read ({error.strerror})') from error
        if all(max(stamps) < started_ns - _SETTLED_NS for stamps, _ in listing.values()):
            _write(path, listing)
    return sorted(
        f'{folder}/{name}' if folder else name
        for folder, (_, names) in listing.items() for name in names)


def _scan(root: Path, folder: str, depth: int) -> Iterator[tuple[str, list]]:
    path = os.path.join(root, folder)
    stamps = _stamps(path)  # before the listing, so that a change meanwhile makes it stale
    names, folders = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith('.'):
                (folders if entry.is_dir() else names).append(entry.name)
    yield folder, [stamps, names]
    if depth:
        for name in sorted(folders):
            yield from _scan(root, f'{folder}/{name}' if folder else name, depth - 1)


def _stamps(path: str) -> list[int]:
    state = os.stat(path)
    return [state.st_mtime_ns, state.st_ctime_ns]


def _holds(listing: _Listing, root: Path) -> bool:
    try:
        return all(
            _stamps(os.path.join(root, folder)) == stamps
            for folder, (stamps, _) in listing.items())
    except OSError:
        return False


def _cache_path(root: Path, depth: int) -> Path:
    place = os.fsencode(os.path.realpath(root)) + b'\n%d' % depth
    key = hashlib.sha256(place).hexdigest()[:32]
    return cache_folder() / 'file_lists' / f'{key}.json'


def _read(path: Path) -> _Listing | None:
    try:
        content = json.loads(path.read_bytes())
        if content['format'] != _FORMAT:
            return None
        return {
            str(folder): [[int(stamp) for stamp in stamps], [str(name) for name in names]]
            for folder, (stamps, names) in content['folders'].items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning('%s: is not readable, so the files are listed anew: %s', path, error)
        return None


def _write(path: Path, listing: _Listing) -> None:
    try:
        write_cached(path, json.dumps({'format': _FORMAT, 'folders': listing}).encode())
    except OSError as error:
        logger.warning('the list of files cannot be kept: %s', error)
