# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Masked image consistency: the masks, and what self-training does with them."""

from __future__ import annotations

from dataclasses import replace
import math

from bkd_core.batch import DomainBatch
from bkd_core.config import RareClassSamplingConfig
from bkd_core.config_file import parse
from bkd_core.errors import InputError
from bkd_core.method_config import MaskingConfig, SelfTrainingConfig
from bkd_core.methods.masked_consistency import block_masks, hide_blocks
from bkd_core.methods.self_training import SelfTraining
from bkd_core.model_directory import IMAGENET_MEAN
from bkd_core.training import Trainer
from bkd_core.training.run_log import read_log
import pytest
from tiny_training import (
    METHOD_SETTINGS,
    PaintedFrames,
    register_tiny_network,
    tiny_config,
    TinyNetwork,
)
import torch
from torch import nn

MEAN = torch.tensor(IMAGENET_MEAN).view(3, 1, 1) / 255
ALL_HIDDEN = MaskingConfig(lambda_masked=1.0, block_size=8, ratio=1.0)


class Recorder(nn.Module):
    """Answers fixed logits and keeps what it saw."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))
        self.seen = []

    def forward(self, images):
        """Return logits at the images' size."""
        self.seen.append(images)
        return self.logits.view(1, -1, 1, 1).expand(len(images), -1, *images.shape[2:])


def make(masking, *, student=None, augment=lambda images: images, **settings):
    """Return self-training with masking, all pixels compared."""
    settings = SelfTrainingConfig(masking=masking, **settings)
    student = Recorder(0.0, math.log(3)) if student is None else student
    return SelfTraining(student, settings, augment=augment, loss_stride=1)


def batch_of_zeros(num_images=2):
    """Return a batch whose labels are all class 0."""
    torch.manual_seed(0)
    size = (num_images, 3, 16, 16)
    return DomainBatch(
        source_images=torch.rand(size), target_images=torch.rand(size),
        source_labels=torch.zeros(num_images, 16, 16, dtype=torch.int64))


def test_a_mask_hides_whole_blocks_that_are_cut_at_the_edge():
    torch.manual_seed(0)
    masks = block_masks(50, (20, 33), block_size=8, ratio=0.5)
    assert masks.shape == (50, 20, 33) and masks.dtype == torch.bool
    for top in range(0, 20, 8):
        for left in range(0, 33, 8):
            block = masks[:, top:top + 8, left:left + 8].flatten(1)
            assert (block.all(1) | ~block.any(1)).all()
            assert 0 < block.all(1).sum() < 50  # each block is hidden in some images


def test_the_ratio_is_the_share_of_hidden_blocks():
    torch.manual_seed(0)
    visible = block_masks(40, (512, 512), block_size=64, ratio=0.7).float().mean().item()
    assert visible == pytest.approx(0.3, abs=0.03)  # 2560 blocks: a spread of 0.009
    assert block_masks(2, (64, 64), block_size=16, ratio=0.0).all()
    assert not block_masks(2, (64, 64), block_size=16, ratio=1.0).any()


def test_a_block_larger_than_the_crop_hides_all_of_it_or_nothing():
    torch.manual_seed(0)
    masks = block_masks(40, (32, 32), block_size=64, ratio=0.5).flatten(1)
    assert (masks.all(1) | ~masks.any(1)).all() and 0 < masks.all(1).sum() < 40


def test_hidden_pixels_take_the_mean_colour_and_others_stay():
    torch.manual_seed(0)
    images = torch.rand(3, 3, 32, 32)
    before = images.clone()
    torch.manual_seed(5)
    hidden = hide_blocks(images, block_size=8, ratio=0.5)
    torch.manual_seed(5)
    masks = block_masks(3, (32, 32), block_size=8, ratio=0.5)
    assert torch.equal(images, before)
    for index in range(3):
        assert torch.equal(hidden[index][:, masks[index]], images[index][:, masks[index]])
        outside = hidden[index][:, ~masks[index]]
        torch.testing.assert_close(outside, MEAN[:, :, 0].expand_as(outside))


