# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The training step of every method: what all keep to, and values worked out by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
import math

from bkd_core.batch import DomainBatch
from bkd_core.method_config import (
    AnchoredSelfTrainingConfig,
    BilateralDistillationConfig,
    MaskingConfig,
    MiningConfig,
    SelfTrainingConfig,
)
from bkd_core.methods import build_method, METHODS, PhotometricAugmentation
from bkd_core.methods.class_mix import class_mix_masks
from bkd_core.methods.resolution import loss_size, resize_logits, subsample_labels
import pytest
from tiny_training import METHOD_SETTINGS, tiny_teacher, TinyNetwork
import torch
from torch import nn

NO_MINING = MiningConfig(form='none', share=0.0)
PLAIN = BilateralDistillationConfig(
    teacher='given', mining=NO_MINING, teacher_view='crop', teacher_flip=False,
    confidence_cap=0.0)


def random_batch(*, num_images=3, labels=None):
    """Return a batch of 32 x 32 crops, a quarter of the labels ignored."""
    torch.manual_seed(3)
    if labels is None:
        labels = torch.randint(0, 9, (num_images, 32, 32))
        labels[:, :8] = 255
    return DomainBatch(
        source_images=torch.rand(num_images, 3, 32, 32), source_labels=labels,
        target_images=torch.rand(num_images, 3, 32, 32))


def make(
    settings, *, student=None, teacher=None, augment=lambda images: images, loss_stride=2,
    batch_statistics='shared',
):
    """Build a method around tiny networks."""
    needs_teacher = bool(getattr(settings, 'teacher', None))
    if needs_teacher and teacher is None:
        teacher = tiny_teacher()
    torch.manual_seed(1)
    return build_method(
        settings, student or TinyNetwork(9), augment=augment, loss_stride=loss_stride,
        batch_statistics=batch_statistics, teacher=teacher if needs_teacher else None)


def distil(**changes):
    """Return a student of BKD with some settings changed, and its losses."""
    method = make(replace(PLAIN, **changes))
    return method, method.losses(random_batch())


def state_of(network):
    """Return a copy of a network's weights and buffers."""
    return copy.deepcopy(network.state_dict())


def is_same(network, state):
    """Return whether a network still has a state."""
    return all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


class FixedLogits(nn.Module):
    """Answers the same logits everywhere, whatever it sees."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        """Return (B, C, H / 4, W / 4)."""
        shape = (len(images), len(self.logits), images.shape[2] // 4, images.shape[3] // 4)
        return self.logits.view(1, -1, 1, 1).expand(shape)


# Options that add a term or a teacher keep to the same contract.
VARIANTS = {
    'fda_round': replace(METHOD_SETTINGS['fda'], pseudo_teacher='given'),
    'self_training_masked': replace(
        METHOD_SETTINGS['self_training'], masking=MaskingConfig(lambda_masked=1, block_size=8)),
}


@pytest.fixture(params=[*METHODS, *VARIANTS])
def method(request):
    """Return each method, ready to train."""
    built = make({**METHOD_SETTINGS, **VARIANTS}[request.param])
    built.student.train()
    return built


def test_losses_are_named_finite_scalars_at_least_zero(method):
    losses = method.losses(random_batch())
    assert losses
    for name, loss in losses.items():
        assert name.isidentifier() and loss.shape == ()
        assert loss.isfinite() and loss >= 0
        assert loss.dtype == torch.float32


def test_gradient_reaches_the_whole_student_and_nothing_else(method):
    sum(method.losses(random_batch()).values()).backward()
    assert all(weight.grad is not None for weight in method.student.parameters())
    assert any(weight.grad.abs().sum() > 0 for weight in method.student.parameters())
    for weight in (getattr(method, 'teacher', None) or nn.Module()).parameters():
        assert weight.grad is None and not weight.requires_grad


def test_computing_losses_leaves_the_teacher_as_it_is(method):
    if getattr(method, 'teacher', None) is None:
        assert method_name(method) in ('source_only', 'max_square', 'fda')
        return
    before = state_of(method.teacher)
    method.losses(random_batch())
    assert is_same(method.teacher, before)
    assert not method.teacher.training


def test_losses_leave_the_batch_as_it_is(method):
    batch = random_batch()
    before = copy.deepcopy(batch)
    method.losses(batch)
    assert torch.equal(batch.source_images, before.source_images)
    assert torch.equal(batch.source_labels, before.source_labels)
    assert torch.equal(batch.target_images, before.target_images)


def test_a_batch_without_any_label_gives_zero_for_the_source_and_stays_finite(method):
    batch = random_batch(labels=torch.full((2, 32, 32), 255), num_images=2)
    losses = method.losses(batch)
    for name, loss in losses.items():
        assert loss.isfinite()
        assert loss == 0 or not name.startswith('source')
    sum(losses.values()).backward()
    assert all(weight.grad.isfinite().all() for weight in method.student.parameters())


def test_state_survives_being_saved(method, request):
    method.losses(random_batch())
    method.after_step(5)
    name = request.node.callspec.params['method']
    other = make({**METHOD_SETTINGS, **VARIANTS}[name])
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert list(other.state_dict()) == list(method.state_dict())
    for key, value in method.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def method_name(method):
    """Return a method's name in METHODS."""
    return next(name for name, kind in METHODS.items() if kind is type(method))


