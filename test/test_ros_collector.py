# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The collector node as a process of its own: what it stores, tells, and survives."""

from __future__ import annotations

import resource
import signal
from types import SimpleNamespace

from bkd_core.adaptation import Collected
from bkd_core.datasets import build_dataset
from bkd_core.datasets.frame_store import FRAMES, read_contents
import cv2
from fixtures_models import write_tiny_model
import numpy as np
import pytest

pytest.importorskip('rclpy')

from bkd_ros.camera import INPUT_QOS  # noqa: E402
from bkd_ros.camera_input import CameraInput, numbers_of  # noqa: E402
from bkd_ros.conversions import rgb_to_image  # noqa: E402
from bkd_ros.diagnostics import store_status  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from fixtures_ros import node_process, parameter, probe, wait_until  # noqa: E402
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

QUICK = (*parameter('max_rate', '0.0'), *parameter('image_format', 'png'))


def picture(seed, height=96, width=128):
    """Return a frame that is sharp, well exposed and like no other."""
    blocks = np.random.default_rng(seed).integers(20, 230, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


def header(second):
    return Header(stamp=Time(sec=second, nanosec=5), frame_id='optical')


def stored_in(folder):
    """Return the stamps, in seconds, of the frames that are in a store."""
    return [record.metadata.stamp_ns // 10**9 for record in read_contents(folder).records]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp('model'))


class Robot:
    """A collector in a namespace of its own, its camera, and what it says."""

    def __init__(self, folder, namespace, ears, node):
        self.store, self.namespace, self.ears, self.node = folder, namespace, ears, node
        self.diagnoses = ears.subscribe(DiagnosticArray, '/diagnostics', 10)
        self.camera = ears.publisher(Image, f'{namespace}/image', INPUT_QOS)

    def collect(self, second, image=None):
        """Send a frame until it is in the store."""
        message = rgb_to_image(picture(second) if image is None else image, header(second))
        self.ears.publish_until(
            self.camera, message, lambda: second in stored_in(self.store), f'frame {second}')

    def values(self):
        """Return the newest status and its values."""
        name = f'{self.namespace.lstrip("/")}/collector_node: store'
        found = [
            status for array in self.diagnoses for status in array.status if status.name == name]
        if not found:
            return None, {}
        return found[-1], {pair.key: pair.value for pair in found[-1].values}

    def wait_for_status(self, condition, what, *, message=None):
        """Wait for a status; send a frame again and again meanwhile, if one is given."""
        if message is None:
            self.ears.wait_until(lambda: condition(*self.values()), what)
        else:
            self.ears.publish_until(
                self.camera, message, lambda: condition(*self.values()), what)
        return self.values()


def collector(folder, namespace, store, model, *more):
    """Start the node in a namespace."""
    return node_process(
        'collector_node', folder / 'log', '-r', f'__ns:={namespace}', *parameter('store', store),
        *parameter('model', model), *QUICK, *more)


def test_frames_are_stored_with_all_that_is_known_of_them(tmp_path, model):
    store = tmp_path / 'store'
    more = parameter('pose_topic', '/known/pose')
    with collector(tmp_path, '/known', store, model, *more) as node, probe() as ears:
        node.wait_for("collects ['/known/image'] into")
        robot = Robot(store, '/known', ears, node)
        poses = ears.publisher(PoseStamped, '/known/pose', INPUT_QOS)
        pose = PoseStamped(header=header(7), pose=Pose(
            position=Point(x=1.0, y=2.0, z=3.0), orientation=Quaternion(z=.6, w=.8)))

        robot.collect(6)
        seeds = iter(range(100, 10**6))

        def is_stored_with_its_pose():
            poses.publish(pose)
            robot.camera.publish(rgb_to_image(picture(next(seeds)), header(7)))
            return any(record.metadata.pose for record in read_contents(store).records)
        ears.wait_until(is_stored_with_its_pose, 'a frame with a pose')
        robot.collect(30)
        bad = Image(header=header(31), height=2, width=2, encoding='rgb8', step=6, data=b'12')
        status, values = robot.wait_for_status(
            lambda status, values: values.get('messages that could not be read', '0') != '0',
            'the bad frame', message=bad)
        assert status.level == DiagnosticStatus.OK and status.message == 'collects frames'
        assert node.stop() == 0
    assert 'Traceback' not in node.output() and 'a frame was left out' in node.output()
    frames = build_dataset('frame_store', root=store)
    records = [frames.record(index) for index in range(len(frames))]
    assert int(values['frames in the store']) == len(records) >= 2
    assert values['store'] == str(store)
    first = records[0].metadata
    assert (first.stamp_ns, first.topic) == (6 * 10**9 + 5, '/known/image')
    assert (first.camera, first.frame_id) == ('image', 'optical')
    poses = {record.metadata.pose for record in records}
    assert poses == {None, (1.0, 2.0, 3.0, 0.0, 0.0, 0.6, 0.8)}
    assert records[-1].metadata.pose is None  # 23 seconds after it
    assert (frames.image(0) == picture(6)).all()
    assert records[0].embedding.size == 9 * 12


def test_a_killed_node_goes_on_with_the_same_store(tmp_path, model):
    store = tmp_path / 'store'
    with probe() as ears:
        for start in (10, 20):
            with collector(tmp_path, '/killed', store, model) as node:
                node.wait_for(f'({(start - 10) // 5} frames')
                robot = Robot(store, '/killed', ears, node)
                robot.collect(start)
                robot.collect(start + 1)
                assert node.stop(signal.SIGKILL) == -signal.SIGKILL
                ears.node.destroy_publisher(robot.camera)
    frames = build_dataset('frame_store', root=store)
    assert stored_in(store) == [10, 11, 20, 21] and frames.damaged == {}
    assert (frames.image(3) == picture(21)).all()


def test_a_paused_node_leaves_frames_alone(tmp_path, model):
    store = tmp_path / 'store'
    with collector(tmp_path, '/paused', store, model) as node, probe() as ears:
        node.wait_for('collects')
        robot = Robot(store, '/paused', ears, node)
        client = ears.node.create_client(SetBool, '/paused/collector_node/pause')
        ears.wait_until(client.service_is_ready, 'the service')

        def pause(is_paused):
            future = client.call_async(SetBool.Request(data=is_paused))
            ears.wait_until(future.done, 'an answer')
            return future.result().message
        assert pause(True) == 'leaves frames alone'
        for _ in range(5):
            robot.camera.publish(rgb_to_image(picture(1), header(1)))
            ears.executor.spin_once(timeout_sec=0.1)
        robot.diagnoses.clear()
        robot.wait_for_status(
            lambda status, values: status and status.message == 'paused by ~/pause', 'the pause')
        assert pause(False) == 'collects frames'
        robot.collect(2)
        assert stored_in(store) == [2]


def test_a_full_disk_is_a_warning_and_collecting_goes_on_when_there_is_room(tmp_path, model):
    store = tmp_path / 'store'
    with collector(tmp_path, '/full', store, model) as node, probe() as ears:
        node.wait_for('collects')
        robot = Robot(store, '/full', ears, node)
        robot.collect(1)
        # The kernel lets no file of this process grow beyond 100 kB: as a full disk does, it
        # refuses the write itself.
        resource.prlimit(
            node.process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        noise = np.random.default_rng(0).integers(20, 230, (240, 320, 3), np.uint8)
        status, values = robot.wait_for_status(
            lambda status, values: status and status.level == DiagnosticStatus.WARN, 'WARN',
            message=rgb_to_image(noise, header(2)))
        assert 'frames cannot be written: File too large' in status.message
        assert int(values['left out: not written']) > 0 and stored_in(store) == [1]
        # Frames come one after the other: once this one is judged, no older one waits for room.
        robot.wait_for_status(
            lambda status, values: int(values.get('left out: too dark', 0)) > 0, 'too dark',
            message=rgb_to_image(np.zeros_like(noise), header(2)))
        assert stored_in(store) == [1]
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (
            resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        robot.collect(3, noise)
        robot.diagnoses.clear()
        robot.wait_for_status(
            lambda status, values: status and status.level == DiagnosticStatus.OK, 'OK')
        assert node.stop() == 0
    assert 'could not be written: File too large' in node.output()
    assert 'Traceback' not in node.output()
    assert sorted(path.suffix for path in (store / FRAMES).iterdir()) == [
        '.json', '.json', '.png', '.png']


def test_a_compressed_camera_is_collected_within_bounds_and_faces_are_hidden(tmp_path, model):
    store = tmp_path / 'store'
    more = (*parameter('image_topics', '[front/image_raw/compressed]'),
            *parameter('max_megabytes', '0.1'), *parameter('blur_classes', '[pedestrian, car]'),
            *parameter('selection', 'keep_latest'))
    with collector(tmp_path, '/bound', store, model, *more) as node, probe() as ears:
        node.wait_for('/bound/front/image_raw/compressed')
        camera = ears.publisher(
            CompressedImage, '/bound/front/image_raw/compressed', INPUT_QOS)
        for second in range(1, 12):
            data = cv2.imencode('.png', picture(second)[:, :, ::-1])[1].tobytes()
            message = CompressedImage(header=header(second), format='png', data=data)
            ears.publish_until(
                camera, message, lambda second=second: second in stored_in(store), 'a frame')
        assert node.stop() == 0
    total = sum(path.stat().st_size for path in store.rglob('*') if path.is_file())
    assert 2 <= len(stored_in(store)) < 11 and total <= 100_000
    assert read_contents(store).records[0].metadata.camera == 'front'


@pytest.mark.parametrize(('arguments', 'reason'), [
    ((), "parameter 'store' is not set"),
    ((*parameter('store', 'here'), *parameter('image_topics', '[/a//b]')), "repeated '/'"),
    (parameter('store', '/dev/null/store'), 'cannot be used as a frame store: Not a directory'),
    ((*parameter('store', 'here'), *parameter('blur_classes', '[face]')), "'face'; choose one of"),
    ((*parameter('store', 'here'), *parameter('selection', 'best')), "'best'; choose one of"),
    ((*parameter('store', 'here'), *parameter('max_dark', '2.0')), "parameter 'max_dark'"),
    ((*parameter('store', 'here'), *parameter('model', 'nowhere')), "model 'nowhere'")])
def test_a_mistake_ends_the_node_with_code_2_and_a_reason(arguments, reason, tmp_path):
    with node_process('collector_node', tmp_path / 'log', *arguments) as node:
        assert node.wait() == 2
    assert reason in node.output() and 'Traceback' not in node.output()


def test_a_second_node_on_the_same_store_is_refused(tmp_path, model):
    store = tmp_path / 'store'
    (tmp_path / 'second').mkdir()
    with collector(tmp_path, '/one', store, model) as first:
        first.wait_for('collects')
        with collector(tmp_path / 'second', '/two', store, model) as second:
            assert second.wait() == 2
    assert 'another process is collecting frames here' in second.output()


def status_of(**changes):
    collected = {
        'num_stored': 3, 'num_removed': 1, 'left_out': {'blurred': 4}, 'num_frames': 2,
        'num_bytes': 2 * 10**6, 'fault': ''}
    others = {
        'folder': 'store', 'max_bytes': 10**9, 'num_damaged': 0, 'num_bad': 0,
        'silent_s': {'/a': 1.0, '/b': 9.0}, 'silence_limit_s': 10.0, 'is_paused': False}
    collected = Collected(**{**collected, **{k: changes.pop(k) for k in list(changes)
                                             if k in collected}})
    return store_status('node: store', collected, **{**others, **changes})


@pytest.mark.parametrize(('changes', 'level', 'message'), [
    ({}, DiagnosticStatus.OK, 'collects frames'),
    ({'is_paused': True}, DiagnosticStatus.OK, 'paused'),
    ({'fault': 'No space'}, DiagnosticStatus.WARN, 'cannot be written: No space'),
    ({'num_damaged': 2}, DiagnosticStatus.WARN, '2 frames in the store are damaged'),
    ({'silence_limit_s': 5.0}, DiagnosticStatus.STALE, 'no frame of /b'),
    ({'silence_limit_s': 0.0}, DiagnosticStatus.OK, 'collects frames')])
def test_the_level_of_the_store_follows_from_what_happened(changes, level, message):
    status = status_of(**changes)
    assert status.level == level and message in status.message
    values = {pair.key: pair.value for pair in status.values}
    assert values['left out: blurred'] == '4' and values['size (MB)'] == '2'


@pytest.mark.parametrize(('away_s', 'is_kept'), [(0, True), (0.5, True), (-0.5, True), (1, False)])
def test_a_pose_is_kept_with_frames_of_its_time_only(away_s, is_kept):
    camera = SimpleNamespace(topic='/c', name='c')
    pose = PoseStamped(header=header(100), pose=Pose(position=Point(x=1.0)))
    stamp_ns = 100 * 10**9 + 5 + round(away_s * 1e9)
    stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    metadata = CameraInput.metadata(camera, Header(stamp=stamp), pose)
    assert metadata.pose == (numbers_of(pose) if is_kept else None)
    assert CameraInput.metadata(camera, Header(stamp=stamp), None).pose is None


def test_the_store_is_ready_before_the_first_frame(tmp_path, model):
    store = tmp_path / 'deep' / 'store'
    with collector(tmp_path, '/ready', store, model) as node:
        wait_until(lambda: (store / FRAMES).is_dir() or node.process.poll() is not None, 'it')
        assert node.process.poll() is None
