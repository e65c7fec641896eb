# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The equations against values worked out by hand, their identities, gradients and limits."""

from __future__ import annotations

from math import log

import pytest

torch = pytest.importorskip('torch')

from bkd_core import losses  # noqa: E402

LOG_2, LOG_3 = log(2), log(3)
SOFT = {
    'soft_cross_entropy': lambda log_p, log_q: losses.soft_cross_entropy(log_p, log_q.exp()),
    'forward': lambda log_p, log_q: losses.kl_divergence(log_p, log_q),
    'reverse': lambda log_p, log_q: losses.kl_divergence(log_p, log_q, direction='reverse'),
    'entropy': lambda log_p, _: losses.entropy(log_p),
}


def pixel(*probabilities):
    """Return logits (1, C, 1, 1) in float64 whose softmax is what is given."""
    return torch.tensor(probabilities, dtype=torch.float64).log().view(1, -1, 1, 1)


def row(*values):
    """Return a map (1, 1, W) in float64."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, -1)


def random_logits(seed=0, shape=(2, 5, 3, 4)):
    """Return logits in float64 that spread over several units."""
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def gradient(loss, logits):
    """Return the gradient of the summed loss at the logits, as a list of one pixel's classes."""
    logits = logits.clone().requires_grad_()
    loss(losses.log_probabilities(logits)).sum().backward()
    return logits.grad


# Values at single pixels

def test_cross_entropy_of_a_half_and_a_quarter_is_one_and_two_log_2():
    log_p = losses.log_probabilities(torch.cat([pixel(.5, .25, .25)] * 3, dim=3))
    loss = losses.cross_entropy(log_p, torch.tensor([[[0, 1, 255]]]))
    assert loss.flatten().tolist() == pytest.approx([LOG_2, 2 * LOG_2, 0], abs=1e-12)


def test_soft_cross_entropy_weighs_the_logarithms_by_the_teacher():
    log_p = losses.log_probabilities(pixel(.5, .25, .25))
    loss = losses.soft_cross_entropy(log_p, pixel(.25, .5, .25).exp())
    assert loss.item() == pytest.approx(.25 * LOG_2 + .75 * 2 * LOG_2)


def test_the_two_directions_of_the_divergence_have_their_own_values():
    log_p, log_q = pixel(.5, .5), pixel(.25, .75)
    forward = losses.kl_divergence(log_p, log_q).item()
    reverse = losses.kl_divergence(log_p, log_q, direction='reverse').item()
    assert forward == pytest.approx(.75 * LOG_3 - LOG_2)  # sum q log(q / p) = 0.1308
    assert reverse == pytest.approx(LOG_2 - .5 * LOG_3)  # sum p log(p / q) = 0.1438


def test_entropy_is_measured_in_nats():
    assert losses.entropy(pixel(.5, .25, .25)).item() == pytest.approx(1.5 * LOG_2)


def test_entropy_of_equal_probabilities_is_the_logarithm_of_their_number():
    log_p = losses.log_probabilities(torch.zeros(1, 19, 1, 1))
    assert losses.entropy(log_p).item() == pytest.approx(log(19), rel=1e-6)


def test_the_temperature_divides_the_logits():
    logits = torch.tensor([2 * LOG_3, 0.0]).view(1, 2, 1, 1)
    cold = losses.log_probabilities(logits).exp().flatten().tolist()
    warm = losses.log_probabilities(logits, temperature=2).exp().flatten().tolist()
    assert cold == pytest.approx([.9, .1])
    assert warm == pytest.approx([.75, .25])


def test_the_divergence_agrees_with_torch_distributions():
    log_p, log_q = (losses.log_probabilities(random_logits(seed)) for seed in (1, 2))
    p, q = (torch.distributions.Categorical(logits=m.movedim(1, -1)) for m in (log_p, log_q))
    expected = torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(losses.kl_divergence(log_p, log_q), expected)


# Gradients with respect to the logits

def test_the_gradient_of_cross_entropy_is_p_minus_y():
    labels = torch.tensor([[[0]]])
    found = gradient(lambda log_p: losses.cross_entropy(log_p, labels), pixel(.5, .25, .25))
    assert found.flatten().tolist() == pytest.approx([-.5, .25, .25])


@pytest.mark.parametrize('name', ['soft_cross_entropy', 'forward'])
def test_the_gradient_towards_soft_labels_is_p_minus_q(name):
    log_q = pixel(.25, .25, .5)
    found = gradient(lambda log_p: SOFT[name](log_p, log_q), pixel(.5, .25, .25))
    assert found.flatten().tolist() == pytest.approx([.25, 0, -.25])


