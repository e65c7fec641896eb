# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recordings written and read without ROS."""

from __future__ import annotations

from copy import copy
import multiprocessing
import sqlite3

from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.recording import (
    image_topics,
    read_frames,
    read_label_images,
    Recording,
    RecordingWriter,
)
from bkd_core.errors import InputError
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

START = 1_700_000_000_000_000_000
PERIOD = 100_000_000


def make_frames(count, seed=0):
    """Return random frames, (count, 10, 14, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 10, 14, 3)).astype(np.uint8)


def record(path, frames, *, storage='mcap', topic='/camera/image_raw', compressed=False):
    """Write frames at 10 Hz."""
    with RecordingWriter(path, storage=storage) as writer:
        for number, frame in enumerate(frames):
            writer.write_image(
                topic, frame, stamp_ns=START + number * PERIOD, frame_id='front',
                compressed=compressed)
    return path


def write_messages(path, kind, messages):
    """Write messages of one type to topic /topic with rosbags alone; fields as dictionaries."""
    types = get_typestore(Stores.ROS2_JAZZY)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/topic', kind, typestore=types)
        for number, fields in enumerate(messages):
            if 'header' in fields:
                stamp = types.types['builtin_interfaces/msg/Time'](sec=1, nanosec=number)
                fields['header'] = types.types['std_msgs/msg/Header'](stamp=stamp, frame_id='')
            message = types.types[kind](**fields)
            writer.write(connection, START + number, types.serialize_cdr(message, kind))
    return path


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_raw_frames_come_back_bit_by_bit_with_stamp_and_frame_id(tmp_path, storage):
    frames = make_frames(5)
    path = record(tmp_path / 'drive', frames, storage=storage)
    read = list(read_frames(path))
    np.testing.assert_array_equal([frame.image for frame in read], frames)
    assert [frame.stamp_ns for frame in read] == [START + n * PERIOD for n in range(5)]
    assert {(frame.topic, frame.frame_id) for frame in read} == {('/camera/image_raw', 'front')}


def test_compressed_frames_come_back_nearly_equal_and_smaller(tmp_path):
    ramp = np.linspace(0, 255, 200).astype(np.uint8)
    frame = np.stack([np.tile(ramp, (150, 1))] * 3, axis=2)
    path = record(tmp_path / 'drive', [frame], compressed=True)
    (read,) = read_frames(path)
    assert np.abs(read.image.astype(int) - frame).max() <= 4
    assert sum(file.stat().st_size for file in path.iterdir()) < frame.size / 5


def test_labels_come_back_exactly(tmp_path):
    labels = make_frames(3)[..., 0]
    with RecordingWriter(tmp_path / 'drive') as writer:
        for number, label in enumerate(labels):
            writer.write_labels('/labels', label, stamp_ns=START + number)
    read = list(read_label_images(tmp_path / 'drive', '/labels'))
    assert [stamp for stamp, _ in read] == [START, START + 1, START + 2]
    np.testing.assert_array_equal([label for _, label in read], labels)


def test_the_rows_padding_of_recorded_labels_is_skipped(tmp_path):
    padded = np.arange(8, dtype=np.uint8)
    path = write_messages(tmp_path / 'drive', 'sensor_msgs/msg/Image', [{
        'header': None, 'height': 2, 'width': 3, 'encoding': 'mono8', 'is_bigendian': 0,
        'step': 4, 'data': padded}])
    ((_, labels),) = read_label_images(path, '/topic')
    np.testing.assert_array_equal(labels, [[0, 1, 2], [4, 5, 6]])


def test_colours_are_not_taken_for_labels(tmp_path):
    path = record(tmp_path / 'drive', make_frames(1))
    with pytest.raises(InputError, match="message 0 of topic /camera/image_raw.*'rgb8'.*mono8"):
        list(read_label_images(path, '/camera/image_raw'))


def test_a_rosbag1_file_is_read_too(tmp_path):
    types = get_typestore(Stores.ROS1_NOETIC)
    stamp = types.types['builtin_interfaces/msg/Time'](sec=7, nanosec=5)
    header = types.types['std_msgs/msg/Header'](seq=0, stamp=stamp, frame_id='old')
    frame = make_frames(1)[0]
    message = types.types['sensor_msgs/msg/Image'](
        header=header, height=10, width=14, encoding='bgr8', is_bigendian=0, step=42,
        data=np.ascontiguousarray(frame[..., ::-1]).reshape(-1))
    with Rosbag1Writer(tmp_path / 'old.bag') as writer:
        connection = writer.add_connection('/camera', message.__msgtype__, typestore=types)
        writer.write(connection, 9, types.serialize_ros1(message, message.__msgtype__))
    (read,) = read_frames(tmp_path / 'old.bag')
    np.testing.assert_array_equal(read.image, frame)
    assert (read.stamp_ns, read.frame_id) == (7_000_000_005, 'old')


def test_a_bare_mcap_file_and_its_folder_without_metadata_are_read(tmp_path):
    frames = make_frames(2)
    path = record(tmp_path / 'drive', frames)
    (path / 'metadata.yaml').unlink()
    for place in (path, path / 'drive.mcap'):
        np.testing.assert_array_equal([frame.image for frame in read_frames(place)], frames)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_the_data_set_gives_every_stride_th_frame_in_any_order(tmp_path, storage):
    frames = make_frames(40)
    dataset = Recording(root=record(tmp_path / 'drive', frames, storage=storage), stride=3)
    assert isinstance(dataset, SegmentationDataset)
    assert len(dataset) == 14
    assert dataset.name(2) == '000006'
    for index in (13, 0, 7, 1):
        np.testing.assert_array_equal(dataset.image(index), frames[3 * index])


def test_frames_recorded_at_one_time_are_told_apart(tmp_path):
    frames = make_frames(4)
    with RecordingWriter(tmp_path / 'drive') as writer:
        for frame, stamp in zip(frames, (START, START, START, START + 1)):
            writer.write_image('/camera', frame, stamp_ns=stamp)
    dataset = Recording(root=tmp_path / 'drive')
    np.testing.assert_array_equal([dataset.image(index) for index in range(4)], frames)


def test_a_recording_has_no_labels(tmp_path):
    dataset = Recording(root=record(tmp_path / 'drive', make_frames(1)))
    assert not dataset.has_labels
    with pytest.raises(InputError, match='drive: a recording has no labels'):
        dataset.labels(0)


def read_in_child(dataset, index, queue):
    """Put a frame's sum on a queue."""
    queue.put(int(dataset.image(index).sum()))


