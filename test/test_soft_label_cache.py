# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Soft labels of whole frames, cut like the crops."""

from __future__ import annotations

from dataclasses import replace

from bkd_core.batch import Window
from bkd_core.datasets.loader import make_loader
from bkd_core.datasets.transforms import cut_image, draw_window
from bkd_core.methods.soft_label_cache import cut_map, SoftLabelCache, SoftLabelMemory
from bkd_core.methods.soft_labels import adjust_logits
from bkd_core.models.teacher import Teacher, TeacherSpec
from bkd_core.training.trainer import Trainer
import cv2
import numpy as np
import pytest
from tiny_training import PaintedFrames, register_tiny_network, tiny_config, tiny_teacher
import torch

CPU = torch.device('cpu')


def whole(height, width):
    """Return the window that shows all of a frame."""
    return Window(
        index=0, frame_size=(height, width), top=0, left=0, height=height, width=width,
        is_mirrored=False)


def two_class_map(second):
    """Return log-probabilities of which the second class has the given share."""
    second = torch.as_tensor(second, dtype=torch.float32)
    return torch.stack((1 - second, second)).log()[None]


def test_the_whole_of_a_map_at_its_own_size_is_the_map():
    soft = torch.randn(1, 4, 10, 15).log_softmax(1)
    torch.testing.assert_close(cut_map(soft, whole(40, 60), (10, 15)), soft, atol=1e-5, rtol=1e-4)
    mirrored = replace(whole(40, 60), is_mirrored=True)
    torch.testing.assert_close(
        cut_map(soft, mirrored, (10, 15)), soft.flip(-1), atol=1e-5, rtol=1e-4)


def test_a_window_cuts_its_own_cells():
    soft = torch.randn(1, 4, 10, 15).log_softmax(1)
    window = replace(whole(40, 60), top=8, left=20, height=16, width=12)
    torch.testing.assert_close(
        cut_map(soft, window, (4, 3)), soft[..., 2:6, 5:8], atol=1e-5, rtol=1e-4)


def test_an_enlarged_map_stays_a_distribution():
    soft = torch.randn(1, 4, 10, 15).log_softmax(1)
    cut = cut_map(soft.half(), replace(whole(40, 60), height=7, width=9), (32, 32))
    assert cut.dtype == torch.float32
    torch.testing.assert_close(cut.exp().sum(1), torch.ones(1, 32, 32))


@pytest.mark.parametrize('seed', range(6))
def test_soft_labels_lie_where_the_crop_shows_what_they_label(seed):
    # The second class's share is the brightness of the frame, a ramp in both directions.
    rows, columns = np.mgrid[:96, :160]
    ramp = 0.1 + 0.8 * (0.3 * rows / 95 + 0.7 * columns / 159)
    frame = np.repeat(np.round(255 * ramp).astype(np.uint8)[..., None], 3, 2)
    window = draw_window(
        (96, 160), index=0, rng=np.random.default_rng(seed), crop_size=(64, 64),
        input_height=96, scale=(0.7, 1.6), flip=True)
    crop = cut_image(frame, window, (64, 64))[..., 0] / 255
    cut = cut_map(two_class_map(ramp), window, (64, 64))[0, 1].exp().numpy()
    assert abs(cut - crop).max() < 0.01


class CountingTeacher:
    """Labels by brightness, and counts how often it looks."""

    def __init__(self):
        self.sizes = []

    def __call__(self, images, size):
        """Return (1, 2, h, w), log-probabilities."""
        self.sizes.append((tuple(images.shape[-2:]), size))
        means = torch.nn.functional.interpolate(images.mean(1, keepdim=True), size=size)
        means = means.clamp(0.01, 0.99)
        return torch.cat((1 - means, means), 1).log()


def cache_of(teacher, *, max_bytes=10**6):
    """Return a cache over three painted frames."""
    return SoftLabelCache(
        PaintedFrames(3), teacher, frame_height=64, device=CPU, max_bytes=max_bytes)


