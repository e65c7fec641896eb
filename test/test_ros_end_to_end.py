# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Player, segmentation node and recorder as three processes: what a robot's day looks like."""

from __future__ import annotations

from contextlib import ExitStack
import subprocess
import sys

from bkd_core.datasets.recording import read_frames, RecordingWriter
from bkd_core.labels import get_label_space
from fixtures_models import write_tiny_model
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

pytest.importorskip('rclpy')

from bkd_core.inference import Segmenter  # noqa: E402
from bkd_core.model_directory import resolve  # noqa: E402
from bkd_ros import parameters  # noqa: E402
from fixtures_ros import node_process, parameter, ROOT  # noqa: E402
import yaml  # noqa: E402

NUM_FRAMES = 12
PERIOD_NS = 10**8
START_NS = 1_700_000_000_000_000_000
# Shared with everything else, these processes may drop frames, as they are meant to.
MIN_FRAMES = 3


def write_drive(path, topic, compressed):
    space = get_label_space('street9')
    colors = np.array(space.colors, np.uint8)
    rng = np.random.default_rng(5)
    with RecordingWriter(path) as writer:
        for number in range(NUM_FRAMES):
            blocks = rng.integers(0, space.num_classes, (6, 8))
            image = colors[np.kron(blocks, np.ones((20, 20), int))]
            writer.write_image(
                topic, image, stamp_ns=START_NS + number * PERIOD_NS, frame_id='camera_optical',
                compressed=compressed)
    return path


def read_labels(path, topic):
    """Return (stamp in nanoseconds, frame_id, labels) of each message."""
    labels = []
    with AnyReader([path]) as reader:
        connections = [item for item in reader.connections if item.topic == topic]
        for connection, _, data in reader.messages(connections):
            message = reader.deserialize(data, connection.msgtype)
            assert message.encoding == 'mono8'
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            labels.append((
                stamp_ns, message.header.frame_id,
                message.data.reshape(message.height, message.width)))
    return labels


@pytest.mark.parametrize('compressed', [False, True])
def test_labels_recorded_over_ros_equal_those_of_the_segmenter(compressed, tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    topic = '/drive/camera/compressed' if compressed else '/drive/camera'
    drive = write_drive(tmp_path / 'drive', topic, compressed)
    output = tmp_path / 'labels'
    labels_topic = '/drive/segmentation_node/labels'
    with ExitStack() as stack:
        def start(executable, *arguments):
            return stack.enter_context(node_process(
                executable, tmp_path / f'{executable}.log', '-r', '__ns:=/drive', *arguments))
        recorder = start(
            'recorder_node', *parameter('topics', f'[{labels_topic}]'),
            *parameter('output', output), *parameter('max_frames', NUM_FRAMES),
            *parameter('idle_timeout_s', 5.0))
        segmentation = start(
            'segmentation_node', '--params-file', ROOT / 'config' / 'segment.yaml',
            '-r', 'image:=camera', *parameter('model', model),
            *parameter('image_transport', 'compressed' if compressed else 'raw'))
        recorder.wait_for(f'records {labels_topic}')
        player = start('player_node', *parameter('recording', drive))
        assert player.wait() == 0, player.output()
        assert recorder.wait() == 0, recorder.output()
        assert segmentation.stop() == 0, segmentation.output()
    for node in (player, recorder, segmentation):
        assert 'Traceback' not in node.output()
    segmenter = Segmenter.load(model)
    expected = {frame.stamp_ns: segmenter(frame.image).labels for frame in read_frames(drive)}
    received = read_labels(output, labels_topic)
    stamps = [stamp_ns for stamp_ns, _, _ in received]
    assert len(received) >= MIN_FRAMES
    assert stamps == sorted(set(stamps))
    for stamp_ns, frame_id, labels in received:
        assert frame_id == 'camera_optical'
        assert (labels == expected[stamp_ns]).all()


@pytest.mark.parametrize(('file', 'node'), [
    ('segment', 'segmentation'), ('collect', 'collector'), ('adapt', 'adaptation')])
def test_the_shipped_parameter_files_say_the_defaults_of_every_parameter(file, node):
    values = yaml.safe_load((ROOT / 'config' / f'{file}.yaml').read_text())
    defaults = {  # the folder of a store has none
        name: setting.default if setting.default != [] else ['']
        for name, setting in getattr(parameters, node.upper()).items() if name != 'store'}
    assert values == {f'/**/{node}_node': {'ros__parameters': defaults}}


def test_every_parameter_is_described_and_numbers_have_a_range():
    for settings in (
            parameters.SEGMENTATION, parameters.COLLECTOR, parameters.ADAPTATION,
            parameters.PLAYER, parameters.RECORDER):
        for name, setting in settings.items():
            assert len(setting.description) > 15, name
            is_number = type(setting.default) in (int, float)
            assert (setting.minimum is not None) == is_number, name
            assert not setting.choices or setting.default in setting.choices, name


def test_the_segmentation_node_loads_no_torch():
    script = (
        'import sys, bkd_ros.segmentation_node\n'
        'sys.exit("torch is loaded" if "torch" in sys.modules else 0)')
    subprocess.run([sys.executable, '-c', script], cwd=ROOT, check=True, timeout=120)


def test_the_default_model_exists_for_a_launch_without_arguments():
    assert Segmenter.load(resolve('default')).runtime != 'torch'
