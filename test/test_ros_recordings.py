# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recordings that the player reads and the recorder writes, and the mistakes around them."""

from __future__ import annotations

import signal

from bkd_core.datasets.recording import RecordingWriter
from bkd_core.errors import InputError
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.typesys import get_typestore, Stores

pytest.importorskip('rclpy')

from bkd_ros.conversions import image_to_rgb, labels_to_image, rgb_to_image  # noqa: E402
from bkd_ros.player_node import PlayerNode  # noqa: E402
from bkd_ros.recorded_topic import RecordedTopic  # noqa: E402
from bkd_ros.recorder_node import compatible_qos  # noqa: E402
from bkd_ros.recording_file import RecordingFile  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from fixtures_ros import node_process, parameter, probe  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

QOS = QoSProfile(depth=10)


def write_recording(path, *, topics=('/camera',), num_frames=3, compressed=False, period_ns=10**7):
    with RecordingWriter(path) as writer:
        for number in range(num_frames):
            for topic in topics:
                image = np.full((4, 6, 3), 10 * number % 250, np.uint8)
                writer.write_image(
                    topic, image, stamp_ns=10**18 + number * period_ns, frame_id='cam',
                    compressed=compressed)
    return path


def write_rosbag1(path):
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    kind = 'sensor_msgs/msg/Image'
    with Rosbag1Writer(path) as writer:
        connection = writer.add_connection('/front', kind, typestore=store)
        header = types['std_msgs/msg/Header'](
            seq=9, frame_id='cam1', stamp=types['builtin_interfaces/msg/Time'](sec=3, nanosec=4))
        message = types[kind](
            header=header, height=1, width=2, encoding='bgr8', is_bigendian=0, step=6,
            data=np.array([3, 2, 1, 6, 5, 4], np.uint8))
        writer.write(connection, 5 * 10**9, store.serialize_ros1(message, kind))
    return path


def test_messages_of_ros_2_come_back_bit_for_bit(tmp_path):
    path = write_recording(tmp_path / 'bag')
    with RecordedTopic(path) as recorded:
        assert (recorded.name, recorded.message_type) == ('/camera', Image)
        assert (recorded.num_messages, recorded.is_compressed) == (3, False)
        stamps, messages = zip(*recorded.messages())
    assert np.diff(stamps).tolist() == [10**7, 10**7]
    message = deserialize_message(messages[2], Image)
    assert message.header.frame_id == 'cam'
    assert message.header.stamp == Time(sec=10**9, nanosec=2 * 10**7)
    assert (image_to_rgb(message) == 20).all()


def test_a_rosbag1_is_rebuilt_as_messages_of_ros_2(tmp_path):
    with RecordedTopic(write_rosbag1(tmp_path / 'old.bag')) as recorded:
        [(stamp_ns, message)] = recorded.messages()
    assert stamp_ns == 5 * 10**9
    assert message.header == Header(stamp=Time(sec=3, nanosec=4), frame_id='cam1')
    assert image_to_rgb(message).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert serialize_message(message)


def test_a_topic_is_chosen_among_several(tmp_path):
    path = write_recording(tmp_path / 'bag', topics=('/left', '/right'))
    with RecordedTopic(path, '/right') as recorded:
        assert recorded.name == '/right'
    with pytest.raises(InputError, match="several image topics: .'/left', '/right'.. Choose one"):
        RecordedTopic(path)
    with pytest.raises(InputError, match="topic '/up' is not an image topic of it; it has .'/le"):
        RecordedTopic(path, '/up')


def test_a_recording_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere': no such file or folder"):
        RecordedTopic(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match="empty': not readable as rosbag1, rosbag2 or MCAP"):
        RecordedTopic(tmp_path / 'empty')
    for name in ('text.bag', 'text.mcap', 'text.db3'):
        (tmp_path / name).write_text('this is no recording')
        with pytest.raises(InputError, match=f"{name}': not readable"):
            RecordedTopic(tmp_path / name)


