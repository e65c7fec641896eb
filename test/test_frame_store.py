# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The frame store: what it keeps, its bounds, and what it is after a kill or a full disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile

from bkd_core import atomic
from bkd_core.adaptation import FrameMetadata, FrameRecord, FrameStore
from bkd_core.datasets import build_dataset
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.frame_store import FORMAT_FILE, FRAMES, read_contents
from bkd_core.datasets.image_files import read_image
from bkd_core.errors import InputError
import cv2
from hypothesis import given, strategies
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = 4096
LARGE = (60, 64)  # 11520 bytes and a record: four blocks; two are the usual
POSE = (1.0, 2.0, 3.0, 0.0, 0.0, 0.6, 0.8)


def picture(seed, height=24, width=32):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def from_camera(stamp_ns, topic='/front/image_raw', **others):
    return FrameMetadata(stamp_ns=stamp_ns, topic=topic, **others)


def open_store(folder, *, max_bytes=10**6, image_format='png', **settings):
    return FrameStore(folder, max_bytes=max_bytes, image_format=image_format, **settings)


def fill(folder, stamps, *, size=(24, 32), **settings):
    with open_store(folder, **settings) as store:
        return [store.add(picture(stamp, *size), from_camera(stamp)) for stamp in stamps]


def names_in(folder):
    return sorted(path.name for path in (folder / FRAMES).iterdir())


def test_a_frame_comes_back_with_all_that_was_known_of_it(tmp_path):
    metadata = from_camera(5, camera='front', frame_id='optical', pose=POSE)
    with open_store(tmp_path / 'store') as store:
        addition = store.add(
            picture(1), metadata, thumbnail=np.arange(4, dtype=np.uint8),
            embedding=np.float16([0.5, -2]))
    assert addition.name == '0000000000000000005_front_image_raw' and addition.reason == ''
    with open_store(tmp_path / 'store') as store:
        [record] = store
    assert record.metadata == metadata
    assert (record.height, record.width, record.file) == (24, 32, f'{addition.name}.png')
    assert record.thumbnail.tolist() == [0, 1, 2, 3]
    assert record.embedding.tolist() == [0.5, -2] and record.embedding.dtype == np.float16
    values = json.loads((tmp_path / 'store' / FRAMES / f'{addition.name}.json').read_text())
    assert values['stamp_ns'] == 5 and values['pose'] == list(POSE)


def test_a_store_is_a_data_set_in_the_order_of_the_stamps(tmp_path):
    with open_store(tmp_path) as store:
        for stamp, topic in ((3, '/a'), (1, '/b'), (2, '/a')):
            store.add(picture(stamp), from_camera(stamp, topic))
    frames = build_dataset('frame_store', root=tmp_path)
    assert isinstance(frames, SegmentationDataset) and not frames.has_labels
    assert [frames.record(index).metadata.stamp_ns for index in range(3)] == [1, 2, 3]
    assert all((frames.image(index) == picture(index + 1)).all() for index in range(3))
    of_one_camera = build_dataset('frame_store', root=tmp_path, topics=['/a'])
    assert [of_one_camera.name(index)[18:] for index in range(2)] == ['2_a', '3_a']
    with pytest.raises(InputError, match='has no labels'):
        frames.labels(0)
    with pytest.raises(InputError, match=r"'/c'.*choose one of \['/a', '/b'\]"):
        build_dataset('frame_store', root=tmp_path, topics=['/c'])


