# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The generated streets: repeatable, exactly labelled, several looks, a drive that moves on."""

from __future__ import annotations

from copy import copy
import hashlib
import math
import os
from pathlib import Path
import subprocess
import sys
import time

from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.streets import DRIVE_FRAMES, Streets
from bkd_core.datasets.streets.camera import Camera, clip_near, NEAR
from bkd_core.datasets.streets.canvas import Canvas, CAR, SIGN, SKY
from bkd_core.datasets.streets.car_models import car_model
from bkd_core.datasets.streets.cars import draw_car
from bkd_core.datasets.streets.layout import BLOCK, Street
from bkd_core.datasets.streets.look import LOOKS
from bkd_core.datasets.streets.noise import fractal_tile
from bkd_core.datasets.streets.texture import Texture
from bkd_core.errors import InputError
import cv2
import numpy as np
import pytest

SMALL = (120, 214)
DOMAINS = ('source', 'target')


def make(domain, num_frames=1000, **settings):
    """Return a small data set."""
    return Streets(domain=domain, num_frames=num_frames, **{'size': SMALL, **settings})


def digest(domain):
    """Return a number of two frames with their labels."""
    total = hashlib.sha256()
    for index in (3, DRIVE_FRAMES + 5):
        total.update(make(domain).image(index).tobytes())
        total.update(make(domain).labels(index).tobytes())
    return total.hexdigest()


def test_a_set_opened_without_labels_shows_the_same_frames_and_refuses_labels():
    blind = make('target', has_labels=False)
    assert make('target').has_labels and not blind.has_labels
    assert np.array_equal(blind.image(3), make('target').image(3))
    with pytest.raises(InputError, match="'streets'.*target_000003.*without labels"):
        blind.labels(3)


@pytest.mark.parametrize('megabytes, drawn', [
    (256, [1, 2, 3]),
    (1, [1, 2, 3, 2]),  # two fit; the newest gives way
    (0, [1, 2, 1, 3, 2]),  # the newest alone
])
def test_frames_are_drawn_once_as_far_as_they_fit(monkeypatch, megabytes, drawn):
    size = (400, 312)  # 499 kB a frame
    draw, calls = Streets._draw, []
    monkeypatch.setattr(
        Streets, '_draw', lambda self, number: calls.append(number) or draw(self, number))
    dataset, fresh = (make('source', size=size, memory_megabytes=megabytes) for _ in range(2))
    first = dataset.image(1)
    first[:] = 0  # what is given away is a copy
    seen = {}
    for index in (1, 2, 1, 3, 2):
        seen[index] = dataset.image(index), dataset.labels(index)
    assert calls == drawn
    for index, (image, labels) in seen.items():
        assert np.array_equal(image, fresh.image(index))
        assert np.array_equal(labels, fresh.labels(index))


@pytest.mark.parametrize('size', [SMALL, (97, 131), (32, 32), [64, 200]])
@pytest.mark.parametrize('domain', DOMAINS)
def test_frames_and_labels_have_the_size_that_is_asked_for(domain, size):
    dataset = make(domain, size=size)
    image, labels = dataset.image(2), dataset.labels(2)
    assert isinstance(dataset, SegmentationDataset)
    assert image.shape == (*size, 3) and labels.shape == tuple(size)
    assert image.dtype == labels.dtype == np.uint8
    assert image.flags.c_contiguous and labels.flags.c_contiguous
    assert labels.max() < dataset.label_space.num_classes


@pytest.mark.parametrize('domain', DOMAINS)
def test_another_process_draws_the_same_frames(domain):
    code = f'from test_datasets_streets import digest; print(digest({domain!r}))'
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests), str(tests.parent)])
    answer = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=300,
        env={**os.environ, 'PYTHONHASHSEED': '7', 'PYTHONPATH': path})
    assert answer.stdout.strip() == digest(domain)


