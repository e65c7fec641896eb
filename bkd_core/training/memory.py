# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Keep the memory that a step frees for the next step."""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1  # bytes that lie free at the heap's end


def keep_freed_memory() -> bool:
    """
    Tell the C library not to give freed memory back to the system, from now on.

    glibc maps a tensor of megabytes anew each time and unmaps it when it is freed, so that the
    system clears its pages again and again, which takes a good part of a training step on a
    processor. Afterwards this process stays as large as it ever was; results are the same.

    :return: Whether the C library has these settings; glibc has.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl, macOS, Windows
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