def test_a_truncated_recording_is_named(tmp_path):
    path = write_recording(tmp_path / 'bag', num_frames=50)
    file = next(path.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match="bag': (not readable|damaged)"):
        with RecordedTopic(path) as recorded:
            list(recorded.messages())


def test_a_recording_without_images_is_refused(tmp_path):
    file = RecordingFile(tmp_path / 'bag')
    file.add_topic('/words', 'std_msgs/msg/String', QOS)
    file.write('/words', 1, serialize_message(String(data='hello')))
    file.close()
    with pytest.raises(InputError, match="no topic of type Image or Comp.*it has .'/words'"):
        RecordedTopic(tmp_path / 'bag')


def test_a_recording_appears_only_when_it_is_complete(tmp_path):
    output = tmp_path / 'runs' / 'bag'
    file = RecordingFile(output)
    file.add_topic('/labels', 'sensor_msgs/msg/Image', QOS)
    data = serialize_message(labels_to_image(np.ones((2, 2), np.uint8), Header()))
    file.write('/labels', 42, data)
    assert not output.exists()
    file.close()
    assert [path.name for path in output.parent.iterdir()] == ['bag']
    with AnyReader([output]) as reader:
        [(connection, stamp_ns, stored)] = reader.messages()
        assert (connection.topic, stamp_ns, bytes(stored)) == ('/labels', 42, data)


def test_an_existing_output_and_an_unknown_type_are_refused(tmp_path):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(InputError, match="bag' exists already; it is not overwritten"):
        RecordingFile(tmp_path / 'bag')
    file = RecordingFile(tmp_path / 'other')
    with pytest.raises(InputError, match='/laser: type my_msgs/msg/Scan cannot be recorded'):
        file.add_topic('/laser', 'my_msgs/msg/Scan', QOS)
    with pytest.raises(InputError, match="nothing was received, so '.*other' is not written"):
        file.close()
    assert [path.name for path in tmp_path.iterdir()] == ['bag']


@pytest.mark.parametrize(('offered', 'expected'), [
    (['RELIABLE'], 'RELIABLE'), (['BEST_EFFORT'], 'BEST_EFFORT'),
    (['RELIABLE', 'BEST_EFFORT'], 'BEST_EFFORT')])
def test_a_subscription_asks_for_no_more_than_all_publishers_offer(offered, expected):
    profiles = [
        QoSProfile(depth=1, reliability=ReliabilityPolicy[name],
                   durability=DurabilityPolicy.TRANSIENT_LOCAL) for name in offered]
    chosen = compatible_qos(profiles)
    assert chosen.reliability == ReliabilityPolicy[expected]
    assert chosen.durability == DurabilityPolicy.TRANSIENT_LOCAL
    volatile = QoSProfile(depth=1)
    assert compatible_qos([*profiles, volatile]).durability == DurabilityPolicy.VOLATILE


def run_player(ears, **settings):
    """Play to the end in this process; the test's node spins along."""
    overrides = [Parameter(name, value=value) for name, value in settings.items()]
    player = PlayerNode(context=ears.context, parameter_overrides=overrides)
    ears.executor.add_node(player)
    try:
        ears.wait_until(player.done.done, 'the end of the recording')
        player.done.result()
    finally:
        ears.executor.remove_node(player)
        player.close()


def test_a_compressed_recording_plays_decoded_in_recorded_order(tmp_path):
    path = write_recording(tmp_path / 'bag', topics=('/c/compressed',), compressed=True)
    with probe() as ears:
        images = ears.subscribe(Image, '/decoded', QOS)
        run_player(ears, recording=str(path), output_topic='/decoded', image_transport='raw')
        ears.wait_until(lambda: len(images) == 3, 'three frames')
    assert [message.header.stamp.nanosec for message in images] == [0, 10**7, 2 * 10**7]
    assert [round(image_to_rgb(message).mean()) for message in images] == [0, 10, 20]