def test_jpeg_has_quality_95(tmp_path):
    image = cv2.resize(picture(0), (96, 64))
    with open_store(tmp_path, image_format='jpeg') as store:
        name = store.add(image, from_camera(1)).name
    data = (tmp_path / FRAMES / f'{name}.jpg').read_bytes()
    expected = cv2.imencode('.jpg', image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    assert data == expected.tobytes()


def test_the_bound_holds_at_every_step_and_the_oldest_gives_way(tmp_path):
    with open_store(tmp_path, max_bytes=10 * BLOCK, selection='keep_latest') as store:
        for stamp in range(1, 9):
            addition = store.add(picture(stamp), from_camera(stamp))
            on_disk = sum(
                -(-path.stat().st_size // BLOCK) * BLOCK for path in tmp_path.rglob('*')
                if path.is_file())
            assert store.num_bytes == on_disk <= 10 * BLOCK
            kept = [record.metadata.stamp_ns for record in store]
        # 10 blocks: one for the version, two a frame, two left free for the next.
        assert kept == [6, 7, 8] and len(store) == 3
        assert [name[18:19] for name in addition.removed] == ['5']
    assert len(names_in(tmp_path)) == 6


def test_a_smaller_bound_is_kept_from_the_opening_on(tmp_path):
    fill(tmp_path, range(1, 8))
    with open_store(tmp_path, max_bytes=10 * BLOCK) as store:
        assert [record.metadata.stamp_ns for record in store] == [5, 6, 7]
    with pytest.raises(InputError, match='got at most 100 bytes, but 4096 are taken'):
        open_store(tmp_path, max_bytes=100)


def test_a_frame_as_large_as_the_store_is_left_out_and_nothing_gives_way_to_it(tmp_path):
    with open_store(tmp_path, max_bytes=10 * BLOCK) as store:
        store.add(picture(1), from_camera(1))
        addition = store.add(picture(2, 120, 120), from_camera(2))
        assert addition.name is None and addition.reason == 'larger than half of the store'
        assert len(store) == 1


def test_the_bound_holds_again_after_a_frame_larger_than_all_before(tmp_path):
    with open_store(tmp_path, max_bytes=10 * BLOCK) as store:
        for stamp in (1, 2, 3):
            store.add(picture(stamp), from_camera(stamp))
        addition = store.add(picture(4, *LARGE), from_camera(4))
        assert [name[18:19] for name in addition.removed] == ['1', '2', '3']
        assert store.num_bytes == 5 * BLOCK
        assert [record.metadata.stamp_ns for record in store] == [4]


def test_the_same_frame_is_stored_once_but_others_of_its_stamp_are_kept(tmp_path):
    with open_store(tmp_path) as store:
        for _ in range(2):
            addition = store.add(picture(7), from_camera(7))
        assert addition.reason == 'stored already' and len(store) == 1
        store.add(picture(7), from_camera(7, '/front_image/raw'))  # the same name, not the frame
        for seed in range(3):
            assert store.add(picture(seed), from_camera(0)).name
        assert len(store) == 5


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path):
    with open_store(tmp_path) as store:
        store.add(picture(1), from_camera(1))
        with pytest.raises(InputError, match='another process is collecting frames here'):
            open_store(tmp_path)
        assert len(build_dataset('frame_store', root=tmp_path)) == 1
    open_store(tmp_path).close()


def test_a_reader_is_told_of_a_frame_that_has_given_way(tmp_path):
    fill(tmp_path, range(1, 4))
    frames = build_dataset('frame_store', root=tmp_path)
    fill(tmp_path, range(4, 8), max_bytes=10 * BLOCK)
    with pytest.raises(InputError, match='has given way to another frame'):
        frames.image(0)


def test_a_newer_store_and_a_foreign_folder_are_refused_and_left_alone(tmp_path):
    (tmp_path / 'newer').mkdir()
    (tmp_path / 'newer' / FORMAT_FILE).write_text('{"format": 2}')
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'thesis.tex').touch()
    for open_it in (open_store, lambda folder: build_dataset('frame_store', root=folder)):
        with pytest.raises(InputError, match='format 2; this version of bkd_ros knows format 1'):
            open_it(tmp_path / 'newer')
        with pytest.raises(InputError, match='is no frame store'):
            open_it(tmp_path / 'home')
    assert [path.name for path in (tmp_path / 'newer').iterdir()] == [FORMAT_FILE]
    assert [path.name for path in (tmp_path / 'home').iterdir()] == ['thesis.tex']
    (tmp_path / 'newer' / FORMAT_FILE).write_text('[')
    with pytest.raises(InputError, match='is damaged; expected {"format": 1}'):
        open_store(tmp_path / 'newer')


def test_an_empty_store_is_no_data_set(tmp_path):
    open_store(tmp_path).close()
    with pytest.raises(InputError, match='holds no frame'):
        build_dataset('frame_store', root=tmp_path)


