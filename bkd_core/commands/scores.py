# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores as a table in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from bkd_core.evaluation import Scores


def print_scores(scores: dict[str, Scores]) -> None:
    """
    Print the scores of several models side by side.

    :param scores: By the models' names.
    """
    table = Table(title='IoU in percent')
    for column in ('class', *scores):
        table.add_column(column, justify='left' if column == 'class' else 'right')
    for name in next(iter(scores.values())).iou:
        table.add_row(name, *(percent(score.iou[name]) for score in scores.values()))
    table.add_section()
    table.add_row('mean', *(percent(score.miou) for score in scores.values()))
    for subset in next(iter(scores.values())).subset_mious:
        means = (score.subset_mious[subset] for score in scores.values())
        table.add_row(f'mean, {subset}', *(percent(mean) for mean in means))
    table.add_row(
        'pixel accuracy', *(percent(score.pixel_accuracy) for score in scores.values()))
    table.add_row('calibration error', *(percent(score.ece) for score in scores.values()))
    Console().print(table)


def percent(value: float) -> str:
    """
    Return a share as text in percent; '-' for NaN.

    :param value: 0 to 1.
    """
    return '-' if value != value else f'{100 * value:.1f}'