def test_a_compressed_recording_plays_as_recorded_under_the_transports_name(tmp_path):
    path = write_recording(tmp_path / 'bag', topics=('/c/compressed',), compressed=True)
    with probe() as ears:
        images = ears.subscribe(CompressedImage, '/packed/compressed', QOS)
        run_player(ears, recording=str(path), output_topic='/packed')
        ears.wait_until(lambda: len(images) == 3, 'three frames')
    with RecordedTopic(path) as recorded:
        assert images == [
            deserialize_message(data, CompressedImage) for _, data in recorded.messages()]


def test_the_player_keeps_the_recordings_pace_and_the_rate_changes_it(tmp_path):
    path = write_recording(tmp_path / 'bag', num_frames=4, period_ns=2 * 10**8)
    with probe() as ears:
        arrivals = []
        ears.node.create_subscription(
            Image, '/camera', lambda _: arrivals.append(ears.node.get_clock().now().nanoseconds),
            QOS)
        run_player(ears, recording=str(path), rate=2.0)
        ears.wait_until(lambda: len(arrivals) == 4, 'four frames')
    # 0.6 s at twice the speed; a busy machine is late, never early.
    assert 0.25 < (arrivals[-1] - arrivals[0]) / 1e9


@pytest.mark.parametrize(('settings', 'reason'), [
    ({}, "parameter 'recording' is not set"),
    ({'recording': '/no/such'}, "recording '/no/such': no such file"),
    ({'image_transport': 'compressed'}, 'was recorded raw'),
    ({'image_transport': 'theora'}, "'theora'; choose one of"),
    ({'rate': 0.0}, "parameter 'rate': expected a value like 1.0 from 0.01 to 100"),
    ({'rate': 'fast'}, "parameter 'rate'"),
    ({'output_topic': '/a//b'}, "parameter 'output_topic': '/a//b'.*repeated '/'"),
    ({'subscriber_timeout_s': 0.1}, '/camera: 0 subscribers after 0.1 s, expected 1'),
])
def test_a_mistake_in_the_players_parameters_is_explained(settings, reason, tmp_path):
    if settings and 'recording' not in settings:
        settings = {**settings, 'recording': str(write_recording(tmp_path / 'bag'))}
    with probe() as ears, pytest.raises(InputError, match=reason):
        run_player(ears, **settings)


def test_the_recorder_completes_its_file_when_it_is_stopped(tmp_path):
    output = tmp_path / 'bag'
    topics = parameter('topics', '[/stopped/labels, /stopped/never]')
    with node_process(
            'recorder_node', tmp_path / 'log', *topics, *parameter('output', output)) as recorder:
        with probe() as ears:
            publisher = ears.publisher(Image, '/stopped/labels', QOS)
            sent = rgb_to_image(
                np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8),
                Header(stamp=Time(sec=8, nanosec=9), frame_id='there'))
            ears.publish_until(  # enough that the file's buffer is written
                publisher, sent,
                lambda: any(path.stat().st_size > 10**6 for path in tmp_path.rglob('*.mcap')),
                'messages in the file')
            assert recorder.stop(signal.SIGTERM) == 0
    assert 'Traceback' not in recorder.output()
    with AnyReader([output]) as reader:
        messages = [deserialize_message(bytes(data), Image) for _, _, data in reader.messages()]
    assert messages
    assert all(message == sent for message in messages)


@pytest.mark.parametrize(('name', 'topic', 'reason'), [
    ('there', '/nobody', "there' exists already; it is not overwritten"),
    ('new', '/nobody', 'nothing was received, so'),
    ('new', 'bad topic', "recorder_node: parameter 'topics': 'bad topic'")])
def test_the_recorder_ends_with_code_2_if_it_has_nothing_to_write(name, topic, reason, tmp_path):
    (tmp_path / 'there').mkdir()
    with node_process(
            'recorder_node', tmp_path / 'log', *parameter('topics', f"['{topic}']"),
            *parameter('output', tmp_path / name),
            *parameter('start_timeout_s', 0.2)) as recorder:
        assert recorder.wait() == 2
    assert reason in recorder.output()
    assert 'Traceback' not in recorder.output()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['log', 'there']
