# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is hidden cannot be told from what is stored."""

from __future__ import annotations

from bkd_core.adaptation.privacy import blind_spots, blur_regions, class_ids, mask_of
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
from bkd_core.model_directory import DEFAULT_MODEL, METRICS, SHIPPED
import cv2
import numpy as np
import pytest

PERSON, CAR = 7, 8


def test_classes_are_found_by_name_and_a_wrong_one_is_corrected():
    assert class_ids(('car', 'pedestrian'), get_label_space('street9')) == (CAR, PERSON)
    with pytest.raises(InputError, match=r"label space 'street9' 'persn'; choose one of .*'car'"):
        class_ids(('persn',), get_label_space('street9'))


def street(height=120, width=160):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    labels = np.zeros((height, width), np.uint8)
    labels[30:90, 40:100] = PERSON
    return image, labels


def test_only_the_classes_and_a_margin_change():
    image, labels = street()
    labels[0:10, 0:10] = CAR
    before = image.copy()
    hidden = blur_regions(image, labels == PERSON)
    changed = (hidden != image).any(axis=2)
    assert changed[30:90, 40:100].mean() > 0.99
    near = cv2.dilate((labels == PERSON).astype(np.uint8), np.ones((5, 5)))
    assert not changed[near == 0].any()
    assert (image == before).all()
    assert blur_regions(image, labels == 3) is image


def test_how_the_pixels_of_a_block_were_arranged_cannot_be_told():
    # 60 pixels and a margin of 2 on each side: 64 in all, blocks of 64/6. Frames that differ
    # only within each block become the same, so no method tells which it was.
    image = np.full((120, 160, 3), 90, np.uint8)
    labels = np.zeros((120, 160), np.uint8)
    labels[30:90, 40:100] = PERSON
    stripes = np.tile(np.uint8([0, 255]), 60)
    first, second = image.copy(), image.copy()
    first[20:100, 20:140] = stripes[None, :, None]
    second[20:100, 20:140] = 255 - stripes[None, :, None]
    inside = labels == PERSON
    difference = np.abs(
        blur_regions(first, inside).astype(int) - blur_regions(second, inside))
    assert np.abs(first.astype(int) - second)[inside].min() == 255
    assert difference[inside].max() <= 26  # what is left of 255 where a block cuts a stripe


@pytest.mark.parametrize('size', [(20, 20), (200, 100), (31, 250)])
def test_a_region_becomes_a_few_colours_whatever_its_size(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    hidden = blur_regions(image, np.ones(size, bool)).astype(float)
    # White noise has a deviation of 74; a mean of 64 pixels or more has a ninth of it at most.
    assert image.std() > 70 and hidden.std() < 74 / 8 + 1
    # Smooth: neighbours differ by little, no edge is left.
    assert np.abs(np.diff(hidden, axis=0)).max() < 20


def test_every_region_is_hidden_by_itself():
    image, labels = street()
    labels[:] = 0
    labels[5:25, 5:25] = labels[60:110, 90:150] = PERSON
    hidden = blur_regions(image, labels == PERSON)
    for region in (np.s_[5:25, 5:25], np.s_[60:110, 90:150]):
        assert hidden[region].std() < 20 < image[region].std()


def test_a_pixel_is_hidden_from_the_threshold_of_all_classes_together_on():
    # Probabilities 0.5, 0.3 and 0.2 everywhere: neither of the last two wins anywhere.
    logits = np.log(np.float32([.5, .3, .2]))[:, None, None] * np.ones((3, 2, 2), np.float32)
    assert mask_of(logits, (1, 2), 6, 8, threshold=.49).all()
    assert not mask_of(logits, (1, 2), 6, 8, threshold=.51).any()
    assert mask_of(logits, (2,), 6, 8, threshold=.19).shape == (6, 8)
    assert not mask_of(logits, (2,), 6, 8, threshold=.21).any()


def test_classes_that_a_model_does_not_find_are_named(tmp_path):
    names = ('pedestrian', 'car', 'bus', 'rider')
    assert blind_spots(names, tmp_path) == dict.fromkeys(names)
    (tmp_path / METRICS).write_text(
        '{"scores": {"iou": {"pedestrian": 0.1, "car": 0.5, "rider": NaN}}}')
    found = blind_spots(names, tmp_path)
    assert list(found) == ['pedestrian', 'bus', 'rider'] and found['pedestrian'] == 0.1
    assert found['bus'] is None
    assert 'pedestrian' in blind_spots(names, SHIPPED / DEFAULT_MODEL)
