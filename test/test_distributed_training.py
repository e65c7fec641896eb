# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Several processes, and parts one after the other, train as one process does."""

from __future__ import annotations

import copy
from dataclasses import replace
import fcntl
import os
from pathlib import Path
import shutil
import subprocess
import sys
import threading

from bkd_core import experiment
from bkd_core.batch import DomainBatch
from bkd_core.config import DataConfig, ModelConfig
from bkd_core.config_file import load_experiment, to_yaml
from bkd_core.datasets.loader import StepBatches
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.errors import InputError
from bkd_core.method_config import (
    BilateralDistillationConfig,
    MaskingConfig,
    MaxSquareConfig,
    SelfTrainingConfig,
)
from bkd_core.models import MODELS
from bkd_core.training.batch_norm import separate_batch_norm, synchronise_batch_norm
from bkd_core.training.checkpoint import CHECKPOINT, FORMAT, load_checkpoint, save_checkpoint
from bkd_core.training.device import choose_device
from bkd_core.training.division import StepDivision
from bkd_core.training.processes import Processes
from bkd_core.training.run_lock import LOCK, only_run
from bkd_core.training.run_log import read_log
from bkd_core.visualization import encode_png
from fixtures_processes import (
    BrokenFrames,
    make_trainer,
    NETWORKS,
    norm_and_activation,
    train_together,
    UnevenFrames,
)
import pytest
from tiny_training import tiny_config
import torch
from torch import nn

TESTS = Path(__file__).parent
MIXED = SelfTrainingConfig(
    ema_decay=0.9, confidence_threshold=0.2,
    masking=MaskingConfig(lambda_masked=1.0, block_size=8))
DISTILLED = BilateralDistillationConfig(teacher='given', logit_adjustment=0.75)
PLAIN = ModelConfig(network='plain', input_height=64)
LEVELS = ModelConfig(network='levels', input_height=64)


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """Let configurations name the tiny networks; compute by one thread, as the processes do."""
    for name, kind in NETWORKS.items():
        monkeypatch.setitem(MODELS, name, kind)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def settings(method_name='source_only', **changes):
    """Return settings with all that is random, 4 crops of each domain a step."""
    config = replace(tiny_config(method_name), **{'steps': 6, 'batch_size': 4, **changes})
    return replace(config, augmentation=replace(
        config.augmentation, color_jitter=0.3, blur=0.5, source_style=0.1))


def train_alone(directory, config, *, until=None):
    """Train by one process into directory/run and return the network's state."""
    return make_trainer(directory / 'run', config).run(until=until).state_dict()


def losses_of(directory):
    """Return the losses of each step of directory/run."""
    return [
        {key: value for key, value in line.items() if key != 'seconds'}
        for line in read_log(directory / 'run')]


