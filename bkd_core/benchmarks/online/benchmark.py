# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Make the parts of the benchmark of adaptation rounds, and say what is left of each."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bkd_core.benchmarks.online.budget import Budget, BUDGETS
from bkd_core.benchmarks.online.chain import missing_rounds, run_chain, start_of
from bkd_core.benchmarks.online.journal import Journal
from bkd_core.benchmarks.online.page import write_page
from bkd_core.benchmarks.online.plan import plan
from bkd_core.benchmarks.online.rate import rate_run, require_ros, run_rate
from bkd_core.benchmarks.online.tent import run_tent
from bkd_core.benchmarks.online.trial import plan_trials, run_trials, trials_run
from bkd_core.errors import unknown_name


def run_online(
    results: Path, *, parts: Sequence[str], budget: str, seeds: Sequence[int], output: Path,
    data_root: Path | None,
) -> Path:
    """
    Make what has no line yet, and write RESULTS/online.md after each piece.

    :param results: Folder of the lines, the page and the charts.
    :param parts: Of `PARTS`.
    :param budget: Name of a budget.
    :param seeds: Of the starts.
    :param output: Folder of starts, recordings and versions.
    :param data_root: Folder that the data sets' roots are relative to.
    :return: The page.
    :raises InputError: If data, or ROS 2 for the part 'rate', are missing.
    """
    chosen = _budget(budget)
    work = plan(chosen, parts, seeds)
    if work.has_rate:
        require_ros()
    journal = Journal(results, budget)
    places = {'output': output, 'data_root': data_root}
    for chain in work.chains:
        run_chain(chain, journal, **places)
        write_page(results, journal, chosen)
    for tent in work.tents:
        if any(not journal.has(tent.run, number) for number in range(tent.num_rounds + 1)):
            start = start_of(tent.world, seed=tent.seed, **places)
            run_tent(tent, journal, start=start, **places)
        write_page(results, journal, chosen)
    if work.has_trials:
        run_trials(chosen, journal, **places)
        write_page(results, journal, chosen)
    if work.has_rate:
        run_rate(chosen.rate, journal, output=output)
    return write_page(results, journal, chosen)


def list_work(
    results: Path, *, parts: Sequence[str], budget: str, seeds: Sequence[int],
) -> list[str]:
    """
    Return a line for each piece: how much of it is left, and the minutes that it may take.

    :param results: Folder of the lines.
    :param parts: Of `PARTS`.
    :param budget: Name of a budget.
    :param seeds: Of the starts.
    """
    chosen = _budget(budget)
    work = plan(chosen, parts, seeds)
    journal = Journal(results, budget)
    minutes = chosen.minutes
    rows: list[tuple[str, int, int, float]] = []
    for chain in work.chains:
        left = len(missing_rounds(chain, journal))
        rows.append((chain.run, left, len(chain.targets) + 1, minutes[chain.world.name]))
    for tent in work.tents:
        rows.append(_row(journal, tent.run, tent.num_rounds + 1, minutes['tent']))
    if work.has_trials:
        rows.append(_row(journal, trials_run(chosen), len(plan_trials(chosen)), minutes['trial']))
    if work.has_rate:
        rows.append(_row(
            journal, rate_run(chosen.rate), len(chosen.rate.sizes), minutes['rate']))
    total = sum(left * each for _, left, _, each in rows)
    return [
        *(f'{name}: {left} of {count} left, about {left * each:.0f} minutes'
          for name, left, count, each in rows),
        f'about {total:.0f} minutes in all, on one core']


def _row(
    journal: Journal, run: str, count: int, minutes: float,
) -> tuple[str, int, int, float]:
    """Return a run's name, how many of its numbers have no line, how many it has, minutes."""
    left = sum(not journal.has(run, number) for number in range(count))
    return run, left, count, minutes


def _budget(name: str) -> Budget:
    if name not in BUDGETS:
        raise unknown_name('budget', name, BUDGETS)
    return BUDGETS[name]()
