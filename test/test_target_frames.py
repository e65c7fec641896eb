# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which target frames are learnt from, which are held back, and the replay beside them."""

from __future__ import annotations

import shutil

from bkd_core.adaptation import FrameMetadata, FrameStore
from bkd_core.adaptation.target_frames import (
    keep_frames,
    open_frames,
    read_frames,
    split_frames,
    split_indices,
)
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.datasets.replay import open_replay, write_replay
from bkd_core.datasets.subset import Subset
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
import cv2
from hypothesis import given, strategies
import numpy as np
import pytest
from tiny_training import PaintedFrames
import yaml

STREET = get_label_space('street9')


def save_images(folder, frames):
    """Write a data set's images as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(len(frames)):
        cv2.imwrite(
            str(folder / f'{frames.name(index)}.png'),
            cv2.cvtColor(frames.image(index), cv2.COLOR_RGB2BGR))


def test_two_tenths_of_the_time_are_held_back_with_a_gap_around():
    adapting, blocks = split_indices(200)
    assert blocks == [range(40, 60), range(140, 160)]
    assert adapting == [*range(38), *range(62, 138), *range(162, 200)]


def test_few_frames_are_split_too_and_fewer_than_six_are_only_learnt_from():
    assert split_indices(6) == ([0, 1, 2], [range(4, 6)])
    assert split_indices(5) == ([0, 1, 2, 3, 4], [])


@given(strategies.integers(0, 3000))
def test_no_frame_is_both_learnt_from_and_held_back(length):
    adapting, blocks = split_indices(length)
    held_back = {index for block in blocks for index in block}
    assert all(0 <= index < length for index in held_back | set(adapting))
    assert all(len(block) >= 2 for block in blocks)
    neighbours = {index + step for index in held_back for step in (-1, 0, 1)}
    assert not neighbours & set(adapting)
    assert len(adapting) >= length * (0.4 if length >= 6 else 1)


def test_several_sequences_are_split_each_by_itself_and_thinned():
    frames = split_frames(
        [PaintedFrames(20), PaintedFrames(100, seed=1), PaintedFrames(3, seed=2)],
        max_adapting=11, max_held_back=12)
    assert len(frames.adapting) == 11
    assert [len(block) for block in frames.held_back] == [2, 2, 3, 3]
    assert frames.held_back[2].name(0) == '000000_painted_020'
    assert frames.adapting.name(10) == '000010_painted_002'  # the last of the third sequence
    image = frames.held_back[2].image(1)
    np.testing.assert_array_equal(image, PaintedFrames(100, seed=1).image(21))


def test_a_target_of_five_frames_is_refused():
    with pytest.raises(InputError, match=r'has \[5\] frames; expected at least 6'):
        split_frames([PaintedFrames(5)], max_adapting=10, max_held_back=10)


def test_a_folder_of_images_and_one_with_labels_beside_are_opened_without_labels(tmp_path):
    save_images(tmp_path / 'plain', PaintedFrames(3))
    save_images(tmp_path / 'paired' / 'images', PaintedFrames(2))
    for name, count in (('plain', 3), ('paired', 2)):
        (frames,) = open_frames(tmp_path / name, label_space=STREET)
        assert isinstance(frames, SegmentationDataset) and not frames.has_labels
        assert len(frames) == count and frames.label_space == STREET
        np.testing.assert_array_equal(frames.image(1), PaintedFrames(3).image(1))


@pytest.mark.parametrize(('name', 'is_folder'), [('drive.mcap', False), ('drive', True)])
def test_a_rosbag_is_opened_with_its_topic_and_stride(tmp_path, name, is_folder):
    with RecordingWriter(tmp_path / 'drive') as writer:
        for index in range(4):
            writer.write_image('/image', PaintedFrames(4).image(index), stamp_ns=index * 10 ** 8)
    path = tmp_path / 'drive'
    if not is_folder:
        path = next(path.glob('*.mcap')).rename(tmp_path / name)
    assert len(open_frames(path, label_space=STREET)[0]) == 4
    (frames,) = open_frames(path, label_space=STREET, stride=2)
    assert len(frames) == 2 and frames.label_space == STREET
    with pytest.raises(InputError, match='wrong'):
        open_frames(path, label_space=STREET, topic='/wrong')


def fill_store(folder, topics, *, count):
    """Write a frame store of painted frames, the topics in turn."""
    store = FrameStore(folder, max_bytes=10 ** 8, image_format='png')
    for index in range(count):
        store.add(PaintedFrames(count).image(index), FrameMetadata(
            stamp_ns=10 ** 9 * (index + 1), topic=topics[index % len(topics)]))
    store.close()


def test_the_topics_of_a_store_are_sequences_of_their_own(tmp_path):
    fill_store(tmp_path / 'store', ['/left', '/right'], count=5)
    left, right = open_frames(tmp_path / 'store', label_space=STREET)
    assert (len(left), len(right)) == (3, 2) and not left.has_labels
    np.testing.assert_array_equal(left.image(1), PaintedFrames(5).image(2))
    (only,) = open_frames(tmp_path / 'store', label_space=STREET, topic='/right')
    np.testing.assert_array_equal(only.image(0), PaintedFrames(5).image(1))


def test_kept_frames_are_the_same_and_stay_when_their_store_loses_them(tmp_path, caplog):
    fill_store(tmp_path / 'store', ['/camera'], count=20)
    frames = split_frames(
        open_frames(tmp_path / 'store', label_space=STREET), max_adapting=30, max_held_back=8)
    lost = sorted((tmp_path / 'store' / 'frames').glob('*.png'))[0]
    lost.unlink()
    keep_frames(frames, tmp_path / 'kept', input_height=64)
    assert 'a target frame is left out' in caplog.text and lost.stem in caplog.text
    shutil.rmtree(tmp_path / 'store')
    kept = read_frames(tmp_path / 'kept', label_space=STREET)
    assert len(kept.adapting) == len(frames.adapting) - 1 == 11
    assert [len(block) for block in kept.held_back] == [2, 2]
    assert not kept.adapting.has_labels and kept.adapting.name(0).startswith('000001_')
    difference = kept.held_back[1].image(0).astype(int) - PaintedFrames(20).image(14)
    assert np.abs(difference).mean() < 15


def test_frames_are_kept_no_larger_than_anything_sees_them(tmp_path):
    frames = split_frames(
        [PaintedFrames(6, size=(96, 144))], max_adapting=9, max_held_back=9)
    keep_frames(frames, tmp_path / 'kept', input_height=32)
    assert read_frames(tmp_path / 'kept', label_space=STREET).adapting.image(0).shape == (
        48, 72, 3)


def test_what_is_to_be_hidden_is_hidden_before_a_frame_is_shrunk_and_kept(tmp_path):
    seen = []

    def hide(image):
        seen.append(image.shape)
        return np.full_like(image, 100)
    frames = split_frames([PaintedFrames(10, size=(96, 144))], max_adapting=9, max_held_back=9)
    keep_frames(frames, tmp_path / 'kept', input_height=32, hide=hide)
    kept = read_frames(tmp_path / 'kept', label_space=STREET)
    for part in (kept.adapting, *kept.held_back):
        for index in range(len(part)):
            assert np.ptp(part.image(index)) == 0
    assert set(seen) == {(96, 144, 3)}


def test_too_few_readable_frames_end_the_round_before_it_begins(tmp_path):
    class Broken(PaintedFrames):
        def image(self, index):
            raise InputError('cut off')
    frames = split_frames([Broken(6)], max_adapting=9, max_held_back=9)
    with pytest.raises(InputError, match='of 3 target frames .adapting. only 0 can be used'):
        keep_frames(frames, tmp_path / 'kept', input_height=32)
    assert not (tmp_path / 'kept').exists()


class TwoSizes(PaintedFrames):
    """
    Frames of two cameras in one folder.

    :param is_small: Tells by its number whether a frame is the small camera's.
    """

    def __init__(self, count, is_small):
        super().__init__(count)
        self.is_small = is_small

    def image(self, index):
        image = super().image(index)
        return image[:48] if self.is_small(index) else image


@pytest.mark.parametrize(('is_small', 'sizes'), [
    (lambda index: index % 2, {  # in turn
        'held_back_000': [64] * 2, 'held_back_000_1': [48] * 2,
        'held_back_001': [64] * 2, 'held_back_001_1': [48] * 2}),
    (lambda index: index > 8, {  # a change within the first block, of the frames 8 to 11
        'held_back_000_1': [48] * 3, 'held_back_001': [48] * 4})])
def test_a_block_of_two_sizes_becomes_a_block_for_each(is_small, sizes, tmp_path, caplog):
    frames = split_frames([TwoSizes(40, is_small)], max_adapting=9, max_held_back=8)
    keep_frames(frames, tmp_path / 'kept', input_height=64)
    kept = read_frames(tmp_path / 'kept', label_space=STREET).held_back
    assert [[block.image(index).shape[0] for index in range(len(block))] for block in kept] == [
        *sizes.values()]
    assert sorted(path.name for path in (tmp_path / 'kept').iterdir()) == ['adapting', *sizes]
    is_left_out = 'no other one of held_back_000 has its size, 96 x 64' in caplog.text
    assert is_left_out == (sum(map(len, kept)) < 8)


def test_held_back_frames_without_two_of_one_size_are_refused(tmp_path):
    frames = split_frames(
        [TwoSizes(20, lambda index: index % 2)], max_adapting=9, max_held_back=4)
    with pytest.raises(InputError, match='got 96 x 48, 96 x 64 .as the model sees them.'):
        keep_frames(frames, tmp_path / 'kept', input_height=64)
    assert not (tmp_path / 'kept').exists()


def test_a_missing_target_is_named(tmp_path):
    with pytest.raises(InputError, match='none: no such file or folder of target frames'):
        open_frames(tmp_path / 'none', label_space=STREET)


def test_a_subset_keeps_order_labels_and_unique_names():
    first, second = PaintedFrames(3), PaintedFrames(3, seed=1)
    subset = Subset([(second, 2), (first, 2)])
    assert isinstance(subset, SegmentationDataset) and subset.has_labels
    assert [subset.name(index) for index in range(2)] == [
        '000000_painted_002', '000001_painted_002']
    np.testing.assert_array_equal(subset.labels(0), second.labels(2))
    np.testing.assert_array_equal(subset.image(1), first.image(2))


def test_a_subset_of_nothing_or_of_two_label_spaces_is_refused():
    with pytest.raises(InputError, match='at least one frame'):
        Subset([])
    other = PaintedFrames(1)
    other.label_space = get_label_space('camvid11')
    with pytest.raises(InputError, match=r"different label spaces \['camvid11', 'street9'\]"):
        Subset([(PaintedFrames(1), 0), (other, 0)])


def replay_of(tmp_path, frames, **changes):
    """Write a replay and read it back."""
    settings = {
        'label_space': STREET, 'num_frames': 4, 'input_height': 32, 'licences': 'mine', **changes}
    write_replay(tmp_path, frames, **settings)
    return open_replay(tmp_path / 'replay', label_space=STREET)


def test_a_replay_holds_evenly_spaced_frames_in_the_models_classes(tmp_path):
    frames = PaintedFrames(7)
    replay = replay_of(tmp_path, frames, input_height=64)
    assert [replay.name(index) for index in range(len(replay))] == [
        f'painted_{index:03d}' for index in (0, 2, 4, 6)]
    np.testing.assert_array_equal(replay.labels(1), frames.labels(2))
    difference = replay.image(1).astype(int) - frames.image(2)
    assert replay.image(1).shape == (64, 96, 3) and np.abs(difference).mean() < 15
    described = yaml.safe_load((tmp_path / 'replay' / 'replay.yaml').read_text())
    assert described == {'label_space': 'street9', 'num_frames': 4, 'licences': 'mine'}


def test_a_replay_maps_classes_and_shrinks_what_the_network_never_sees(tmp_path):
    frames = PaintedFrames(2, size=(96, 144))
    frames.label_space = get_label_space('camvid11')  # 0 is sky there, road in street9
    replay = replay_of(tmp_path, frames, input_height=32)
    assert replay.image(0).shape == (48, 72, 3) and replay.labels(0).shape == (48, 72)
    sky = frames.labels(0)[1::2, 1::2] == 0
    assert sky.any() and (replay.labels(0)[sky] == STREET.classes.index('sky')).all()
    assert len(replay) == 2  # there are no more


def test_images_travel_only_with_a_word_about_their_licence(tmp_path):
    with pytest.raises(InputError, match='data_licences whose images these are'):
        replay_of(tmp_path, PaintedFrames(2), licences=' ')
    assert not (tmp_path / 'replay').exists()
