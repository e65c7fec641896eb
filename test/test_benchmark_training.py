# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of training: the plain steps learn the same, and its numbers by hand."""

from __future__ import annotations

from dataclasses import replace
import json
import subprocess
import sys

from bkd_core.batch import DomainBatch
from bkd_core.benchmarks.training import run_training_benchmark
from bkd_core.benchmarks.training.page import page, summary
from bkd_core.benchmarks.training.plain_process import plain_process
from bkd_core.benchmarks.training.plain_step import PlainDistillation, PlainSelfTraining
from bkd_core.benchmarks.training.stopwatch import PARTS, parts_of, Stopwatch
from bkd_core.config import TrainingConfig
from bkd_core.errors import InputError
from bkd_core.method_config import BilateralDistillationConfig, SelfTrainingConfig
from bkd_core.methods import build_method
from bkd_core.training.memory import keep_freed_memory
import pytest
import torch
from torch import nn

CLASSES = 4


def network(seed):
    """Return a network of stride 4, in evaluation mode: a batch does not change its images."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 1)).eval()


def batch_of(seed=0):
    """Return crops of both domains; every pixel has a label."""
    draw = torch.Generator().manual_seed(seed)
    return DomainBatch(
        source_images=torch.rand((2, 3, 32, 48), generator=draw),
        source_labels=torch.randint(0, CLASSES, (2, 32, 48), generator=draw),
        target_images=torch.rand((2, 3, 32, 48), generator=draw))


@pytest.mark.parametrize(('settings', 'plain'), [
    (SelfTrainingConfig(confidence_threshold=0.3, lambda_mixed=0.7), PlainSelfTraining),
    (BilateralDistillationConfig(
        teacher='t', teacher_view='crop', lambda_soft=0.4, lambda_target=1.5), PlainDistillation),
    (BilateralDistillationConfig(
        teacher='t', teacher_view='crop', teacher_flip=False, confidence_cap=0.0),
     PlainDistillation),
])
def test_the_plain_step_has_the_loss_and_the_gradient_of_the_methods_step(settings, plain):
    student, teacher, batch = network(0), network(1), batch_of()
    teachers = {'teacher': teacher} if plain is PlainDistillation else {}
    method = build_method(
        settings, student, teacher=teachers.get('teacher'), augment=lambda images: images,
        loss_stride=1)
    torch.manual_seed(3)  # which classes are pasted
    ours = sum(method.losses(batch).values())
    ours.backward()
    gradient = student[0].weight.grad.clone()
    student.zero_grad()
    step = plain(
        student, settings, augment=lambda images: images, clip_norm=1.0, **teachers)
    torch.manual_seed(3)
    loss = step.loss(batch)
    loss.backward()
    assert loss.item() == pytest.approx(ours.item(), rel=1e-5) and loss.item() > 0.1
    torch.testing.assert_close(student[0].weight.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_plain_step_learns_and_moves_its_teacher():
    student = network(0)
    step = PlainSelfTraining(
        student, SelfTrainingConfig(ema_decay=0.5), augment=lambda images: images, clip_norm=1.0)
    before = step.teacher[0].weight.clone()
    assert step(batch_of()) > 0
    torch.testing.assert_close(step.teacher[0].weight, (before + student[0].weight) / 2)
    assert not torch.equal(step.teacher[0].weight, before)


def test_the_parts_of_a_step_add_up_to_it_and_its_loader():
    parts = parts_of({
        'loader': 1.0, 'step': 20.0, 'all losses': 11.0, 'teacher': 2.0, 'student forward': 5.0,
        'optimizer': 3.0, 'averages': 0.5})
    assert parts == {
        'loader': 1.0, 'teacher': 2.0, 'student forward': 5.0, 'losses': 4.0, 'backward': 5.5,
        'optimizer': 3.0, 'averages': 0.5}
    assert sum(parts.values()) == 21.0


def test_the_stopwatch_adds_the_seconds_of_all_calls(monkeypatch):
    class Worker:
        def work(self, amount, *, more):
            return amount + more

    stopwatch, worker = Stopwatch(torch.device('cpu')), Worker()
    times = iter([1.0, 3.0, 10.0, 10.5])
    monkeypatch.setattr(stopwatch, 'now', lambda: next(times))
    stopwatch.watch(worker, 'work', 'part')
    assert (worker.work(1, more=2), worker.work(3, more=4)) == (3, 7)
    assert stopwatch.seconds == {'part': 2.5}


def numbers_by_hand():
    """Return three steps of each: 1, 2, 4 s of ours, loader a tenth; 3, 4, 5 s of plain."""
    ours = [{**dict.fromkeys(PARTS, 0.0), 'loader': 0.1 * s, 'backward': 0.9 * s}
            for s in (1, 2, 4)]
    plain = [{'loader': 1.0, 'step': s - 1.0} for s in (3, 4, 5)]
    return {'device': 'cpu', 'ours': ours, 'plain': plain}


def test_the_summary_of_three_steps_by_hand():
    found = summary(numbers_by_hand())
    assert found['ours'] == pytest.approx(2) and found['plain'] == pytest.approx(4)
    assert found['ratio'] == pytest.approx(2)  # the median of 3, 2 and 1.25
    assert found['parts']['loader'] == pytest.approx(0.1)
    assert found['parts']['backward'] == pytest.approx(0.9)


def test_the_page_holds_speeds_and_shares():
    text = page({
        'machine': 'm', 'load': 0.5, 'python': '3', 'torch': '2', 'commit': 'c', 'threads': 1,
        'device': 'cpu', 'crop': 64, 'batch': 4, 'rounds': 3,
        'methods': {'self_training': numbers_by_hand()}})
    assert '| self_training | 2000 | 4000 | 4.0 | 2.0 | 2.00 |' in text
    assert '| self_training | 10.0 % | 0.0 % | 0.0 % | 0.0 % | 90.0 % | 0.0 % | 0.0 % |' in text
    assert max(map(len, text.split('| method')[0].splitlines())) < 100


def test_both_run_in_turn_and_the_page_is_written(tmp_path):
    path = run_training_benchmark(
        tmp_path, crop=64, batch=1, rounds=2, threads=1, device='cpu')
    assert path == tmp_path / 'training_speed.md' and 'bilateral_distillation' in path.read_text()
    numbers = json.loads((tmp_path / 'training_speed.json').read_text())
    for method in numbers['methods'].values():
        assert len(method['ours']) == len(method['plain']) == 2
        for parts in method['ours']:
            assert set(parts) == set(PARTS) and min(parts.values()) >= 0
            assert parts['backward'] > 0 and parts['student forward'] > 0
        assert all(step['step'] > 0 for step in method['plain'])


def test_a_plain_process_that_dies_is_named():
    config = replace(TrainingConfig(), label_space='camvid11')  # streets has no such labels
    with plain_process(config, device=torch.device('cpu'), threads=1) as process:
        with pytest.raises(InputError, match='plain steps died'):
            process.step()


def test_freed_memory_is_kept_where_glibc_is():
    if not sys.platform.startswith('linux'):
        pytest.skip('glibc is of Linux')
    program = (
        'import ctypes, resource\n'
        'from bkd_core.training.memory import keep_freed_memory\n'
        'libc = ctypes.CDLL(None)\n'
        'libc.malloc.restype = ctypes.c_void_p\n'
        'libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]\n'
        'libc.free.argtypes = [ctypes.c_void_p]\n'
        'def faults():\n'
        '    size = 64 * 2**20\n'
        '    for _ in range(5):\n'
        '        block = libc.malloc(ctypes.c_size_t(size))\n'
        '        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n'
        '        libc.memset(block, 1, size)\n'
        '        count = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n'
        '        libc.free(block)\n'
        '    return count\n'
        'print(faults(), keep_freed_memory(), faults())\n')
    result = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True)
    before, is_kept, after = result.stdout.split()
    assert is_kept == 'True' and int(before) > 30 and int(after) == 0


def test_a_c_library_without_the_settings_is_left_alone(monkeypatch):
    monkeypatch.setattr('ctypes.CDLL', lambda name: object())
    assert keep_freed_memory() is False
