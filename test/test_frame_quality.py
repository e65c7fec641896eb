# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Blur, exposure and near-duplicates: values worked by hand, and real drives."""

from __future__ import annotations

from bkd_core.adaptation.frame_quality import (
    BLURRED,
    differences,
    FrameQuality,
    normalised,
    QualityConfig,
    sharpness,
    thumbnail,
    Thumbnails,
    TOO_BRIGHT,
    TOO_DARK,
    working_grey,
)
from bkd_core.datasets import build_dataset
from bkd_core.errors import InputError
import cv2
import numpy as np
import pytest


def scene(seed=0, height=120, width=160):
    """Return a picture with structure of many sizes."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for size in (4, 8, 32, 96):
        noise = rng.uniform(0, 255, (height // size + 1, width // size + 1, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)
    return (image / 4).astype(np.uint8)


def test_the_sharpness_of_an_edge_and_of_a_ramp_worked_by_hand():
    # One step of 90: all of the difference lies in one place, blurred over 9 pixels a ninth of
    # it is left there and nothing can be lost elsewhere. So 8/9 are lost, in both directions.
    corner = np.zeros((60, 60), np.uint8)
    corner[30:, 30:] = 90
    assert sharpness(corner) == pytest.approx(8 / 9, abs=1e-3)
    # A ramp is what blurring makes of an edge: blurring it again changes nothing but its ends.
    ramp = np.tile(np.arange(120, dtype=np.uint8), (60, 1))
    assert sharpness(ramp) < 0.05
    assert sharpness(np.full((9, 9), 7, np.uint8)) == 0


def test_motion_in_one_direction_is_blur_though_the_other_is_sharp():
    grey = working_grey(scene())
    moved = cv2.blur(grey, (15, 1))
    assert sharpness(moved) < 0.6 * sharpness(grey)
    assert sharpness(cv2.blur(grey, (1, 15))) < 0.6 * sharpness(grey)


def test_a_frame_is_blurred_by_comparison_with_the_last_ones_of_its_topic():
    quality = FrameQuality(QualityConfig())
    sharp = [scene(seed) for seed in range(5)]
    soft = [cv2.GaussianBlur(image, (0, 0), 2) for image in sharp]
    assert [quality.fault(image, '/sharp') for image in sharp] == [''] * 5
    assert quality.fault(soft[0], '/sharp') == BLURRED
    # A camera with a soft lens is not always blurred.
    assert [quality.fault(image, '/soft') for image in soft] == [''] * 5
    quality = FrameQuality(QualityConfig(min_sharpness=0))
    assert [quality.fault(image, '/c') for image in (sharp[0], soft[0])] == ['', '']


@pytest.mark.parametrize(('value', 'expected'), [(10, TOO_DARK), (250, TOO_BRIGHT)])
def test_the_share_of_clipped_pixels_decides(value, expected):
    config = QualityConfig(max_dark=0.5, max_bright=0.5, min_sharpness=0)
    image = np.full((10, 10, 3), 100, np.uint8)
    image[:5] = value
    assert FrameQuality(config).fault(image, '/c') == ''  # half of them
    image[5, 0] = value
    assert FrameQuality(config).fault(image, '/c') == expected


def test_the_difference_of_thumbnails_worked_by_hand():
    # Mean 100, deviation 50: -1 and 1. Exposure and contrast do not matter.
    picture = np.array([50, 150, 50, 150], np.uint8)
    assert normalised(picture).tolist() == [-1, 1, -1, 1]
    brighter = np.array([100, 200, 100, 200], np.uint8)
    turned = np.array([150, 50, 50, 150], np.uint8)
    others = np.stack([normalised(brighter), normalised(turned)])
    assert differences(picture, others).tolist() == [0, 1]
    assert np.isfinite(normalised(np.full(4, 9, np.uint8))).all()


def test_a_repeated_frame_is_found_among_those_of_its_topic_until_it_is_removed():
    known = Thumbnails(min_difference=0.035)
    first, second = thumbnail(scene(1, 480, 640)), thumbnail(scene(2, 480, 640))
    known.add('one', '/a', first)
    known.add('two', '/a', second)
    noise = np.random.default_rng(0).normal(0, 5, (480, 640, 3))
    again = thumbnail(np.clip(np.rint(scene(2, 480, 640) + noise), 0, 255).astype(np.uint8))
    assert known.repeats(again, '/a') and not known.repeats(again, '/b')
    assert not known.repeats(thumbnail(scene(3, 480, 640)), '/a')
    known.remove('two')
    known.remove('never added')
    assert not known.repeats(again, '/a') and known.repeats(first, '/a')


def test_thumbnails_of_another_size_are_not_compared():
    known = Thumbnails(min_difference=1)
    known.add('old', '/a', np.zeros(0, np.uint8))
    assert not known.repeats(thumbnail(scene()), '/a')
    known.remove('old')


@pytest.mark.parametrize('size', [(1, 1), (2, 300), (300, 2), (241, 7)])
def test_frames_of_odd_sizes_are_judged(size):
    image = np.full((*size, 3), 128, np.uint8)
    assert FrameQuality(QualityConfig(min_sharpness=0)).fault(image, '/c') == ''
    assert thumbnail(image).size == 192


@pytest.mark.parametrize(('name', 'value'), [
    ('min_sharpness', -0.1), ('max_dark', 1.5), ('max_bright', float('nan')),
    ('min_difference', 2), ('recent_frames', 0)])
def test_a_limit_out_of_range_is_refused(name, value):
    with pytest.raises(InputError, match=f'{name}: got {value}; expected'):
        QualityConfig(**{name: value})


def test_of_a_real_drive_nothing_sharp_is_lost_and_what_is_bad_is_found(data_root):
    frames = build_dataset('camvid', root=data_root, split='train', sequence='0016E5')
    images = [frames.image(index) for index in range(0, len(frames), 5)]
    quality = FrameQuality(QualityConfig())
    assert [quality.fault(image, '/c') for image in images] == [''] * len(images)
    spoilt = {
        BLURRED: lambda image: cv2.blur(image, (11, 1)),
        TOO_DARK: lambda image: image // 20,
        TOO_BRIGHT: lambda image: cv2.convertScaleAbs(image, alpha=8)}
    for fault, spoil in spoilt.items():
        quality = FrameQuality(QualityConfig())
        found = []
        for image in images:
            quality.fault(image, '/c')
            found.append(quality.fault(spoil(image), '/c'))
        assert found.count(fault) > 0.9 * len(images), fault
