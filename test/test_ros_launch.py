# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The launch file under the real `ros2 launch`, where a ROS installation brings it.

The package is laid out in a prefix of its own, as pip and colcon install it.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree

from fixtures_models import write_tiny_model
import numpy as np
import pytest

pytest.importorskip('rclpy')

from bkd_ros.camera import INPUT_QOS, OUTPUT_QOS  # noqa: E402
from bkd_ros.conversions import rgb_to_image  # noqa: E402
from bkd_ros.label_info import LATCHED_QOS  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from fixtures_ros import PATIENCE_S, probe, ROOT  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from test_ros_recordings import write_recording  # noqa: E402

PROFILE = ROOT / 'config' / 'fastdds_shared_memory.xml'
EXECUTABLES = (
    'segmentation_node', 'collector_node', 'adaptation_node', 'player_node', 'recorder_node')


@pytest.fixture(scope='module')
def prefix(tmp_path_factory):
    """Return an installation prefix with what setup.py's data_files put there."""
    prefix = tmp_path_factory.mktemp('prefix')
    share = prefix / 'share' / 'bkd_ros'
    marker = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'bkd_ros'
    marker.parent.mkdir(parents=True)
    marker.touch()
    for folder in ('launch', 'config'):
        shutil.copytree(ROOT / folder, share / folder)
    shutil.copytree(ROOT / 'scripts', prefix / 'lib' / 'bkd_ros')
    return prefix


@pytest.fixture
def ros2_launch(prefix, tmp_path):
    """Return a function that starts `ros2 launch bkd_ros segment.launch.py` with arguments."""
    pytest.importorskip('launch_ros')
    commands = importlib.metadata.entry_points(group='console_scripts', name='ros2')
    if not commands:
        pytest.skip('ros2cli is not installed')
    script = f'import sys; from {tuple(commands)[0].module} import main; sys.exit(main())'
    started = []

    def start(*arguments, file='segment.launch.py'):
        environment = {
            **os.environ, 'ROS_LOG_DIR': str(tmp_path / 'ros_log'), 'PYTHONUNBUFFERED': '1',
            'PATH': os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']]),
            'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]),
            'AMENT_PREFIX_PATH': os.pathsep.join(
                [str(prefix), os.environ.get('AMENT_PREFIX_PATH', '')])}
        process = subprocess.Popen(
            [sys.executable, '-c', script, 'launch', 'bkd_ros', file, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
            start_new_session=True)
        started.append(process)
        return process
    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process):
    """Return all that a launch printed until it ended."""
    return process.communicate(timeout=2 * PATIENCE_S)[0]


def test_every_executable_of_the_package_can_be_run(prefix):
    folder = prefix / 'lib' / 'bkd_ros'
    assert sorted(path.name for path in folder.iterdir()) == sorted(EXECUTABLES)
    for name in EXECUTABLES:
        assert os.access(folder / name, os.X_OK), name
        assert (folder / name).read_text().startswith('#!/usr/bin/env python3\n')


def test_the_profile_for_fast_dds_makes_room_for_a_4k_image_and_keeps_udp():
    root = xml.etree.ElementTree.parse(PROFILE).getroot()
    space = {'dds': root.tag.partition('}')[0].strip('{')}
    kinds = {
        item.findtext('dds:transport_id', namespaces=space): item
        for item in root.iterfind('.//dds:transport_descriptor', space)}
    used = [item.text for item in root.iterfind('.//dds:userTransports/dds:transport_id', space)]
    assert sorted(used) == sorted(kinds)
    sizes = {
        item.findtext('dds:type', namespaces=space):
        item.findtext('dds:segment_size', namespaces=space) for item in kinds.values()}
    assert sizes.keys() == {'SHM', 'UDPv4'}
    assert int(sizes['SHM']) > 2 * 3840 * 2160 * 3


def test_the_arguments_are_explained(ros2_launch):
    text = ended(ros2_launch('--show-args'))
    for name in ('model', 'image', 'cameras', 'compressed', 'params_file', 'runtime', 'device',
                 'respawn', 'recording',
                 'namespace', 'log_level', 'use_sim_time', 'fastdds_profile'):
        assert f"'{name}':" in text