@pytest.mark.parametrize('domain', DOMAINS)
def test_a_frame_does_not_depend_on_the_frames_before_it(domain):
    dataset = make(domain)
    dataset.image(0)
    later = dataset.image(9)
    np.testing.assert_array_equal(later, make(domain).image(9))
    np.testing.assert_array_equal(later, make(domain, first_frame=4).image(5))
    np.testing.assert_array_equal(later, copy(dataset).image(9))


@pytest.mark.parametrize('domain', DOMAINS)
def test_another_seed_gives_another_street(domain):
    assert (make(domain).labels(1) != make(domain, seed=1).labels(1)).mean() > 0.1


def test_what_a_caller_does_to_a_frame_does_not_change_the_data_set():
    dataset = make('source')
    before = dataset.image(0)
    dataset.image(0)[:] = 0
    np.testing.assert_array_equal(dataset.image(0), before)


@pytest.mark.parametrize('domain', DOMAINS)
def test_all_nine_classes_occur_in_most_frames(domain):
    dataset = make(domain, size=(180, 320))
    complete, shares = 0, np.zeros(9)
    for index in range(0, 20 * 37, 37):
        count = np.bincount(dataset.labels(index).ravel(), minlength=9)
        complete += bool((count >= 4).all())
        shares += count / count.sum() / 20
    assert complete >= 15
    assert shares[0] > 0.2 and shares[6] > 0.04 and 0.01 < shares[1] < 0.3


def test_the_two_looks_differ_in_light_and_noise():
    light, noise = {}, {}
    for domain in DOMAINS:
        dataset = make(domain)
        light[domain] = np.mean([dataset.image(index) for index in (0, 210, 420)])
        image = dataset.image(0).astype(np.float32)
        sky = cv2.erode((dataset.labels(0) == SKY).astype(np.uint8), np.ones((13, 13))) > 0
        assert sky.sum() > 100
        noise[domain] = np.std((image - cv2.GaussianBlur(image, (0, 0), 1.5))[sky])
    assert light['source'] > light['target'] + 8
    assert noise['target'] > 2 * noise['source']  # clouds are structure, not noise


def test_night_and_fog_are_the_targets_streets_in_another_light():
    light, shares = {}, {}
    for domain in ('target', 'night', 'fog'):
        frames = make(domain, size=(180, 320))
        light[domain] = np.mean([frames.image(index) for index in (0, 210, 420)])
        labels = np.stack([frames.labels(index) for index in (0, 210, 420)])
        shares[domain] = np.bincount(labels.ravel(), minlength=9) / labels.size
    assert light['night'] < 0.6 * light['target'] < light['fog']
    assert all((share > 0).all() for share in shares.values())
    assert np.abs(shares['night'] - shares['fog']).max() < 0.25


def test_the_target_is_a_drive_and_the_source_is_not():
    def change(domain, first, second):
        dataset = make(domain)
        return (dataset.labels(first) != dataset.labels(second)).mean()

    starts = (10, 60, 110)
    steps = [change('target', start, start + 1) for start in starts]
    leaps = [change('target', start, start + 60) for start in starts]
    assert max(steps) < 0.25 and np.mean(steps) < 0.6 * np.mean(leaps)
    assert change('target', DRIVE_FRAMES - 1, DRIVE_FRAMES) > max(steps)
    assert min(change('source', start, start + 1) for start in starts) > max(steps)


def test_drawing_stays_fast():
    # A guard against a gross slip; the aim, 90 ms, is measured on a quiet machine.
    dataset = make('target', size=(360, 640))
    for index in range(8):
        dataset.image(index)
    began = time.process_time()
    for index in range(8, 16):
        dataset.image(index)
    assert (time.process_time() - began) / 8 < 0.4


@pytest.mark.parametrize(('settings', 'message'), [
    ({'domain': 'sorce'}, "'sorce'.*Did you mean 'source'"),
    ({'num_frames': 0}, 'got num_frames=0'),
    ({'memory_megabytes': -1}, 'got memory_megabytes=-1'),
    ({'first_frame': -1}, 'first_frame=-1'),
    ({'size': (360, 20)}, r'got size=\(360, 20\)'),
    ({'size': (360,)}, r'got size=\(360,\)')])
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        Streets(**{'domain': 'source', 'num_frames': 3, **settings})