def test_losses_follow_from_the_random_state(method):
    other = copy.deepcopy(method)
    values = []
    for built in (method, other):
        batch = random_batch()
        torch.manual_seed(11)
        values.append([loss.tolist() for loss in built.losses(batch).values()])
    assert values[0] == values[1]


def test_losses_stay_float32_under_autocast(method):
    batch = random_batch()
    with torch.autocast('cpu', torch.bfloat16):
        losses = method.losses(batch)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


def test_every_method_ends_with_a_network_of_the_students_kind(method):
    assert type(method.result()) is type(method.student)
    assert isinstance(type(method).uses_target, bool)


def test_source_only_is_the_mean_cross_entropy_of_the_labelled_pixels():
    # Two classes, logits 0 and log 3: p = 1/4, 3/4. Of 16 x 16 compared pixels, 4 rows are
    # ignored, and of the other 12 rows 9 are class 0 and 3 are class 1.
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[:, :8], labels[:, 26:] = 255, 1
    settings = METHOD_SETTINGS['source_only']
    built = make(settings, student=FixedLogits(0.0, math.log(3)))
    loss = built.losses(random_batch(num_images=1, labels=labels))['source']
    assert loss.tolist() == pytest.approx((9 * math.log(4) + 3 * math.log(4 / 3)) / 12, rel=1e-5)


def test_a_student_equal_to_its_teacher_has_no_target_loss():
    teacher = tiny_teacher()
    built = make(replace(PLAIN, lambda_entropy=0.0), teacher=teacher)
    built.student = copy.deepcopy(teacher).eval().requires_grad_(True)
    losses = built.losses(random_batch())
    assert float(losses['target_soft'].detach()) == pytest.approx(0, abs=1e-6)
    assert float(losses['target_entropy']) == 0
    losses['target_soft'].backward()
    for weight in built.student.parameters():
        assert weight.grad.abs().max() < 1e-5


def fixed_pair(**changes):
    """Return BKD's losses for p = (1/4, 3/4) and q = (1/2, 1/2) everywhere, labels all 0."""
    built = make(
        replace(PLAIN, **changes), student=FixedLogits(0.0, math.log(3)),
        teacher=FixedLogits(0.0, 0.0))
    losses = built.losses(random_batch(labels=torch.zeros(3, 32, 32, dtype=torch.int64)))
    return {name: float(loss.detach()) for name, loss in losses.items()}


def test_the_four_terms_have_the_values_of_the_equations():
    losses = fixed_pair(lambda_soft=0.5, lambda_target=2.0, lambda_entropy=0.1)
    log4, log4_3 = math.log(4), math.log(4 / 3)
    cross = 0.5 * log4 + 0.5 * log4_3
    assert losses == {
        'source_hard': pytest.approx(log4, rel=1e-5),
        'source_soft': pytest.approx(0.5 * cross, rel=1e-5),
        'target_soft': pytest.approx(2 * (cross - math.log(2)), rel=1e-5),  # KL = CE - H(q)
        'target_entropy': pytest.approx(
            2 * 0.1 * (0.25 * log4 + 0.75 * log4_3), rel=1e-5),
    }


