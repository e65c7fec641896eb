# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loop: golden numbers, exact resuming, kills, bad losses, and the schedule."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path
import signal
import subprocess
import sys

from bkd_core.batch import DomainBatch
from bkd_core.config import ModelConfig, OptimizerConfig
from bkd_core.errors import InputError
from bkd_core.methods import METHODS, swap_low_frequencies
from bkd_core.training import choose_device, Trainer
from bkd_core.training.checkpoint import (
    CHECKPOINT,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from bkd_core.training.optimizer import (
    build_optimizer,
    learning_rate_factor,
    set_learning_rate,
)
from bkd_core.training.run_log import LOG, read_log, RunLog
import pytest
from tiny_training import (
    PaintedFrames,
    register_tiny_network,
    tiny_config,
    tiny_teacher,
    TinyNetwork,
)
import torch

TESTS = Path(__file__).parent
SOURCE, TARGET = PaintedFrames(6), PaintedFrames(5, seed=1, shade=0.5)
# Dropout and colour jitter make the run depend on the random state too.
NOISY = {'model': ModelConfig(network='tiny', input_height=64, options={'dropout': 0.3})}

# Sum of the losses at steps 0, 9 and 19 of the runs of tiny_config. Processors with and without
# vector units agree on all five digits.
GOLDEN = {
    'source_only': [2.23686, 2.18369, 1.79675],
    'max_square': [2.29802, 2.12173, 1.69103],
    'fda': [2.21987, 2.12123, 2.28560],
    'self_training': [3.11929, 3.53993, 3.01477],
    'anchored_self_training': [3.11929, 3.53953, 2.63137],
    'bilateral_distillation': [3.45915, 3.33673, 3.10810],
}


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    """Let configurations name the tiny network."""
    register_tiny_network(monkeypatch)


def trainer(directory, config, **arguments):
    """Return a trainer on painted frames."""
    if config.method.name in ('anchored_self_training', 'bilateral_distillation'):
        arguments.setdefault('teacher', tiny_teacher())
    return Trainer(config, directory=directory, source=SOURCE, target=TARGET, **arguments)


def losses_of(directory):
    """Return the losses of each step in a run's log, without times."""
    return [
        {key: value for key, value in line.items() if key != 'seconds'}
        for line in read_log(directory)]


@pytest.mark.parametrize('method', METHODS)
def test_a_seeded_run_gives_the_stored_losses(method, tmp_path):
    trainer(tmp_path, tiny_config(method)).run()
    sums = [
        sum(value for key, value in line.items() if key != 'step')
        for line in losses_of(tmp_path)]
    assert len(sums) == 20
    assert [sums[step] for step in (0, 9, 19)] == pytest.approx(GOLDEN[method], rel=1e-3)


@pytest.mark.parametrize('method', METHODS)
def test_a_resumed_run_equals_an_uninterrupted_one_exactly(method, tmp_path):
    config = tiny_config(method, **NOISY)
    config = replace(config, augmentation=replace(
        config.augmentation, color_jitter=0.3, blur=0.5))
    whole = trainer(tmp_path / 'whole', config).run()
    trainer(tmp_path / 'parts', config).run(until=7)
    torch.manual_seed(12345)  # whatever a new process begins with
    torch.rand(5)
    resumed = trainer(tmp_path / 'parts', config)
    assert resumed.step == 7
    parts = resumed.run()
    assert losses_of(tmp_path / 'parts') == losses_of(tmp_path / 'whole')
    for key, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[key], value), key


def test_a_run_in_two_halves_by_one_trainer_equals_a_whole_one(tmp_path):
    config = tiny_config('self_training')
    whole = trainer(tmp_path / 'whole', config).run()
    halves = trainer(tmp_path / 'halves', config)
    middle = halves.run(until=10)
    before = middle.classifier.weight.clone()
    end = halves.run()
    assert torch.equal(end.classifier.weight, whole.classifier.weight)
    assert torch.equal(middle.classifier.weight, before)  # the first result is its own
    assert not end.training


def test_a_finished_run_is_not_trained_further(tmp_path):
    config = tiny_config(steps=3)
    first = trainer(tmp_path, config).run()
    again = trainer(tmp_path, config).run(on_step=lambda *_: pytest.fail('it trained'))
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert len(read_log(tmp_path)) == 3


def test_another_seed_is_another_run(tmp_path):
    for seed in (0, 1):
        trainer(tmp_path / str(seed), tiny_config(seed=seed, steps=2)).run()
    assert losses_of(tmp_path / '0') != losses_of(tmp_path / '1')


KILLED = """
import torch
torch.set_num_threads({threads})
import sys, time
sys.path[:0] = [{tests!r}, {root!r}]
from bkd_core.models import MODELS
from bkd_core.training import Trainer
from tiny_training import PaintedFrames, tiny_config, TinyNetwork
MODELS['tiny'] = TinyNetwork
def on_step(step, losses):
    print(step, flush=True)
    time.sleep(0.02)
trainer = Trainer(tiny_config(steps=40), directory={directory!r}, source=PaintedFrames(6))
trainer.run(on_step=on_step)
"""


