# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
A list of files with their hashes that travels with them, in a folder or a zip file.

    manifest.json       SHA-256 and size of every other file, and what it is about

A folder that holds one is taken only if nothing in it is missing, changed or added.
"""

from __future__ import annotations

from contextlib import ExitStack
import errno
import hashlib
import json
from pathlib import Path, PurePosixPath
import re
import shutil
import stat
from typing import Any, BinaryIO, Iterator
import zipfile
import zlib

from bkd_core import atomic
from bkd_core.errors import InputError

MANIFEST = 'manifest.json'
FORMAT_VERSION = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip file can hold
_BLOCK = 1 << 20
_MAX_MANIFEST_BYTES = 16 << 20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_REMEDY = "'bkd package' writes no such file, so take it from another source"


def write_manifest(folder: Path, about: dict[str, Any]) -> None:
    """
    Write the manifest of all files in a folder.

    :param folder: The folder; nothing else may change in it afterwards.
    :param about: Plain values that describe it.
    """
    files = {
        name: {'sha256': file_hash(folder / name), 'bytes': (folder / name).stat().st_size}
        for name in _files_in(folder)}
    atomic.write_text(folder / MANIFEST, json.dumps(
        {'format_version': FORMAT_VERSION, 'about': about, 'files': files}, indent=1))


def check_folder(folder: Path) -> dict[str, Any]:
    """
    Compare a folder with its manifest; hidden files do not count.

    :param folder: It holds a manifest.
    :return: What the manifest says.
    :raises InputError: With the name of the first file that is missing, changed or added.
    """
    path = folder / MANIFEST
    try:
        with path.open('rb') as file:
            manifest = _parse(file.read(_MAX_MANIFEST_BYTES), str(path))
    except OSError as error:
        raise InputError(f'{path}: not readable: {error.strerror}') from error
    files = manifest['files']
    _compare_names(set(_files_in(folder)), set(files), str(folder))
    for name, known in files.items():
        file = folder / name
        _compare(name, file_hash(file), file.stat().st_size, known, str(folder))
    return manifest


def write_zip(folder: Path, path: Path) -> None:
    """
    Put a folder with a manifest into a zip file; the same files always give the same bytes.

    :param folder: The folder.
    :param path: The zip file, which is replaced only when it is whole.
    """
    partial = path.with_name(f'.{path.name}.partial')
    try:
        # Weights hardly shrink; without compression the bytes depend on no library's version.
        with zipfile.ZipFile(partial, 'w', zipfile.ZIP_STORED) as archive:
            for name in [MANIFEST, *_files_in(folder)]:
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
                entry.file_size = (folder / name).stat().st_size
                with (folder / name).open('rb') as source, archive.open(entry, 'w') as target:
                    shutil.copyfileobj(source, target, _BLOCK)
        atomic.sync_directory(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    atomic.sync_directory(path.parent)


def check_zip(path: Path) -> dict[str, Any]:
    """
    Compare a zip file with the manifest in it.

    :param path: The zip file.
    :return: What the manifest says.
    :raises InputError: If it is no whole zip file or not as its manifest says; it names the file.
    """
    return _read_zip(path, None)


def unpack(path: Path, folder: Path) -> None:
    """
    Unpack a zip file that is as its manifest says; nothing is written outside the folder.

    :param path: The zip file.
    :param folder: An empty folder.
    :raises InputError: As `check_zip`, and if the disk has no room for it.
    """
    _read_zip(path, folder)


def file_hash(path: Path) -> str:
    """
    Return the SHA-256 of a file as hexadecimal text.

    :param path: The file, of any size.
    """
    with path.open('rb') as file:
        return _hash(file)


def _read_zip(path: Path, folder: Path | None) -> dict[str, Any]:
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, where)
            if MANIFEST not in entries:
                raise InputError(
                    f"{where}: holds no {MANIFEST}; expected what 'bkd package' wrote")
            with archive.open(entries.pop(MANIFEST)) as file:
                text = file.read(_MAX_MANIFEST_BYTES)
            manifest = _parse(text, where)
            files = manifest['files']
            _compare_names(set(entries), set(files), where)
            if folder is not None:
                _require_room(folder, sum(known['bytes'] for known in files.values()), where)
            for name, known in files.items():
                with archive.open(entries[name]) as file:
                    target = None if folder is None else folder / name
                    digest, size = _copy(file, target, known['bytes'])
                _compare(name, digest, size, known, where)
    except InputError:  # a ValueError, too
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise InputError(
            f'{where}: not a whole zip file ({error}). Copy it again') from error
    except FileNotFoundError as error:
        raise InputError(f'{where}: no such file') from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # as of a place before the file's begin
            raise
        raise InputError(
            f'{where}: not a whole zip file (its list names a place outside it). Copy it '
            'again') from error
    if folder is not None:
        (folder / MANIFEST).write_bytes(text)
    return manifest


def _entries(archive: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    """Return a zip file's entries by name; refuse names that lead elsewhere, and links."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.is_dir():
            continue
        if not _is_safe(entry.filename) or kind not in (0, stat.S_IFREG):
            raise InputError(
                f'{where}: refused: {entry.filename!r} is no plain file inside the package; '
                f'{_REMEDY}')
        if entry.compress_type not in _COMPRESSIONS:
            raise InputError(
                f'{where}: refused: {entry.filename!r} is compressed by method '
                f'{entry.compress_type}; expected 0 (stored) or 8 (deflated); {_REMEDY}')
        if entry.filename in entries:
            raise InputError(
                f'{where}: refused: {entry.filename!r} is in it twice; {_REMEDY}')
        entries[entry.filename] = entry
    return entries


