# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd bag`: what recordings hold, and their way into a frame store."""

from __future__ import annotations

from bkd_core.__main__ import main
from bkd_core.datasets import build_dataset
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.datasets.recording_frames import FrameRange, open_frames
from bkd_core.datasets.recording_info import read_info
from bkd_core.errors import InputError
import cv2
from fixtures_models import write_tiny_model
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

START = 10**18
PERIOD = 10**8
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
POSE = 'geometry_msgs/msg/PoseStamped'
KINDS = ('rosbag1', 'rosbag1 bz2', 'sqlite3', 'sqlite3 message', 'sqlite3 file', 'mcap',
         'mcap chunks')


def picture(seed, height=96, width=128):
    """Return a frame that is sharp, well exposed and like no other."""
    blocks = np.random.default_rng(seed).integers(20, 230, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


def record(path, frames, *, topics=('/front/image',), compressed=False, storage='mcap'):
    """Write a frame of each topic, ten times a second."""
    with RecordingWriter(path, storage=storage) as writer:
        for number, frame in enumerate(frames):
            for topic in topics:
                writer.write_image(
                    topic, frame, stamp_ns=START + number * PERIOD, frame_id='optical',
                    compressed=compressed)
    return path


def image_message(store, frame, stamp_ns, is_ros1):
    types = store.types
    stamp = types['builtin_interfaces/msg/Time'](
        sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    header = types['std_msgs/msg/Header'](
        stamp=stamp, frame_id='optical', **({'seq': 0} if is_ros1 else {}))
    return types[IMAGE](
        header=header, height=frame.shape[0], width=frame.shape[1], encoding='rgb8',
        is_bigendian=0, step=frame[0].size, data=frame.reshape(-1))


def record_as(kind, path, frames):
    """Write a recording of a kind, as ROS's own recorders do with their options."""
    name, _, compression = kind.partition(' ')
    is_ros1 = name == 'rosbag1'
    store = get_typestore(Stores.ROS1_NOETIC if is_ros1 else Stores.ROS2_JAZZY)
    if is_ros1:
        path = path.with_suffix('.bag')
        writer = Rosbag1Writer(path)
        if compression:
            writer.set_compression(writer.CompressionFormat.BZ2)
    else:
        storage = StoragePlugin.MCAP if name == 'mcap' else StoragePlugin.SQLITE3
        writer = Writer(path, version=8, storage_plugin=storage)
        if compression:
            mode = {'chunks': 'STORAGE'}.get(compression, compression.upper())
            writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    serialize = store.serialize_ros1 if is_ros1 else store.serialize_cdr
    with writer:
        connection = writer.add_connection('/front/image', IMAGE, typestore=store)
        for number, frame in enumerate(frames):
            stamp_ns = START + number * PERIOD
            message = image_message(store, frame, stamp_ns, is_ros1)
            writer.write(connection, stamp_ns, serialize(message, IMAGE))
    return path


def run(capsys, *words):
    """Run `bkd` in this process; return its output."""
    main([str(word) for word in words])
    return capsys.readouterr().out


def refused(capsys, *words):
    """Run `bkd`, expect exit code 2; return its one line of complaint."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 2
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint.startswith('bkd: error:')
    return complaint


def extract(capsys, *words):
    """Extract without a network."""
    return run(capsys, 'bag', 'extract', *words, '--selection', 'keep_latest')


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_recording_is_described_listed_and_extracted(kind, tmp_path, capsys):
    frames = [picture(seed) for seed in range(4)]
    path = record_as(kind, tmp_path / 'drive', frames)
    info = read_info(path)
    expected = {
        'rosbag1': ('rosbag1', 'none'), 'rosbag1 bz2': ('rosbag1', 'chunks bz2'),
        'sqlite3': ('rosbag2 sqlite3', 'none'), 'mcap': ('rosbag2 MCAP', 'none'),
        'sqlite3 message': ('rosbag2 sqlite3', 'each message zstd'),
        'sqlite3 file': ('rosbag2 sqlite3', 'each file zstd'),
        'mcap chunks': ('rosbag2 MCAP', 'chunks zstd')}[kind]
    assert (info.kind, info.compression) == expected
    assert info.start_ns == START and info.duration_s == pytest.approx(.3)
    [topic] = info.topics
    assert (topic.name, topic.message_type, topic.num_messages) == ('/front/image', IMAGE, 4)
    assert topic.rate == pytest.approx(10) and topic.images == '128x96 rgb8'
    lines = run(capsys, 'bag', 'frames', path).splitlines()
    assert [line.split('\t')[2:] for line in lines] == [
        [str(START + number * PERIOD), '/front/image', 'optical'] for number in range(4)]
    extract(capsys, path, '--output', tmp_path / 'store', '--format', 'png')
    stored = build_dataset('frame_store', root=tmp_path / 'store')
    assert all((stored.image(index) == frames[index]).all() for index in range(4))
    metadata = stored.record(2).metadata
    assert (metadata.stamp_ns, metadata.topic) == (START + 2 * PERIOD, '/front/image')
    assert (metadata.camera, metadata.frame_id) == ('front', 'optical')


def record_with_poses(path, frames, pose_stamps_ns):
    """Write frames, ten a second, and after them poses whose x is their number."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection('/front/image', IMAGE, typestore=store)
        poses = writer.add_connection('/pose', POSE, typestore=store)
        for number, frame in enumerate(frames):
            stamp_ns = START + number * PERIOD
            message = image_message(store, frame, stamp_ns, False)
            writer.write(images, stamp_ns, store.serialize_cdr(message, IMAGE))
        for number, stamp_ns in enumerate(pose_stamps_ns):
            stamp = types['builtin_interfaces/msg/Time'](
                sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
            message = types[POSE](
                header=types['std_msgs/msg/Header'](stamp=stamp, frame_id='map'),
                pose=types['geometry_msgs/msg/Pose'](
                    position=types['geometry_msgs/msg/Point'](x=float(number), y=2.0, z=3.0),
                    orientation=types['geometry_msgs/msg/Quaternion'](x=0., y=0., z=.6, w=.8)))
            writer.write(poses, stamp_ns, store.serialize_cdr(message, POSE))
    return path


def test_a_frame_has_the_pose_that_is_nearest_to_it_within_half_a_second(tmp_path, capsys):
    # Not in order, as two sources of one topic may be; frames are at 0 to 0.9 s.
    stamps = [START + 2 * PERIOD + 1, START - 4 * PERIOD, START + 4 * PERIOD - 2]
    path = record_with_poses(tmp_path / 'drive', [picture(seed) for seed in range(10)], stamps)
    text = extract(
        capsys, path, '--topic', '/front/image', '--output', tmp_path / 'store', '--pose-topic',
        'pose')
    assert '9 of 10 frames have a pose near them' in text
    stored = build_dataset('frame_store', root=tmp_path / 'store')
    poses = [stored.record(index).metadata.pose for index in range(10)]
    assert poses[0] == (0.0, 2.0, 3.0, 0.0, 0.0, 0.6, 0.8)
    assert [pose and pose[0] for pose in poses] == [0, 0, 0, 2, 2, 2, 2, 2, 2, None]


def test_a_pose_topic_that_is_not_there_is_named_before_anything_is_stored(tmp_path, capsys):
    path = record_with_poses(tmp_path / 'drive', [picture(0)], [START])
    words = ('bag', 'extract', path, '--output', tmp_path / 'store', '--selection', 'keep_latest',
             '--pose-topic')
    assert 'Unknown pose topic of' in refused(capsys, *words, '/pos')
    plain = record(tmp_path / 'plain', [picture(0)])
    complaint = refused(capsys, *words[:3], plain, *words[3:], '/pose')
    assert f'{plain}: has no pose topic' in complaint and "['/front/image']" in complaint
    assert not list(tmp_path.glob('store/frames/*'))


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_compressed_images_are_read_too(storage, tmp_path, capsys):
    path = record(tmp_path / 'drive', [picture(0)], compressed=True, storage=storage)
    assert read_info(path).topics[0].images == '128x96 rgb8; jpeg compressed bgr8'
    extract(capsys, path, '--output', tmp_path / 'store')
    assert len(build_dataset('frame_store', root=tmp_path / 'store')) == 1


def test_the_table_of_a_recording_names_all_its_topics(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '160')
    path = record(tmp_path / 'drive', [picture(0)] * 3, topics=('/left', '/right'))
    text = run(capsys, 'bag', 'info', path)
    for word in ('drive', 'rosbag2 MCAP', 'compression none', '0.2 s', '2001-09-09', '/left',
                 '/right', IMAGE, '10.0', '128x96 rgb8'):
        assert word in text


def numbers(path, **wanted):
    with open_frames(path, FrameRange(**wanted)) as frames:
        return [(message.topic, message.number, message.time_ns) for message in frames]


def test_time_range_stride_and_topics_choose_the_frames(tmp_path):
    path = record(tmp_path / 'drive', [picture(0)] * 10, topics=('/left', '/right'))
    left = [('/left', number, START + number * PERIOD) for number in range(10)]
    assert numbers(path, topics=('/left',)) == left
    assert numbers(path, topics=('/left',), stride=4) == left[::4]
    both = numbers(path, topics=('/right', '/left', '/right'), stride=5)
    assert sorted(topic for topic, *_ in both) == ['/left'] * 2 + ['/right'] * 2
    # The end is not included: frames at 0.3, 0.4, 0.5 s.
    part = [time_ns for *_, time_ns in numbers(path, topics=('/left',), start_s=.3, end_s=.6)]
    assert part == [START + number * PERIOD for number in (3, 4, 5)]


@pytest.mark.parametrize(('words', 'reason'), [
    (('--stride', '0'), 'stride: got 0'), (('--start', '-1'), 'start -1.0'),
    (('--start', '3', '--end', '2'), 'start 3.0 and end 2.0'),
    (('--topic', '/left', '--start', '60'), 'start 60.0 s; the recording is 0.2 s long'),
    (('--topic', '/rihgt'), "Did you mean '/right'"), ((), 'has 2 image topics; choose one of'),
    (('--topic', '/left', '--format', 'gif'), "Unknown image format 'gif'"),
    (('--topic', '/left', '--selection', 'best'), "Unknown selection 'best'"),
    (('--topic', '/left', '--max-dark', '2'), 'max_dark: got 2.0'),
    (('--topic', '/left', '--max-megabytes', '0'), 'got at most 0 bytes'),
    (('--topic', '/left', '--strid', '2'), "unknown option '--strid'. Did you mean '--stride'"),
    (('--topic', '/left', '--blur-classes', 'pedestrain'), "Did you mean 'pedestrian'"),
    (('--topic', '/left', '--model', 'nowhere'), "model 'nowhere'"),
])
def test_a_mistake_is_one_line_and_exit_code_2(words, reason, tmp_path, capsys):
    path = record(tmp_path / 'drive', [picture(0)] * 3, topics=('/left', '/right'))
    words = ('bag', 'extract', path, '--output', tmp_path / 'store', *words)
    assert reason in refused(capsys, *words)


@pytest.mark.parametrize('command', ['info', 'frames', 'extract'])
def test_a_recording_that_cannot_be_read_is_named_before_anything_is_stored(
        command, tmp_path, capsys):
    good = record(tmp_path / 'good', [picture(0)])
    (tmp_path / 'bad.mcap').write_bytes(b'no recording')
    words = ('bag', command, good, tmp_path / 'bad.mcap')
    if command == 'extract':
        words += ('--output', tmp_path / 'store', '--selection', 'keep_latest')
    assert 'bad.mcap: cannot be read as a recording' in refused(capsys, *words)
    assert not list(tmp_path.glob('store/frames/*'))
    assert 'no recording' in refused(capsys, *words[:2], *words[4:])


def test_damaged_frames_are_counted_and_named_and_the_others_kept(tmp_path, capsys):
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    path = tmp_path / 'drive'
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/front', COMPRESSED, typestore=store)
        for number in range(4):
            header = types['std_msgs/msg/Header'](
                stamp=types['builtin_interfaces/msg/Time'](sec=number, nanosec=0), frame_id='')
            data = cv2.imencode('.png', picture(number))[1].reshape(-1)
            message = types[COMPRESSED](
                header=header, format='png', data=data[:50] if number == 2 else data)
            writer.write(connection, number, store.serialize_cdr(message, COMPRESSED))
    text = extract(capsys, path, '--output', tmp_path / 'store')
    assert '4 frames: 3 stored, 0 gave way to others; left out: 1 damaged' in text
    assert f'{path}: message 2 of topic /front' in text and 'truncated' in text
    assert len(build_dataset('frame_store', root=tmp_path / 'store')) == 3


def test_a_second_run_adds_only_what_is_new_and_several_recordings_share_a_store(
        tmp_path, capsys):
    first = record(tmp_path / 'first', [picture(seed) for seed in range(3)])
    # A simulation begins its time anew: the stamps are those of the first.
    second = record(tmp_path / 'second', [picture(seed) for seed in range(5, 7)])
    words = (first, '--output', tmp_path / 'store')
    assert '3 frames: 3 stored' in extract(capsys, *words)
    assert '3 frames: 0 stored, 0 gave way to others; left out: 3 near-dup' in extract(
        capsys, *words)
    text = extract(capsys, second, first, '--output', tmp_path / 'store')
    assert '5 frames: 2 stored' in text and 'store: 5 frames' in text


def test_a_store_stays_within_its_megabytes(tmp_path, capsys):
    path = record(tmp_path / 'drive', [picture(seed) for seed in range(12)])
    text = extract(
        capsys, path, '--output', tmp_path / 'store', '--max-megabytes', '.05')
    total = sum(file.stat().st_size for file in (tmp_path / 'store').rglob('*') if file.is_file())
    assert total < 50_000 and 'gave way' in text and ' 0 gave way' not in text


def test_the_students_view_is_stored_and_chosen_classes_are_hidden(tmp_path, capsys):
    model = write_tiny_model(tmp_path / 'model')
    frames = [picture(seed) for seed in range(3)]
    frames[1][:, :] = (60, 20, 60)  # street9's pedestrian is (220, 20, 60)
    frames[1][20:60, 20:60] = (220, 20, 60)
    path = record(tmp_path / 'drive', frames)
    text = run(
        capsys, 'bag', 'extract', path, '--output', tmp_path / 'store', '--model', model,
        '--blur-classes', 'pedestrian', '--min-sharpness', '0', '--format', 'png')
    assert '3 stored' in text
    stored = build_dataset('frame_store', root=tmp_path / 'store')
    assert all(stored.record(index).embedding.size == 9 * 12 for index in range(3))
    assert (stored.image(1)[20:60, 20:60] != frames[1][20:60, 20:60]).any()


def test_without_one_good_frame_it_fails(tmp_path, capsys):
    path = record(tmp_path / 'drive', [np.zeros((32, 32, 3), np.uint8)] * 2)
    assert 'no frame was stored' in refused(
        capsys, 'bag', 'extract', path, '--output', tmp_path / 'store', '--selection',
        'keep_latest')
    with pytest.raises(InputError, match='holds no frame'):
        build_dataset('frame_store', root=tmp_path / 'store')


def test_no_recording_at_all_is_a_mistake(capsys):
    assert 'got no recording' in refused(capsys, 'bag', 'info')
