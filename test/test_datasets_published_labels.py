# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is particular to each published data set: its labels, its splits, its other layouts."""

from __future__ import annotations

from bkd_core.datasets import build_dataset
from bkd_core.datasets.label_colors import ids_of_colors
from bkd_core.errors import InputError
from bkd_core.labels import CITYSCAPES_RAW_TO_TRAIN, get_label_space, id_mapping
import cv2
from fixtures_datasets import (
    class_ids,
    corner,
    HEIGHT,
    names_of,
    palette_png,
    WIDTH,
    with_corner,
    write,
    write_acdc,
    write_cityscapes,
    write_dark_zurich,
    write_frame,
    write_gta5,
    write_mapillary_vistas,
    write_rellis3d,
    write_rugd,
    write_synthia,
    WRITERS,
)
import numpy as np
import pytest


def test_every_class_of_synthia_has_its_counterpart(tmp_path):
    # The README of SYNTHIA_RAND_CITYSCAPES, ids 0 to 22 in order, by Cityscapes' names.
    names = (
        None, 'sky', 'building', 'road', 'sidewalk', 'fence', 'vegetation', 'pole', 'car',
        'traffic sign', 'person', 'bicycle', 'motorcycle', None, None, 'traffic light')
    root = write_synthia(tmp_path, ids=tuple(range(16)))
    dataset = build_dataset('synthia', root=root)
    assert dataset.label_space.name == 'cityscapes16'
    assert corner(dataset, 16) == class_ids('cityscapes16', *names)
    root = write_synthia(tmp_path, ids=(17, 19, 21, 22))
    assert corner(build_dataset('synthia', root=root), 4) == class_ids(
        'cityscapes16', 'rider', 'bus', 'wall', None)


def test_synthia_is_found_in_the_folder_of_its_archive(tmp_path):
    write_synthia(tmp_path / 'RAND_CITYSCAPES')
    assert len(build_dataset('synthia', root=tmp_path)) == 2


def test_converted_labels_of_synthia_are_refused_in_place_of_the_published_ones(tmp_path):
    root = write_synthia(tmp_path)
    write(root / 'GT' / 'LABELS' / '0000000.png', with_corner((3, 4)))
    with pytest.raises(InputError, match=r'is uint8 of shape \(12, 16\); expected .* 16 bits'):
        build_dataset('synthia', root=root).labels(0)


@pytest.mark.parametrize('name', ['gta5', 'synthia'])
def test_train_ids_that_other_programs_left_beside_the_labels_are_not_taken(name, tmp_path):
    write_files, _, names, _ = WRITERS[name]
    root = write_files(tmp_path)
    folder = root / ('labels' if name == 'gta5' else 'GT/LABELS')
    write(folder / f'{names[0]}_labelTrainIds.png', with_corner((0,)))
    assert len(build_dataset(name, root=root)) == len(names)


def test_the_broken_frames_of_gta5_are_left_out_and_named(tmp_path):
    root = write_gta5(tmp_path)
    for name, width in (('15188', WIDTH + 2), ('17705', WIDTH)):
        write_frame(root / 'images' / f'{name}.png', width=width)
        write(root / 'labels' / f'{name}.png', with_corner((7,)))
    dataset = build_dataset('gta5', root=root)
    assert dataset.skipped == ('15188',)  # the other one is sound here
    assert [dataset.name(index) for index in range(4)] == ['00001', '00002', '17705', '24966']


def test_any_other_frame_of_gta5_with_two_sizes_is_an_error(tmp_path):
    root = write_gta5(tmp_path)
    write_frame(root / 'images' / '00001.png', width=WIDTH + 2)
    with pytest.raises(InputError, match=r'00001\.png: is 16x12 pixels, but .* is 18x12'):
        build_dataset('gta5', root=root).labels(0)


def test_colours_and_ids_of_gta5_give_the_same_labels(tmp_path):
    # Cityscapes' table, by hand: road, person, car, terrain, static (GTA5's grey), trailer.
    ids = with_corner((7, 24, 26, 22, 4, 30))
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for raw_id, color in {7: (128, 64, 128), 24: (220, 20, 60), 26: (0, 0, 142),
                          22: (152, 251, 152), 4: (20, 20, 20), 30: (0, 0, 110)}.items():
        colors[ids == raw_id] = color
    root = write_gta5(tmp_path)
    write(root / 'labels' / '00001.png', ids)
    write(root / 'labels' / '00002.png', colors)
    dataset = build_dataset('gta5', root=root)
    assert corner(dataset, 6) == [0, 11, 13, 9, 255, 255]
    np.testing.assert_array_equal(dataset.labels(0), dataset.labels(1))


def test_every_class_of_gta5_is_known_by_its_colour(tmp_path):
    root, space = write_gta5(tmp_path), get_label_space('cityscapes19')
    colors = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    colors[0, :19] = space.colors
    write(root / 'labels' / '00001.png', colors)
    write_frame(root / 'images' / '00001.png', height=2 * HEIGHT, width=2 * WIDTH)
    assert corner(build_dataset('gta5', root=root), 19) == list(range(19))


