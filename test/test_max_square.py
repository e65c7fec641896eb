# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Maximum squares: values by hand, gradients, class weights and the second level."""

from __future__ import annotations

import logging
import math

from bkd_core.batch import DomainBatch
from bkd_core.errors import InputError
from bkd_core.losses import image_wise_class_weights, maximum_squares
from bkd_core.method_config import MaxSquareConfig
from bkd_core.methods.max_square import forward_levels, MaxSquare
from bkd_core.models import Normalized
import pytest
import torch
from torch import nn

LOG3 = math.log(3)


def log_p(*probabilities):
    """Return the same log-probabilities as a map of one pixel."""
    return torch.tensor(probabilities).log().view(1, -1, 1, 1)


class Levels(nn.Module):
    """Fixed logits of two classes: the main ones for bright pixels, others for dark ones."""

    def __init__(self, bright, dark, auxiliary=None):
        super().__init__()
        self.bright, self.dark = nn.Parameter(torch.tensor(bright)), torch.tensor(dark)
        if auxiliary is not None:
            self.auxiliary = nn.Parameter(torch.tensor(auxiliary))
            self.has_levels, self.forward_levels = True, self._both

    def forward(self, images):
        """Return logits at the images' own size."""
        is_bright = images[:, :1] > 0.5
        return torch.where(
            is_bright, self.bright.view(1, -1, 1, 1), self.dark.view(1, -1, 1, 1))

    def _both(self, images):
        main = self(images)
        return main, self.auxiliary.view(1, -1, 1, 1).expand(main[..., ::2, ::2].shape)


def make(student, **settings):
    """Return the method with no augmentation, all pixels compared."""
    return MaxSquare(
        student, MaxSquareConfig(**settings), augment=lambda images: images, loss_stride=1)


def batch_of(target):
    """Return a batch of one black source image of class 0 and a target image."""
    return DomainBatch(
        source_images=torch.zeros_like(target), target_images=target,
        source_labels=torch.zeros(len(target), *target.shape[2:], dtype=torch.int64))


def quarter_bright():
    """Return an image of 4 x 4 pixels whose first row is bright."""
    image = torch.zeros(1, 3, 4, 4)
    image[:, :, 0] = 1
    return image


def values(losses):
    """Return losses as plain numbers."""
    return {name: float(loss.detach()) for name, loss in losses.items()}


@pytest.mark.parametrize(('probabilities', 'expected'), [
    ((0.25, 0.75), (1 - 0.0625 - 0.5625) / 2),
    ((0.5, 0.5), 0.25),
    ((0.25, 0.25, 0.25, 0.25), (1 - 1 / 4) / 2),
    ((1.0,), 0.0),
    ((0.0, 1.0), 0.0),
])
def test_maximum_squares_has_the_value_of_the_equation(probabilities, expected):
    assert maximum_squares(log_p(*probabilities)).item() == pytest.approx(expected, abs=1e-7)


def test_the_gradient_is_that_of_minus_half_the_squares():
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    maximum_squares(logits.log_softmax(1)).sum().backward()
    p = logits.detach().softmax(1)
    # d(-1/2 sum_c p_c^2)/dz_k = -p_k (p_k - sum_c p_c^2)
    expected = p * (p.square().sum(1, keepdim=True) - p)
    torch.testing.assert_close(logits.grad, expected)


def test_a_sure_pixel_pulls_less_than_an_unsure_one_where_entropy_pulls_more():
    # For two classes the gradient is 2 p q (q - p) / 2: at 0.99 far below that at 0.8.
    pulls = []
    for p in (0.8, 0.99):
        logits = torch.tensor([p, 1 - p]).log().view(1, 2, 1, 1).requires_grad_()
        maximum_squares(logits.log_softmax(1)).sum().backward()
        pulls.append(logits.grad[0, 0].abs().item())
    assert pulls[0] == pytest.approx(0.8 * (0.68 - 0.8) * -1, rel=1e-4)
    assert pulls[1] < pulls[0] / 5


def test_weights_grow_with_the_rarity_of_the_predicted_class_in_its_own_image():
    maps = torch.zeros(2, 2, 4, 4)
    maps[0, 1, 0] = 1  # 4 of 16 pixels are class 1 in the first image, none in the second
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    weights = image_wise_class_weights(maps.log_softmax(1), valid=valid, alpha=0.2)
    torch.testing.assert_close(weights[0, 0], torch.full((4,), 4 ** 0.2))
    torch.testing.assert_close(weights[0, 1:], torch.full((3, 4), (4 / 3) ** 0.2))
    torch.testing.assert_close(weights[1], torch.ones(4, 4))


def test_weights_leave_invalid_pixels_out_of_the_counts():
    maps = torch.zeros(1, 2, 1, 4)
    maps[0, 1, 0, 0] = 1
    valid = torch.tensor([[[True, True, False, False]]])
    weights = image_wise_class_weights(maps.log_softmax(1), valid=valid, alpha=1.0)
    assert weights.tolist() == [[[2, 2, 0, 0]]]
    nothing = image_wise_class_weights(maps, valid=torch.zeros_like(valid), alpha=0.5)
    assert nothing.tolist() == [[[0, 0, 0, 0]]]


