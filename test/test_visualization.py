# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Colours, overlays, panels, legends and encodings, pixel by pixel where that is possible."""

from __future__ import annotations

from bkd_core import visualization
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space, LABEL_SPACES, LabelSpace
import cv2
import numpy as np
import pytest

STREET = get_label_space('street9')
ROAD, BUILDING = (128, 64, 128), (70, 70, 70)  # the colours that Cityscapes gives them
LABELS = np.array([[0, 2, 255]], np.uint8)


def plain(color, size=(360, 640)):
    """Return an image of one colour."""
    return np.full((*size, 3), color, np.uint8)


def decode(data):
    """Return an encoded image as RGB, read by OpenCV in its own channel order."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def contains(picture, color):
    """Return whether a pixel of the picture has the colour."""
    return bool((picture == color).all(axis=-1).any())


def test_labels_get_their_colours_in_rgb_order_and_255_is_black():
    painted = visualization.colorize(LABELS, STREET)
    assert painted.dtype == np.uint8
    assert painted.tolist() == [[list(ROAD), list(BUILDING), [0, 0, 0]]]


@pytest.mark.parametrize('name', LABEL_SPACES)
def test_every_value_is_painted_by_the_table_of_its_space(name):
    space = LABEL_SPACES[name]
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    painted = visualization.colorize(labels, space).reshape(256, 3)
    assert [tuple(color) for color in painted[:space.num_classes]] == list(space.colors)
    assert not painted[space.num_classes:].any()


def test_the_table_of_colours_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError, match='read-only'):
        visualization.color_table(STREET)[0] = 0


def test_an_overlay_mixes_frame_and_colour_and_keeps_the_frame_without_a_label():
    image = np.array([[[28, 64, 0], [70, 170, 0], [1, 2, 3]]], np.uint8)
    mixed = visualization.overlay(image, LABELS, STREET)
    assert mixed.tolist() == [[[78, 64, 64], [70, 120, 35], [1, 2, 3]]]


def test_an_overlay_is_the_frame_at_opacity_0_and_the_colours_at_1():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 9, (5, 7), np.uint8)
    untouched = image.copy()
    clear, solid = (
        visualization.overlay(image, labels, STREET, opacity=opacity) for opacity in (0, 1))
    np.testing.assert_array_equal(clear, image)
    np.testing.assert_array_equal(solid, visualization.colorize(labels, STREET))
    np.testing.assert_array_equal(image, untouched)
    assert not np.shares_memory(clear, image)


def test_a_label_beyond_the_classes_leaves_the_frame_as_it_is():
    image = plain((9, 8, 7), (1, 2))
    mixed = visualization.overlay(image, np.array([[9, 8]], np.uint8), STREET, opacity=1)
    assert mixed.tolist() == [[[9, 8, 7], [0, 0, 142]]]


def test_255_classes_leave_255_alone():
    space = LabelSpace(
        name='many', classes=tuple(f'class {i}' for i in range(255)),
        colors=tuple((i, 255 - i, 1) for i in range(255)))
    labels = np.array([[254, 255]], np.uint8)
    mixed = visualization.overlay(plain((5, 5, 5), (1, 2)), labels, space, opacity=1)
    assert mixed.tolist() == [[[254, 1, 1], [5, 5, 5]]]


def test_views_that_are_not_contiguous_work():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 9, (6, 8), np.uint8)
    views = (array[::2, ::-2] for array in (image, labels))
    copies = (array[::2, ::-2].copy() for array in (image, labels))
    np.testing.assert_array_equal(
        visualization.overlay(*views, STREET), visualization.overlay(*copies, STREET))


@pytest.mark.parametrize(
    ('image', 'labels', 'settings', 'message'), [
        (plain(0, (2, 3)), np.zeros((3, 2), np.uint8), {}, r'\(3, 2\); got shape \(2, 3, 3\)'),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8), {}, 'expected an RGB image'),
        (plain(0, (2, 3)).astype(float), np.zeros((2, 3), np.uint8), {}, 'got float64'),
        (plain(0, (2, 3)), np.zeros((2, 3), np.int64), {}, 'uint8 labels .* got int64'),
        (plain(0, (0, 3)), np.zeros((0, 3), np.uint8), {}, r'shape \(0, 3, 3\)'),
        (plain(0, (2, 3)), None, {}, 'got NoneType'),
        (plain(0, (2, 3)), np.zeros((2, 3), np.uint8), {'opacity': 1.1}, 'got 1.1'),
        (plain(0, (2, 3)), np.zeros((2, 3), np.uint8), {'opacity': float('nan')}, 'got nan'),
    ])
def test_an_overlay_says_what_does_not_fit(image, labels, settings, message):
    with pytest.raises(InputError, match=message):
        visualization.overlay(image, labels, STREET, **settings)


def test_a_panel_shows_every_image_unchanged_beneath_a_title():
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    picture = visualization.panel(
        [(f'title {i}', plain(color)) for i, color in enumerate(colors)], columns=2)
    height, width = 2 * (6 + 32 + 360) + 6, 2 * (6 + 640) + 6  # gap, title bar, image
    assert picture.shape == (height, width, 3)
    corners = [(38, 6), (38, 652), (436, 6)]
    for color, (top, left) in zip(colors, corners):
        assert (picture[top:top + 360, left:left + 640] == color).all()
        assert picture[top - 32:top, left:left + 640].max() > 200  # the title's white
    assert picture[436:, 652:].max() < 50  # the cell that is left over


def test_a_panel_has_no_more_columns_than_images():
    assert visualization.panel([('only', plain(9))], columns=4).shape == (404, 652, 3)


def test_a_panel_fits_grey_and_differently_shaped_images_without_distorting_them():
    square = np.full((720, 720), 200, np.uint8)
    picture = visualization.panel([('wide', plain(0)), ('square', square)])
    cell = picture[38:398, 652:1292]
    assert (cell[:, 140:500] == 200).all()
    assert cell[:, :139].max() < 50 and cell[:, 501:].max() < 50


@pytest.mark.parametrize('size', [(360, 640), (90, 160)])
def test_a_long_title_is_cut_before_the_end_of_its_cell(size):
    picture = visualization.panel([('W' * 300, plain(0, size))])
    title = picture[6:-6 - size[0], 6:-6]
    assert title[:, -4:].max() < 50 and title[:, size[1] // 2:].max() > 150


def test_a_cell_too_small_for_any_title_still_works():
    assert visualization.panel([('title', plain(0, (4, 6)))]).shape == (4 + 24 + 12, 18, 3)


def test_accents_are_dropped_from_titles_and_the_letters_kept():
    first, second = (
        visualization.panel([(title, plain(0))]) for title in ('student étape', 'student etape'))
    other = visualization.panel([('student step', plain(0))])
    np.testing.assert_array_equal(first, second)  # accents are dropped
    assert (first != other).any()


@pytest.mark.parametrize(
    ('images', 'columns', 'message'),
    [([], 2, '0 images'), ([('a', plain(0))], 0, '0 columns'),
     ([('a', plain(0).astype(float))], 1, 'got float64')])
def test_a_panel_of_nothing_is_refused(images, columns, message):
    with pytest.raises(InputError, match=message):
        visualization.panel(images, columns=columns)


@pytest.mark.parametrize('name', LABEL_SPACES)
def test_a_legend_shows_every_colour_at_the_width_asked_for(name):
    space = LABEL_SPACES[name]
    picture = visualization.legend(space)
    assert picture.shape[1] == 640 and picture.shape[0] < 180
    assert all(contains(picture, color) for color in space.colors)
    assert not contains(picture, (0, 0, 0))
    assert contains(visualization.legend(space, has_unlabelled=True), (0, 0, 0))


def test_two_classes_share_the_width_of_a_legend():
    space = LabelSpace(name='two', classes=('a', 'b'), colors=((200, 0, 0), (0, 200, 0)))
    picture = visualization.legend(space)
    assert contains(picture[:, :40], (200, 0, 0)) and contains(picture[:, 320:360], (0, 200, 0))


def test_a_narrow_legend_has_one_class_a_row_and_room_for_the_longest_name():
    picture = visualization.legend(STREET, width=10)
    assert picture.shape[0] == 9 * 26 + 6
    assert picture.shape[1] > 60
    assert picture[:, -3:].max() < 50  # no letter is cut off at the border


def test_png_keeps_every_pixel_and_the_order_of_the_channels():
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    data = visualization.encode_png(image)
    assert data.startswith(b'\x89PNG')
    np.testing.assert_array_equal(decode(data), image)
    labels = cv2.imdecode(
        np.frombuffer(visualization.encode_png(LABELS), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, LABELS)


def test_jpeg_stays_close_and_quality_costs_bytes():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32], image[32:] = (200, 30, 30), (20, 40, 220)
    best, worst = (visualization.encode_jpeg(image, quality=q) for q in (95, 10))
    assert best.startswith(b'\xff\xd8') and len(worst) < len(best)
    assert np.abs(decode(best)[::63, ::63].astype(int) - image[::63, ::63]).max() < 8


@pytest.mark.parametrize('quality', [0, 101])
def test_an_impossible_quality_is_refused(quality):
    with pytest.raises(InputError, match=f'between 1 and 100; got {quality}'):
        visualization.encode_jpeg(plain(0), quality=quality)


def test_what_is_no_image_is_not_encoded():
    with pytest.raises(InputError, match=r'got uint8 of shape \(2, 3, 4\)'):
        visualization.encode_png(np.zeros((2, 3, 4), np.uint8))
