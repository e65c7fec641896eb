# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Data sets in their published layouts, on tiny folders that are laid out as they are."""

from __future__ import annotations

import copy
from pathlib import Path
import re

from bkd_core.config import DataConfig
from bkd_core.datasets import build_dataset
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.errors import InputError
from fixtures_datasets import (
    class_ids,
    corner,
    HEIGHT,
    names_of,
    WIDTH,
    write_cityscapes,
    write_gta5,
    WRITERS,
)
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize('name', WRITERS)
def test_a_published_layout_opens_as_a_data_set(name, tmp_path):
    write_files, settings, names, _ = WRITERS[name]
    dataset = build_dataset(name, root=write_files(tmp_path), **settings)
    assert isinstance(dataset, SegmentationDataset)
    assert sorted(dataset.name(index) for index in range(len(dataset))) == sorted(names)
    assert dataset.has_labels
    for index in range(len(dataset)):
        image, labels = dataset.image(index), dataset.labels(index)
        assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
        assert image[3, 5].tolist() == pytest.approx([3, 5, 200], abs=12)  # JPEG blurs colours
        assert labels.shape == (HEIGHT, WIDTH) and labels.dtype == np.uint8
        assert labels[1:].tolist() == np.full((HEIGHT - 1, WIDTH), 0).tolist()  # road, or dirt
    copied = copy.deepcopy(dataset)  # as loader workers may get it
    np.testing.assert_array_equal(copied.labels(0), dataset.labels(0))


@pytest.mark.parametrize('name', WRITERS)
def test_a_published_set_stands_in_the_readme(name):
    assert f'\n| `{name}` | `' in (ROOT / 'README.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', WRITERS)
def test_a_folder_that_is_not_the_set_says_what_is_expected(name, tmp_path):
    _, settings, _, _ = WRITERS[name]
    with pytest.raises(InputError, match=(
            r'(does not exist|holds no sequence); expected .*/.*\.(png|jpg)')):
        build_dataset(name, root=tmp_path, **settings)


@pytest.mark.parametrize('name', sorted(set(WRITERS) - {'rellis3d'}))
def test_images_without_labels_and_labels_without_images_are_counted_and_named(name, tmp_path):
    write_files, settings, names, image = WRITERS[name]
    root = write_files(tmp_path)
    (root / image).rename((root / image).with_name(f'stray_{Path(image).name}'))
    count = r'1 of \d+'
    with pytest.raises(InputError, match=(
            rf'{count} images have no label file \(.*stray_.*\) and {count} label files have no '
            r'image \(')):
        build_dataset(name, root=root, **settings)
    dataset = build_dataset(name, root=root, has_labels=False, **settings)
    assert len(dataset) == len(names) and not dataset.has_labels


@pytest.mark.parametrize('name', WRITERS)
def test_a_disk_that_vanishes_is_named(name, tmp_path):
    write_files, settings, _, _ = WRITERS[name]
    dataset = build_dataset(name, root=write_files(tmp_path / 'disk'), **settings)
    (tmp_path / 'disk').rename(tmp_path / 'gone')
    for read in (dataset.image, dataset.labels):
        with pytest.raises(InputError, match=r'disk/.*\.(png|jpg): cannot be read \(No such file'):
            read(0)


@pytest.mark.parametrize(('name', 'space', 'expected'), [
    ('gta5', 'cityscapes19', ('road', 'car', None, None)),
    ('gta5', 'cityscapes13', ('road', 'car', None, None)),
    ('synthia', 'cityscapes16', ('road', 'sidewalk', 'wall', None, None, None)),
    ('synthia', 'cityscapes13', ('road', 'sidewalk', None, None, None, None)),
    ('synthia', 'cityscapes19', ('road', 'sidewalk', 'wall', None, None, 'truck')),
    ('cityscapes', 'cityscapes19', ('road', 'sidewalk', 'bicycle', None, None, None)),
    ('cityscapes', 'street9', ('road', 'sidewalk', None, None, None, None)),
    ('acdc', 'cityscapes16', ('road', 'bicycle', None)),
    ('dark_zurich', 'cityscapes19', ('road', 'bicycle', None)),
    ('bdd100k', 'cityscapes19', ('road', 'bicycle', None)),
    ('kitti', 'cityscapes19', ('road', 'bicycle', None, None)),
    ('mapillary_vistas', 'cityscapes19', ('road', 'sidewalk', 'road', 'bicycle', None, None))])
def test_ids_become_classes_of_the_label_space(name, space, expected, tmp_path):
    write_files, settings, _, _ = WRITERS[name]
    root = write_files(tmp_path)
    dataset = build_dataset(name, root=root, label_space=space, **settings)
    assert dataset.label_space.name == space
    assert corner(dataset, len(expected)) == class_ids(space, *expected)


def test_the_example_of_the_readme_opens(tmp_path):
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    (example,) = re.findall(r'```yaml\n(source: .*?)```', text, flags=re.S)
    settings = yaml.safe_load(example)
    write_gta5(tmp_path / 'gta5')
    write_cityscapes(tmp_path / 'cityscapes')
    source, target, validation = (
        open_dataset(DataConfig(**settings[part]), tmp_path)
        for part in ('source', 'target', 'validation'))
    assert source.label_space.name == settings['label_space']
    assert not target.has_labels and names_of(target)[0].startswith('aachen')
    assert validation.has_labels and names_of(validation)[0].startswith('lindau')