def test_alpha_zero_weighs_all_alike_and_alpha_one_all_classes_alike():
    torch.manual_seed(0)
    maps = torch.randn(1, 3, 8, 8).log_softmax(1)
    valid = torch.ones(1, 8, 8, dtype=torch.bool)
    assert (image_wise_class_weights(maps, valid=valid, alpha=0.0) == 1).all()
    weights = image_wise_class_weights(maps, valid=valid, alpha=1.0)
    sums = [weights[maps.argmax(1) == index].sum().item() for index in range(3)]
    assert sums == pytest.approx([64, 64, 64])
    with pytest.raises(ValueError, match='alpha must be 0 to 1; got 2'):
        image_wise_class_weights(maps, valid=valid, alpha=2)


def test_the_losses_of_one_level_are_the_equations():
    # Bright: p = (1/4, 3/4), class 1, 4 of 16 pixels; dark: p = (1/2, 1/2), class 0, 12 of 16.
    built = make(Levels([0.0, LOG3], [0.0, 0.0]), lambda_target=0.3, alpha=0.5)
    losses = values(built.losses(batch_of(quarter_bright())))
    bright, dark = (1 - 10 / 16) / 2, 0.25
    target = (4 * 4 ** 0.5 * bright + 12 * (4 / 3) ** 0.5 * dark) / 16
    assert losses == {
        'source': pytest.approx(math.log(2), rel=1e-5),
        'target': pytest.approx(0.3 * target, rel=1e-5)}


def test_a_network_with_an_auxiliary_head_is_guided_by_both_levels():
    # Main: bright p = (0.01, 0.99), dark (1/2, 1/2). Auxiliary: (3/4, 1/4) everywhere.
    student = Levels([0.0, math.log(99)], [0.0, 0.0], auxiliary=[LOG3, 0.0])
    losses = values(make(student, lambda_target=0.5, lambda_auxiliary=0.2).losses(
        batch_of(quarter_bright())))
    assert losses['source_auxiliary'] == pytest.approx(0.2 * math.log(4 / 3), rel=1e-5)
    # Only bright pixels are surer than 0.95; on average (0.38, 0.62) they are class 1.
    assert losses['target_auxiliary'] == pytest.approx(0.2 * 0.5 * math.log(4), rel=1e-5)


def test_a_pixel_that_neither_level_is_sure_of_guides_nobody():
    built = make(Levels([0.0, 0.0], [0.0, 0.0]), guidance_threshold=0.7)
    main, auxiliary = log_p(0.5, 0.5).expand(1, 2, 1, 2), log_p(0.4, 0.6).expand(1, 2, 1, 2)
    assert built.guidance(main, auxiliary).tolist() == [[[255, 255]]]
    # (0.8, 0.2) and (0.1, 0.9) disagree; the average (0.45, 0.55) decides.
    assert built.guidance(log_p(0.8, 0.2), log_p(0.1, 0.9)).tolist() == [[[1]]]


def test_gradients_of_the_guidance_reach_the_auxiliary_head_only():
    student = Levels([0.0, math.log(99)], [0.0, 0.0], auxiliary=[LOG3, 0.0])
    losses = make(student).losses(batch_of(quarter_bright()))
    losses['target_auxiliary'].backward()
    assert student.bright.grad is None and student.auxiliary.grad.abs().sum() > 0


def test_a_network_inside_the_normalisation_is_asked_for_its_levels_too():
    student = Levels([0.0, 1.0], [2.0, 0.0], auxiliary=[1.0, 0.0])
    # After the normalisation 0.7 is 0.4: dark.
    wrapped = Normalized(student, mean=(127.5,) * 3, std=(127.5,) * 3)
    main, auxiliary = forward_levels(wrapped, torch.full((1, 3, 4, 4), 0.7))
    assert main[0, :, 0, 0].tolist() == [2, 0] and auxiliary[0, :, 0, 0].tolist() == [1, 0]
    single = forward_levels(Levels([0.0, 1.0], [2.0, 0.0]), torch.zeros(1, 3, 4, 4))
    assert len(single) == 1


def test_the_log_says_when_there_is_only_one_level(caplog):
    with caplog.at_level(logging.INFO, 'bkd_core.methods.max_square'):
        make(Levels([0.0, 1.0], [1.0, 0.0], auxiliary=[0.0, 1.0]))
        assert caplog.messages == []
        make(Levels([0.0, 1.0], [1.0, 0.0]))
    assert caplog.messages == ['max_square: the network has no auxiliary head; single level']


@pytest.mark.parametrize(('setting', 'value'), [
    ('lambda_target', -1.0), ('lambda_auxiliary', -1.0), ('alpha', 1.5),
    ('guidance_threshold', 1.0)])
def test_a_setting_out_of_its_range_is_named(setting, value):
    with pytest.raises(InputError, match=f'method.{setting}: got {value}'):
        MaxSquareConfig(**{setting: value})