def test_a_killed_run_loses_at_most_the_steps_since_its_checkpoint(tmp_path):
    script = KILLED.format(  # the threads decide how sums are rounded
        threads=torch.get_num_threads(), tests=str(TESTS), root=str(TESTS.parent),
        directory=str(tmp_path / 'killed'))
    with subprocess.Popen(
            [sys.executable, '-c', script], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 13:
                process.send_signal(signal.SIGKILL)
                break
        made = max([13, *map(int, process.stdout.read().split())])
    assert process.returncode == -signal.SIGKILL
    resumed = trainer(tmp_path / 'killed', tiny_config(steps=40))
    assert resumed.step == made // 5 * 5
    resumed.run()
    trainer(tmp_path / 'whole', tiny_config(steps=40)).run()
    assert losses_of(tmp_path / 'killed') == losses_of(tmp_path / 'whole')


def test_a_torn_line_and_lines_after_the_checkpoint_leave_the_log(tmp_path):
    lines = [{'step': step, 'source': 0.5} for step in range(4)]
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (tmp_path / LOG).write_text(text + '{"step": 4, "sour')
    assert read_log(tmp_path) == lines
    log = RunLog(tmp_path, first_step=2)
    log.write({'step': 2, 'source': 0.25})
    log.close()
    assert read_log(tmp_path) == [*lines[:2], {'step': 2, 'source': 0.25}]
    assert (tmp_path / LOG).read_text().count('\n') == 3


def test_a_folder_without_a_log_has_no_lines(tmp_path):
    assert read_log(tmp_path) == []


class BadLoss:
    """A method whose loss fails at a step."""

    def __init__(self, method, bad_step, value):
        self.method, self.bad_step, self.value, self.step = method, bad_step, value, 0

    def __getattr__(self, name):
        """Hand on everything else."""
        return getattr(self.method, name)

    def losses(self, batch: DomainBatch):
        """Return the losses, spoilt at the bad step."""
        losses = self.method.losses(batch)
        self.step += 1
        if self.step == self.bad_step + 1:
            losses['spoilt'] = losses['source'] * self.value
        return losses


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path, value):
    run = trainer(tmp_path, tiny_config())
    run.method = BadLoss(run.method, 8, value)
    message = "loss term 'spoilt' became (nan|inf) at step 8"
    with pytest.raises(InputError, match=message) as error:
        run.run()
    assert str(tmp_path) in str(error.value)
    kept = trainer(tmp_path, tiny_config())
    assert kept.step == 5
    assert all(weight.isfinite().all() for weight in kept.method.student.parameters())
    assert len(read_log(tmp_path)) == 8


@pytest.mark.parametrize('clip_norm', [0.0, 5.0])
def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path, clip_norm):
    config = tiny_config(optimizer=OptimizerConfig(clip_norm=clip_norm))
    run = trainer(tmp_path, config)
    weight = run.method.student.network.classifier.weight
    weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(InputError, match="the gradient's norm became nan at step 0"):
        run.run()
    assert weight.isfinite().all()
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    trainer(tmp_path, tiny_config()).run(until=5)
    with pytest.raises(InputError, match='checkpoint.pt: .*other settings.*--output'):
        trainer(tmp_path, tiny_config(batch_size=3))


@pytest.mark.parametrize('damage', [
    lambda data: data[:len(data) // 2], lambda data: b'', lambda data: b'no checkpoint',
    lambda data: data[:-1]])
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path, damage):
    trainer(tmp_path, tiny_config()).run(until=2)
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match='checkpoint.pt: .*damaged.*delete it') as error:
        trainer(tmp_path, tiny_config())
    assert '\n' not in str(error.value)


def test_a_checkpoint_of_another_program_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match='checkpoint.pt: .*other settings'):
        trainer(tmp_path, tiny_config())


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    state = {'config_hash': fingerprint('a: 1'), 'step': 3, 'student': {'w': torch.rand(2)}}
    save_checkpoint(tmp_path, state)
    loaded = load_checkpoint(tmp_path, config_hash=fingerprint('a: 1'))
    assert loaded['step'] == 3 and torch.equal(loaded['student']['w'], state['student']['w'])
    assert load_checkpoint(tmp_path / 'nothing', config_hash='x') is None
    assert fingerprint('a: 1') != fingerprint('a: 2')


def test_a_checkpoint_whose_writing_stops_leaves_the_one_before(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {'config_hash': 'x', 'step': 1})

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr('os.replace', stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, {'config_hash': 'x', 'step': 2})
    assert load_checkpoint(tmp_path, config_hash='x')['step'] == 1
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_student_starts_from_the_given_weights(tmp_path):
    initial = tiny_teacher()
    student = trainer(tmp_path, tiny_config(), initial=initial).method.student.network
    assert torch.equal(student.classifier.weight, initial.classifier.weight)
    assert student.classifier.weight is not initial.classifier.weight