def assert_equal_losses(found, expected):
    """Compare the losses of two folders to 1e-5."""
    assert len(losses_of(expected)) >= 6
    for line, wanted in zip(losses_of(found), losses_of(expected), strict=True):
        assert line == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def assert_equal_states(found, expected):
    """Compare weights and buffers to 1e-5."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-5, msg=key)


@pytest.mark.parametrize(('method', 'changes'), [
    ('source_only', {'model': LEVELS}),
    # With this threshold every pixel guides: which do is decided in each part by itself.
    ('max_square', {'model': LEVELS, 'method': MaxSquareConfig(guidance_threshold=0.0)}),
    ('fda', {}),
    ('self_training', {'method': MIXED, 'batch_statistics': 'per_domain'}),
    ('bilateral_distillation', {'method': DISTILLED}),
])
def test_two_processes_give_the_losses_of_one(method, changes, tmp_path):
    config = settings(method, **changes)
    network = train_alone(tmp_path / 'one', config)
    first, second = train_together(tmp_path, replace(config, sync_batch_norm=True))
    assert_equal_losses(tmp_path, tmp_path / 'one')
    assert_equal_states(first['network'], network)
    for name in ('student', 'method'):  # the same to the last bit, or they would drift apart
        for key, value in first[name].items():
            assert torch.equal(second[name][key], value), key
    if method == 'bilateral_distillation':
        assert torch.equal(first['shares'], second['shares'])


def test_processes_that_normalise_apart_agree_on_the_running_statistics(tmp_path):
    first, second = train_together(tmp_path, settings('self_training'))
    for name in ('student', 'method'):
        for key, value in first[name].items():
            assert torch.equal(second[name][key], value), key
    assert first['network']['trunk.1.running_mean'].abs().max() > 0.01
    alone = train_alone(tmp_path / 'one', settings('self_training'))
    torch.testing.assert_close(
        first['network']['trunk.1.running_mean'], alone['trunk.1.running_mean'],
        rtol=0.2, atol=0.05)


@pytest.mark.parametrize(('method', 'changes'), [
    ('source_only', {}),
    ('fda', {}),
    ('self_training', {'method': MIXED}),
    ('bilateral_distillation', {'method': DISTILLED}),
])
def test_accumulated_gradients_give_the_losses_of_the_whole_batch(method, changes, tmp_path):
    config = settings(method, model=PLAIN, **changes)
    network = train_alone(tmp_path / 'whole', config)
    parts = train_alone(tmp_path / 'parts', replace(config, gradient_accumulation_steps=4))
    assert_equal_losses(tmp_path / 'parts', tmp_path / 'whole')
    assert_equal_states(parts, network)


def test_two_processes_that_accumulate_give_the_losses_of_one(tmp_path):
    config = settings('self_training', method=MIXED, model=PLAIN)
    train_alone(tmp_path / 'one', config)
    train_together(
        tmp_path, replace(config, gradient_accumulation_steps=2, num_workers=1))
    assert_equal_losses(tmp_path, tmp_path / 'one')


def test_parts_drop_out_different_channels(tmp_path):
    masks = []
    config = settings(
        model=replace(PLAIN, options={'dropout': 0.5}), gradient_accumulation_steps=2, steps=1)
    trainer = make_trainer(tmp_path, config)
    dropout = trainer.method.student.network.dropout
    dropout.register_forward_hook(
        lambda layer, inputs, output: masks.append((output != 0).flatten(2).any(2)))
    trainer.run()
    assert len(masks) == 2 and not torch.equal(*masks)


def test_a_run_goes_on_by_another_number_of_processes(tmp_path):
    config = settings(
        'self_training', method=MIXED, model=PLAIN, steps=9, checkpoint_steps=3)
    train_alone(tmp_path / 'one', config)
    train_alone(tmp_path, config, until=3)
    train_together(tmp_path, config, until=6)
    train_alone(tmp_path, config)
    assert_equal_losses(tmp_path, tmp_path / 'one')


def test_processes_that_were_stopped_go_on_exactly(tmp_path):
    config = settings('self_training', steps=8, checkpoint_steps=3)
    train_together(tmp_path, config, until=5)
    resumed, _ = train_together(tmp_path, config)
    (tmp_path / 'whole').mkdir()
    whole, _ = train_together(tmp_path / 'whole', config)
    assert losses_of(tmp_path) == losses_of(tmp_path / 'whole')
    for key, value in whole['network'].items():
        assert torch.equal(resumed['network'][key], value), key


FILE = """
label_space: street9
model: {network: tiny, input_height: 64}
augmentation: {crop_size: [32, 32]}
batch_size: 4
checkpoint_steps: 3
device: cpu
precision: float32
sync_batch_norm: true
stages:
  source_only: {steps: 3}
  student:
    steps: 9
    method: {name: bilateral_distillation, teacher: 'stage:source_only'}
