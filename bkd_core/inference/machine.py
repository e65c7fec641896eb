# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What this machine's processor is and can do, as far as a choice depends on it."""

from __future__ import annotations

from functools import lru_cache
import os
from pathlib import Path
import platform

CPUINFO = Path('/proc/cpuinfo')
NVIDIA = Path('/proc/driver/nvidia')
# As Linux names them on x86 and Arm.
_BFLOAT16 = {'amx_bf16', 'avx512_bf16', 'bf16'}


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 itself; False where that is unknown."""
    return bool(_BFLOAT16 & set(_cpuinfo()[1]))


def has_nvidia_driver() -> bool:
    """Return whether a driver for CUDA devices is loaded."""
    return (NVIDIA / 'version').exists()


def nvidia_devices() -> list[str]:
    """Return the names of the CUDA devices as their driver tells them; none without a driver."""
    names = []
    for path in sorted(NVIDIA.glob('gpus/*/information')):
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
            key, _, value = line.partition(':')
            if key.strip() == 'Model':
                names.append(value.strip())
    return names


def identity() -> str:
    """Return what tells processors apart: name, architecture, cores and instructions."""
    name, flags = _cpuinfo()
    return ' '.join([platform.machine(), name, f'{os.cpu_count()} cores', *sorted(flags)])


@lru_cache(maxsize=1)
def _cpuinfo() -> tuple[str, tuple[str, ...]]:
    """Return the first processor's name and its flags; both empty where Linux doesn't say."""
    try:
        lines = CPUINFO.read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:
        return platform.processor(), ()
    values: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(':')
        values.setdefault(key.strip(), value.strip())
    flags = values.get('flags') or values.get('Features') or ''
    return values.get('model name') or platform.processor(), tuple(flags.split())
