# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Soft labels in the student's classes: sums and means of probabilities made by hand."""

from __future__ import annotations

from dataclasses import replace
import math

from bkd_core.labels import get_label_space, LabelSpace
from bkd_core.methods.resolution import resize_logits
from bkd_core.methods.soft_labels import adjust_logits, mean_of, merge_classes, soft_labels
from bkd_core.models.teacher import Teacher, TeacherSpec
import pytest
from test_methods import FixedLogits, make, PLAIN, random_batch
from tiny_training import tiny_teacher, TinyNetwork
import torch
from torch import nn

COARSE = LabelSpace(name='coarse', classes=('road', 'thing'), colors=((0, 0, 0),) * 2)
FINE = LabelSpace(
    name='fine', classes=('car', 'road', 'bus', 'sky'), colors=((0, 0, 0),) * 4)
SPEC = TeacherSpec(
    name='fine teacher', label_space=FINE, input_height=64, mean=(0, 0, 0), std=(1, 1, 1),
    mapping={'car': 'thing', 'bus': 'thing'})


def log(*values):
    return [math.log(value) for value in values]


def fine_teacher(*probabilities, label_space=COARSE):
    network = FixedLogits(*(value + 3 for value in log(*probabilities)))
    return Teacher(network, SPEC, label_space=label_space, input_height=64)


def first_pixel(soft):
    return soft[0, :, 0, 0].exp().tolist()


def of(teacher, *, temperature=1.0, size=(16, 16)):
    return soft_labels(teacher, torch.rand(2, 3, 32, 32), size=size, temperature=temperature)


def test_probabilities_are_summed_over_mapped_classes_and_renormalised():
    # car .1, road .3, bus .2, sky .4: the sky has no counterpart; road .3 of .6, thing .3 of .6.
    soft = of(fine_teacher(.1, .3, .2, .4))
    assert soft.shape == (2, 2, 16, 16)
    assert first_pixel(soft) == pytest.approx([.5, .5])


def test_the_temperature_softens_before_the_classes_are_summed():
    # Roots of .04, .36, .16, .44 are .2, .6, .4 and the sky's: road .6, thing .6. Softening
    # after the sum would give the road sqrt(.36) of sqrt(.36) + sqrt(.2).
    assert first_pixel(of(fine_teacher(.04, .36, .16, .44), temperature=2.0)) == pytest.approx(
        [.5, .5])


def test_a_probability_that_all_but_vanishes_stays_finite():
    teacher = Teacher(FixedLogits(0.0, -200.0, 0.0, 500.0), SPEC, label_space=COARSE,
                      input_height=64)
    soft = of(teacher)
    assert soft.isfinite().all()
    assert soft[0, 0, 0, 0].tolist() == pytest.approx(-200 - math.log(2))


def test_merging_equals_softmax_then_sum_then_renormalisation():
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    groups = ((4,), (0, 2), (5,))
    probabilities = logits.softmax(1)
    summed = torch.stack([probabilities[:, list(ids)].sum(1) for ids in groups], 1)
    torch.testing.assert_close(
        merge_classes(logits, groups).softmax(1), summed / summed.sum(1, keepdim=True))


def test_adjusted_logits_give_a_rare_class_back_what_a_frequent_one_takes():
    soft = torch.tensor(log(.6, .3, .1)).view(1, 3, 1, 1)
    shares = torch.tensor([.64, .32, .04])
    # Divided by the roots .8, .5657 and .2: .75, .5303, .5; the sum is 1.7803.
    assert first_pixel(adjust_logits(soft, shares, power=.5)) == pytest.approx(
        [.4213, .2979, .2808], abs=1e-4)
    assert first_pixel(adjust_logits(soft, shares, power=0.)) == pytest.approx([.6, .3, .1])
    equal = torch.full((3,), 1 / 3)
    assert first_pixel(adjust_logits(soft, equal, power=1.)) == pytest.approx([.6, .3, .1])


def test_the_mean_is_one_of_probabilities():
    maps = [torch.tensor(log(*values)).view(1, 2, 1, 1) for values in (
        (.9, .1), (.2, .8), (.1, .9))]
    assert first_pixel(mean_of(maps)) == pytest.approx([.4, .6])
    assert mean_of(maps[:1]) is maps[0]


@pytest.mark.parametrize('flip', [False, True])
def test_several_teachers_of_different_classes_are_averaged(flip):
    teachers = nn.ModuleList([fine_teacher(.1, .3, .2, .4), FixedLogits(*log(.1, .9))])
    built = make(
        replace(PLAIN, teacher_flip=flip), student=FixedLogits(0.0, 0.0), teacher=teachers)
    soft = built.soft_labels(torch.rand(2, 3, 32, 32), (16, 16))
    assert first_pixel(soft) == pytest.approx([.3, .7])
    labels = torch.zeros(3, 32, 32, dtype=torch.int64)
    losses = built.losses(random_batch(labels=labels))
    assert losses['target_soft'].tolist() == pytest.approx(
        .3 * math.log(.6) + .7 * math.log(1.4), rel=1e-5)  # KL to (1/2, 1/2)


def test_two_equal_teachers_are_worth_one():
    images = random_batch().target_images
    single = make(PLAIN, teacher=tiny_teacher()).soft_labels(images, (16, 16))
    twins = nn.ModuleList([tiny_teacher(), tiny_teacher()])
    torch.testing.assert_close(
        make(PLAIN, teacher=twins).soft_labels(images, (16, 16)), single)


def test_no_teacher_of_several_learns_or_moves():
    teachers = nn.ModuleList([tiny_teacher(), tiny_teacher()])
    built = make(PLAIN, teacher=teachers)
    sum(built.losses(random_batch()).values()).backward()
    assert not any(weight.requires_grad or weight.grad is not None
                   for weight in teachers.parameters())
    assert not any(module.training for module in teachers.modules())


class Coarser(nn.Module):
    """A network of stride 16 where the student's is 4."""

    def __init__(self) -> None:
        super().__init__()
        self.network = TinyNetwork(9)

    def forward(self, images):
        """Return (B, 9, H / 16, W / 16)."""
        return nn.functional.avg_pool2d(self.network(images), 4)


@pytest.mark.parametrize('loss_stride', [1, 2, 4])
def test_teacher_and_student_may_differ_in_size_and_stride(loss_stride):
    torch.manual_seed(5)
    network = Coarser().eval()
    spec = TeacherSpec(
        name='large', label_space=get_label_space('street9'), input_height=96, size_multiple=32,
        mean=(0, 0, 0), std=(255, 255, 255))
    teacher = Teacher(network, spec, label_space=spec.label_space, input_height=64)
    built = make(PLAIN, teacher=teacher, loss_stride=loss_stride)
    batch = random_batch()
    losses = built.losses(batch)
    assert all(loss.isfinite() for loss in losses.values())
    # 32 pixels at a short side of 64 are 48 at 96, which is nearest to 64 (2 x 32, ties to even).
    size = 32 // loss_stride
    seen = nn.functional.interpolate(batch.target_images, (64, 64), mode='bilinear')
    expected = resize_logits(network(seen), (size, size)).log_softmax(1)
    torch.testing.assert_close(
        built.soft_labels(batch.target_images, (size, size)), expected.detach(), rtol=1e-4,
        atol=1e-5)