def test_an_index_outside_the_set_ends_a_loop_over_it():
    dataset = make('source', num_frames=2)
    assert dataset.name(1) == 'source_000001'
    with pytest.raises(IndexError):
        dataset.image(2)


def make_camera(**settings):
    """Return a camera 1.5 m above the origin that looks along z, 100 pixels focal length."""
    return Camera(
        (0, 1.5, 0), **{'yaw': 0.0, 'pitch': 0.0, 'roll': 0.0, 'focal_length': 100.0,
                        'size': (101, 201), **settings})


def test_points_fall_where_a_pinhole_puts_them():
    camera = make_camera()
    points = np.array([(0, 1.5, 10), (1, 1.5, 10), (0, 0, 10), (-2, 2.5, 5.0)])
    # centre (100, 50); 100 pixels * offset / distance
    expected = [(100, 50), (110, 50), (100, 65), (60, 30)]
    np.testing.assert_allclose(camera.to_pixels(camera.to_camera(points)), expected, atol=1e-9)


@pytest.mark.parametrize(('settings', 'expected'), [
    ({'yaw': math.pi / 4}, (0, 50)),  # turned right: straight ahead moves to the left by f
    ({'pitch': math.pi / 4}, (100, 150)),  # looks up: straight ahead moves down by f
    ({'roll': math.pi / 2}, (100, 50))])
def test_yaw_pitch_and_roll_turn_the_camera(settings, expected):
    camera = make_camera(**settings)
    seen = camera.to_camera(np.array([(0, 1.5, 10.0)]))
    np.testing.assert_allclose(camera.to_pixels(seen)[0], expected, atol=1e-9)


def test_the_ground_and_planes_are_projected_as_points_are():
    camera = make_camera(yaw=0.2, pitch=-0.1, roll=0.05)
    x, z = camera.ground_points(70)
    points = np.array([(x[9, 30], 0, z[9, 30])], float)
    pixel = camera.to_pixels(camera.to_camera(points))[0]
    np.testing.assert_allclose(pixel, (30, 79), atol=0.01)
    plane = camera.homography(
        np.array([1.0, 0, 8]), np.array([0, 0, 2.0]), np.array([0, 3.0, 0]))
    mapped = plane @ (0.5, 0.25, 1)
    corner = camera.to_pixels(camera.to_camera(np.array([(1, 0.75, 9.0)])))[0]
    np.testing.assert_allclose(mapped[:2] / mapped[2], corner, atol=1e-6)


def test_what_lies_behind_the_camera_is_cut_off():
    triangle = np.array([(0, 0, 2.0), (1, 0, 2.0), (0, 0, -2.0)])
    part = clip_near(triangle)
    assert len(part) == 4 and part[:, 2].min() == pytest.approx(NEAR)
    assert len(clip_near(triangle - (0, 0, 5))) == 0
    np.testing.assert_array_equal(clip_near(triangle + (0, 0, 5)), triangle + (0, 0, 5))


def make_canvas():
    """Return a black canvas without haze."""
    canvas = Canvas(make_camera(), haze_color=(0, 0, 0), haze_length=1e9)
    canvas.image[:] = 0
    return canvas


def assert_labels_fit(draw, label):
    """Assert that what is painted and what is labelled agree, to one pixel."""
    black, white = make_canvas(), make_canvas()
    white.image[:] = 255
    draw(black)
    draw(white)
    # What shows of the background tells how much of each pixel is covered.
    shown = white.image[..., 1].astype(int) - black.image[..., 1]
    painted = (shown < 128).astype(np.uint8)
    labelled = (black.labels == label).astype(np.uint8)
    assert labelled.sum() > 50
    near = np.ones((3, 3), np.uint8)
    assert not (painted & (1 - cv2.dilate(labelled, near))).any()
    assert not (labelled & (1 - cv2.dilate(painted, near))).any()


