# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The noise matrix, its picture, and the share of errors inside a group of like classes."""

from __future__ import annotations

import math

from bkd_core.evaluation import ConfusionMatrix, noise_matrix, noise_picture, share_inside_groups
from bkd_core.labels import get_label_space, LabelSpace
import numpy as np
import pytest

CITY = get_label_space('cityscapes19')


def counted(space, *triples):
    confusion = ConfusionMatrix(space.num_classes)
    for true, taken, count in triples:
        column = space.num_classes if taken is None else space.classes.index(taken)
        confusion.counts[space.classes.index(true), column] += count
    return confusion


def test_a_row_holds_the_shares_of_its_true_class():
    confusion = ConfusionMatrix(3)
    confusion.update(np.uint8([0, 0, 0, 0, 1, 1, 255]), np.uint8([0, 0, 0, 1, 2, 255, 0]))
    matrix = noise_matrix(confusion)
    np.testing.assert_array_equal(matrix, [[.75, .25, 0], [0, 0, .5], [np.nan] * 3])


def test_the_errors_of_the_motivation_figure_stay_inside_their_groups():
    # train read as bus .92, truck as car .81, rider as person .73.
    confusion = counted(
        CITY, ('train', 'bus', 92), ('train', 'building', 8), ('truck', 'car', 81),
        ('truck', 'truck', 19), ('rider', 'person', 73), ('rider', None, 27))
    matrix = noise_matrix(confusion)
    assert matrix[CITY.classes.index('train'), CITY.classes.index('bus')] == .92
    assert share_inside_groups(confusion, CITY) == pytest.approx((92 + 81 + 73) / (100 + 81 + 100))


def test_right_pixels_and_classes_outside_the_groups_do_not_count():
    confusion = counted(CITY, ('sky', 'building', 50), ('car', 'car', 10))
    assert math.isnan(share_inside_groups(confusion, CITY))
    confusion = counted(CITY, ('sky', 'building', 50), ('car', 'bus', 1), ('car', 'sky', 3))
    assert share_inside_groups(confusion, CITY) == .25


def test_the_picture_is_dark_where_the_matrix_is_one_and_grey_without_truth():
    space = LabelSpace(name='two', classes=('a', 'bb'), colors=((0, 0, 0), (9, 9, 9)))
    picture = noise_picture(np.array([[0, 1.0], [np.nan, np.nan]]), space)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    # Cells of 44 pixels with a margin of 8 at the right and the bottom.
    corners = picture[[[-8 - 88 + 3], [-8 - 44 + 3]], [[-8 - 88 + 3, -8 - 44 + 3]]]
    assert corners.tolist() == [
        [[255, 255, 255], [8, 48, 107]], [[226, 226, 226], [226, 226, 226]]]


@pytest.mark.parametrize('name', ['cityscapes19', 'camvid11', 'street9'])
def test_a_picture_names_its_classes_on_both_sides(name):
    space = get_label_space(name)
    picture = noise_picture(np.zeros((space.num_classes,) * 2), space)
    side = 44 * space.num_classes
    top, left = picture.shape[0] - side - 8, picture.shape[1] - side - 8
    for index in range(space.num_classes):
        part = slice(index * 44, index * 44 + 44)
        assert picture[top:-8][part, :left].min() < 100
        assert picture[30:top, left:-8][:, part].min() < 100
    assert (picture[top:-8, left:-8] == 255).all()  # zeros are left empty
