# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The demo's last step: the gate's decision about its student, and the swap."""

from __future__ import annotations

import json
import shutil

from bkd_core.adaptation.versions import ModelVersions
from bkd_core.benchmarks import demo_gate
from bkd_core.benchmarks.demo_gate import swap_student
from bkd_core.inference import Segmenter
from fixtures_adaptation import StandingCamera
import pytest
import test_adaptation_round as rounds
from test_adaptation_round import weights
from tiny_training import PaintedFrames

# The fixtures of that file: a model, its target, and a round that came to its end.
tiny_world, module_patch = rounds.tiny_world, rounds.module_patch
model, target, finished = rounds.model, rounds.target, rounds.finished


@pytest.fixture
def models(model, finished, tmp_path, monkeypatch):
    """Return a demo's models: the student of a round that made its model better."""
    # So small a network drops a class at every turn.
    monkeypatch.setattr(demo_gate, 'GateSettings', lambda: rounds.SETTINGS.gate)
    better = finished[1].version.directory
    for name, directory in (('source_only', model), ('teacher', better), ('student', better)):
        shutil.copytree(
            directory, tmp_path / 'models' / name,
            ignore=shutil.ignore_patterns('version.json', 'report.*'))
    return tmp_path / 'models'


def swap(models, **changes):
    """Let the gate decide."""
    return swap_student(models, models.parent / 'versions', **{
        'frames': StandingCamera(20, seed=5, shade=0.8), 'replay': PaintedFrames(8, seed=7),
        'sources': (models.parent / 'drive',), 'num_adapting': 60, **changes})


def test_a_better_student_takes_the_place_of_the_network_before(models, monkeypatch):
    version, table = swap(models)
    found = ModelVersions(models.parent / 'versions').list()
    assert [item.state for item in found] == ['accepted', 'in use'], version.reason
    assert weights(Segmenter.load(models.parent / 'versions').directory) == weights(
        models / 'student')
    values = json.loads((version.directory / 'report.json').read_text())
    assert values['num_adapting'] == 60 and len(table.rows) == len(values['criteria']) == 8
    assert all(row[3] == 'yes' for row in table.rows) and 'accepted it' in table.note
    assert (version.directory / 'report.html').exists()
    assert not (models / 'student' / 'report.html').exists()
    # The same demo again reads what was decided.
    monkeypatch.setattr(demo_gate, 'measure_student', lambda *a, **k: pytest.fail('measured'))
    assert swap(models)[0].name == version.name


def test_a_student_that_is_no_better_is_kept_and_not_used(models):
    config = (models / 'student' / 'config.yaml').read_text()
    shutil.rmtree(models / 'student')
    shutil.copytree(models / 'source_only', models / 'student')
    (models / 'student' / 'config.yaml').write_text(config)
    version, table = swap(models)
    assert version.state == 'refused' and 'refused it' in table.note
    assert ModelVersions(models.parent / 'versions').in_use().number == 1
    assert ['label free gain', '0.000', 'at least 0.01', 'NO'] in table.rows


def test_a_demo_stopped_before_the_swap_is_brought_to_its_end(models):
    versions = ModelVersions(models.parent / 'versions')
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        def stop(self, name):
            raise KeyboardInterrupt
        original = ModelVersions.use
        patch.setattr(ModelVersions, 'use', lambda self, name: (
            stop(self, name) if versions.list()[1:] else original(self, name)))
        swap(models)
    assert versions.in_use().number == 1
    assert swap(models)[0].state == 'in use'
    assert [item.number for item in versions.list()] == [1, 2]
