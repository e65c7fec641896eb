# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fourier domain adaptation: the swap, robust entropy and the self-training round."""

from __future__ import annotations

from dataclasses import replace
import math

from bkd_core import experiment
from bkd_core.batch import DomainBatch
from bkd_core.config import TrainingConfig
from bkd_core.config_file import parse, references
from bkd_core.errors import InputError
from bkd_core.losses import robust_entropy
from bkd_core.method_config import FourierDomainAdaptationConfig
from bkd_core.methods.fda import FourierDomainAdaptation, most_confident
from bkd_core.methods.fourier_transfer import swap_low_frequencies
from bkd_core.training.run_log import read_log
import numpy as np
import pytest
from tiny_training import (
    PaintedFrames,
    register_tiny_network,
    tiny_config,
    tiny_teacher,
    TinyNetwork,
)
import torch
from torch import nn


class FixedLogits(nn.Module):
    """The same logits everywhere."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        """Return logits at the images' size."""
        return self.logits.view(1, -1, 1, 1).expand(len(images), -1, *images.shape[2:])


def make(student, *, teacher=None, **settings):
    """Return the method with no augmentation, all pixels compared."""
    return FourierDomainAdaptation(
        student, FourierDomainAdaptationConfig(**settings), augment=lambda images: images,
        loss_stride=1, teacher=teacher)


def batch_of_zeros():
    """Return a batch whose labels are all class 0."""
    torch.manual_seed(0)
    return DomainBatch(
        source_images=torch.rand(2, 3, 8, 8), target_images=torch.rand(2, 3, 8, 8),
        source_labels=torch.zeros(2, 8, 8, dtype=torch.int64))


def values(losses):
    """Return losses as plain numbers."""
    return {name: float(loss.detach()) for name, loss in losses.items()}


def by_full_spectrum(image, style, beta):
    """Return one channel's swap as the paper words it: the centred window of a full spectrum."""
    source, target = (np.fft.fftshift(np.fft.fft2(x)) for x in (image, style))
    amplitude, phase = np.abs(source), np.angle(source)
    window = []
    for length in image.shape:
        reach = int(np.floor(beta * length))
        window.append(slice(length // 2 - reach, length // 2 + reach + 1))
    amplitude[tuple(window)] = np.abs(target)[tuple(window)]
    mixed = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase)))
    assert np.abs(mixed.imag).max() < 1e-12
    return mixed.real.clip(0, 1)


@pytest.mark.parametrize(('size', 'beta'), [
    ((12, 20), 0.1), ((12, 20), 0.0), ((9, 15), 0.25), ((16, 16), 0.05), ((7, 10), 0.3)])
def test_the_swap_equals_numpys_full_spectrum(size, beta):
    torch.manual_seed(0)
    images, styles = torch.rand(2, 3, *size), 0.5 * torch.rand(2, 3, *size)
    swapped = swap_low_frequencies(images, styles, beta=beta)
    for index in np.ndindex(2, 3):
        expected = by_full_spectrum(
            images[index].double().numpy(), styles[index].double().numpy(), beta)
        np.testing.assert_allclose(swapped[index].numpy(), expected, atol=1e-5)


def test_beta_zero_swaps_the_mean_colours_only():
    torch.manual_seed(0)
    images = 0.4 + 0.1 * torch.rand(1, 3, 8, 8)
    styles = torch.full((1, 3, 8, 8), 0.7)
    swapped = swap_low_frequencies(images, styles, beta=0.0)
    expected = images - images.mean((2, 3), keepdim=True) + 0.7
    torch.testing.assert_close(swapped, expected, atol=1e-5, rtol=0)


def test_an_image_in_its_own_style_stays_as_it_is():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 10, 14)
    before = images.clone()
    torch.testing.assert_close(
        swap_low_frequencies(images, images, beta=0.2), images, atol=1e-5, rtol=0)
    assert torch.equal(images, before)