def test_the_reverse_direction_swaps_the_distributions():
    # KL(p || q) = sum p log p - log 1/2
    expected = math.log(2) - (0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    assert fixed_pair(kl_direction='reverse')['target_soft'] == pytest.approx(expected, rel=1e-5)


def test_source_flow_is_label_smoothing_by_the_teacher():
    # CE(y, p) + l CE(q, p) = (1 + l) CE((y + l q) / (1 + l), p), by torch's own cross-entropy.
    weight = 0.7
    built, losses = distil(lambda_soft=weight)
    batch = random_batch()
    built.student.train()
    images = torch.cat((batch.source_images, batch.target_images))
    with torch.no_grad():
        size = loss_size(images, 2)
        student = resize_logits(built.student(images), size)[:3]
        teacher = resize_logits(built.teacher(images), size)[:3].softmax(1)
    labels = subsample_labels(batch.source_labels, 2)
    valid = labels != 255
    hard = nn.functional.one_hot(labels.where(valid, 0), 9).permute(0, 3, 1, 2)
    smooth = (hard + weight * teacher) / (1 + weight)
    expected = (1 + weight) * nn.functional.cross_entropy(
        student, smooth, reduction='none')[valid].mean()
    total = losses['source_hard'] + losses['source_soft']
    torch.testing.assert_close(total.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('changes', 'zero', 'absent'), [
    ({'lambda_soft': 0.0}, {'source_soft'}, set()),
    ({'lambda_entropy': 0.0}, {'target_entropy'}, set()),
    ({'lambda_target': 0.0}, set(), {'target_soft', 'target_entropy'}),
    ({'source_flow': False}, set(), {'source_hard', 'source_soft'}),
])
def test_a_switch_makes_its_terms_vanish_and_leaves_the_others(changes, zero, absent):
    _, full = distil()
    _, losses = distil(**changes)
    assert set(full) - set(losses) == absent
    for name, loss in losses.items():
        assert loss.tolist() == (0 if name in zero else full[name].tolist())


def test_a_teacher_averaged_with_its_mirror_image_is_symmetric():
    teacher = tiny_teacher()
    built = make(replace(PLAIN, teacher_flip=True), teacher=teacher)
    images = random_batch().target_images
    soft = built.soft_labels(images, (16, 16))
    torch.testing.assert_close(soft.exp().sum(1), torch.ones(3, 16, 16))
    torch.testing.assert_close(built.soft_labels(images.flip(-1), (16, 16)).flip(-1), soft)
    single = make(PLAIN, teacher=teacher)
    mirrored = single.soft_labels(images.flip(-1), (16, 16)).flip(-1)
    torch.testing.assert_close(
        soft.exp(),
        (single.soft_labels(images, (16, 16)).exp() + mirrored.exp()) / 2)


def test_the_temperature_softens_the_teacher_only():
    # At T = 2, logits 0 and log 9 are worth 0 and log 3.
    built = make(
        replace(PLAIN, temperature=2.0, source_flow=False), student=FixedLogits(0.0, math.log(3)),
        teacher=FixedLogits(0.0, math.log(9)))
    soft = built.soft_labels(random_batch().target_images, (16, 16)).exp()
    torch.testing.assert_close(soft[0, :, 0, 0], torch.tensor([0.25, 0.75]))
    losses = built.losses(random_batch())
    assert float(losses['target_soft'].detach()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('form', ['top_k', 'focal'])
def test_mining_without_a_share_changes_nothing(form):
    _, plain = distil(mining=NO_MINING)
    _, mined = distil(mining=MiningConfig(form=form, share=0.0, min_pixels=1))
    for name, loss in plain.items():
        torch.testing.assert_close(mined[name], loss)


def test_full_mining_averages_the_hardest_pixels_of_each_image():
    built, _ = distil(mining=MiningConfig(form='top_k', share=1.0, ratio=0.25, min_pixels=1))
    loss = torch.tensor([[[1.0, 2.0], [3.0, 10.0]], [[8.0, 7.0], [6.0, 5.0]]])
    valid = torch.ones(2, 2, 2, dtype=torch.bool)
    valid[1, 0, 0] = False  # the hardest of the second image has no label
    student = torch.full((2, 9, 2, 2), 1 / 9).log()
    weights = built.mining_weights(student, torch.zeros(2, 2, 2, dtype=torch.int64), loss, valid)
    assert weights.tolist() == [[[0, 0], [0, 4]], [[0, 3], [0, 0]]]


def test_the_teachers_doubt_caps_mining_but_not_the_rest():
    built, _ = distil(mining=MiningConfig(form='focal', share=0.5))
    student = torch.full((1, 9, 1, 2), 1 / 9).log()  # equally hard: mined weights 1 and 1
    weights = built.mining_weights(
        student, torch.zeros(1, 1, 2, dtype=torch.int64), torch.ones(1, 1, 2),
        torch.ones(1, 1, 2, dtype=torch.bool), trust=torch.tensor([[[1.0, 0.2]]]))
    torch.testing.assert_close(weights, torch.tensor([[[1.0, 0.6]]]))


def test_the_confidence_cap_lowers_the_target_loss_of_a_doubting_teacher_by_hand():
    mining = MiningConfig(form='focal', share=0.5)
    free = fixed_pair(mining=mining)['target_soft']
    capped = fixed_pair(mining=mining, confidence_cap=1.0)['target_soft']
    # All pixels are equally hard (weight 1) and the teacher's confidence is 1/2.
    assert capped == pytest.approx(free * (0.5 + 0.5 * 0.5), rel=1e-5)


def test_bilateral_distillation_never_moves_the_teacher():
    teacher = tiny_teacher()
    before = state_of(teacher)
    built = make(PLAIN, teacher=teacher)
    optimizer = torch.optim.SGD(built.student.parameters(), 0.1)
    sum(built.losses(random_batch()).values()).backward()
    optimizer.step()
    built.after_step(0)
    assert is_same(teacher, before)


@pytest.mark.parametrize(('num_classes', 'chosen'), [(1, 1), (2, 1), (4, 2), (5, 3)])
def test_class_mix_pastes_half_of_the_classes_rounded_up(num_classes, chosen):
    torch.manual_seed(0)
    labels = torch.randint(0, num_classes, (4, 16, 16)) * 3
    labels[:, :4] = 255
    masks = class_mix_masks(labels)
    assert masks.shape == labels.shape and masks.dtype == torch.bool
    for label, mask in zip(labels, masks):
        pasted, left = set(label[mask].tolist()), set(label[~mask].tolist())
        assert len(pasted) == chosen and 255 not in pasted
        assert not pasted & left  # whole classes


def test_class_mix_draws_for_every_image_and_finds_nothing_in_an_unlabelled_one():
    torch.manual_seed(0)
    labels = torch.arange(8).repeat(20, 1).view(20, 2, 4)
    assert len({tuple(mask.flatten().tolist()) for mask in class_mix_masks(labels)}) > 5
    assert not class_mix_masks(torch.full((2, 4, 4), 255)).any()


def test_the_averaged_teacher_follows_the_formula():
    built = make(SelfTrainingConfig(ema_decay=0.9))
    old = state_of(built.teacher)
    with torch.no_grad():
        for weight in built.student.parameters():
            weight.add_(1.0)
        built.student.trunk[1].running_mean.fill_(5.0)
    built.after_step(100)
    for name, weight in built.teacher.named_parameters():
        # 0.9 old + 0.1 (old + 1)
        torch.testing.assert_close(weight, old[name] + 0.1)
    assert (built.teacher.trunk[1].running_mean == 5).all()


@pytest.mark.parametrize(('step', 'moved'), [(0, 1.0), (1, 0.5), (3, 0.25), (9, 0.1), (50, 0.1)])
def test_the_teachers_decay_is_ramped_up(step, moved):
    built = make(SelfTrainingConfig(ema_decay=0.9))
    before = built.teacher.classifier.bias.clone()
    with torch.no_grad():
        built.student.classifier.bias.add_(1.0)
    built.after_step(step)
    torch.testing.assert_close(built.teacher.classifier.bias - before, torch.full((9,), moved))


def test_pseudo_labels_weigh_as_much_as_their_images_confident_share():
    built = make(SelfTrainingConfig(confidence_threshold=0.7))

    class LeftIsSure(nn.Module):
        def forward(self, images):
            logits = torch.zeros(len(images), 2, *images.shape[2:])
            logits[:, 1, :, :8] = 3.0  # p = 0.95 in a quarter of the columns, 0.5 elsewhere
            return logits

    built.teacher = LeftIsSure()
    labels, weights = built.pseudo_labels(torch.rand(2, 3, 32, 32))
    assert (labels[:, :, :8] == 1).all() and (labels[:, :, 8:] == 0).all()
    torch.testing.assert_close(weights, torch.full((2, 32, 32), 0.25))


@pytest.mark.parametrize(('weight', 'label', 'share'), [
    (0.0, 0, 1.0),   # the teacher alone: p = 0.9, 0.1
    (0.25, 0, 0.0),  # 0.75 * 0.9 + 0.25 * 0.2 = 0.725, not above 0.75
    (0.5, 0, 0.0),   # 0.55
    (1.0, 1, 1.0),   # the anchor alone: 0.2, 0.8
])
def test_pseudo_labels_are_sure_where_teacher_and_anchor_agree(weight, label, share):
    settings = AnchoredSelfTrainingConfig(
        teacher='given', anchor_weight=weight, confidence_threshold=0.75)
    built = make(
        settings, student=FixedLogits(math.log(9), 0.0), teacher=FixedLogits(0.0, math.log(4)))
    labels, weights = built.pseudo_labels(torch.rand(2, 3, 32, 32))
    assert (labels == label).all() and labels.shape == (2, 32, 32)
    assert (weights == share).all()


def test_without_weight_the_anchor_changes_nothing():
    anchored = make(replace(METHOD_SETTINGS['anchored_self_training'], anchor_weight=0.0))
    plain = make(METHOD_SETTINGS['self_training'])
    torch.manual_seed(5)
    losses = anchored.losses(random_batch())
    torch.manual_seed(5)
    for name, loss in plain.losses(random_batch()).items():
        torch.testing.assert_close(losses[name], loss)
    before = state_of(anchored.anchor)
    anchored.after_step(3)
    assert is_same(anchored.anchor, before)


def test_mixed_pixels_from_the_source_carry_ground_truth_and_weigh_one():
    # The teacher is sure nowhere, so target pixels weigh 0 and pasted ones 1.
    settings = SelfTrainingConfig(confidence_threshold=0.99, lambda_mixed=2.0)
    built = make(settings, student=FixedLogits(0.0, math.log(3)))
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[:, :, 16:] = 255  # one class on the left half: it is always pasted
    losses = built.losses(random_batch(num_images=1, labels=labels))
    assert float(losses['source'].detach()) == pytest.approx(math.log(4), rel=1e-5)
    # Half of the pixels at log 4, half at weight 0, divided by all: the target's are valid.
    assert float(losses['mixed'].detach()) == pytest.approx(2 * math.log(4) / 2, rel=1e-5)


def test_photometric_changes_keep_shape_range_and_the_original():
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32)
    before = images.clone()
    changed = PhotometricAugmentation(color_jitter=0.5, blur=0.5)(images)
    assert torch.equal(images, before)
    assert changed.shape == images.shape and changed.dtype == torch.float32
    assert 0 <= changed.min() and changed.max() <= 1
    assert (changed - images).abs().mean() > 0.01
    assert torch.equal(PhotometricAugmentation(color_jitter=0.0, blur=0.0)(images), images)


def test_photometric_changes_keep_their_precision_under_autocast():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 32)
    augment = PhotometricAugmentation(color_jitter=0.0, blur=1.0)
    torch.manual_seed(1)
    expected = augment(images)
    torch.manual_seed(1)
    with torch.autocast('cpu', torch.bfloat16):
        changed = augment(images)
    torch.testing.assert_close(changed, expected)