def test_colours_outside_the_palette_are_counted_and_named(tmp_path):
    colors = np.full((HEIGHT, WIDTH, 3), (128, 64, 128), np.uint8)
    colors[0, :3] = (1, 2, 3)
    colors[0, 3] = (250, 251, 252)
    root = write_gta5(tmp_path)
    write(root / 'labels' / '00001.png', colors)
    with pytest.raises(InputError, match=(
            r'00001\.png: 4 of 192 pixels have one of 2 colours outside the palette, as red, '
            r'green, blue: \(1, 2, 3\) 3 times, \(250, 251, 252\) 1 times')):
        build_dataset('gta5', root=root).labels(0)
    dataset = build_dataset('gta5', root=root, ignore_unknown_colors=True)
    assert corner(dataset, 5) == [255, 255, 255, 255, 0]


def test_a_table_of_colours_agrees_with_a_search_through_the_palette(tmp_path):
    rng = np.random.default_rng(0)
    palette = tuple((tuple(rng.integers(0, 256, 3).tolist()), value) for value in range(40))
    ids = rng.integers(0, 40, (9, 11))
    rgb = np.array([color for color, _ in palette], np.uint8)[ids]
    for picture in (rgb[..., ::-1], cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)):
        found = ids_of_colors(picture, palette, tmp_path)
        assert all(
            palette[value][0] == tuple(color)
            for value, color in zip(found.ravel(), rgb.reshape(-1, 3).tolist()))
    with pytest.raises(InputError, match='expected a picture of three 8-bit channels'):
        ids_of_colors(ids.astype(np.uint8), palette, tmp_path)


def test_the_official_table_leads_from_ids_to_train_ids(tmp_path):
    for first in (0, 15, 30):
        ids = tuple(range(first, min(first + 15, 34)))
        root = write_cityscapes(tmp_path, ids=ids)
        dataset = build_dataset('cityscapes', root=root, split='val')
        assert corner(dataset, len(ids)) == [
            CITYSCAPES_RAW_TO_TRAIN.get(raw_id, 255) for raw_id in ids]


def test_an_id_that_cityscapes_does_not_have_is_named(tmp_path):
    root = write_cityscapes(tmp_path, ids=(7, 34))
    with pytest.raises(InputError, match=(
            r'labelIds\.png: holds the values 34 outside .*; expected 7 to 8, 11 to 13, 17, '
            r'19 to 28, 31 to 33 or, for no class, 0 to 6, 9 to 10')):
        build_dataset('cityscapes', root=root, split='train').labels(0)


def test_the_test_split_of_cityscapes_has_no_labels_unless_asked_for(tmp_path):
    root = write_cityscapes(tmp_path)
    assert not build_dataset('cityscapes', root=root, split='test').has_labels
    assert build_dataset('cityscapes', root=root, split='test', has_labels=True).has_labels


def test_coarse_annotations_lie_in_their_own_folder(tmp_path):
    root = write_cityscapes(tmp_path)
    name = 'train_extra/ulm/ulm_000000_000019'
    write_frame(root / 'leftImg8bit' / f'{name}_leftImg8bit.png')
    write(root / 'gtCoarse' / f'{name}_gtCoarse_labelIds.png', with_corner((33, 7)))
    settings = {'root': root, 'split': 'train_extra'}
    assert corner(build_dataset('cityscapes', annotations='gtCoarse', **settings), 2) == [18, 0]
    with pytest.raises(InputError, match=r'gtFine/train_extra: does not exist'):
        build_dataset('cityscapes', **settings)
    with pytest.raises(InputError, match="'gtCourse'.*Did you mean 'gtCoarse'"):
        build_dataset('cityscapes', annotations='gtCourse', **settings)
    with pytest.raises(InputError, match="split of Cityscapes 'trian'.*Did you mean 'train'"):
        build_dataset('cityscapes', root=root, split='trian')


def test_one_condition_of_acdc_or_its_views_in_clear_weather(tmp_path):
    root = write_acdc(tmp_path)
    night = build_dataset('acdc', root=root, split='val', condition='night')
    assert names_of(night) == ['night_GOPR0475_frame_000041'] and night.num_published == 106
    assert build_dataset('acdc', root=root, split='val').num_published == 406
    clear = build_dataset('acdc', root=root, split='train', is_reference=True)
    assert names_of(clear)[0] == 'fog_GOPR0475_frame_000041' and not clear.has_labels
    assert not build_dataset('acdc', root=root, split='test').has_labels
    with pytest.raises(InputError, match="condition of ACDC 'foggy'.*Did you mean 'fog'"):
        build_dataset('acdc', root=root, split='val', condition='foggy')


def test_only_the_validation_frames_of_dark_zurich_have_labels(tmp_path):
    root = write_dark_zurich(tmp_path)
    for split, time, name in (
            ('train', 'night', 'GOPR0351_frame_000321'), ('train', 'day', 'GOPR0345_frame_000321'),
            ('test', 'night', 'GOPR0364_frame_000321'),
            ('val_ref', 'day', 'GOPR0356_frame_000321_ref')):
        dataset = build_dataset('dark_zurich', root=root, split=split, time=time)
        assert names_of(dataset) == [name] and not dataset.has_labels
    with pytest.raises(InputError, match="split 'val' at time 'day'; expected one of train night"):
        build_dataset('dark_zurich', root=root, split='val', time='day')