def test_damaged_frames_are_named_left_out_and_stay(tmp_path, caplog):
    names = [addition.name for addition in fill(tmp_path, range(1, 6))]
    frames = tmp_path / FRAMES
    (frames / f'{names[0]}.png').write_bytes(b'')
    (frames / f'{names[1]}.png').unlink()
    (frames / f'{names[2]}.json').write_text('{"image": 3}')
    changed = bytearray((frames / f'{names[3]}.png').read_bytes())
    changed[200] ^= 1  # one bit of the pixels
    (frames / f'{names[3]}.png').write_bytes(changed)
    before = names_in(tmp_path)
    with open_store(tmp_path) as store:
        assert [record.name for record in store] == names[3:]  # sizes are right
        assert 'has 0 bytes; its record says' in store.damaged[frames / f'{names[0]}.png']
        assert 'cannot be read' in store.damaged[frames / f'{names[1]}.png']
        assert 'is no record of a frame' in store.damaged[frames / f'{names[2]}.json']
        assert caplog.text.count('left out and stays where it is') == 3
        # A damaged frame keeps its name.
        assert store.add(picture(1), from_camera(1)).name == names[0] + '_1'
    dataset = build_dataset('frame_store', root=tmp_path)
    assert [dataset.name(index) for index in range(2)] == [names[0] + '_1', names[4]]
    assert 'have changed' in dataset.damaged[frames / f'{names[3]}.png']
    assert set(before) < set(names_in(tmp_path))


def test_files_of_others_in_the_folder_are_left_alone(tmp_path):
    fill(tmp_path, [1])
    for name in ('notes.txt', '.directory', 'photo.jpg', 'list.json'):
        (tmp_path / FRAMES / name).touch()
    with open_store(tmp_path) as store:
        assert len(store) == 1 and store.damaged == {}
    assert {'notes.txt', '.directory', 'photo.jpg', 'list.json'} < set(names_in(tmp_path))


@pytest.mark.parametrize(('values', 'reason'), [
    ({'stamp_ns': -1}, 'stamp_ns: got -1'), ({'stamp_ns': 2 ** 63}, 'stamp_ns: got'),
    ({'pose': (1.0, 2.0)}, 'expected 7 finite numbers'),
    ({'pose': (*POSE[:6], float('nan'))}, 'expected 7 finite numbers')])
def test_metadata_out_of_range_is_refused(values, reason):
    with pytest.raises(InputError, match=reason):
        FrameMetadata(**{'stamp_ns': 1, 'topic': '/c', **values})


@pytest.mark.parametrize(('settings', 'reason'), [
    ({'image_format': 'jpg'}, "'jpg'.*Did you mean 'jpeg'"),
    ({'selection': 'latest'}, "'latest'; choose one of .*Did you mean 'keep_latest'")])
def test_a_wrong_setting_is_corrected(settings, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        open_store(tmp_path, **settings)


def json_values():
    plain = strategies.none() | strategies.booleans() | strategies.integers() | \
        strategies.floats() | strategies.text(max_size=5)
    return plain | strategies.lists(plain, max_size=8)


GOOD = FrameRecord(
    name='n', metadata=from_camera(1, pose=POSE), suffix='.jpg', height=1, width=1, num_bytes=1,
    crc32=1, thumbnail=np.zeros(2, np.uint8), embedding=np.zeros(2, np.float16)).to_json()


@given(strategies.sampled_from(sorted(json.loads(GOOD))), json_values(), strategies.binary())
def test_whatever_a_record_holds_it_is_read_or_refused(key, value, data):
    for text in (json.dumps({**json.loads(GOOD), key: value}), data):
        try:
            record = FrameRecord.from_json('n', text)
        except InputError as error:
            assert 'n.json: is no record of a frame' in str(error)
        else:
            again = FrameRecord.from_json('n', record.to_json())
            assert again.metadata == record.metadata and again.file == record.file


class Crash(BaseException):
    """The process is dead: nothing that it would still do happens."""


class DyingSystem:
    """
    Operating system calls that end the process at the n-th of them.

    A file that is being written when it dies is torn in the middle.
    """

    CALLS = ('open', 'fdopen', 'fsync', 'chmod', 'replace', 'unlink', 'mkdir')

    def __init__(self, monkeypatch, dies_at):
        self.left = dies_at
        for name in self.CALLS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name, original):
        def call(*arguments, **options):
            self.left -= 1
            if self.left < 0:
                if self.left == -1 and name == 'fsync':
                    self._tear(arguments[0])
                raise Crash
            return original(*arguments, **options)
        return call

    def _tear(self, handle):
        if os.path.isfile(f'/proc/self/fd/{handle}'):
            try:
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
            except OSError:
                pass  # opened for reading: it was written before


def survivors(folder, **settings):
    """Open a store as the next process does; check its promises, return its stamps."""
    with open_store(folder, **settings) as store:
        assert store.damaged == {} and store.num_bytes <= store.max_bytes
        for record in store:
            image = read_image(folder / FRAMES / record.file)
            assert (image == picture(record.metadata.stamp_ns, *image.shape[:2])).all()
        stamps = [record.metadata.stamp_ns for record in store]
        assert names_in(folder) == sorted(
            f'{record.name}{suffix}' for record in store for suffix in ('.json', '.png'))
    contents = read_contents(folder, with_checksums=True)
    assert contents.damaged == {} and len(contents.records) == len(stamps)
    return stamps


