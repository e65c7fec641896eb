# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Writing so that a power cut leaves either the old content or the new, never a torn file."""

from __future__ import annotations

from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import tempfile
from typing import Iterator


def write_bytes(path: str | Path, data: bytes) -> None:
    """
    Write a file atomically: a reader sees all of it or the file as it was before.

    :param path: Where it goes; the folder must exist.
    :param data: The whole content.
    :raises OSError: If the folder is missing, read-only or full; nothing is changed then.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """
    Write a text file atomically, in UTF-8.

    :param path: Where it goes; the folder must exist.
    :param text: The whole content.
    """
    write_bytes(path, text.encode('utf-8'))


@contextmanager
def directory(path: str | Path) -> Iterator[Path]:
    """
    Fill a directory beside its final place and rename it there when the block succeeds.

    A directory that is already there is moved aside first and deleted only after the new one
    is in place, so that a crash between the two leaves a complete copy under one of two names.

    :param path: The final place; missing parents are made.
    :return: Yields the temporary directory to write into.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f'.{path.name}.'))
    try:
        temporary.chmod(0o755)
        yield temporary
        for file in temporary.rglob('*'):
            sync_directory(file)
        sync_directory(temporary)
        before = path.with_name(f'.{path.name}.before')
        if path.exists():
            shutil.rmtree(before, ignore_errors=True)
            path.rename(before)
        try:
            temporary.rename(path)
        except OSError:
            if before.exists():
                before.rename(path)
            raise
        sync_directory(path.parent)
        shutil.rmtree(before, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sync_directory(path: Path) -> None:
    """
    Ask the operating system to put a file's or folder's state on the disk.

    :param path: A file or folder.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
