# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""config/experiments/own_data.yaml on folders as docs/own_data.md makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bkd_core.adaptation import FrameMetadata, FrameStore
from bkd_core.config import AugmentationConfig, ModelConfig
from bkd_core.config_file import load_experiment
from bkd_core.datasets.replay import REPLAY
from bkd_core.experiment import run_experiment
import cv2
from tiny_training import PaintedFrames, register_tiny_network

ROOT = Path(__file__).resolve().parents[1]
NUM_IMAGES, NUM_TRAINED = 8, 5


def write_data(folder):
    """Write sim/ with labels (values 0 to 8 are classes of Cityscapes, too) and store/."""
    frames = PaintedFrames(NUM_IMAGES)
    for name in ('images', 'labels'):
        (folder / 'sim' / name).mkdir(parents=True)
    for index in range(NUM_IMAGES):
        cv2.imwrite(str(folder / f'sim/images/{index:04d}.png'), frames.image(index)[..., ::-1])
        cv2.imwrite(str(folder / f'sim/labels/{index:04d}.png'), frames.labels(index))
    with FrameStore(folder / 'store', max_bytes=10**6) as store:
        for index in range(4):
            store.add(frames.image(index), FrameMetadata(stamp_ns=index * 10**9, topic='/image'))


def test_the_example_for_own_data_trains_all_its_stages(monkeypatch, tmp_path):
    register_tiny_network(monkeypatch)
    write_data(tmp_path)
    stages = load_experiment(ROOT / 'config' / 'experiments' / 'own_data.yaml')
    source, validation = ({'label_space': 'cityscapes19', **part} for part in (
        {'last': NUM_TRAINED - 1}, {'first': NUM_TRAINED}))
    assert set(stages['student'].source.options) == set(source)
    small = {
        name: replace(
            config, steps=2, device='cpu', model=ModelConfig(
                network='tiny', input_height=64, init=config.model.init),
            augmentation=AugmentationConfig(crop_size=(32, 32)),
            source=replace(config.source, options=source),
            validation=replace(config.validation, options=validation))
        for name, config in stages.items()}
    scores = run_experiment(
        small, output=tmp_path / 'own', data_root=tmp_path, replay_frames=2)
    assert list(scores) == ['source_only', 'teacher', 'student']
    assert {score.num_frames for score in scores.values()} == {NUM_IMAGES - NUM_TRAINED}
    assert len(list((tmp_path / 'own' / 'student' / REPLAY / 'images').iterdir())) == 2