def test_black_and_overshooting_images_stay_in_range():
    torch.manual_seed(0)
    noise = torch.rand(1, 3, 8, 8)
    for images, styles in ((torch.zeros_like(noise), noise), (noise, torch.ones_like(noise))):
        swapped = swap_low_frequencies(images, styles, beta=0.5)
        assert swapped.isfinite().all() and 0 <= swapped.min() and swapped.max() <= 1


@pytest.mark.parametrize(('eta', 'expected'), [(2.0, 1.0), (0.5, 1.0)])
def test_robust_entropy_of_no_idea_at_all_is_one(eta, expected):
    even = torch.full((1, 4, 1, 1), 0.25).log()
    assert robust_entropy(even, eta=eta).item() == pytest.approx(expected, abs=1e-5)


def test_robust_entropy_has_the_value_of_the_equation():
    log_p = torch.tensor([0.25, 0.75]).log().view(1, 2, 1, 1)
    x = (0.25 * math.log(4) + 0.75 * math.log(4 / 3)) / math.log(2)
    assert robust_entropy(log_p, eta=2.0).item() == pytest.approx((x * x + 1e-6) ** 2, rel=1e-5)
    assert robust_entropy(log_p, eta=0.5).item() == pytest.approx(x, rel=1e-4)


def test_robust_entropy_of_a_sure_pixel_is_tiny_and_differentiable():
    logits = torch.tensor([40.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    loss = robust_entropy(logits.log_softmax(1), eta=2.0)
    loss.sum().backward()
    assert loss.item() == pytest.approx(1e-12, rel=1e-3) and logits.grad.isfinite().all()


def test_robust_entropy_refuses_what_has_no_meaning():
    with pytest.raises(ValueError, match='eta must be above 0; got 0'):
        robust_entropy(torch.zeros(1, 2, 1, 1), eta=0)
    with pytest.raises(ValueError, match='at least 2 classes; got 1'):
        robust_entropy(torch.zeros(1, 1, 1, 1), eta=1)


def test_the_first_round_has_the_two_terms_of_the_equation():
    # p = (1/4, 3/4) everywhere, the labels are class 0.
    built = make(FixedLogits(0.0, math.log(3)), lambda_entropy=0.1, eta=1.0)
    x = (0.25 * math.log(4) + 0.75 * math.log(4 / 3)) / math.log(2)
    assert values(built.losses(batch_of_zeros())) == {
        'source': pytest.approx(math.log(4), rel=1e-5),
        'target_entropy': pytest.approx(0.1 * (x * x + 1e-6), rel=1e-5)}


def test_a_self_training_round_adds_the_pseudo_labels_loss():
    # The teacher says class 1 with 0.8 everywhere: below the threshold, but all alike.
    built = make(
        FixedLogits(0.0, math.log(3)), teacher=FixedLogits(0.0, math.log(4)),
        lambda_pseudo=0.5, pseudo_teacher='given')
    losses = values(built.losses(batch_of_zeros()))
    assert losses['target_pseudo'] == pytest.approx(0.5 * math.log(4 / 3), rel=1e-5)
    assert set(losses) == {'source', 'target_entropy', 'target_pseudo'}


def test_the_source_is_seen_in_the_targets_style_and_the_target_as_it_is():
    seen = []

    class Recorder(FixedLogits):
        def forward(self, images):
            seen.append(images)
            return super().forward(images)

    batch = batch_of_zeros()
    make(Recorder(0.0, 1.0), beta=0.2).losses(batch)
    assert len(seen) == 1  # one call of the student for both domains
    torch.testing.assert_close(seen[0][:2], swap_low_frequencies(
        batch.source_images, batch.target_images, beta=0.2))
    assert torch.equal(seen[0][2:], batch.target_images)


def test_of_each_class_the_top_share_or_what_is_above_the_threshold_counts():
    confidence = torch.tensor([[[0.3, 0.4, 0.5, 0.6], [0.95, 0.96, 0.97, 0.2]]])
    labels = torch.tensor([[[0, 0, 0, 0], [1, 1, 1, 2]]])
    kept = most_confident(confidence, labels, share=0.5, threshold=0.9)
    # The upper half of class 0, all of class 1 (above 0.9), and class 2's only pixel.
    assert kept.tolist() == [[[False, False, True, True], [True, True, True, True]]]
    assert most_confident(confidence, labels, share=1.0, threshold=0.9).all()
    third = most_confident(confidence, labels, share=1 / 3, threshold=1.0)
    assert third.tolist() == [[[False, False, True, True], [False, False, True, True]]]


def test_pseudo_labels_leave_the_least_confident_pixels_out():
    class Ramp(nn.Module):
        def forward(self, images):
            logits = torch.zeros(len(images), 2, *images.shape[2:])
            logits[:, 1] = torch.linspace(0.1, 0.9, images.shape[3])  # surer to the right
            return logits

    built = make(FixedLogits(0.0, 0.0), teacher=Ramp(), pseudo_share=0.5)
    labels = built.pseudo_labels(torch.rand(2, 3, 8, 8))
    assert (labels[:, :, :4] == 255).all() and (labels[:, :, 4:] == 1).all()


def test_pseudo_labels_of_several_teachers_are_those_of_their_mean():
    # (0.8, 0.2), (0.4, 0.6) and (0.45, 0.55): two say class 1, the mean (0.55, 0.45) class 0.
    teachers = nn.ModuleList(
        FixedLogits(math.log(p), math.log(1 - p)) for p in (0.8, 0.4, 0.45))
    built = make(FixedLogits(0.0, 0.0), teacher=teachers, pseudo_share=1.0)
    assert (built.pseudo_labels(torch.rand(1, 3, 8, 8)) == 0).all()
    assert not any(weight.requires_grad for weight in teachers.parameters())


def test_an_experiment_runs_a_first_round_and_one_that_builds_on_it(tmp_path, monkeypatch):
    register_tiny_network(monkeypatch)
    monkeypatch.setattr(experiment, 'open_dataset', lambda *_: PaintedFrames(4))
    first = tiny_config('fda', steps=2)
    second = replace(
        first, method=replace(first.method, pseudo_teacher=('stage:first', 'stage:first')))
    experiment.run_experiment(
        {'first': first, 'second': second}, output=tmp_path, data_root=None)
    terms = [set(read_log(tmp_path / name)[0]) - {'step', 'seconds'} for name in (
        'first', 'second')]
    assert terms[0] == {'source', 'target_entropy'}
    assert terms[1] == {'source', 'target_entropy', 'target_pseudo'}


def test_the_teacher_of_a_round_is_never_trained():
    teacher = tiny_teacher()
    built = make(TinyNetwork(9), teacher=teacher, pseudo_teacher='given')
    batch = DomainBatch(
        source_images=torch.rand(2, 3, 32, 32), target_images=torch.rand(2, 3, 32, 32),
        source_labels=torch.zeros(2, 32, 32, dtype=torch.int64))
    sum(built.losses(batch).values()).backward()
    assert not teacher.training and all(w.grad is None for w in teacher.parameters())
    assert all(w.grad is not None for w in built.student.parameters())


def test_a_pseudo_teacher_is_loaded_as_the_runs_teacher():
    config = parse({'method': {'name': 'fda', 'pseudo_teacher': 'stage:first'}}, 'run')
    assert config.method.teacher == 'stage:first' and references(config) == ['first']
    assert FourierDomainAdaptationConfig().teacher is None
    assert references(TrainingConfig(method=FourierDomainAdaptationConfig())) == []


def test_several_pseudo_teachers_may_be_named():
    several = ['stage:a', 'stage:b']
    config = parse({'method': {'name': 'fda', 'pseudo_teacher': several}}, 'run')
    assert config.method.teacher == ('stage:a', 'stage:b') and references(config) == ['a', 'b']


@pytest.mark.parametrize(('setting', 'value'), [
    ('beta', 0.6), ('beta', -0.1), ('eta', 0.0), ('lambda_entropy', -1.0),
    ('lambda_pseudo', -1.0), ('pseudo_share', 0.0), ('pseudo_threshold', 1.5)])
def test_a_setting_out_of_its_range_is_named(setting, value):
    with pytest.raises(InputError, match=f'method.{setting}: got {value}'):
        FourierDomainAdaptationConfig(**{setting: value})
