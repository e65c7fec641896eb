# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label spaces and how they correspond."""

from __future__ import annotations

from bkd_core.errors import InputError
from bkd_core.labels import (
    CITYSCAPES_RAW_TO_TRAIN,
    get_label_space,
    id_mapping,
    LABEL_SPACES,
    LabelSpace,
    subset_ids,
    SYNTHIA_13,
    SYNTHIA_16,
)
import numpy as np
import pytest

TWO = LabelSpace(name='two', classes=('road', 'lava'), colors=((0, 0, 0), (255, 0, 0)))


@pytest.mark.parametrize(('name', 'num_classes', 'first', 'last'), [
    ('cityscapes19', 19, 'road', 'bicycle'),
    ('cityscapes16', 16, 'road', 'bicycle'),
    ('cityscapes13', 13, 'road', 'bicycle'),
    ('camvid11', 11, 'sky', 'bicyclist'),
    ('street9', 9, 'road', 'car'),
])
def test_the_known_spaces_have_their_classes_in_order(name, num_classes, first, last):
    space = get_label_space(name)
    assert space.num_classes == num_classes
    assert (space.classes[0], space.classes[-1]) == (first, last)


@pytest.mark.parametrize('name', LABEL_SPACES)
def test_a_label_space_survives_being_written_and_read(name):
    space = LABEL_SPACES[name]
    assert LabelSpace.from_dict(space.to_dict()) == space


def test_gazebo_labels_map_to_the_nine_shared_classes():
    # The table in the data's description, worked out by hand; 255 where it has no row.
    table = id_mapping(get_label_space('cityscapes19'), get_label_space('street9'))
    building, sign, tree, pedestrian, car, none = 2, 4, 5, 7, 8, 255
    expected = [
        0, 1, building, building, none, 3, sign, sign, tree, tree, 6, pedestrian, none,
        car, car, car, none, none, none]
    assert table[:19].tolist() == expected
    assert (table[19:] == 255).all()
    assert table.dtype == np.uint8 and table.shape == (256,)


@pytest.mark.parametrize('name', ['cityscapes16', 'cityscapes13'])
def test_the_smaller_spaces_map_as_cityscapes_does(name):
    whole, part = get_label_space('cityscapes19'), get_label_space(name)
    for target in map(get_label_space, ('street9', 'camvid11')):
        expected = id_mapping(whole, target)[id_mapping(part, whole)[:part.num_classes]]
        np.testing.assert_array_equal(id_mapping(part, target)[:part.num_classes], expected)
    for class_id, class_name in enumerate(part.classes):
        assert part.colors[class_id] == whole.colors[whole.classes.index(class_name)]


def test_camvid_labels_map_to_the_nine_shared_classes():
    table = id_mapping(get_label_space('camvid11'), get_label_space('street9'))
    # sky building pole road sidewalk tree sign fence car pedestrian bicyclist
    assert table[:12].tolist() == [6, 2, 3, 0, 1, 5, 4, 255, 8, 7, 255, 255]


def test_a_rider_and_a_bicycle_are_bicyclists_in_camvid():
    source, target = get_label_space('cityscapes19'), get_label_space('camvid11')
    table = id_mapping(source, target)
    for name in ('rider', 'bicycle'):
        assert table[source.classes.index(name)] == target.classes.index('bicyclist')
    assert table[source.classes.index('motorcycle')] == 255


@pytest.mark.parametrize('name', LABEL_SPACES)
def test_a_space_maps_to_itself_unchanged_and_ignore_stays_ignore(name):
    space = LABEL_SPACES[name]
    table = id_mapping(space, space)
    assert table[:space.num_classes].tolist() == list(range(space.num_classes))
    assert table[255] == 255


def test_spaces_without_a_common_class_are_refused():
    other = LabelSpace(name='other', classes=('moss',), colors=((0, 255, 0),))
    with pytest.raises(InputError, match="'two' has no class in common with 'other'"):
        id_mapping(TWO, other)


def test_the_raw_ids_cover_each_train_id_once():
    # Cityscapes' own table: road 7, car 26, bicycle 33 and no licence plate (-1).
    assert sorted(CITYSCAPES_RAW_TO_TRAIN.values()) == list(range(19))
    assert [CITYSCAPES_RAW_TO_TRAIN[raw] for raw in (7, 26, 33)] == [0, 13, 18]


def test_the_subsets_of_synthia_leave_out_the_right_classes():
    space = get_label_space('cityscapes19')
    assert [i for i in range(19) if i not in subset_ids(space, SYNTHIA_16)] == [9, 14, 16]
    assert [i for i in range(19) if i not in subset_ids(space, SYNTHIA_13)] == [
        3, 4, 5, 9, 14, 16]


def test_an_unknown_class_of_a_subset_is_named():
    with pytest.raises(InputError, match="'rood'.*Did you mean 'road'"):
        subset_ids(TWO, ('rood',))


def test_an_unknown_label_space_suggests_the_nearest():
    with pytest.raises(InputError, match="label space 'camvid12'.*Did you mean 'camvid11'"):
        get_label_space('camvid12')


@pytest.mark.parametrize(('classes', 'colors', 'message'), [
    ((), (), '0 classes'),
    (('road',), (), '1 classes and 0 colours'),
    (('road', 'road'), ((0, 0, 0), (1, 1, 1)), 'occurs twice'),
    (('road',), ((0, 0, 256),), 'from 0 to 255'),
    (('road',), ((0, 0),), 'three values'),
    (tuple(map(str, range(256))), ((0, 0, 0),) * 256, '256 classes'),
])
def test_an_impossible_label_space_is_refused(classes, colors, message):
    with pytest.raises(InputError, match=message):
        LabelSpace(name='x', classes=classes, colors=colors)


@pytest.mark.parametrize('values', [
    None, {}, [], 'street9', {'name': 'x', 'classes': ['a'], 'colors': ['red']},
    {'name': 'x', 'classes': ['a'], 'colors': [7]}])
def test_a_damaged_description_of_a_label_space_is_refused(values):
    with pytest.raises(InputError, match='expected the keys name, classes, colors'):
        LabelSpace.from_dict(values)
