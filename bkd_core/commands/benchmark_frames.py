# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd benchmark selection` and `shift`: which frames are kept, and which are strange."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bkd_core.commands.options import find_data_root, require_training
from bkd_core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Selection:
    """
    Measure on CamVid which frames a store should keep, and write RESULTS/frame_selection.md.

    For example:

        bkd benchmark selection --data-root ~/data
    """

    model: str = 'default'
    """The student: a model directory, or 'default' for the one that comes with the package."""
    num_seeds: int = 5
    """How many times each stream of frames is drawn."""
    results: Path = Path('docs/results')
    """Folder of the page."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""

    def run(self) -> None:
        """Measure."""
        require_training()
        root = find_data_root(self.data_root)
        if root is None:
            raise InputError(
                'CamVid is needed: give --data-root DIR or set BKD_DATA_ROOT')
        from bkd_core.benchmarks.frame_selection import run_selection_benchmark
        page = run_selection_benchmark(
            self.results, data_root=root, model=self.model, num_seeds=self.num_seeds)
        print(f'page: {page}')


@dataclass(frozen=True, kw_only=True)
class Shift:
    """
    Measure how well models that were trained for CamVid by day notice dusk, and write the table.

    For example:

        bkd benchmark shift --models runs/day/source_only --data-root ~/data
    """

    models: tuple[str, ...]
    """Model directories."""
    results: Path = Path('docs/results')
    """Folder of the numbers and the table."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""

    def run(self) -> None:
        """Measure."""
        require_training()
        from bkd_core.benchmarks.shift import run_shift_benchmark
        path = run_shift_benchmark(
            self.models, self.results, data_root=find_data_root(self.data_root))
        print(f'table: {path}')
