# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batches that follow from the seed and the step alone."""

from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path
import shutil
import sys

from bkd_core.config import AugmentationConfig
from bkd_core.datasets import build_dataset
from bkd_core.datasets.loader import make_loader, StepBatches
from bkd_core.errors import InputError
from bkd_core.labels import LabelSpace
from fixtures_datasets import write_gta5
import numpy as np
import pytest
from tiny_training import PaintedFrames, tiny_config
import torch

SOURCE, TARGET = PaintedFrames(5), PaintedFrames(4, seed=1, shade=0.5)


class Numbered(PaintedFrames):
    """Frames filled with their own number, and a record of the labels that were read."""

    def __init__(self, num_frames):
        super().__init__(num_frames)
        self.labels_read = []

    def image(self, index):
        """Return an image of one value."""
        return np.full((64, 96, 3), index, np.uint8)

    def labels(self, index):
        """Return labels and take note."""
        self.labels_read.append(index)
        return np.full((64, 96), index % 9, np.uint8)


def assert_same(batch, other):
    """Compare all tensors of two batches."""
    assert torch.equal(batch.source_images, other.source_images)
    assert torch.equal(batch.source_labels, other.source_labels)
    assert torch.equal(batch.target_images, other.target_images)


def test_a_batch_has_the_declared_shapes_types_and_ranges():
    batch = next(make_loader(SOURCE, TARGET, tiny_config(batch_size=3)))
    for images in (batch.source_images, batch.target_images):
        assert images.shape == (3, 3, 32, 32) and images.dtype == torch.float32
        assert 0 <= images.min() and 0.3 < images.max() <= 1
    assert batch.source_labels.shape == (3, 32, 32)
    assert batch.source_labels.dtype == torch.int64
    assert batch.source_labels.max() <= 8
    assert next(make_loader(SOURCE, None, tiny_config())).target_images is None


@pytest.mark.parametrize('crop_size, is_told', [((64, 64), True), ((32, 64), False)])
def test_crops_that_enlarge_every_frame_are_told(crop_size, is_told, caplog):
    config = tiny_config(augmentation=AugmentationConfig(crop_size=crop_size))
    make_loader(SOURCE, None, replace(config, model=replace(config.model, input_height=32)))
    assert ('crop_size (64, 64): frames are enlarged' in caplog.text) == is_told


def test_a_batch_depends_on_seed_and_step_only():
    batches = list(make_loader(SOURCE, TARGET, tiny_config(steps=6)))
    assert len(batches) == 6
    resumed = list(make_loader(SOURCE, TARGET, tiny_config(steps=6), first_step=4))
    assert len(resumed) == 2
    assert_same(resumed[0], batches[4])
    assert_same(resumed[1], batches[5])
    other = next(make_loader(SOURCE, TARGET, tiny_config(seed=1)))
    assert not torch.equal(other.source_images, batches[0].source_images)


def test_loader_processes_give_the_same_batches_in_order():
    config = tiny_config(steps=3)
    expected = list(make_loader(SOURCE, TARGET, config))
    batches = list(make_loader(SOURCE, TARGET, replace(config, num_workers=2)))
    assert len(batches) == 3
    for batch, other in zip(batches, expected):
        assert_same(batch, other)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_disk_that_vanishes_during_training_is_named_in_one_line(tmp_path, num_workers):
    root = write_gta5(tmp_path / 'disk')
    config = tiny_config(label_space='cityscapes19', steps=50, num_workers=num_workers)
    batches = make_loader(build_dataset('gta5', root=root), None, config)
    next(batches)
    root.rename(tmp_path / 'gone')
    with pytest.raises(
            InputError, match=r'^/\S+/disk/\w+/\d+\.png: cannot be read \(No such file[^\n]*$'):
        list(batches)


def resident_megabytes(process='self'):
    """Return the memory that a process holds itself, without what it shares with others."""
    fields = Path(f'/proc/{process}/statm').read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf('SC_PAGE_SIZE') / 2**20


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
@pytest.mark.parametrize('num_workers', [0, 1])
def test_the_memory_of_the_loader_does_not_grow(tmp_path, num_workers):
    root = write_gta5(tmp_path / 'gta5')
    for number in range(3, 40):
        for folder in ('images', 'labels'):
            shutil.copy(root / folder / '00001.png', root / folder / f'{number:05d}.png')
    config = tiny_config(label_space='cityscapes19', steps=700, num_workers=num_workers)
    before = set(os.listdir('/proc'))
    gta5 = build_dataset('gta5', root=root)
    batches = make_loader(gta5, gta5, config)
    held = []
    for step, _ in enumerate(batches):
        if step == 200:
            workers = {
                name for name in set(os.listdir('/proc')) - before if name.isdigit()
                and f'\nPPid:\t{os.getpid()}\n' in Path(f'/proc/{name}/status').read_text()}
            assert len(workers) == num_workers
        if step in (200, 690):
            held.append(sum(map(resident_megabytes, ('self', *workers))))
    assert held[1] - held[0] < 5, held  # a leak of one crop of 32 x 32 a step would be 6 MB


def test_no_image_comes_twice_before_all_came_once():
    frames = Numbered(7)
    batches = StepBatches(frames, Numbered(3), tiny_config(batch_size=2, steps=21))
    seen = {'source': [], 'target': []}
    for step in range(21):
        batch = batches[step]
        seen['source'] += (batch.source_images[:, 0, 0, 0] * 255).round().int().tolist()
        seen['target'] += (batch.target_images[:, 0, 0, 0] * 255).round().int().tolist()
    for numbers, length in ((seen['source'], 7), (seen['target'], 3)):
        epochs = [numbers[i:i + length] for i in range(0, 42, length)]
        assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
        assert len(set(map(tuple, epochs))) > 1  # another order each time


def test_labels_of_the_target_are_never_read():
    target = Numbered(3)
    list(make_loader(SOURCE, target, tiny_config(steps=4)))
    assert target.labels_read == []


def test_an_image_keeps_its_own_labels():
    for batch in make_loader(Numbered(9), None, tiny_config(steps=5)):
        numbers = (batch.source_images[:, 0] * 255).round().long()
        assert torch.equal(numbers % 9, batch.source_labels)


def test_labels_are_mapped_into_the_runs_label_space():
    batch = next(make_loader(Numbered(1), None, tiny_config(label_space='camvid11')))
    assert (batch.source_labels == 3).all()  # street9's road is camvid11's class 3
    frames = Numbered(1)
    frames.label_space = LabelSpace(name='sea', classes=('water',), colors=((0, 0, 9),))
    with pytest.raises(InputError, match="'sea' has no class in common with 'street9'"):
        make_loader(frames, None, tiny_config())


def test_source_and_target_have_scales_of_their_own():
    augmentation = AugmentationConfig(
        crop_size=(32, 32), source_scale=(0.5, 0.5), target_scale=(8.0, 8.0))
    batch = next(make_loader(SOURCE, SOURCE, tiny_config(augmentation=augmentation)))
    # A crop of the target shows 4 x 4 pixels of one block, a crop of the source 16 blocks.
    variation = [images.std(dim=(2, 3)).mean() for images in (
        batch.source_images, batch.target_images)]
    assert variation[0] > 3 * variation[1]