def test_copies_in_other_processes_read_their_own_file(tmp_path):
    frames = make_frames(6)
    dataset = Recording(root=record(tmp_path / 'drive', frames))
    dataset.image(0)  # opens the file before the copies are made
    twin = copy(dataset)
    np.testing.assert_array_equal(twin.image(3), frames[3])
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(dataset, 5, queue))
    child.start()
    assert queue.get(timeout=30) == int(frames[5].sum())
    child.join(timeout=30)
    np.testing.assert_array_equal(dataset.image(1), frames[1])


@pytest.fixture
def two_cameras(tmp_path):
    """Return a recording with two cameras."""
    left, right = make_frames(2)
    with RecordingWriter(tmp_path / 'drive') as writer:
        writer.write_image('/left', left, stamp_ns=START)
        writer.write_image('/right', right, stamp_ns=START)
    return tmp_path / 'drive'


def test_of_two_cameras_one_must_be_chosen(two_cameras):
    with pytest.raises(InputError, match=r"2 image topics; choose one of \['/left', '/right'\]"):
        Recording(root=two_cameras)
    np.testing.assert_array_equal(
        Recording(root=two_cameras, topic='right').image(0), make_frames(2)[1])
    assert image_topics(two_cameras) == dict.fromkeys(
        ('/left', '/right'), 'sensor_msgs/msg/Image')


def test_an_unknown_topic_is_corrected(two_cameras):
    with pytest.raises(InputError, match="'/lef'.*Did you mean '/left'"):
        Recording(root=two_cameras, topic='/lef')


