# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A trial is read as it was written, by the node that wrote it."""

from __future__ import annotations

from dataclasses import replace

from bkd_core.adaptation import FrameScores, StoredTrial, TrialFile
from bkd_core.errors import InputError
import numpy as np
import pytest

TRIAL = StoredTrial(
    version='000002-b', before='000001-a', num_starts=2, averages={'/image': (7, FrameScores(
        entropy=0.25, confidence=0.75, label_shares=np.arange(256) / 1e3))})


def test_a_trial_is_read_as_it_was_written_and_each_node_has_its_own(tmp_path):
    file = TrialFile(tmp_path, '/robot/node')
    assert file.read() is None
    file.write(TRIAL)
    found = file.read()
    assert replace(found, averages={}) == replace(TRIAL, averages={})
    count, scores = found.averages['/image']
    assert (count, scores.entropy, scores.confidence) == (7, 0.25, 0.75)
    assert (scores.label_shares == np.arange(256) / 1e3).all()
    assert TrialFile(tmp_path, '/other/node').read() is None
    file.delete()
    file.delete()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('text', [
    '', '[]', '{}', '{"version": "b", "before": "a", "averages": []}',
    '{"version": "b", "before": "a", "averages": {"/image": [1, {"entropy": 1}]}}'])
def test_a_damaged_file_is_named(text, tmp_path):
    file = TrialFile(tmp_path, '/node')
    file.path.write_text(text)
    with pytest.raises(InputError, match='on_trial.node.json: damaged.*Delete it'):
        file.read()