def _is_safe(name: Any) -> bool:
    """Return whether a name is a relative path that stays below its folder."""
    return (
        isinstance(name, str) and name != '' and not re.search(r'[\\:\x00-\x1f]', name)
        and not name.startswith('/') and PurePosixPath(name).as_posix() == name
        and '..' not in PurePosixPath(name).parts)


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
        found = manifest['format_version']
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{where}: {MANIFEST} is damaged: {error!r}') from error
    if found != FORMAT_VERSION:
        raise InputError(
            f'{where}: {MANIFEST} has format_version {found}; this bkd_ros reads '
            f'{FORMAT_VERSION}. Install the version that wrote it')
    files = manifest.get('files')
    is_whole = isinstance(files, dict) and isinstance(manifest.get('about'), dict) and all(
        isinstance(known, dict) and isinstance(known.get('sha256'), str)
        and isinstance(known.get('bytes'), int) for known in files.values())
    if not is_whole:
        raise InputError(
            f"{where}: {MANIFEST} is damaged: expected 'about', and 'sha256' and 'bytes' of each "
            'file')
    for name in files:
        if not _is_safe(name) or name == MANIFEST:
            raise InputError(
                f"{where}: refused: {MANIFEST} names '{name}', which is no file of it")
    return manifest


def _files_in(folder: Path) -> list[str]:
    """Return the sorted names of a folder's files, without hidden ones and the manifest."""
    names = (
        path.relative_to(folder) for path in folder.rglob('*') if not path.is_dir())
    return sorted(
        name.as_posix() for name in names
        if name.as_posix() != MANIFEST and not any(part.startswith('.') for part in name.parts))


def _compare_names(found: set[str], known: set[str], where: str) -> None:
    for name in sorted(found ^ known):
        what = 'is missing' if name in known else f'is not in its {MANIFEST}'
        raise InputError(
            f"{where}: '{name}' {what}; the package was changed. Copy it again, or package the "
            'model anew')


def _compare(name: str, digest: str, size: int, known: dict[str, Any], where: str) -> None:
    if (digest, size) != (known['sha256'], known['bytes']):
        raise InputError(
            f"{where}: '{name}' differs from {MANIFEST} (SHA-256 {digest[:12]}, {size} bytes; "
            f"expected {known['sha256'][:12]}, {known['bytes']} bytes): it is damaged or was "
            'replaced. Copy it again, or package the model anew')


def _require_room(folder: Path, needed: int, where: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f'{where}: takes {needed / 1e6:,.0f} MB; the disk of {folder} has '
            f'{free / 1e6:,.0f} MB left')


def _copy(source: BinaryIO, target: Path | None, most: int) -> tuple[str, int]:
    """Read a stream to its end or past its announced size; return its hash and size."""
    digest, size = hashlib.sha256(), 0
    with ExitStack() as stack:
        file = None
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(target.open('xb'))
        for block in _blocks(source):
            digest.update(block)
            size += len(block)
            if size > most:  # it claims to be smaller than it is
                break
            if file is not None:
                file.write(block)
    return digest.hexdigest(), size


def _hash(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in _blocks(file):
        digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
