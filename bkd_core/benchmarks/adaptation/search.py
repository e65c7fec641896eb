# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The search over BKD's unknown values: one factor at a time, around the defaults."""

from __future__ import annotations

from typing import Any, Sequence

from bkd_core.benchmarks.adaptation.factors import Change, FACTORS, settings_of
from bkd_core.benchmarks.adaptation.plan import BKD, Planner, Run
from bkd_core.benchmarks.adaptation.protocol import Protocol
from bkd_core.benchmarks.adaptation.results import Record
from bkd_core.benchmarks.adaptation.search_table import (
    SEARCH_FIELDS,
    SEARCH_LINES,
    SEARCH_TABLE,
    write_search_table,
)
from bkd_core.errors import unknown_name


def plan_search(
    protocol: Protocol, budget: str, *, factors: Sequence[str] = (), seeds: Sequence[int] = (0,),
) -> list[Run]:
    """
    Return the runs of a search: the defaults, then each value of each factor.

    All learn from the teacher that the protocol's ablation learns from. A value that is the
    default needs no run of its own.

    :param protocol: From `load_protocol`.
    :param budget: Name of one of its budgets.
    :param factors: Of `FACTORS`; none for all.
    :param seeds: One run of each for each of them, from the teacher of the same seed.
    :raises InputError: If a name is unknown or settings are wrong.
    """
    for name in factors:
        if name not in FACTORS:
            raise unknown_name('factor of the search', name, FACTORS)
    planner = Planner(protocol, protocol.budget(budget))
    for seed in dict.fromkeys(seeds):
        planner.add(BKD, protocol.ablation_teacher, seed)
        for factor in dict.fromkeys(factors or FACTORS):
            for value in FACTORS[factor]:
                change = Change(factor, value)
                planner.add(BKD, protocol.ablation_teacher, seed, change)
    return planner.in_order()


def _more(run: Run) -> dict[str, Any]:
    """Return what a line holds of the search; nothing of a run that is not BKD's."""
    if run.student_init is None:
        return dict.fromkeys(SEARCH_FIELDS)
    return {
        'factor': run.change and run.change.factor, 'value': run.change and run.change.value,
        'settings': settings_of(run.config.method, run.student_init),
        'defaults_hash': run.defaults_hash}


SEARCH = Record(
    file=SEARCH_LINES, table=SEARCH_TABLE, write_table=write_search_table, more=_more,
    more_fields=SEARCH_FIELDS)
