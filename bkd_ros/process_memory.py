# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How much memory this process holds."""

from __future__ import annotations

import math
from pathlib import Path
import resource


def resident_memory_mb() -> float:
    """Return the resident memory of this process in MiB; NaN where there is no /proc."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return math.nan
    return pages * resource.getpagesize() / 2**20