def test_a_recording_without_camera_lists_its_topics(tmp_path):
    path = write_messages(tmp_path / 'drive', 'std_msgs/msg/String', [{'data': 'hello'}])
    with pytest.raises(InputError, match=r"drive: has no image topic.*\['/topic'\]"):
        Recording(root=path)


def test_a_camera_topic_without_a_frame_is_refused(tmp_path):
    path = write_messages(tmp_path / 'drive', 'sensor_msgs/msg/Image', [])
    with pytest.raises(InputError, match='topic /topic has no message'):
        Recording(root=path)


def test_a_damaged_frame_names_recording_message_and_topic(tmp_path):
    path = write_messages(tmp_path / 'drive', 'sensor_msgs/msg/CompressedImage', [
        {'header': None, 'format': 'jpeg', 'data': np.array([255, 216, 255, 1], np.uint8)}])
    with pytest.raises(InputError, match=r'drive: message 000000 of topic /topic: .*truncated'):
        Recording(root=path).image(0)


def test_a_missing_recording_is_named(tmp_path):
    with pytest.raises(InputError, match='drive: no such recording'):
        list(read_frames(tmp_path / 'drive'))


def test_a_folder_that_is_no_recording_is_named(tmp_path):
    with pytest.raises(InputError, match='is no recording; expected'):
        Recording(root=tmp_path)


@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_mcap_is_named(tmp_path, share):
    path = record(tmp_path / 'drive', make_frames(20)) / 'drive.mcap'
    data = path.read_bytes()
    path.write_bytes(data[:int(share * len(data))])
    for place in (path, path.parent):
        with pytest.raises(InputError, match=r'drive.*: cannot be read as a recording'):
            Recording(root=place)


def test_damaged_bytes_inside_an_mcap_are_noticed(tmp_path):
    path = record(tmp_path / 'drive', make_frames(20)) / 'drive.mcap'
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 4000] = b'\xff' * 4000
    path.write_bytes(data)
    with pytest.raises(InputError, match='drive'):
        [frame.image for frame in read_frames(path)]
        # Without a checksum, garbled pixels alone could pass; the lengths here do not.


def test_a_damaged_sqlite3_file_is_named(tmp_path):
    path = record(tmp_path / 'drive', make_frames(20), storage='sqlite3') / 'drive.db3'
    path.write_bytes(b'SQLite format 3\0' + b'\x11' * 5000)
    with pytest.raises(InputError, match=r'drive.*: cannot be read as a recording'):
        Recording(root=path.parent)
    with pytest.raises(sqlite3.DatabaseError):  # an independent reader agrees
        sqlite3.connect(path).execute('select * from messages')


def test_a_recording_is_never_overwritten(tmp_path):
    path = record(tmp_path / 'drive', make_frames(1))
    with pytest.raises(InputError, match='drive: exists already'):
        RecordingWriter(path)


def test_a_recording_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with RecordingWriter(tmp_path / 'drive') as writer:
            writer.write_image('/camera', make_frames(1)[0], stamp_ns=START)
            raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_wrong_arrays_and_a_topic_of_two_types_are_refused(tmp_path):
    frame = make_frames(1)[0]
    with RecordingWriter(tmp_path / 'drive') as writer:
        with pytest.raises(InputError, match=r'topic /a: got float64 of shape \(10, 14, 3\)'):
            writer.write_image('/a', frame / 2, stamp_ns=START)
        with pytest.raises(InputError, match=r'topic /a: got uint8 of shape \(10, 14, 3\)'):
            writer.write_labels('/a', frame, stamp_ns=START)
        writer.write_image('/a', frame, stamp_ns=START)
        with pytest.raises(InputError, match='topic /a: holds sensor_msgs/msg/Image already'):
            writer.write_image('/a', frame, stamp_ns=START, compressed=True)
    with pytest.raises(InputError, match="'mcapp'.*Did you mean 'mcap'"):
        RecordingWriter(tmp_path / 'other', storage='mcapp')


def test_a_stride_below_one_is_refused(tmp_path):
    with pytest.raises(InputError, match='stride: got 0'):
        Recording(root=tmp_path, stride=0)