def test_a_weight_of_zero_is_plain_self_training_to_the_last_bit():
    plain = METHOD_SETTINGS['self_training']
    results = []
    for settings in (plain, replace(plain, masking=MaskingConfig(block_size=8, ratio=0.1))):
        torch.manual_seed(1)
        built = SelfTraining(
            TinyNetwork(9), settings, augment=lambda images: images, loss_stride=2)
        batch = batch_of_zeros()
        losses = built.losses(batch)
        results.append({name: loss.item() for name, loss in losses.items()})
    assert results[0] == results[1] and set(results[0]) == {'source', 'mixed'}


def test_the_masked_loss_has_the_value_of_the_equation():
    # Teacher and student say (1/4, 3/4): pseudo-label 1 at confidence 3/4, above the threshold.
    masking = replace(ALL_HIDDEN, lambda_masked=0.5)
    losses = make(masking, confidence_threshold=0.7).losses(batch_of_zeros())
    assert losses['masked'].item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-5)
    assert losses['source'].item() == pytest.approx(math.log(4), rel=1e-5)


def test_a_teacher_that_is_sure_of_nothing_gives_no_masked_loss():
    losses = make(ALL_HIDDEN, confidence_threshold=0.8).losses(batch_of_zeros())
    assert losses['masked'].item() == 0
    losses['masked'].backward()  # still differentiable


def test_the_student_sees_all_views_in_one_call_and_only_the_last_is_masked():
    built = make(ALL_HIDDEN)
    batch = batch_of_zeros()
    built.losses(batch)
    images, = built.student.seen
    assert len(images) == 6
    assert torch.equal(images[:2], batch.source_images)
    assert not torch.equal(images[2:4], batch.target_images)  # mixed: class 0 is pasted
    torch.testing.assert_close(images[4:], MEAN.expand(2, 3, 16, 16))


def test_the_teacher_sees_the_whole_image():
    built = make(ALL_HIDDEN)
    built.teacher = Recorder(0.0, math.log(3))
    batch = batch_of_zeros()
    built.losses(batch)
    assert len(built.teacher.seen) == 1
    assert torch.equal(built.teacher.seen[0], batch.target_images)


def test_colours_change_before_blocks_are_hidden():
    built = make(ALL_HIDDEN, augment=lambda images: images * 0)
    built.losses(batch_of_zeros())
    images, = built.student.seen
    assert (images[:4] == 0).all()
    torch.testing.assert_close(images[4:], MEAN.expand(2, 3, 16, 16))


def test_gradients_of_the_masked_loss_are_finite_and_reach_the_student():
    torch.manual_seed(0)
    built = make(
        replace(ALL_HIDDEN, ratio=0.7), student=TinyNetwork(9), confidence_threshold=0.05)
    losses = built.losses(batch_of_zeros())
    losses['masked'].backward()
    assert all(weight.grad.isfinite().all() for weight in built.student.parameters())
    assert built.student.classifier.weight.grad.abs().sum() > 0


def test_a_resumed_run_with_masking_and_rare_classes_equals_a_whole_one(tmp_path, monkeypatch):
    register_tiny_network(monkeypatch)
    method = replace(METHOD_SETTINGS['self_training'], masking=replace(ALL_HIDDEN, ratio=0.7))
    config = tiny_config('self_training', steps=6)
    config = replace(
        config, method=method, rare_class_sampling=RareClassSamplingConfig(temperature=0.01))
    weights = []
    for name, stop in (('whole', None), ('parts', 2)):
        for until in (stop, None):
            trained = Trainer(
                config, directory=tmp_path / name, source=PaintedFrames(4),
                target=PaintedFrames(3, seed=1)).run(until=until)
        weights.append(trained.state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    assert 'masked' in read_log(tmp_path / 'parts')[5]


def test_masking_is_a_setting_of_self_training_in_a_file():
    config = parse(
        {'method': {'name': 'self_training', 'masking': {'lambda_masked': 1}}}, 'run')
    assert config.method.masking == MaskingConfig(lambda_masked=1.0, block_size=64, ratio=0.7)
    assert SelfTrainingConfig().masking.lambda_masked == 0


@pytest.mark.parametrize(('setting', 'value'), [
    ('lambda_masked', -1.0), ('block_size', 0), ('ratio', 1.5)])
def test_a_setting_out_of_its_range_is_named(setting, value):
    with pytest.raises(InputError, match=f'method.masking.{setting}: got {value}'):
        MaskingConfig(**{setting: value})