def test_the_label_of_a_block_is_the_one_behind_its_middle():
    labels = torch.arange(16).view(1, 4, 4)
    assert subsample_labels(labels, 1).tolist() == labels.tolist()
    assert subsample_labels(labels, 2).tolist() == [[[5, 7], [13, 15]]]
    assert subsample_labels(labels, 4).tolist() == [[[10]]]
    assert loss_size(torch.zeros(1, 3, 64, 96), 4) == (16, 24)


def test_shared_statistics_are_those_of_one_batch_of_both_domains():
    """Without the option the network is called once, with all images."""
    batch = random_batch()
    method = make(METHOD_SETTINGS['max_square'])
    images = torch.cat((batch.source_images, batch.target_images))
    expected = copy.deepcopy(method.student.train())(images)
    assert torch.equal(method.student_logits(images, num_source=3), expected)


@pytest.mark.parametrize('name', [name for name in METHODS if METHODS[name].uses_target])
def test_only_the_targets_statistics_are_remembered(name):
    """Whatever the source looks like, the running statistics stay the same."""
    running = []
    for brightness in (0.1, 1.0):
        batch = random_batch()
        batch = replace(batch, source_images=batch.source_images * brightness)
        method = make(METHOD_SETTINGS[name], batch_statistics='per_domain')
        method.student.train()
        if hasattr(method, 'mix'):  # else source pixels are pasted into the target
            method.mix = lambda batch, labels, weights: (batch.target_images, labels, weights)
        method.losses(batch)
        running.append(method.student.trunk[1].running_mean.clone())
        momenta = {layer.momentum for layer in method.student.modules()
                   if isinstance(layer, nn.BatchNorm2d)}
        assert momenta == {0.1}
    assert torch.equal(*running)
    assert running[0].abs().max() > 0


def test_each_domain_is_normalised_by_its_own_statistics():
    """The logits of each half are those of a batch of that half alone."""
    batch = random_batch()
    method = make(METHOD_SETTINGS['max_square'], batch_statistics='per_domain')
    student = copy.deepcopy(method.student).train()
    images = torch.cat((batch.source_images, batch.target_images))
    method.student.train()
    logits = method.student_logits(images, num_source=3)
    for half, alone in zip(logits.split(3), (batch.source_images, batch.target_images)):
        torch.testing.assert_close(half, student(alone))