def test_bdd100k_opens_in_its_first_layout_too(tmp_path):
    write_frame(tmp_path / 'seg' / 'images' / 'train' / 'abc.jpg')
    write(tmp_path / 'seg' / 'labels' / 'train' / 'abc_train_id.png', with_corner((0, 255, 18)))
    dataset = build_dataset('bdd100k', root=tmp_path, split='train')
    assert names_of(dataset) == ['abc'] and corner(dataset, 3) == [0, 255, 18]


@pytest.mark.parametrize(('name', 'split'), [
    ('bdd100k', 'test'), ('kitti', 'testing'), ('mapillary_vistas', 'testing')])
def test_splits_whose_labels_are_not_public_open_without(name, split, tmp_path):
    dataset = build_dataset(name, root=WRITERS[name][0](tmp_path), split=split)
    assert len(dataset) == 1 and not dataset.has_labels


def test_mapillary_vistas_opens_in_the_layout_before_version_2(tmp_path):
    root = write_mapillary_vistas(tmp_path)
    (root / 'training' / 'v1.2' / 'labels').rename(root / 'training' / 'labels')
    dataset = build_dataset('mapillary_vistas', root=root, split='training')
    assert corner(dataset, 2) == [0, 1]


def test_labels_of_mapillary_vistas_2_are_no_ids_of_1(tmp_path):
    root = write_mapillary_vistas(tmp_path, ids=(13, 123))
    with pytest.raises(InputError, match=r'holds the values 123 outside'):
        build_dataset('mapillary_vistas', root=root, split='training').labels(0)


@pytest.mark.parametrize('name', [
    'acdc', 'bdd100k', 'dark_zurich', 'kitti', 'mapillary_vistas', 'rugd', 'rellis3d'])
def test_an_unknown_split_lists_those_there_are(name, tmp_path):
    with pytest.raises(InputError, match='train'):
        build_dataset(name, root=tmp_path, split='trian')


def test_the_splits_of_rugd_are_sequences(tmp_path):
    root = write_rugd(tmp_path)
    for split, names in (
            ('train', ['trail-15_00001', 'trail_00001']), ('val', ['park-8_00001']),
            ('test', ['creek_00001'])):
        assert sorted(names_of(build_dataset('rugd', root=root, split=split))) == names
    for folder in ('RUGD_frames-with-annotations', 'RUGD_annotations'):
        (root / folder / 'park-8').rename(root / folder / 'park-9')
    with pytest.raises(InputError, match="no sequence of split 'val'; expected park-8, trail-5"):
        build_dataset('rugd', root=root, split='val')


def test_colours_of_rugd_are_its_classes_even_in_a_palette(tmp_path):
    root = write_rugd(tmp_path)
    colors = np.zeros((256, 3), np.uint8)
    colors[7], colors[9] = (108, 64, 20), (114, 85, 47)
    path = root / 'RUGD_annotations' / 'creek' / 'creek_00001.png'
    path.write_bytes(palette_png(with_corner((7, 9)), colors))
    dataset = build_dataset('rugd', root=root)
    index = names_of(dataset).index('creek_00001')
    assert corner(dataset, 2, index) == class_ids('rugd24', 'dirt', 'picnic table')
    assert corner(dataset, 4, index + 1) == class_ids(
        'rugd24', 'dirt', 'grass', 'picnic table', None)


def test_the_lists_of_rellis3d_choose_its_frames(tmp_path):
    root = write_rellis3d(tmp_path)
    train = build_dataset('rellis3d', root=root, split='train')
    assert names_of(train) == [f'frame{number:06d}-1581624652_750' for number in (0, 2)]
    assert corner(train, 5) == class_ids('rellis19', 'dirt', 'grass', 'rubble', None, 'grass')
    assert len(build_dataset('rellis3d', root=root, has_labels=False)) == 4
    (root / '00000/pylon_camera_node/frame000001-1581624652_750.jpg').unlink()
    with pytest.raises(InputError, match=r'val\.lst: 1 of the 1 images .*frame000001'):
        build_dataset('rellis3d', root=root, split='val')
    with pytest.raises(InputError, match=r'1 of 3 label files have no image \(00000/pylon_cam'):
        build_dataset('rellis3d', root=root)
    (root / 'val.lst').unlink()
    with pytest.raises(InputError, match=r'val\.lst: cannot be read \(No such.*Without split'):
        build_dataset('rellis3d', root=root, split='val')


def test_the_two_sets_off_the_road_share_their_classes():
    rugd, rellis = get_label_space('rugd24'), get_label_space('rellis19')
    table = id_mapping(rugd, rellis)
    for name in ('dirt', 'grass', 'tree', 'object', 'concrete', 'log'):
        assert table[rugd.classes.index(name)] == rellis.classes.index(name)
    assert table[rugd.classes.index('gravel')] == 255
