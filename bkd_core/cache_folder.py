# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where results are kept that can be computed anew: ~/.cache/bkd_ros."""

from __future__ import annotations

import os
from pathlib import Path

from bkd_core import atomic

_MOST_FILES = 64


def cache_folder() -> Path:
    """Return the folder, which need not exist; XDG_CACHE_HOME moves it."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'bkd_ros'


def write_cached(path: Path, data: bytes) -> None:
    """
    Write a file into a folder of the cache, where the 64 newest files stay.

    :param path: The file; its folder is made.
    :param data: The whole content.
    :raises OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, data)
    ages = []
    for file in path.parent.glob('[!.]*'):
        try:
            ages.append((file.stat().st_mtime_ns, file))
        except FileNotFoundError:  # another process was faster
            continue
    for _, file in sorted(ages)[:-_MOST_FILES]:
        file.unlink(missing_ok=True)
