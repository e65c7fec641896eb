# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The geometry of training crops."""

from __future__ import annotations

from bkd_core.datasets.transforms import cut_image, cut_labels, draw_window
import numpy as np
import pytest


def coordinates(height, width):
    """Return an image whose red is the column and green the row, and labels of the columns."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.dstack((columns, rows, np.zeros_like(rows))), columns


def crop(image, labels, *, seed=0, size=(64, 64), scale=(1.0, 1.0), input_height=64, flip=False):
    """Cut a random window out of an image and its labels."""
    window = draw_window(
        image.shape[:2], index=0, rng=np.random.default_rng(seed), crop_size=size, scale=scale,
        input_height=input_height, flip=flip)
    return cut_image(image, window, size), cut_labels(labels, window, size)


def test_a_crop_at_scale_one_is_a_window_of_the_image():
    image, labels = coordinates(96, 200)
    cut, cut_classes = crop(image, labels, size=(32, 64), input_height=96)
    top, left = cut[0, 0, 1], cut[0, 0, 0]
    np.testing.assert_array_equal(cut, image[top:top + 32, left:left + 64])
    np.testing.assert_array_equal(cut_classes, labels[top:top + 32, left:left + 64])


@pytest.mark.parametrize('seed', range(8))
def test_image_and_labels_stay_aligned_under_scale_crop_and_mirror(seed):
    image, labels = coordinates(120, 240)
    cut, cut_classes = crop(
        image, labels, seed=seed, size=(64, 96), scale=(0.5, 2.0), input_height=120, flip=True)
    assert cut.shape == (64, 96, 3) and cut_classes.shape == (64, 96)
    assert cut.flags.c_contiguous and cut_classes.flags.c_contiguous
    # At the resized pixel's centre the image interpolates the column that the label rounds.
    step = abs(float(cut[0, -1, 0]) - float(cut[0, 0, 0])) / 95
    difference = cut[:, 2:-2, 0].astype(float) - cut_classes[:, 2:-2]
    assert abs(difference).max() <= 1 + step / 2
    assert abs(difference.mean()) < 0.35


def test_mirroring_happens_to_half_of_the_crops_and_to_both_arrays():
    image, labels = coordinates(64, 64)
    mirrored = 0
    for seed in range(200):
        cut, cut_classes = crop(image, labels, seed=seed, flip=True)
        np.testing.assert_array_equal(cut[..., 0], cut_classes)
        mirrored += int(cut_classes[0, 0] == 63)
    assert 75 <= mirrored <= 125
    assert all(crop(image, labels, seed=seed)[1][0, 0] == 0 for seed in range(20))


def test_the_scale_is_relative_to_the_input_height():
    # At scale 2 and input height 50, 100 image rows become 100: 32 crop pixels show 32 rows.
    image, labels = coordinates(100, 100)
    _, cut_classes = crop(image, labels, size=(32, 32), scale=(2.0, 2.0), input_height=50)
    assert np.ptp(cut_classes) == 31
    _, cut_classes = crop(image, labels, size=(32, 32), scale=(1.0, 1.0), input_height=50)
    assert 60 <= np.ptp(cut_classes) <= 63


@pytest.mark.parametrize(('height', 'width'), [(10, 10), (40, 200), (200, 40), (1, 7)])
def test_small_images_fill_the_crop(height, width):
    image, labels = coordinates(height, width)
    cut, cut_classes = crop(image, labels, size=(64, 96), scale=(0.1, 0.2))
    assert cut.shape == (64, 96, 3) and cut_classes.shape == (64, 96)
    assert set(np.unique(cut_classes)) <= set(np.unique(labels))


def test_the_aspect_is_kept_where_the_window_would_not_fit():
    # At scale 0.25 the window would be 256 x 256, more than the image's height of 100.
    image, labels = coordinates(100, 250)
    cut, cut_classes = crop(
        image, labels, scale=(0.25, 0.25), input_height=100, size=(64, 64))
    columns, rows = np.ptp(cut_classes), np.ptp(cut[..., 1])
    assert abs(int(columns) - int(rows)) <= 2
    assert rows >= 97  # as much of the image as fits


def test_an_extreme_scale_still_cuts_a_pixel():
    image, labels = coordinates(20, 20)
    cut, _ = crop(image, labels, scale=(1e6, 1e6))
    assert (cut == cut[0, 0]).all()


def test_labels_are_never_blended():
    image, _ = coordinates(64, 64)
    labels = np.where(np.indices((64, 64)).sum(0) % 2, 255, 3).astype(np.uint8)
    _, cut_classes = crop(image, labels, scale=(1.7, 1.7))
    assert set(np.unique(cut_classes)) == {3, 255}