def test_initial_weights_of_another_network_are_refused(tmp_path):
    config = tiny_config(model=ModelConfig(network='tiny', init='runs/other'))
    with pytest.raises(InputError, match="model.init 'runs/other': its network is not a 'tiny'"):
        trainer(tmp_path, config, initial=TinyNetwork(4))


def test_a_method_that_needs_a_target_says_so(tmp_path):
    with pytest.raises(InputError, match="method 'self_training' needs target images"):
        Trainer(tiny_config('self_training'), directory=tmp_path, source=SOURCE)


def test_a_run_in_bfloat16_learns_too(tmp_path):
    config = tiny_config('bilateral_distillation', precision='bfloat16')
    trainer(tmp_path, config).run()
    losses = losses_of(tmp_path)
    assert losses[-1]['source_hard'] < losses[0]['source_hard']


@pytest.mark.parametrize('name', ['cuda:99', 'gpu', ''])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(InputError, match=f"device: got '{name}', which is not available"):
        choose_device(name)


def test_auto_chooses_a_device_that_works():
    expected = 'cuda' if torch.cuda.is_available() else 'cpu'
    assert choose_device('auto').type == expected and choose_device('cpu').type == 'cpu'


@pytest.mark.parametrize(('step', 'expected'), [
    (0, 0.2),                   # 1 of 5 warm-up shares, no decay yet
    (1, 0.4 * math.sqrt(0.9)),
    (4, 1.0 * math.sqrt(0.6)),  # the warm-up is over
    (9, math.sqrt(0.1)),
])
def test_the_rate_warms_up_and_decays_by_hand(step, expected):
    factor = learning_rate_factor(step, steps=10, warmup_steps=4, power=0.5)
    assert factor == pytest.approx(expected)


def test_without_warm_up_and_power_the_rate_is_constant():
    assert [learning_rate_factor(s, steps=3, warmup_steps=0, power=0) for s in range(3)] == [1] * 3


def test_the_decoder_is_faster_and_norms_and_biases_do_not_decay():
    config = OptimizerConfig(
        learning_rate=0.1, head_multiplier=3.0, weight_decay=0.5, warmup_steps=0, power=1.0)
    network = TinyNetwork(9)
    optimizer = build_optimizer(network, config)
    set_learning_rate(optimizer, config, step=5, steps=10)
    found = {
        id(weight): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups for weight in group['params']}
    expected = {
        'trunk.0.weight': (0.05, 0.5), 'trunk.1.weight': (0.05, 0.0), 'trunk.1.bias': (0.05, 0.0),
        'trunk.3.weight': (0.05, 0.5), 'trunk.3.bias': (0.05, 0.0),
        'classifier.weight': (0.15, 0.5), 'classifier.bias': (0.15, 0.0)}
    named = dict(network.named_parameters())
    assert set(named) == set(expected)
    for name, values in expected.items():
        assert found[id(named[name])] == pytest.approx(values), name


def test_gradients_are_clipped_to_the_norm(tmp_path, monkeypatch):
    norms = []
    for clip_norm in (0.0, 1e-3):
        run = trainer(tmp_path / str(clip_norm), tiny_config(
            steps=1, optimizer=OptimizerConfig(clip_norm=clip_norm)))
        run.run()
        gradients = [weight.grad.flatten() for weight in run.method.student.parameters()]
        norms.append(float(torch.cat(gradients).norm()))
    assert norms[0] > 0.01
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


def test_source_images_take_the_targets_style_where_it_is_asked_for(tmp_path, monkeypatch):
    seen = []
    for beta in (0.0, 0.1):
        config = tiny_config('max_square')
        config = replace(config, augmentation=replace(config.augmentation, source_style=beta))
        run = trainer(tmp_path / str(beta), config)
        monkeypatch.setattr(run.method, 'losses', keep_batches(seen, run.method.losses))
        run.run(until=1)
    plain, styled = seen
    assert torch.equal(plain.target_images, styled.target_images)
    assert torch.equal(plain.source_labels, styled.source_labels)
    expected = swap_low_frequencies(plain.source_images, plain.target_images, beta=0.1)
    torch.testing.assert_close(styled.source_images, expected)
    assert not torch.allclose(styled.source_images, plain.source_images)


def keep_batches(seen, losses):
    """Return `losses` that keeps the batches that it gets."""
    def kept(batch):
        seen.append(batch)
        return losses(batch)
    return kept


def test_without_a_target_the_style_is_the_sources_own(tmp_path):
    config = tiny_config('source_only')
    styled = replace(config, augmentation=replace(config.augmentation, source_style=0.1))
    for name, run in (('plain', config), ('styled', styled)):
        trainer(tmp_path / name, run).run(until=2)
    assert losses_of(tmp_path / 'plain') == losses_of(tmp_path / 'styled')


@pytest.mark.parametrize('value', [-0.1, 0.6])
def test_a_style_outside_the_spectrum_is_refused(value):
    with pytest.raises(InputError, match=r'augmentation.source_style: got .*; expected 0 to 0.5'):
        replace(tiny_config().augmentation, source_style=value)