def test_a_launched_node_labels_a_camera_in_its_namespace_and_ends_at_ctrl_c(
        ros2_launch, tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    process = ros2_launch(f'model:={model}', 'image:=front/image', 'namespace:=launched')
    with probe() as ears:
        labels = ears.subscribe(Image, '/launched/segmentation_node/labels', OUTPUT_QOS)
        camera = ears.publisher(Image, '/launched/front/image', INPUT_QOS)
        frame = rgb_to_image(np.zeros((8, 8, 3), np.uint8), Header(frame_id='front'))
        ears.publish_until(camera, frame, lambda: labels, 'labels')
    assert labels[0].header == frame.header
    process.send_signal(signal.SIGINT)
    text = ended(process)
    assert 'process has finished cleanly' in text
    assert 'Traceback' not in text


def test_several_cameras_are_labelled_and_a_dead_node_is_started_again(ros2_launch, tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    process = ros2_launch(
        f'model:={model}', 'cameras:=left/image,right/image', 'respawn:=true',
        'namespace:=pair', 'device:=cpu')
    frame = rgb_to_image(np.zeros((8, 8, 3), np.uint8), Header(frame_id='front'))
    with probe() as ears:
        for side in ('left', 'right'):
            labels = ears.subscribe(Image, f'/pair/segmentation_node/{side}/labels', OUTPUT_QOS)
            camera = ears.publisher(Image, f'/pair/{side}/image', INPUT_QOS)
            ears.publish_until(camera, frame, lambda labels=labels: labels, 'labels')
        node = int(subprocess.run(
            ['pgrep', '-f', 'segmentation_node.*__ns:=/pair'], stdout=subprocess.PIPE,
            check=True).stdout.split()[0])
        os.kill(node, signal.SIGKILL)
        labels.clear()
        ears.publish_until(camera, frame, lambda: labels, 'labels of the new node')
    process.send_signal(signal.SIGINT)
    assert 'Traceback' not in ended(process)


def test_record_takes_the_packages_recorder_where_rosbag2_is_not_installed(
        ros2_launch, tmp_path):
    output = tmp_path / 'drive'
    process = ros2_launch(
        'topics:=front/image', f'output:={output}', 'namespace:=recorded', 'max_frames:=3',
        file='record.launch.py')
    with probe() as ears:
        camera = ears.publisher(Image, '/recorded/front/image', INPUT_QOS)
        frame = rgb_to_image(np.zeros((8, 8, 3), np.uint8), Header(frame_id='front'))
        ears.publish_until(camera, frame, lambda: process.poll() is not None, 'the end')
    assert 'Traceback' not in ended(process)
    assert list(output.glob('*.mcap'))


def test_record_says_what_it_lacks(ros2_launch, tmp_path):
    text = ended(ros2_launch('output:=x', file='record.launch.py'))
    assert "'topics'" in text
    text = ended(ros2_launch(
        'topics:=a', 'output:=x', 'recorder:=rosbag2', 'max_frames:=3', file='record.launch.py'))
    assert 'max_frames: only recorder:=bkd_ros knows it' in text


@pytest.mark.parametrize('compressed', ['true', 'false'])
def test_a_launch_with_a_compressed_recording_plays_it_and_ends(
        compressed, ros2_launch, tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    recording = write_recording(tmp_path / 'bag', compressed=True)
    text = ended(ros2_launch(
        f'model:={model}', f'recording:={recording}', f'compressed:={compressed}',
        f'namespace:=played_{compressed}'))
    topic = f'/played_{compressed}/image' + ('/compressed' if compressed == 'true' else '')
    assert f'on {topic} at 1 times real time' in text
    assert 'played 3 frames' in text
    assert text.count('process has finished cleanly') == 2


def sharp_frame():
    blocks = np.random.default_rng(0).integers(20, 230, (8, 8, 3), np.uint8)
    return rgb_to_image(np.kron(blocks, np.ones((8, 8, 1), np.uint8)), Header(frame_id='front'))


def test_collect_fills_a_store_from_several_cameras_and_ends_at_ctrl_c(ros2_launch, tmp_path):
    store = tmp_path / 'store'
    process = ros2_launch(
        f'store:={store}', 'cameras:=left/image,right/image', 'max_megabytes:=5',
        'namespace:=gathered', 'blur_classes:=pedestrian, car', file='collect.launch.py')
    with probe() as ears:
        for side in ('left', 'right'):
            camera = ears.publisher(Image, f'/gathered/{side}/image', INPUT_QOS)
            ears.publish_until(
                camera, sharp_frame(), lambda side=side: list(store.glob(f'frames/*{side}*.json')),
                f'a frame of {side}')
    process.send_signal(signal.SIGINT)
    text = ended(process)
    assert 'of 5 MB' in text and 'process has finished cleanly' in text
    assert 'Traceback' not in text


def test_frames_are_collected_beside_the_labels(ros2_launch, tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    store = tmp_path / 'store'
    process = ros2_launch(
        f'model:={model}', 'image:=front/image', 'namespace:=both', 'collect:=true',
        f'store:={store}')
    with probe() as ears:
        labels = ears.subscribe(Image, '/both/segmentation_node/labels', OUTPUT_QOS)
        camera = ears.publisher(Image, '/both/front/image', INPUT_QOS, num_subscribers=2)
        ears.publish_until(
            camera, sharp_frame(), lambda: labels and list(store.glob('frames/*.json')), 'both')
    process.send_signal(signal.SIGINT)
    assert 'Traceback' not in ended(process)


@pytest.mark.parametrize(('file', 'own', 'params_file'), [
    ('collect.launch.py', (), 'params_file'),
    ('segment.launch.py', ('collect:=true',), 'collect_params_file')])
def test_either_launch_file_hides_classes_and_keeps_poses_by_an_argument(
        file, own, params_file, ros2_launch, tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    parameters = tmp_path / 'collect.yaml'
    parameters.write_text(
        f'/**/collector_node: {{ros__parameters: {{model: {model}, blur_threshold: 0.5, '
        'pose_topic: /unused, max_megabytes: 7.0}}')
    namespace = f'hidden_{len(own)}'
    process = ros2_launch(
        f'store:={tmp_path / "store"}', *own, f'{params_file}:={parameters}',
        'blur_classes:=pedestrian, car', 'pose_topic:=/pose', f'namespace:={namespace}', file=file)
    with probe() as ears:
        asked = ears.node.create_client(
            GetParameters, f'/{namespace}/collector_node/get_parameters')
        ears.wait_until(asked.service_is_ready, 'its parameters')
        answer = asked.call_async(GetParameters.Request(
            names=['blur_classes', 'blur_threshold', 'pose_topic', 'max_megabytes']))
        ears.wait_until(answer.done, 'its answer')
    blurred, threshold, pose, megabytes = answer.result().values
    assert list(blurred.string_array_value) == ['pedestrian', 'car']  # an argument wins
    assert pose.string_value == '/pose'
    assert (threshold.double_value, megabytes.double_value) == (0.5, 7.0)
    process.send_signal(signal.SIGINT)
    text = ended(process)
    assert "not known to find 'pedestrian' reliably" in text and 'Traceback' not in text


def test_collecting_says_what_it_lacks(ros2_launch):
    assert 'collect:=true needs the folder of a frame store' in ended(ros2_launch('collect:=true'))
    assert "'store'" in ended(ros2_launch(file='collect.launch.py'))
    text = ended(ros2_launch('store:=x', 'params_file:=nowhere.yaml', file='collect.launch.py'))
    assert "params_file: 'nowhere.yaml' is no file" in text
    text = ended(ros2_launch('store:=/dev/null/x', file='collect.launch.py'))
    assert 'cannot be used as a frame store' in text and 'exit code 2' in text


@pytest.fixture(scope='module')
def adaptable_model(tmp_path_factory):
    pytest.importorskip('torch')
    from fixtures_adaptation import train_tiny_model
    return train_tiny_model(tmp_path_factory.mktemp('trained'))


def test_adapt_waits_for_a_request_and_ends_at_ctrl_c(ros2_launch, adaptable_model, tmp_path):
    process = ros2_launch(
        f'store:={tmp_path / "store"}', f'model:={adaptable_model}',
        f'versions:={tmp_path / "versions"}', 'namespace:=adapted', file='adapt.launch.py')
    with probe() as ears:
        progress = ears.subscribe(
            DiagnosticStatus, '/adapted/adaptation_node/progress', LATCHED_QOS)
        ears.wait_until(lambda: progress, 'the progress')
    assert progress[-1].message.startswith('idle')
    process.send_signal(signal.SIGINT)
    text = ended(process)
    assert 'process has finished cleanly' in text and 'Traceback' not in text


def test_the_whole_loop_is_launched_on_one_folder_of_versions(
        ros2_launch, adaptable_model, tmp_path):
    store, versions = tmp_path / 'store', tmp_path / 'versions'
    file = tmp_path / 'adapt.yaml'
    file.write_text(
        '/**/adaptation_node: {ros__parameters: {start_on: frames, priority: low, '
        "options: ['--student-steps=7']}}")
    process = ros2_launch(
        f'model:={adaptable_model}', 'image:=front/image', 'namespace:=whole', 'collect:=true',
        f'store:={store}', 'adapt:=true', f'versions:={versions}', 'start_on:=request',
        f'adapt_params_file:={file}')
    with probe() as ears:
        labels = ears.subscribe(Image, '/whole/segmentation_node/labels', OUTPUT_QOS)
        progress = ears.subscribe(DiagnosticStatus, '/whole/adaptation_node/progress', LATCHED_QOS)
        camera = ears.publisher(Image, '/whole/front/image', INPUT_QOS, num_subscribers=2)
        ears.publish_until(
            camera, sharp_frame(),
            lambda: labels and progress and list(store.glob('frames/*.json')), 'all three')
        asked = ears.node.create_client(GetParameters, '/whole/adaptation_node/get_parameters')
        ears.wait_until(asked.service_is_ready, 'its parameters')
        answer = asked.call_async(GetParameters.Request(
            names=['start_on', 'priority', 'options']))
        ears.wait_until(answer.done, 'its answer')
    start_on, priority, options = answer.result().values
    assert start_on.string_value == 'request'  # an argument wins
    assert priority.string_value == 'low'
    assert list(options.string_array_value) == ['--student-steps=7']
    process.send_signal(signal.SIGINT)
    assert 'Traceback' not in ended(process)
    assert (versions / 'in_use').read_text().startswith('000001-')


@pytest.mark.parametrize('missing', ['model', 'store', 'versions'])
def test_adapting_beside_the_labels_says_what_it_lacks(missing, ros2_launch, tmp_path):
    given = {name: f'{name}:={tmp_path / name}' for name in ('model', 'store', 'versions')}
    del given[missing]
    text = ended(ros2_launch('adapt:=true', *given.values()))
    assert f'{missing}: got nothing; adapt:=true needs it' in text


def test_a_launch_with_a_wrong_model_ends_and_says_why(ros2_launch):
    text = ended(ros2_launch('model:=/no/such/model'))
    assert "model '/no/such/model': no such directory" in text
    assert 'exit code 2' in text


@pytest.mark.parametrize(('arguments', 'reason'), [
    (('compressed:=yes',), "Valid options are: ['true', 'false']"),
    (('params_file:=/no/such.yaml',), "params_file: '/no/such.yaml' is no file"),
    (('collect_params_file:=/no/such.yaml',), "collect_params_file: '/no/such.yaml' is no file"),
    (('adapt_params_file:=/no/such.yaml',), "adapt_params_file: '/no/such.yaml' is no file"),
    (('fastdds_profile:=/no/such.xml',), "fastdds_profile: '/no/such.xml' is no file"),
    (('imagee:=/camera', 'model:=/no/such/model'),
     "argument 'imagee' is not known and ignored. Did you mean 'image'?"),
])
def test_a_wrong_argument_is_named(arguments, reason, ros2_launch):
    process = ros2_launch(*arguments)
    text = ended(process)
    assert reason in text
    assert 'Traceback' not in text
    if 'model' not in ' '.join(arguments):
        assert process.returncode == 1
        assert 'process started' not in text
