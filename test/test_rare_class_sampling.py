# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rare class sampling: counts, probabilities, and what the loader does with them."""

from __future__ import annotations

from dataclasses import replace
import math

from bkd_core.config import AugmentationConfig, RareClassSamplingConfig
from bkd_core.datasets.loader import make_loader, StepBatches
from bkd_core.datasets.rare_class_sampling import (
    class_probabilities,
    count_classes,
    RareClassSampler,
)
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
import numpy as np
import pytest
from tiny_training import PaintedFrames, tiny_config
import torch

IDENTITY = np.arange(256, dtype=np.uint8)
UNSCALED = AugmentationConfig(crop_size=(32, 32), source_scale=(1.0, 1.0))
SAMPLING = RareClassSamplingConfig(temperature=0.01, min_share=0.0, min_crop_share=0.0)


class Frames:
    """Ten frames of class 0; the last also has a corner of class 5."""

    has_labels = True
    label_space = get_label_space('street9')

    def __init__(self, *, corner=16):
        self.corner = corner
        self.labels_read = 0

    def __len__(self):
        """Return the number of frames."""
        return 10

    def image(self, index):
        """Return an image of its own number; class 5 is white."""
        image = np.full((64, 64, 3), index, np.uint8)
        image[self._labels(index) == 5] = 255
        return image

    def labels(self, index):
        """Return labels and take note."""
        self.labels_read += 1
        return self._labels(index)

    def _labels(self, index):
        labels = np.zeros((64, 64), np.uint8)
        if index == 9:
            labels[:self.corner, :self.corner] = 5
        labels[60:] = 255
        return labels


def config(sampling=SAMPLING, **changes):
    """Return tiny settings with rare class sampling."""
    return tiny_config(rare_class_sampling=sampling, **changes)


def test_counting_maps_the_classes_and_leaves_ignored_pixels_out():
    mapping = np.full(256, 255, np.uint8)
    mapping[0], mapping[5] = 2, 0
    counts = count_classes(Frames(), mapping, 3)
    assert counts.shape == (10, 3)
    assert counts[0].tolist() == [0, 0, 3840] and counts[9].tolist() == [256, 0, 3584]


def test_probabilities_follow_the_equation():
    # f = (0.7, 0.2, 0.1), T = 0.5: exp(0.6), exp(1.6), exp(1.8), normalised.
    weights = [math.exp(0.6), math.exp(1.6), math.exp(1.8)]
    expected = [weight / sum(weights) for weight in weights]
    assert class_probabilities(np.array([70, 20, 10]), 0.5) == pytest.approx(expected)


def test_a_class_that_never_occurs_is_never_drawn():
    probabilities = class_probabilities(np.array([70, 0, 30]), 1.0)
    assert probabilities[1] == 0 and probabilities.sum() == pytest.approx(1)
    assert probabilities[2] / probabilities[0] == pytest.approx(math.exp(0.4))


def test_extreme_temperatures_stay_finite():
    counts = np.array([10 ** 9, 10, 1])
    assert class_probabilities(counts, 1e-6).sum() == pytest.approx(1)
    assert class_probabilities(counts, 1e6) == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_an_image_is_drawn_for_a_class_that_it_holds_enough_of():
    counts = np.array([[90, 10], [99, 1], [100, 0]])
    sampler = RareClassSampler(counts, temperature=1.0, min_share=0.05)
    rng = np.random.default_rng(0)
    drawn = [sampler.draw(rng) for _ in range(300)]
    assert {index for index, wanted in drawn if wanted == 1} == {0}
    assert {index for index, wanted in drawn if wanted == 0} == {0, 1, 2}
    share = sum(wanted == 1 for _, wanted in drawn) / 300
    assert share == pytest.approx(sampler.probabilities[1], abs=0.09)  # three spreads


def test_where_no_image_has_enough_of_a_class_any_pixel_will_do():
    counts = np.array([[90, 0], [99, 1], [98, 2]])
    sampler = RareClassSampler(counts, temperature=0.01, min_share=0.5)
    rng = np.random.default_rng(0)
    assert {sampler.draw(rng)[0] for _ in range(50)} == {1, 2}


