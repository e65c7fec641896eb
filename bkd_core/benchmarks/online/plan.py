# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the parts of the benchmark of adaptation rounds consist of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence

from bkd_core.benchmarks.online.budget import Budget
from bkd_core.benchmarks.online.chain import Chain
from bkd_core.benchmarks.online.tent import TentRun
from bkd_core.errors import unknown_name

PARTS = ('round', 'ten', 'gate', 'continual', 'rate')
LONG, REMEMBERS, FORGETS = 'rounds', 'with memory', 'without memory'


@dataclass(frozen=True, kw_only=True)
class Work:
    """
    What the parts consist of.

    :param chains: Chains of rounds.
    :param tents: Passes of TENT.
    :param has_trials: Try the gate.
    :param has_rate: Measure the node's rate beside a round.
    """

    chains: list[Chain]
    tents: list[TentRun]
    has_trials: bool
    has_rate: bool


def plan(budget: Budget, parts: Sequence[str], seeds: Sequence[int]) -> Work:
    """
    Return what the parts consist of.

    :param budget: Sizes and lengths.
    :param parts: Of `PARTS`.
    :param seeds: Of the starts.
    :raises InputError: If a part is unknown.
    """
    for part in parts:
        if part not in PARTS:
            raise unknown_name('part of the benchmark', part, PARTS)
    chains: list[Chain] = []
    tents: list[TentRun] = []
    for seed in dict.fromkeys(seeds):
        if 'round' in parts or 'ten' in parts:  # the first of ten is the one
            num_rounds = budget.num_rounds if 'ten' in parts else 1
            chains.append(long_chain(budget, num_rounds, seed))
        if 'ten' in parts:
            tents += [tent_passes(budget, rate, seed) for rate in budget.tent_rates]
        if 'continual' in parts:
            chains += [
                continual_chain(budget, world, memory_frames, seed)
                for world in ('streets', 'camvid')
                for memory_frames in (budget.memory_frames, 0)]
    return Work(
        chains=chains, tents=tents, has_trials='gate' in parts, has_rate='rate' in parts)


def long_chain(budget: Budget, num_rounds: int, seed: int) -> Chain:
    """
    Return rounds on the first target of camvid; the first one is the part 'round'.

    :param budget: Sizes and lengths.
    :param num_rounds: How many.
    :param seed: Of the start.
    """
    world = budget.worlds['camvid']
    return Chain(
        world=world, variant=LONG, targets=(next(iter(world.targets)),) * num_rounds,
        settings=budget.settings['camvid'], seed=seed)


def continual_chain(budget: Budget, name: str, memory_frames: int, seed: int) -> Chain:
    """
    Return a round on each target of a world; where there are two, back on the first at last.

    :param budget: Sizes and lengths.
    :param name: Name of the world.
    :param memory_frames: 0 remembers nothing.
    :param seed: Of the start.
    """
    world = budget.worlds[name]
    targets = tuple(world.targets)
    return Chain(
        world=world, variant=REMEMBERS if memory_frames else FORGETS, seed=seed,
        targets=targets if len(targets) > 2 else (*targets, targets[0]),
        settings=replace(budget.settings[name], memory_frames=memory_frames))


def tent_passes(budget: Budget, rate: float, seed: int) -> TentRun:
    """
    Return as many passes of TENT over the same target.

    :param budget: Sizes and lengths.
    :param rate: Learning rate.
    :param seed: Of the start.
    """
    chain = long_chain(budget, budget.num_rounds, seed)
    return TentRun(
        world=chain.world, target=chain.targets[0], num_rounds=budget.num_rounds, seed=seed,
        learning_rate=rate, run=f'{chain.run}_tent_{rate:g}')
