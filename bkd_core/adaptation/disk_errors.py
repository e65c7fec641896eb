# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Say where a disk does not let itself be written, and what to do about it."""

from __future__ import annotations

from contextlib import contextmanager
import errno
from pathlib import Path
from typing import Iterator

from bkd_core.errors import InputError

# Errors that the user can mend, and how.
_REMEDIES = {
    errno.ENOSPC: 'Make room (--max-megabytes bounds the versions)',
    errno.EDQUOT: 'Make room (--max-megabytes bounds the versions)',
    errno.EROFS: "Give an --output (a node's versions) that can be written"}


@contextmanager
def disk_errors(folder: Path, *, otherwise: str = '') -> Iterator[None]:
    """
    Name the folder where a disk is full or can't be written; what was reached stays.

    :param folder: The folder of versions.
    :param otherwise: What another error of the system means; empty lets it through.
    :raises InputError: In place of the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _REMEDIES:
            raise InputError(
                f'{folder}: {error.strerror}. {_REMEDIES[error.errno]}; the same command goes on '
                'with what was reached') from error
        if not otherwise:
            raise
        raise InputError(f'{folder}: {otherwise}: {error.strerror}') from error
