# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A model that adapts in seconds, frames to adapt to, and rounds in other processes on both."""

from __future__ import annotations

import os
from pathlib import Path
import time

from bkd_core import experiment
from bkd_core.adaptation import FrameMetadata, FrameStore
from bkd_core.experiment import run_experiment
import pytest
from tiny_training import PaintedFrames, register_tiny_network, tiny_config

# What SETTINGS of test_adaptation_round.py are, for the command line, but for the weights of the
# target. Classes may be lost, so the gate accepts a student though it is worse on the target.
QUICK_OPTIONS = (
    '--teacher-steps=10', '--student-steps=40', '--checkpoint-steps=8',
    '--teacher-learning-rate=0.01', '--student-learning-rate=0.02',
    '--confidence-threshold=0.2', '--min-class-share=0.2')
HOLD = 'BKD_TEST_HOLD'

# Python runs it at the start of every process that finds it: it makes the tiny network known,
# and halts a round at what is named in a folder, such as 'student' or 'student:5'.
CUSTOMIZE = """
import importlib.abc, importlib.util, os, pathlib, sys, time

def know_the_tiny_network(module):
    from tiny_training import TinyNetwork
    module.MODELS['tiny'] = TinyNetwork

def hold_where_a_test_wants(module):
    folder, report = pathlib.Path(os.environ['BKD_TEST_HOLD']), module.ProgressLines.report
    def held(self, stage, step, steps):
        report(self, stage, step, steps)
        for name in (stage, f'{stage}:{step}'):
            while (folder / name).exists():
                (folder / 'reached').write_text(name)
                time.sleep(0.02)
    module.ProgressLines.report = held

CHANGES = {'bkd_core.models': know_the_tiny_network}
if 'BKD_TEST_HOLD' in os.environ:
    CHANGES['bkd_core.adaptation.round_progress'] = hold_where_a_test_wants

class Changer(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        change = CHANGES.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            change(module)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Changer())
"""


class StandingCamera(PaintedFrames):
    """Painted frames of which ten in a row show the same, but for the noise."""

    def labels(self, index):
        """Return (H, W) uint8."""
        return super().labels(index // 10)


TARGET = StandingCamera(20, seed=5, shade=0.8)


def train_tiny_model(output):
    """Train a tiny model whose source frames travel with it; return its directory."""
    with pytest.MonkeyPatch.context() as patch:
        register_tiny_network(patch)
        patch.setattr(experiment, 'open_dataset', lambda config, data_root: PaintedFrames(16))
        config = tiny_config(steps=60, data_licences='Painted for this test; free.')
        run_experiment({'model': config}, output=output, data_root=None, replay_frames=12)
    return output / 'model'


def fill_store(folder, *, frames=TARGET):
    """Write frames into a frame store."""
    store = FrameStore(folder, max_bytes=10 ** 8)
    for index in range(len(frames)):
        store.add(frames.image(index), FrameMetadata(
            stamp_ns=(index + 1) * 10 ** 9, topic='/image', camera='image'))
    store.close()


class Hold:
    """
    Processes that a test starts know the tiny network, and halt where the test wants.

    :param folder: An empty folder.
    :param monkeypatch: pytest's fixture.
    """

    def __init__(self, folder: Path, monkeypatch):
        self._folder = folder / 'hold'
        self._folder.mkdir()
        (folder / 'sitecustomize.py').write_text(CUSTOMIZE)
        paths = (folder, Path(__file__).parent, os.environ.get('PYTHONPATH', ''))
        monkeypatch.setenv('PYTHONPATH', os.pathsep.join(map(str, paths)))
        monkeypatch.setenv(HOLD, str(self._folder))

    def at(self, name):
        """Halt the next round that reaches a stage, or a step of one such as 'student:5'."""
        self.release()
        (self._folder / name).touch()

    def is_reached(self):
        """Tell whether a round is halted."""
        return (self._folder / 'reached').exists()

    def release(self):
        """Let rounds go on, and halt at nothing."""
        for path in self._folder.iterdir():
            if path.name != 'reached':
                path.unlink()
        time.sleep(0.05)  # a halted round may be writing that it is
        (self._folder / 'reached').unlink(missing_ok=True)