def test_a_polygon_is_labelled_where_it_is_painted():
    corners = np.array([(-1, 0.3, 6), (1.5, 0, 6), (1.2, 2.1, 7.0)])
    assert_labels_fit(lambda canvas: canvas.polygon(corners, (200, 100, 50), SIGN), SIGN)


@pytest.mark.parametrize('distance', [1.5, 4.0, 12.0])
@pytest.mark.parametrize('variant', range(5))
def test_a_car_is_labelled_where_it_is_painted(variant, distance):
    def draw(canvas):
        place = np.array([1.2, 0.0, distance + 2])
        draw_car(canvas, car_model(variant), place, 0.3, (200, 200, 200), light=0.8, sun=0.2)

    assert_labels_fit(draw, CAR)


def test_a_textured_wall_shows_its_picture_upright_and_fills_its_corners():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:20, :, 0] = 200  # red above
    picture[20:, :, 2] = 200  # blue below
    canvas = make_canvas()
    wall = Texture(picture, pixels_per_metre=20)
    assert (wall.height, wall.width) == (2.0, 4.0)
    canvas.textured(wall, np.array([-2.0, 0.5, 10]), np.array([4.0, 0, 0]), height=2.0, label=SIGN)
    rows, columns = np.nonzero(canvas.labels == SIGN)
    # 4 m and 2 m at 10 m and 100 pixels focal length, from 40 to 60 pixels around the middle
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (80, 120, 40, 60)
    assert canvas.image[43, 100].tolist() == [200, 0, 0]
    assert canvas.image[57, 100].tolist() == [0, 0, 200]


def test_a_sprite_is_labelled_where_its_alpha_is_at_least_a_half():
    alpha = np.zeros((60, 30), np.uint8)
    alpha[:, 10:20] = 255
    alpha[:, 20:] = 100
    sprite = Texture(np.full((60, 30, 3), 255, np.uint8), pixels_per_metre=30, alpha=alpha)
    canvas = make_canvas()
    canvas.sprite(sprite, np.array([0, 0.5, 5.0]), height=2.0, label=SIGN)
    columns = np.nonzero((canvas.labels == SIGN).any(axis=0))[0]
    # 20 pixels wide around column 100, of which the middle third is opaque
    assert abs(columns.min() - 97) <= 1 and abs(columns.max() - 103) <= 1
    assert 60 < canvas.image[55, 107, 0] < 140 and canvas.labels[55, 107] == SKY


def test_haze_hides_63_percent_at_its_length():
    canvas = Canvas(make_camera(), haze_color=(100, 100, 100), haze_length=50.0)
    expected = 200 * math.exp(-1) + 100 * (1 - math.exp(-1))
    assert canvas.shade((200, 0, 0), 1.0, 50.0)[0] == pytest.approx(expected)


@pytest.mark.parametrize('domain', DOMAINS)
def test_a_block_of_street_does_not_depend_on_the_blocks_before_it(domain):
    street = Street(LOOKS[domain], 0, 1)
    for number in range(3):
        street.block(number)
    assert street.block(7) == Street(LOOKS[domain], 0, 1).block(7)


@pytest.mark.parametrize('domain', DOMAINS)
def test_houses_stand_beside_the_sidewalk_and_do_not_overlap(domain):
    street = Street(LOOKS[domain], 0, 2)
    for number in range(12):
        block = street.block(number)
        for side in (-1, 1):
            houses = [house for house in block.buildings if house.side == side]
            assert houses and houses[-1].end <= (number + 1) * BLOCK + 1e-6
            assert all(a.end <= b.start + 1e-6 for a, b in zip(houses, houses[1:]))
            line = street.half_width + street.sidewalk_width
            assert all(house.front >= line for house in houses)


def test_noise_tiles_repeat_without_a_seam():
    tile = fractal_tile(64, 3)
    inner = np.abs(np.diff(tile, axis=0)).max()
    assert np.abs(tile[0] - tile[-1]).max() <= 1.5 * inner
    assert tile.min() == 0 and tile.max() == 1
