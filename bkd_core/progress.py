# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars with the time that is left."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Advance(Protocol):
    """Report progress."""

    def __call__(self, done: int, note: str = '') -> None:
        """
        Set how much is done.

        :param done: Number of things done so far.
        :param note: Short text behind the bar.
        """


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Advance]:
    """
    Show a bar on standard error; where that is no terminal, one line at the end.

    :param description: What is being done.
    :param total: Number of things to do; 0 if it is not known.
    :return: Yields the function that sets how many are done.
    """
    columns = (
        TextColumn('{task.description}'), BarColumn(bar_width=24), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn(),
        TextColumn('{task.fields[note]}'))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total or None, note='')
        yield lambda done, note='': progress.update(task, completed=done, note=note)
