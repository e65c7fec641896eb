# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A round and what a robot does to it: full disks, broken recordings, kills at every stage."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
import json
import logging
import os
from pathlib import Path
import subprocess
import sys

from bkd_core.adaptation import failed_round, round_training
from bkd_core.adaptation.round import run_round
from bkd_core.adaptation.versions import ModelVersions
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.errors import InputError
import numpy as np
import pytest
import test_adaptation_round as rounds
from test_adaptation_round import run_stages_from, TARGET, task_of, weights, write
from test_datasets_recording import write_messages
import torch

# The fixtures of that file: a model, its target, and a round that came to its end.
tiny_world, module_patch = rounds.tiny_world, rounds.module_patch
model, target, finished = rounds.model, rounds.target, rounds.finished


@contextmanager
def mounted(folder, options):
    """Mount a small disk of its own, which only a privileged process can."""
    folder.mkdir()
    mount = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip('mounting a disk needs privileges')
    try:
        yield folder
    finally:
        subprocess.run(['umount', str(folder)], check=True)


def folder_size(folder):
    """Return the kilobytes that files take up."""
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) // 1024


def test_a_full_disk_ends_the_round_and_with_room_it_goes_on(finished, model, target, tmp_path):
    size = folder_size(model)
    with mounted(tmp_path / 'disk', f'size={2 * size + 200}k') as disk:
        task = task_of(model, target, disk / 'versions')
        (disk / 'ballast').write_bytes(bytes(1024 * size))
        with pytest.raises(InputError, match='versions: No space left on device. Make room'):
            run_round(task)
        versions = ModelVersions(task.output)
        assert all(version.state != 'damaged' for version in versions.list())
        (disk / 'ballast').unlink()
        subprocess.run(['mount', '-o', 'remount,size=64m', str(disk)], check=True)
        outcome = run_round(task)
        assert weights(outcome.version.directory) == weights(finished[1].version.directory)
        assert [version.number for version in versions.list()] == [1, 2]


def test_a_folder_on_a_read_only_disk_is_named(model, target, tmp_path):
    with mounted(tmp_path / 'disk', 'size=1m,ro') as disk:
        with pytest.raises(InputError, match='versions: Read-only file system. Give an --output'):
            run_round(task_of(model, target, disk / 'versions'))


def forbid_training(patch):
    """Let the test fail if a network is trained."""
    patch.setattr(round_training, 'Trainer', lambda *a, **k: pytest.fail('it trained'))