def test_the_gradient_of_entropy_is_minus_p_times_log_p_plus_entropy():
    found = gradient(losses.entropy, pixel(.5, .25, .25))  # log p = -1, -2, -2 and H = 1.5 log 2
    expected = [-.5 * .5 * LOG_2, .25 * .5 * LOG_2, .25 * .5 * LOG_2]
    assert found.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize('name', SOFT)
def test_gradients_agree_with_finite_differences(name):
    log_q = losses.log_probabilities(random_logits(1, (1, 4, 1, 2)))
    logits = random_logits(0, (1, 4, 1, 2)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: SOFT[name](losses.log_probabilities(z, temperature=1.5), log_q), logits)


@pytest.mark.parametrize('name', ['soft_cross_entropy', 'forward', 'reverse'])
def test_no_gradient_flows_into_the_teacher(name):
    student, teacher = (random_logits(seed).requires_grad_() for seed in (0, 1))
    maps = [losses.log_probabilities(logits) for logits in (student, teacher)]
    SOFT[name](*maps).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().max() > 0


# Identities

def test_source_flow_is_label_smoothing_by_the_teacher():
    weight = 0.7
    logits, q = random_logits(0), random_logits(1).softmax(dim=1)
    labels = torch.arange(24).view(2, 3, 4) % 5
    one_hot = torch.nn.functional.one_hot(labels, 5).movedim(-1, 1).double()
    smooth = (one_hot + weight * q) / (1 + weight)

    def source_flow(log_p):
        hard = losses.cross_entropy(log_p, labels)
        return hard + weight * losses.soft_cross_entropy(log_p, q)

    def smoothed(log_p):
        return (1 + weight) * losses.soft_cross_entropy(log_p, smooth)

    log_p = losses.log_probabilities(logits)
    torch.testing.assert_close(source_flow(log_p), smoothed(log_p))
    torch.testing.assert_close(gradient(source_flow, logits), gradient(smoothed, logits))


def test_divergence_is_cross_entropy_less_the_teachers_entropy():
    log_p, log_q = (losses.log_probabilities(random_logits(seed)) for seed in (0, 1))
    difference = losses.soft_cross_entropy(log_p, log_q.exp()) - losses.entropy(log_q)
    torch.testing.assert_close(losses.kl_divergence(log_p, log_q), difference)


def test_reverse_divergence_plus_entropy_is_reverse_cross_entropy():
    logits, log_q = random_logits(0), losses.log_probabilities(random_logits(1))

    def left(log_p):
        return SOFT['reverse'](log_p, log_q) + losses.entropy(log_p)

    def right(log_p):
        return -(log_p.exp() * log_q).sum(dim=1)

    log_p = losses.log_probabilities(logits)
    torch.testing.assert_close(left(log_p), right(log_p))
    torch.testing.assert_close(gradient(left, logits), gradient(right, logits))


@pytest.mark.parametrize('direction', ['forward', 'reverse'])
def test_identical_logits_diverge_by_nothing_and_have_no_gradient(direction):
    logits = random_logits(0)
    log_q = losses.log_probabilities(logits)
    assert losses.kl_divergence(log_q, log_q, direction=direction).abs().max() < 1e-12
    found = gradient(lambda log_p: SOFT[direction](log_p, log_q), logits)
    assert found.abs().max() < 1e-12


def test_a_teacher_that_rules_classes_out_gives_cross_entropy_with_its_class():
    log_p = losses.log_probabilities(random_logits(0, (1, 3, 1, 1)))
    certain = torch.tensor([-torch.inf, 0, -torch.inf]).double().view(1, 3, 1, 1)
    expected = losses.cross_entropy(log_p, torch.tensor([[[1]]]))
    torch.testing.assert_close(losses.kl_divergence(log_p, certain), expected)
    found = gradient(lambda p: losses.kl_divergence(p, certain), random_logits(0, (1, 3, 1, 1)))
    assert found.isfinite().all()


def test_one_class_leaves_nothing_to_lose():
    log_p = losses.log_probabilities(torch.full((1, 1, 2, 2), 7.0))
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    assert losses.cross_entropy(log_p, labels).abs().sum() == 0
    assert all(loss(log_p, log_p).abs().sum() == 0 for loss in SOFT.values())


