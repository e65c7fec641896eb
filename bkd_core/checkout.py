# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which commit of the project runs."""

from __future__ import annotations

from pathlib import Path
import subprocess


def commit() -> str:
    """
    Return the commit of the checkout that this code runs from, or 'unknown'.

    '-dirty' follows if anything but the results that benchmarks write differs from it.
    """
    try:
        short, changes = (
            subprocess.run(
                ['git', *words], capture_output=True, text=True, timeout=10, check=True,
                cwd=Path(__file__).parents[1]).stdout.strip()
            for words in (
                ('rev-parse', '--short=12', 'HEAD'),
                ('status', '--porcelain', '--untracked-files=no', '--', '.',
                 ':(exclude)docs/results')))
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
    return f'{short}-dirty' if changes else short