@pytest.mark.parametrize(('num_before', 'size', 'num_kept'), [
    (0, (24, 32), 3), (2, (24, 32), 3), (3, (24, 32), 3), (3, LARGE, 1)])
def test_a_death_at_any_system_call_costs_at_most_the_frame_being_written(
        num_before, size, num_kept, tmp_path):
    outcomes = []
    for dies_at in range(100):
        folder = tmp_path / str(dies_at)
        fill(folder, range(1, num_before + 1), max_bytes=10 * BLOCK)
        with pytest.MonkeyPatch.context() as patch:
            system = DyingSystem(patch, dies_at)
            try:
                fill(folder, [9], size=size, max_bytes=10 * BLOCK)
            except Crash:
                pass
        stamps = survivors(folder, max_bytes=10 * BLOCK)
        before = list(range(1, num_before + 1))
        # With three frames the store is full, and the oldest gives way once the new one is safe;
        # all three to a large one.
        assert stamps in (before, [*before, 9][-num_kept:]), f'died at call {dies_at}'
        outcomes.append(9 in stamps)
        if system.left >= 0:
            break
    assert outcomes[0] is False and outcomes[-1] is True
    assert outcomes == sorted(outcomes)  # once it is durable it stays
    assert 14 <= len(outcomes) < 60


def test_a_death_while_a_store_is_made_leaves_an_empty_store_or_none(tmp_path):
    for dies_at in range(100):
        folder = tmp_path / str(dies_at)
        with pytest.MonkeyPatch.context() as patch:
            system = DyingSystem(patch, dies_at)
            try:
                open_store(folder).close()
            except Crash:
                pass
        assert survivors(folder) == []
        if system.left >= 0:
            break
    assert dies_at >= 7


def test_the_image_is_on_the_disk_before_its_record_and_goes_after_it(tmp_path, monkeypatch):
    fill(tmp_path, [1, 2, 3], max_bytes=10 * BLOCK)
    done = []
    replace, unlink, sync = os.replace, Path.unlink, atomic.sync_directory
    monkeypatch.setattr(os, 'fsync', lambda handle: done.append('sync'))
    monkeypatch.setattr(os, 'replace', lambda old, new: (
        done.append(f'name {Path(new).suffix}'), replace(old, new)))
    monkeypatch.setattr(Path, 'unlink', lambda path, **options: (
        done.append(f'remove {path.suffix}'), unlink(path, **options)))
    monkeypatch.setattr(atomic, 'sync_directory', lambda path: (
        done.append('sync folder'), sync(path)))
    with open_store(tmp_path, max_bytes=10 * BLOCK) as store:
        done.clear()
        store.add(picture(4), from_camera(4))
    assert done == [
        'sync', 'name .png', 'sync folder', 'sync',
        'sync', 'name .json', 'sync folder', 'sync',
        'remove .json', 'sync folder', 'sync', 'remove .png']


@pytest.mark.parametrize('size', [(24, 32), LARGE])
@pytest.mark.parametrize('number', range(4))
def test_a_full_disk_leaves_the_store_as_it_was_and_usable(number, size, tmp_path, monkeypatch):
    fill(tmp_path, [1, 2, 3], max_bytes=10 * BLOCK)
    before = names_in(tmp_path)
    calls = []
    fsync = os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) == number + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)
    with open_store(tmp_path, max_bytes=10 * BLOCK) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, 'fsync', full)
            with pytest.raises(OSError, match='No space left'):
                store.add(picture(4, *size), from_camera(4))
        assert names_in(tmp_path) == before
        assert [record.metadata.stamp_ns for record in store] == [1, 2, 3]
        assert store.add(picture(5), from_camera(5)).removed
    assert survivors(tmp_path, max_bytes=10 * BLOCK)[-2:] == [3, 5]


class Unremovable:
    """Files that the system refuses to remove, by a part of their names."""

    def __init__(self, monkeypatch, *parts):
        self.parts = parts
        unlink = Path.unlink

        def refuse(path, **options):
            if any(part in path.name for part in self.parts):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
            unlink(path, **options)
        monkeypatch.setattr(Path, 'unlink', refuse)


def stamps_of(store):
    return [record.metadata.stamp_ns for record in store]