@pytest.mark.parametrize('name', SOFT)
def test_extreme_logits_stay_finite_with_finite_gradients(name):
    logits = torch.tensor([3e4, -3e4, 0.0]).view(1, 3, 1, 1).requires_grad_()
    log_p = losses.log_probabilities(logits)
    loss = SOFT[name](log_p, losses.log_probabilities(-logits))
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()


# Precision

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_logits_become_float32_even_under_autocast(dtype):
    logits = random_logits(0).to(dtype).requires_grad_()
    exact = torch.log_softmax(logits.detach().double(), dim=1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        log_p = losses.log_probabilities(logits)
        loss = losses.entropy(log_p) + SOFT['forward'](log_p, log_p.flip(dims=[0]))
    loss.sum().backward()
    assert log_p.dtype == loss.dtype == torch.float32
    assert logits.grad.dtype == dtype and logits.grad.isfinite().all()
    torch.testing.assert_close(log_p.detach().double(), exact, atol=1e-5, rtol=1e-5)


# The mean

def test_the_mean_is_over_valid_pixels_and_weighted():
    loss, weights = row(1, 2, 4, 8), row(3, 1, .5, 1)
    valid = row(1, 1, 1, 0).bool()
    assert losses.weighted_mean(loss, valid=valid).item() == pytest.approx(7 / 3)
    weighted = losses.weighted_mean(loss, valid=valid, weights=weights)
    assert weighted.item() == pytest.approx((3 + 2 + 2) / 3)


def test_what_an_invalid_pixel_holds_does_not_matter():
    loss = row(2, torch.nan, torch.inf).requires_grad_()
    mean = losses.weighted_mean(
        loss, valid=row(1, 0, 0).bool(), weights=torch.ones_like(loss))
    mean.backward()
    assert mean.item() == 2
    assert loss.grad.flatten().tolist() == [1, 0, 0]


@pytest.mark.parametrize('form', ['none', 'top_k', 'focal'])
def test_with_everything_ignored_both_flows_are_0_and_differentiable(form):
    logits, log_q = random_logits(0).requires_grad_(), random_logits(1).log_softmax(dim=1)
    labels = torch.full((2, 3, 4), 255)
    log_p = losses.log_probabilities(logits)
    loss = losses.cross_entropy(log_p, labels) + sum(f(log_p, log_q) for f in SOFT.values())
    hardness = losses.target_class_probability(log_p, labels)
    weights = losses.mine_hard_pixels(loss, hardness, valid=labels != 255, form=form)
    mean = losses.weighted_mean(loss, valid=labels != 255, weights=weights)
    mean.backward()
    assert mean.item() == 0
    assert weights.abs().sum() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


# Hard pixels

def mine(loss, valid=None, probability=None, **settings):
    """Call the function under test with every pixel valid unless told otherwise."""
    valid = torch.ones_like(loss, dtype=torch.bool) if valid is None else valid
    return losses.mine_hard_pixels(loss, probability, valid=valid, **settings)


def test_top_k_keeps_the_hardest_and_their_mean():
    loss = row(1, 9, 3, 7)
    weights = mine(loss, form='top_k', ratio=.5)
    assert weights.flatten().tolist() == [0, 2, 0, 2]
    valid = torch.ones_like(loss, dtype=torch.bool)
    assert losses.weighted_mean(loss, valid=valid, weights=weights).item() == (9 + 7) / 2


def test_top_k_ranks_inside_each_image_and_counts_its_valid_pixels():
    loss = torch.cat([row(1, 2, 3, 4), row(10, 20, 30, 40)])
    valid = torch.cat([row(1, 1, 1, 1), row(1, 1, 0, 0)]).bool()
    weights = mine(loss, valid, form='top_k', ratio=.5)
    assert weights.tolist() == [[[0, 0, 2, 2]], [[0, 2, 0, 0]]]


@pytest.mark.parametrize(
    ('settings', 'num_kept'),
    [({'ratio': .07}, 7), ({'ratio': .07, 'min_pixels': 30}, 30),
     ({'ratio': .001, 'min_pixels': 0}, 1), ({'ratio': .5, 'min_pixels': 1000}, 100),
     ({'ratio': 1.0, 'min_pixels': 0}, 100)])
def test_top_k_keeps_so_many_of_100(settings, num_kept):
    weights = mine(row(*range(100)), form='top_k', **settings).flatten()
    assert (weights > 0).nonzero().flatten().tolist() == list(range(100 - num_kept, 100))
    assert weights.sum().item() == pytest.approx(100)


def test_among_equal_losses_the_first_pixels_are_kept():
    assert mine(row(5, 5, 5, 5), form='top_k', ratio=.5).flatten().tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize(
    ('gamma', 'expected'),
    [(0, [1, 1, 1, 1]), (1, [.4, .8, 1.2, 1.6]), (2, [.4 / 3, 1.6 / 3, 1.2, 6.4 / 3])])
def test_focal_weights_are_powers_of_hardness_with_mean_1(gamma, expected):
    probability = row(.9, .8, .7, .6)  # hardness .1, .2, .3, .4: sums 1 and, squared, .3
    weights = mine(torch.zeros_like(probability), None, probability, form='focal', gamma=gamma)
    assert weights.flatten().tolist() == pytest.approx(expected)


def test_focal_weights_survive_certain_and_nearly_certain_images():
    probability = torch.cat([row(1, 1, 1), 1 - row(1e-12, 1e-12, 1e-12), row(1, 1, .5)])
    weights = mine(torch.zeros_like(probability), None, probability, form='focal', gamma=40)
    assert weights.tolist() == [[[1, 1, 1]], [[1, 1, 1]], [[0, 0, 3]]]


@pytest.mark.parametrize(
    ('form', 'gamma'), [('none', 1), ('top_k', 1), ('focal', 0), ('focal', 2)])
def test_weights_have_mean_1_in_every_image_and_no_gradient(form, gamma):
    logits = random_logits(0, (3, 5, 6, 7)).float().requires_grad_()
    target = torch.arange(126).view(3, 6, 7) % 5
    target[1, :4] = 255
    valid = target != 255
    log_p = losses.log_probabilities(logits)
    loss = losses.cross_entropy(log_p, target)
    probability = losses.target_class_probability(log_p, target)
    weights = mine(loss, valid, probability, form=form, ratio=.3, gamma=gamma)
    for image in range(3):
        assert weights[image][valid[image]].mean().item() == pytest.approx(1, rel=1e-5)
    assert weights[~valid].abs().sum() == 0
    assert not weights.requires_grad and weights.dtype == torch.float32


def test_the_probability_of_the_target_class_is_1_where_there_is_none():
    log_p = torch.cat([pixel(.5, .25, .25)] * 3, dim=3)
    found = losses.target_class_probability(log_p, torch.tensor([[[0, 2, 255]]]))
    assert found.flatten().tolist() == pytest.approx([.5, .25, 1])


# Mistakes of the caller

def test_maps_that_would_broadcast_are_refused():
    log_p, one_image = random_logits(0), random_logits(0, (1, 5, 3, 4))
    for loss in (losses.soft_cross_entropy, losses.kl_divergence):
        with pytest.raises(ValueError, match=r'\(2, 5, 3, 4\) and \(1, 5, 3, 4\)'):
            loss(log_p, one_image)
    with pytest.raises(ValueError, match=r'\(2, 5, 3, 4\) and \(1, 3, 4\)'):
        losses.cross_entropy(log_p, torch.zeros(1, 3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="'valid': \\(1, 1, 1\\)"):
        losses.weighted_mean(row(1, 2), valid=row(1).bool())
    with pytest.raises(ValueError, match=r'\(5, 3, 4\)'):
        losses.entropy(log_p[0])


def test_a_label_outside_the_classes_is_refused():
    with pytest.raises(RuntimeError, match='out of bounds'):
        losses.cross_entropy(pixel(.5, .5), torch.tensor([[[2]]]))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [({'form': 'topk'}, "Did you mean 'top_k'"), ({'ratio': 0}, 'ratio=0'),
     ({'ratio': 1.5}, 'ratio=1.5'), ({'min_pixels': -1}, 'min_pixels=-1'),
     ({'gamma': -1}, 'gamma=-1'), ({'form': 'focal'}, 'needs hardness_probability')])
def test_settings_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        mine(row(1, 2), **settings)


def test_a_wrong_temperature_or_direction_is_refused():
    for temperature in (0, -1, float('nan')):
        with pytest.raises(ValueError, match='temperature must be above 0'):
            losses.log_probabilities(pixel(.5, .5), temperature=temperature)
    with pytest.raises(ValueError, match="Did you mean 'forward'"):
        losses.kl_divergence(pixel(.5, .5), pixel(.5, .5), direction='forwards')