def window_of(index):
    """Return the upper left quarter of a painted frame."""
    height, width = PaintedFrames(3).image(index).shape[:2]
    return Window(
        index=index, frame_size=(height, width), top=0, left=0, height=height // 2,
        width=width // 2, is_mirrored=False)


def test_the_teacher_looks_once_at_each_frame_at_the_students_scale():
    teacher = CountingTeacher()
    cache = cache_of(teacher)
    first = cache.crops([window_of(0), window_of(2)], (16, 16))
    again = cache.crops([window_of(0), window_of(2), window_of(0)], (16, 16))
    assert len(teacher.sizes) == 2
    (height, width), size = teacher.sizes[0]
    assert min(height, width) == 64 and height % 32 == width % 32 == 0
    assert size == (height // 4, width // 4)
    assert torch.equal(again[:2], first) and torch.equal(again[2], first[0])
    assert first.shape == (2, 2, 16, 16)


def test_without_memory_the_result_is_the_same_and_the_teacher_looks_again():
    teacher = CountingTeacher()
    kept = cache_of(CountingTeacher()).crops([window_of(1)] * 2, (16, 16))
    none = cache_of(teacher, max_bytes=0)
    assert torch.equal(none.crops([window_of(1)] * 2, (16, 16)), kept)
    assert len(teacher.sizes) == 2 and not none.maps


def test_the_memory_is_bounded():
    teacher = CountingTeacher()
    one = cache_of(CountingTeacher())
    one.crops([window_of(0)], (16, 16))
    num_bytes = 10**6 - one.free_bytes
    cache = cache_of(teacher, max_bytes=2 * num_bytes + 1)
    for _ in range(2):
        cache.crops([window_of(index) for index in range(3)], (16, 16))
    assert len(cache.maps) == 2 and cache.free_bytes == 1
    assert len(teacher.sizes) == 4  # 3, and the one without room again


def test_the_loader_says_where_its_crops_lie():
    config = tiny_config('bilateral_distillation', steps=1)
    frames = PaintedFrames(3)
    batch = next(make_loader(frames, frames, config))
    for images, windows in (
            (batch.source_images, batch.source_windows),
            (batch.target_images, batch.target_windows)):
        for image, window in zip(images, windows):
            crop = cut_image(frames.image(window.index), window, (32, 32))
            np.testing.assert_array_equal((image * 255).round().byte().permute(1, 2, 0), crop)


def test_a_student_learns_from_whole_frames_and_a_resumed_run_is_the_same(tmp_path, monkeypatch):
    register_tiny_network(monkeypatch)
    config = tiny_config('bilateral_distillation', steps=8)
    config = replace(config, method=replace(config.method, teacher_view='frame'))
    frames = PaintedFrames(3)

    def trainer(name):
        return Trainer(
            config, directory=tmp_path / name, source=frames, target=frames,
            teacher=tiny_teacher())

    whole_run = trainer('whole').run().state_dict()
    trainer('parts').run(until=5)
    resumed = trainer('parts')
    assert resumed.step == 5
    for key, value in resumed.run().state_dict().items():
        assert torch.equal(value, whole_run[key]), key
    cached = [cache.maps for cache in resumed.method.caches]
    assert all(set(maps) <= {0, 1, 2} and maps for maps in cached)
    assert all(kept.dtype == torch.float16 for maps in cached for kept in maps.values())


@pytest.mark.parametrize(('heights', 'frame', 'crop'), [
    ((64,), [64], [32]), ((96,), [96], [48]), ((32,), [32], [16]), ((96, 64), [96, 64], [48, 32]),
])
def test_a_teacher_sees_frames_at_its_own_scale_and_in_full_detail(
    heights, frame, crop, tmp_path, monkeypatch,
):
    # The student's frames are 64 high: enlarging them would not bring back what 96 rows show.
    register_tiny_network(monkeypatch)
    frames = PaintedFrames(2, size=(192, 288))
    seen = []

    def network(images):
        seen.append(images)
        return torch.zeros(len(images), 9, 8, 8) + torch.arange(9.).view(9, 1, 1)

    teachers = torch.nn.ModuleList(Teacher(
        network, TeacherSpec(
            name='t', label_space=frames.label_space, input_height=height, size_multiple=16,
            mean=(0, 0, 0), std=(255, 255, 255)),
        label_space=frames.label_space, input_height=64) for height in heights)
    config = tiny_config('bilateral_distillation', steps=1)
    config = replace(config, method=replace(
        config.method, teacher_view='frame', teacher_flip=False))
    method = Trainer(
        config, directory=tmp_path, source=frames, target=frames, teacher=teachers).method
    method.caches[0].look_up(0)
    assert [images.shape[-2] for images in seen] == frame
    shown = cv2.resize(frames.image(0), seen[0].shape[:1:-1], interpolation=cv2.INTER_AREA)
    torch.testing.assert_close(
        seen[0][0].permute(1, 2, 0), torch.from_numpy(shown).float() / 255)
    seen.clear()
    method.soft_labels(torch.zeros(1, 3, 32, 32), (8, 8))
    assert [images.shape[-2] for images in seen] == crop


def test_the_shares_are_the_mean_over_frames_and_looked_at_once():
    teacher = CountingTeacher()
    cache = cache_of(teacher)
    expected = torch.stack(
        [cache.look_up(index).float().exp().mean((0, 2, 3)) for index in range(3)]).mean(0)
    shares = cache.class_shares()
    torch.testing.assert_close(shares, expected, atol=1e-3, rtol=0)
    assert float(shares.sum()) == pytest.approx(1) and len(teacher.sizes) == 3


def test_a_class_that_is_never_seen_has_a_share_above_zero():
    cache = cache_of(lambda images, size: torch.tensor([0., -1000.]).view(1, 2, 1, 1).expand(
        1, 2, *size))
    assert 0 < float(cache.class_shares()[1]) < 1e-4


@pytest.mark.parametrize('view', ['frame', 'crop'])
def test_only_the_target_is_adjusted_by_the_teachers_own_shares(view, tmp_path, monkeypatch):
    register_tiny_network(monkeypatch)
    frames = PaintedFrames(3)
    made = {}
    for power in (0.0, 0.5):
        config = tiny_config('bilateral_distillation', steps=1)
        config = replace(config, method=replace(
            config.method, teacher_view=view, logit_adjustment=power))
        method = Trainer(
            config, directory=tmp_path / f'{view}{power}', source=frames, target=frames,
            teacher=tiny_teacher()).method
        batch = next(make_loader(frames, frames, config))
        images = torch.cat((batch.source_images, batch.target_images))
        made[power] = method.soft_labels_of(batch, images, (16, 16)).chunk(2)
    assert torch.equal(made[0.0][0], made[0.5][0])
    expected = adjust_logits(made[0.0][1], method.target_shares, power=0.5)
    torch.testing.assert_close(made[0.5][1], expected)
    assert (made[0.0][1] - made[0.5][1]).abs().max() > 0.01


def test_maps_of_an_earlier_run_are_used_and_count_as_memory():
    first, second = CountingTeacher(), CountingTeacher()
    maps = {}
    frames = PaintedFrames(3)
    made = SoftLabelCache(
        frames, first, frame_height=64, device=CPU, max_bytes=10**6, maps=maps)
    expected = made.crops([window_of(0), window_of(1)], (16, 16))
    again = SoftLabelCache(
        frames, second, frame_height=64, device=CPU, max_bytes=10**6, maps=maps)
    assert torch.equal(again.crops([window_of(0), window_of(1)], (16, 16)), expected)
    assert not second.sizes
    assert again.free_bytes == made.free_bytes


def test_the_memory_keeps_the_maps_of_one_teacher():
    memory = SoftLabelMemory()
    first = memory.maps('a')
    first[0][7] = torch.zeros(1)
    assert memory.maps('a') is first and 7 in memory.maps('a')[0]
    assert memory.maps('b') == ({}, {})
    assert memory.maps('a') == ({}, {})