@pytest.mark.parametrize('size', [(24, 32), LARGE])
@pytest.mark.parametrize('stays', [1, 2, 3])
def test_memory_and_disk_agree_where_a_frame_cannot_be_removed(
        stays, size, tmp_path, monkeypatch, caplog):
    fill(tmp_path, [1, 2, 3], max_bytes=10 * BLOCK)
    victims = [1] if size != LARGE else [1, 2, 3]
    left = [stamp for stamp in (1, 2, 3) if stamp not in victims or stamp >= stays]
    gone = [stamp for stamp in (1, 2, 3) if stamp not in left]
    with open_store(tmp_path, max_bytes=10 * BLOCK) as store:
        system = Unremovable(monkeypatch, f'{stays}_front_image_raw.json')
        added = store.add(picture(4, *size), from_camera(4))
        assert added.name and [int(name[:19]) for name in added.removed] == gone
        assert stamps_of(store) == [*left, 4] and len(names_in(tmp_path)) == 2 * len([*left, 4])
        assert store.num_bytes <= 14 * BLOCK  # more than the bound by less than the frame
        if stays in victims:
            assert 'is to give way cannot be removed: Operation not permitted' in caplog.text
            for stamp in (5, 6):  # so the excess doesn't grow
                with pytest.raises(PermissionError):
                    store.add(picture(stamp), from_camera(stamp))
                assert stamps_of(store) == [*left, 4]
        system.parts = ()
        added = store.add(picture(7), from_camera(7))
        assert store.num_bytes <= 10 * BLOCK
        assert [int(name[:19]) for name in added.removed] == [
            stamp for stamp in (*left, 4) if stamp not in stamps_of(store)]
        before = stamps_of(store)
    assert survivors(tmp_path, max_bytes=10 * BLOCK) == before


def test_what_was_removed_before_an_error_is_told_with_the_next_frame(tmp_path, monkeypatch):
    fill(tmp_path, [1, 2, 3], max_bytes=10 * BLOCK)
    with open_store(tmp_path, max_bytes=10 * BLOCK) as store:
        system = Unremovable(monkeypatch, '1_front_image_raw.json')
        assert store.add(picture(4, *LARGE), from_camera(4)).removed == ()
        system.parts = ('2_front_image_raw.json',)
        with pytest.raises(PermissionError):
            store.add(picture(5), from_camera(5))
        assert stamps_of(store) == [2, 3, 4]
        system.parts = ()
        removed = store.add(picture(6), from_camera(6)).removed
        assert [int(name[:19]) for name in removed] == [1, 2, 3, 4]
        assert stamps_of(store) == [6]


def test_an_image_that_cannot_be_removed_is_counted_and_goes_at_the_next_opening(
        tmp_path, monkeypatch):
    fill(tmp_path, [1, 2, 3], max_bytes=10 * BLOCK)
    with open_store(tmp_path, max_bytes=10 * BLOCK) as store:
        system = Unremovable(monkeypatch, '1_front_image_raw.png')
        assert store.add(picture(4), from_camera(4)).removed
        assert stamps_of(store) == [2, 3, 4] and len(names_in(tmp_path)) == 7
        assert store.num_bytes == 8 * BLOCK
        assert store.add(picture(5), from_camera(5)).name
        assert store.num_bytes <= 10 * BLOCK
        kept = stamps_of(store)
        system.parts = ()
    assert survivors(tmp_path, max_bytes=10 * BLOCK) == kept


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='file/store: cannot be used as a frame store: Not a dir'):
        open_store(tmp_path / 'file' / 'store')
    fill(tmp_path / 'store', [1])

    def refuse(folder):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    monkeypatch.setattr('bkd_core.adaptation.frame_store._lock', refuse)
    with pytest.raises(InputError, match=(
            'store: cannot be used as a frame store: Read-only file system; expected a folder '
            'that can be written. Make it writable .* or give another one')):
        open_store(tmp_path / 'store')


@pytest.mark.parametrize(('place', 'rounds'), [('memory', 300), ('disk', 60)])
def test_300_kills_at_random_instants_cost_at_most_the_frame_being_written(
        place, rounds, tmp_path):
    # In memory synchronising takes no time, so that more frames can be cut off.
    memory = Path('/dev/shm')
    parent = memory if place == 'memory' and os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        result = subprocess.run(
            [sys.executable, ROOT / 'test' / 'kill_frame_store.py', f'{folder}/store',
             str(rounds), '0'],
            capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert seen['rounds'] == rounds and seen['frames'] >= rounds / 2
    assert seen['cut off']['strays removed'] >= rounds / 20  # the kills did hit the writing
    assert seen['to which several gave way'] >= rounds / 60