def test_a_recording_that_was_cut_off_is_named_and_a_whole_one_is_taken_then(
        finished, model, tmp_path, monkeypatch):
    path = tmp_path / 'drive'
    with RecordingWriter(path) as writer:
        for index in range(len(TARGET)):
            writer.write_image('/camera', TARGET.image(index), stamp_ns=index + 1)
    file = path / 'drive.mcap'
    whole = file.read_bytes()
    file.write_bytes(whole[:len(whole) // 2])
    task = replace(finished[0], sources=(path,), output=tmp_path / 'versions')
    with monkeypatch.context() as patch:
        forbid_training(patch)
        with pytest.raises(InputError, match='drive.*: cannot be read as a recording'):
            run_round(task)
    assert ModelVersions(task.output).in_use().number == 1
    report = task.output / 'failed_round' / 'report.json'
    assert 'cannot be read as a recording' in json.loads(report.read_text())['reason']
    file.write_bytes(whole)
    run_stages_from(finished, task, monkeypatch)
    assert run_round(task).version.number == 2
    assert not report.parent.exists()


def test_what_is_wrong_is_told_also_where_no_report_can_be_written(
        model, target, tmp_path, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(failed_round, '_write', full)
    task = task_of(model, target, tmp_path / 'versions', sources=(tmp_path / 'none',))
    with pytest.raises(InputError, match='none: no such file or folder of target frames'):
        run_round(task)
    assert 'failed_round: cannot be written: [Errno 28]' in caplog.text


def test_a_recording_without_images_is_named(model, target, tmp_path, monkeypatch):
    forbid_training(monkeypatch)
    path = write_messages(tmp_path / 'drive', 'std_msgs/msg/String', [{'data': 'hello'}])
    task = task_of(model, target, tmp_path / 'versions', sources=(path,))
    with pytest.raises(InputError, match='drive: has no image topic'):
        run_round(task)


def folder_of(path, images):
    """Write images into a folder."""
    for index, image in enumerate(images):
        write(path / f'{index:03d}.png', image)
    return path


@pytest.mark.parametrize('count', [5, 9])
def test_fewer_than_ten_frames_in_a_row_are_refused(count, model, target, tmp_path, monkeypatch):
    forbid_training(monkeypatch)
    with pytest.raises(InputError, match='frames.* expected at least'):
        run_round(few_frames(count, model, target, tmp_path))


def test_ten_frames_in_a_row_are_enough(model, target, tmp_path, monkeypatch):
    def train(self, name, directory, config, *, start, fixed, parent_share=0):
        assert len(self.given.frames.adapting) == 6
        raise KeyboardInterrupt
    monkeypatch.setattr(round_training.RoundTraining, 'train', train)
    with pytest.raises(KeyboardInterrupt):
        run_round(few_frames(10, model, target, tmp_path))


def few_frames(count, model, target, folder):
    """Return the task of a round on so many frames."""
    images = [TARGET.image(index) for index in range(count)]
    return task_of(
        model, target, folder / 'versions', sources=(folder_of(folder / 'few', images),))


@pytest.mark.parametrize(('level', 'name'), [(0, 'too dark'), (255, 'too bright')])
def test_a_covered_or_blinded_camera_is_named(
        level, name, model, target, tmp_path, monkeypatch, caplog):
    forbid_training(monkeypatch)
    noise = np.random.default_rng(0)
    images = [
        np.clip(level + noise.normal(0, 1.5, (64, 96, 3)), 0, 255).astype(np.uint8)
        for _ in range(20)]
    task = task_of(
        model, target, tmp_path / 'versions', sources=(folder_of(tmp_path / 'dark', images),))
    with caplog.at_level(logging.WARNING), pytest.raises(
            InputError, match=r'of 12 target frames \(adapting\) only 0 can be used.*show nothin'):
        run_round(task)
    assert f'is left out: it is {name}' in caplog.text
    report = json.loads((task.output / 'failed_round' / 'report.json').read_text())
    assert report['state'] == 'failed' and 'of 12 target frames (adapting)' in report['reason']
    assert report['parent'] == ModelVersions(task.output).in_use().name
    assert report['sources'] == [str(task.sources[0])]
    page = (task.output / 'failed_round' / 'report.html').read_text()
    assert 'Failed' in page and 'of 12 target frames (adapting) only 0 can be used' in page
    assert [version.number for version in ModelVersions(task.output).list()] == [1]


def test_a_dark_frame_that_shows_something_is_used_and_a_black_one_left_out(
        model, target, tmp_path, monkeypatch):
    images = [TARGET.image(index) // 6 for index in range(20)]
    images[0] = np.zeros_like(images[0])
    task = task_of(
        model, target, tmp_path / 'versions', sources=(folder_of(tmp_path / 'night', images),))

    def train(self, name, directory, config, *, start, fixed, parent_share=0):
        assert len(self.given.frames.adapting) == 11
        raise KeyboardInterrupt
    monkeypatch.setattr(round_training.RoundTraining, 'train', train)
    with pytest.raises(KeyboardInterrupt):
        run_round(task)


def test_frames_of_two_cameras_in_one_folder_come_to_a_decision(model, tmp_path):
    images = [
        TARGET.image(index % 20)[:64 - 16 * (index % 2)] for index in range(40)]
    task = task_of(
        model, tmp_path, tmp_path / 'versions', sources=(folder_of(tmp_path / 'two', images),),
        settings=replace(rounds.SETTINGS, teacher_steps=2, student_steps=2))
    outcome = run_round(task)
    assert outcome.version.number == 2 and outcome.after.num_frames == 8
    assert np.isfinite(outcome.after.flicker)


def test_a_round_killed_at_every_stage_in_turn_comes_to_the_same_student(
        finished, model, target, tmp_path):
    output = tmp_path / 'versions'
    tests = Path(__file__).parent
    result = subprocess.run(
        [sys.executable, str(tests / 'kill_adaptation_round.py'), str(model),
         str(target / 'frames'), str(output), str(torch.get_num_threads())],
        capture_output=True, text=True, timeout=600,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, (tests.parent, tests)))})
    assert result.returncode == 0, result.stderr
    first, second = ModelVersions(output).list()
    assert (first.state, second.state) == ('accepted', 'in use')
    assert weights(second.directory) == weights(finished[1].version.directory)
    assert not (output / '.round').exists()
