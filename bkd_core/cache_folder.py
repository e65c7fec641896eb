# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where results are kept that can be computed anew: ~/.cache/bkd_ros."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder, which need not exist; XDG_CACHE_HOME moves it."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'bkd_ros'
