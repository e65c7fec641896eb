# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How much the benchmark of adaptation rounds may cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bkd_core.adaptation.settings import RoundSettings
from bkd_core.benchmarks.adaptation.plan import plan_runs
from bkd_core.benchmarks.adaptation.protocol import load_protocol
from bkd_core.benchmarks.online.rate import RateSettings
from bkd_core.benchmarks.online.world import World
from bkd_core.config import AugmentationConfig, DataConfig, ModelConfig, TrainingConfig

# Versions are small beside what a disk has; none may give way while the rounds are counted.
_KEEP_ALL = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Budget:
    """
    Sizes and lengths.

    :param worlds: What the chains of rounds adapt to, by name: camvid and streets.
    :param settings: Of a round in each of them.
    :param memory_frames: Of the continual chains that remember.
    :param num_rounds: Of the long chain.
    :param tent_rates: Learning rates of TENT.
    :param gate_start: The source-only student of the gate's trials.
    :param gate_settings: Of a round there.
    :param gate_size: (height, width) of its frames, pixels.
    :param gate_frames: Frames that a trial adapts to.
    :param good_trials: How many trials are as they should be.
    :param trials_per_fault: How many of each kind are sabotaged.
    :param rate: How the node's rate is measured beside a round.
    :param minutes: What a round in each world, a round of TENT, a trial and a size of frames
        beside a round take on one core; for estimates only.
    """

    worlds: dict[str, World]
    settings: dict[str, RoundSettings]
    memory_frames: int
    num_rounds: int
    tent_rates: tuple[float, ...]
    gate_start: TrainingConfig
    gate_settings: RoundSettings
    gate_size: tuple[int, int]
    gate_frames: int
    good_trials: int
    trials_per_fault: int
    rate: RateSettings
    minutes: dict[str, float]


def cpu_budget() -> Budget:
    """Return what is complete and takes less than two hours on one processor core."""
    return Budget(
        worlds={'camvid': _camvid(), 'streets': _streets()},
        settings={
            'camvid': RoundSettings(
                teacher_steps=100, student_steps=240, max_megabytes=_KEEP_ALL),
            'streets': RoundSettings(
                teacher_steps=80, student_steps=120, max_held_back=16, max_megabytes=_KEEP_ALL)},
        memory_frames=40, num_rounds=10, tent_rates=(1e-3, 1e-4),
        gate_start=_small_streets(steps=70), gate_settings=_short_round(),
        gate_size=(128, 228), gate_frames=60, good_trials=20, trials_per_fault=4,
        rate=RateSettings(),
        minutes={'camvid': 2.7, 'streets': 1.0, 'tent': 0.5, 'trial': 0.75, 'rate': 2.5})


def _short_round() -> RoundSettings:
    # A start that was trained for so short learns faster than the defaults let it.
    return RoundSettings(
        teacher_steps=80, teacher_learning_rate=3e-4, student_steps=120,
        student_learning_rate=3e-4, max_held_back=16, max_megabytes=_KEEP_ALL)


def _camvid() -> World:
    """Return rendered streets to a real camera, by day and at dusk."""
    config = _source_only('gazebo_to_camvid')
    day = {'split': 'val'}
    dusk = {'split': 'train', 'sequence': '0001TP'}
    scored = {
        name: DataConfig(name='camvid', root='camvid', options=options)
        for name, options in (('day', day), ('dusk', dusk))}
    return World(
        name='camvid', start=config, scored=scored,
        targets={name: _without_labels(data) for name, data in scored.items()},
        credit='CamVid (Brostow et al. 2009), CC BY-NC 4.0')


def _streets() -> World:
    """Return generated streets to those of a robot's camera, by three lights."""
    options = {'size': (144, 256)}
    return World(
        name='streets', start=_small_streets(steps=240),
        targets={
            domain: _without_labels(DataConfig(name='streets', options={
                **options, 'domain': domain, 'num_frames': 60}))
            for domain in ('target', 'night', 'fog')},
        scored={
            domain: DataConfig(name='streets', options={
                **options, 'domain': domain, 'num_frames': 40, 'first_frame': 60})
            for domain in ('target', 'night', 'fog')})


def _small_streets(*, steps: int) -> TrainingConfig:
    # From 70 steps a round on another drive has much to gain, and the gate much to see. But there
    # whatever trains longer helps all domains alike, so that is no start for several rounds.
    config = _source_only('streets')
    return replace(
        config, steps=steps, data_licences='Generated.',
        model=ModelConfig(network='lite_fpn', input_height=128),
        augmentation=AugmentationConfig(crop_size=(96, 96)),
        source=replace(config.source, options={
            'domain': 'source', 'num_frames': 120, 'size': (144, 256)}))


def _source_only(protocol: str) -> TrainingConfig:
    return plan_runs(load_protocol(protocol), 'cpu', methods=('source_only',))[0].config


def _without_labels(data: DataConfig) -> DataConfig:
    return replace(data, options={**data.options, 'has_labels': False})


BUDGETS = {'cpu': cpu_budget}
