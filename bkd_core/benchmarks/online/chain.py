# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rounds one after the other, each from the version in use; scored after each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
import json
from pathlib import Path
from typing import Any

from bkd_core.adaptation.report import JSON
from bkd_core.adaptation.round import run_round
from bkd_core.adaptation.round_input import RoundTask
from bkd_core.adaptation.settings import RoundSettings
from bkd_core.adaptation.versions import ModelVersions
from bkd_core.benchmarks.online.journal import Journal
from bkd_core.benchmarks.online.world import (
    make_recording,
    make_start,
    score_labelled,
    World,
)
from bkd_core.config_file import to_yaml
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.inference import Segmenter
from bkd_core.training.checkpoint import fingerprint


@dataclass(frozen=True, kw_only=True)
class Chain:
    """
    Rounds in a row.

    :param world: What they adapt to.
    :param variant: Name of what sets it apart from others in the same world.
    :param targets: Name of the target of each round.
    :param settings: Of each round; the seed grows by one from round to round.
    :param seed: Of the start and of the first round.
    """

    world: World
    variant: str
    targets: tuple[str, ...]
    settings: RoundSettings
    seed: int

    @property
    def run(self) -> str:
        """Return a name that ends in the hash of all that the numbers depend on."""
        known = json.dumps([
            to_yaml(self.world.start), asdict(self.settings),
            {name: asdict(data) for name, data in self.world.targets.items()},
            {name: asdict(data) for name, data in self.world.scored.items()}], default=str)
        # A chain that goes on for longer goes through the same rounds first.
        way = '-'.join(dict.fromkeys(self.targets))
        name = f'{self.world.name}_{way}_{self.variant}'.replace(' ', '_')
        return f'{name}_seed{self.seed}_{fingerprint(known)[:8]}'


def missing_rounds(chain: Chain, journal: Journal) -> list[int]:
    """
    Return the numbers of the rounds without a line; 0 is the start.

    :param chain: The chain.
    :param journal: The record.
    """
    done = {line['number'] for line in journal.lines() if line['run'] == chain.run}
    return [number for number in range(len(chain.targets) + 1) if number not in done]


def run_chain(chain: Chain, journal: Journal, *, output: Path, data_root: Path | None) -> None:
    """
    Make the rounds that are not made yet; each gets its line once it is scored.

    :param chain: The chain.
    :param journal: The record.
    :param output: Folder of starts, recordings and versions.
    :param data_root: Folder that the data sets' roots are relative to.
    """
    if not missing_rounds(chain, journal):
        return
    world = chain.world
    folder = output / chain.run
    start = start_of(world, seed=chain.seed, output=output, data_root=data_root)
    versions = ModelVersions(folder)
    for number in range(len(chain.targets) + 1):
        # Each round makes one version, accepted or not; the first version is the start.
        if number and len(versions.list()) <= number:
            target = chain.targets[number - 1]
            run_round(RoundTask(
                model=start, output=folder, sources=(make_recording(
                    world.targets[target], output / f'{world.name}_{target}', data_root),),
                settings=replace(chain.settings, seed=chain.seed + number)))
        if not journal.has(chain.run, number):
            journal.add(**_line(chain, number, start, versions, data_root))


def start_of(world: World, *, seed: int, output: Path, data_root: Path | None) -> Path:
    """
    Return the model directory of a world's source-only student.

    :param world: The world.
    :param seed: Of its training.
    :param output: Folder of starts.
    :param data_root: Folder that the data sets' roots are relative to.
    """
    known = fingerprint(to_yaml(world.start))[:8]
    return make_start(
        world.start, folder=output / f'{world.name}_start_{known}', seed=seed,
        data_root=data_root)


def _line(
    chain: Chain, number: int, start: Path, versions: ModelVersions, data_root: Path | None,
) -> dict[str, Any]:
    used, facts = start, {'is_accepted': None, 'reason': '', 'seconds': 0.0}
    if number:
        known = [version for version in versions.list() if version.number <= number + 1]
        used = [version for version in known if version.state != 'refused'][-1].directory
        facts = json.loads((known[-1].directory / JSON).read_text(encoding='utf-8'))
    segmenter = Segmenter.load(used, runtime='onnxruntime')
    scores = {
        name: score_labelled(segmenter, open_dataset(data, data_root))
        for name, data in chain.world.scored.items()}
    return {
        'kind': 'round', 'run': chain.run, 'number': number, 'world': chain.world.name,
        'variant': chain.variant, 'seed': chain.seed,
        'target': chain.targets[number - 1] if number else None,
        'miou': {name: score.miou for name, score in scores.items()},
        'sure_right': {name: score.sure_right for name, score in scores.items()},
        'is_accepted': facts['is_accepted'], 'reason': facts['reason'],
        'memory_kept': facts.get('after', {}).get('memory_kept'), 'seconds': facts['seconds']}