"""


def test_a_killed_process_is_started_again_and_ends_with_the_same_losses(tmp_path, monkeypatch):
    (tmp_path / 'run.yaml').write_text(FILE)
    environment = {
        name: value for name, value in os.environ.items() if name not in ('RANK', 'WORLD_SIZE')}
    result = subprocess.run([
        sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
        '--max-restarts', '1', str(TESTS / 'train_until_killed.py'), 'train',
        str(tmp_path / 'run.yaml'), '--output', str(tmp_path / 'together')],
        capture_output=True, text=True, timeout=500,
        env={**environment, 'OMP_NUM_THREADS': '1'})
    assert result.returncode == 0, result.stderr[-3000:]
    starts = (tmp_path / 'together' / 'student' / 'starts.txt').read_text()
    assert starts.split() == ['0', '6']  # killed at step 7, after the second checkpoint
    # Only the first process speaks.
    assert result.stdout.count('models: ') == 1
    assert result.stderr.count('source_only: train') == 1  # finished before the kill
    assert result.stderr.count('student: measure') == 1
    monkeypatch.setattr(experiment, 'open_dataset', lambda *_: UnevenFrames(6))
    stages = load_experiment(tmp_path / 'run.yaml')
    experiment.run_experiment(stages, output=tmp_path / 'alone', data_root=None)
    for stage in stages:
        found, expected = (
            [{**line, 'seconds': 0} for line in read_log(tmp_path / name / stage)]
            for name in ('together', 'alone'))
        assert len(found) == len(expected) > 0
        for line, wanted in zip(found, expected):
            assert line == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    assert not (tmp_path / 'together' / 'student' / CHECKPOINT).exists()


def test_an_error_of_one_process_stops_the_others_with_a_message(tmp_path):
    config = settings(model=PLAIN, steps=20, checkpoint_steps=1, seed=1)
    order = StepBatches(UnevenFrames(8), None, config)
    last = [order._index(8, count, 0) for count in range(8)].index(7)
    outcomes = train_together(tmp_path, config, source=BrokenFrames(8))
    failed = 1 if last % 4 > 1 else 0
    assert 'frames/last.png: cannot be read' in outcomes[failed]['error']
    assert f'Training stopped at step {last // 4}' in outcomes[failed]['error']
    assert 'another process of this training has stopped' in outcomes[1 - failed]['error']
    assert 'The last checkpoint stays' in outcomes[1 - failed]['error']


def test_what_all_processes_would_say_is_said_once(tmp_path):
    outcomes = train_together(tmp_path, settings(batch_size=3))
    said, = (outcome['error'] for outcome in outcomes if 'error' in outcome)
    assert 'batch_size: got 3; expected a multiple of 2, the number of processes' in said
    assert {'exit': 2} in outcomes


def test_processes_share_the_samples_of_a_step_without_repeats():
    config = settings('self_training', method=MIXED)
    frames = UnevenFrames(8), UnevenFrames(6, seed=1)
    whole = StepBatches(*frames, config)
    seen = []
    for step in range(2):
        halves = [
            StepBatches(*frames, config, positions=StepDivision(
                config, Processes(rank, 2), counts_classes=False).positions)[step]
            for rank in range(2)]
        for name in ('source_images', 'source_labels', 'target_images'):
            together = torch.cat([getattr(half, name) for half in halves])
            assert torch.equal(together, getattr(whole[step], name))
        windows = halves[0].source_windows + halves[1].source_windows
        assert windows == whole[step].source_windows
        seen += [window.index for window in windows]
    assert sorted(seen) == list(range(8))


@pytest.mark.parametrize(('size', 'changes', 'message'), [
    (3, {'batch_size': 4}, 'batch_size: got 4; expected a multiple of 3'),
    (2, {'batch_size': 4, 'gradient_accumulation_steps': 4},
     'gradient_accumulation_steps: got 4; expected a divisor of 2'),
])
def test_a_batch_that_cannot_be_divided_is_refused(size, changes, message):
    with pytest.raises(InputError, match=message):
        StepDivision(tiny_config(**changes), Processes(0, size), counts_classes=False)


def test_accumulation_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(InputError, match='gradient_accumulation_steps: got 3; expected a divisor'):
        tiny_config(batch_size=4, gradient_accumulation_steps=3)


def test_a_part_knows_the_mean_number_of_labels_by_hand():
    labels = torch.full((4, 4, 4), 255)
    labels[0, :, :2] = 3
    labels[1, 0, 0], labels[1, 3, 3] = 1, 2
    division = StepDivision(
        tiny_config(batch_size=4, gradient_accumulation_steps=2, loss_stride=1), Processes(),
        counts_classes=True)
    first, second = division.parts(
        DomainBatch(source_images=torch.zeros(4, 3, 4, 4), source_labels=labels))
    assert first.part.num_labelled == second.part.num_labelled == (8 + 2) / 2
    assert first.part.num_classes == second.part.num_classes == (1, 2, 0, 0)
    assert (first.part.index, second.part.index) == (0, 1)
    assert torch.equal(torch.cat((first.source_labels, second.source_labels)), labels)


@pytest.mark.parametrize(('device', 'kind'), [
    ('cpu', 'ProcessorSyncBatchNorm'), ('cuda', 'DeviceSyncBatchNorm')])
def test_batch_normalisations_are_synchronised_and_plain_again(device, kind):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), norm_and_activation(4), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        network[1].bias.fill_(-0.3)
    images = torch.rand(2, 3, 8, 8)
    kinds = [type(layer) for layer in network[1:]]
    expected, before = network(images), network.state_dict()
    synchronise_batch_norm(network, torch.device(device))
    assert [type(layer).__name__ for layer in network[1:]] == [kind, kind]
    assert network.state_dict().keys() == before.keys()
    copied = copy.deepcopy(network)
    for each in (network, copied):  # in evaluation nothing is exchanged
        torch.testing.assert_close(each(images), expected)
    with torch.no_grad():
        for layer in copied[1:]:
            layer.weight.fill_(0)
    separate_batch_norm(copied)
    assert [type(layer) for layer in copied[1:]] == kinds
    assert not copied[1].weight.any() and network[1].weight.all()
    with pytest.raises(InputError, match='sync_batch_norm: the network has a BatchNorm1d'):
        synchronise_batch_norm(nn.Sequential(nn.BatchNorm1d(3)), torch.device(device))


def test_settings_that_were_added_leave_a_fingerprint_as_it_was():
    config = tiny_config(batch_size=4)
    assert 'accumulation' not in to_yaml(config) and 'sync' not in to_yaml(config)
    assert 'gradient_accumulation_steps: 1' in to_yaml(config, is_complete=True)
    changed = replace(config, gradient_accumulation_steps=2, sync_batch_norm=True)
    assert 'gradient_accumulation_steps: 2\nsync_batch_norm: true' in to_yaml(changed)


def test_a_checkpoint_of_a_newer_version_is_refused_and_an_older_one_read(tmp_path):
    save_checkpoint(tmp_path, {'config_hash': 'x', 'step': 1, 'format': FORMAT + 1})
    with pytest.raises(InputError, match='checkpoint.pt: .*newer version.*Update bkd_ros'):
        load_checkpoint(tmp_path, config_hash='x')
    torch.save({'config_hash': 'x', 'step': 3}, tmp_path / CHECKPOINT)  # before formats
    assert load_checkpoint(tmp_path, config_hash='x')['step'] == 3


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_data_set_that_vanishes_is_named_with_the_checkpoint_that_stays(tmp_path, num_workers):
    frames = UnevenFrames(4)
    data = tmp_path / 'data'
    for folder, read in (('images', frames.image), ('labels', frames.labels)):
        (data / folder).mkdir(parents=True)
        for index in range(4):
            (data / folder / f'{index}.png').write_bytes(encode_png(read(index)))
    source = open_dataset(DataConfig(
        name='image_folder', root=str(data), options={'label_space': 'street9'}), None)
    config = settings(
        model=PLAIN, steps=40, checkpoint_steps=2, num_workers=num_workers)
    trainer = make_trainer(tmp_path / 'run', config, source)

    def on_step(step, losses):
        if step == 2:
            shutil.rmtree(data)
    with pytest.raises(InputError, match='Training stopped at step') as error:
        trainer.run(on_step=on_step)
    assert str(data) in str(error.value) and '.png: cannot be read' in str(error.value)
    kept = tmp_path / 'run' / CHECKPOINT
    assert f'{kept} stays' in str(error.value) and '\n' not in str(error.value)
    assert load_checkpoint(tmp_path / 'run', config_hash=trainer.config_hash)['step'] >= 2


def test_a_process_that_is_started_again_waits_for_the_lock_of_the_killed_one(
        tmp_path, monkeypatch):
    with (tmp_path / LOCK).open('w') as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match='another process is training here'):
            with only_run(tmp_path, Processes()):
                pytest.fail('two runs share a folder')
        monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
        timer = threading.Timer(0.5, fcntl.flock, (held, fcntl.LOCK_UN))
        timer.start()
        with only_run(tmp_path, Processes()):
            assert not timer.is_alive()
    with pytest.raises(InputError, match='must be on a disk that all machines share'):
        with only_run(tmp_path / 'elsewhere', Processes(1, 2)):
            pytest.fail('the folder is not there')


def test_several_processes_cannot_share_a_named_gpu(monkeypatch):
    monkeypatch.setattr(
        'bkd_core.training.device.present_processes', lambda: Processes(1, 2))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setenv('LOCAL_RANK', '1')
    with pytest.raises(InputError, match="device: got 'cuda:0', which several processes cannot"):
        choose_device('cuda:0')
    with pytest.raises(InputError, match='has 1 GPUs; give torchrun --nproc-per-node 1'):
        choose_device('auto')
    assert choose_device('cpu') == torch.device('cpu')