def test_a_source_without_any_labelled_pixel_is_an_error():
    with pytest.raises(InputError, match='rare_class_sampling: the source has no labelled pixel'):
        RareClassSampler(np.zeros((4, 3), np.int64), temperature=0.01, min_share=0.0)


def images_seen(batches, steps):
    """Return the numbers of the frames that the first crops of some steps come from."""
    return [
        int((batches[step].source_images[0].amin() * 255).round()) for step in range(steps)]


def test_the_frame_with_the_rare_class_comes_far_more_often():
    augmentation = AugmentationConfig(crop_size=(32, 32), source_scale=(0.5, 0.5), flip=False)
    batches = StepBatches(Frames(), None, config(augmentation=augmentation))
    # f_5 = 256 / 38400, so P(0) = exp(-98.7) of P(5).
    assert images_seen(batches, 20) == [9] * 20
    even = RareClassSamplingConfig(temperature=0.0)
    plain = StepBatches(Frames(), None, config(even, augmentation=augmentation))
    assert images_seen(plain, 20).count(9) == 2  # two passes over ten frames, every other crop


def test_the_crop_is_drawn_again_until_it_shows_the_class():
    # 12 x 12 of the 33 x 33 windows show the corner: about 8 of 60, or 45 of 60 with ten tries.
    shown = []
    for min_crop_share in (0.0, 0.01):
        sampling = replace(SAMPLING, min_crop_share=min_crop_share)
        batches = StepBatches(
            Frames(corner=12), None, config(sampling, batch_size=1, augmentation=UNSCALED))
        shown.append(sum(bool((batches[step].source_labels == 5).any()) for step in range(60)))
    assert 1 < shown[0] < 18 and shown[1] > 30


def test_an_image_keeps_its_own_labels():
    num_white = 0
    for batch in make_loader(Frames(), None, config(steps=10, augmentation=UNSCALED)):
        white = batch.source_images.amin(1) > 0.99
        assert torch.equal(white, batch.source_labels == 5)
        num_white += int(white.sum())
    assert num_white > 0


def test_batches_depend_on_seed_and_step_only():
    batches = list(make_loader(PaintedFrames(5), PaintedFrames(4), config(steps=5)))
    resumed = list(make_loader(PaintedFrames(5), PaintedFrames(4), config(steps=5), first_step=3))
    other = next(make_loader(PaintedFrames(5), PaintedFrames(4), config(steps=5, seed=1)))
    for batch, again in zip(batches[3:], resumed):
        assert torch.equal(batch.source_images, again.source_images)
        assert torch.equal(batch.target_images, again.target_images)
    assert not torch.equal(batches[0].source_images, other.source_images)


def test_another_seed_draws_other_images():
    warm = replace(SAMPLING, temperature=100.0)
    drawn = [
        images_seen(StepBatches(Frames(), None, config(warm, seed=seed, batch_size=1)), 20)
        for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_target_comes_as_without_it():
    plain = next(make_loader(PaintedFrames(5), PaintedFrames(4), tiny_config()))
    batch = next(make_loader(PaintedFrames(5), PaintedFrames(4), config()))
    assert torch.equal(batch.target_images, plain.target_images)


def test_labels_are_counted_once_and_not_at_all_when_it_is_off():
    frames = Frames()
    batches = StepBatches(frames, None, config(batch_size=2))
    assert frames.labels_read == 10
    batches[0]
    assert frames.labels_read == 12
    frames = Frames()
    StepBatches(frames, None, tiny_config())
    assert frames.labels_read == 0


@pytest.mark.parametrize(('setting', 'value'), [
    ('temperature', -0.1), ('min_share', 1.0), ('min_crop_share', -1.0)])
def test_a_setting_out_of_its_range_is_named(setting, value):
    with pytest.raises(InputError, match=f'rare_class_sampling.{setting}: got {value}'):
        RareClassSamplingConfig(**{setting: value})
