# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a robot does to the segmentation node in a week: it labels on, or ends in good order."""

from __future__ import annotations

from pathlib import Path
import shutil
import signal
import time

from fixtures_models import write_tiny_model
import numpy as np
import pytest

pytest.importorskip('rclpy')

from bkd_ros.camera import INPUT_QOS, OUTPUT_QOS  # noqa: E402
from bkd_ros.conversions import rgb_to_image  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from fixtures_ros import node_process, parameter, probe, wait_until  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402


class Robot:
    """A node in a namespace of its own, its camera, and what it says."""

    def __init__(self, folder, namespace, ears, node):
        self.folder, self.ears, self.node, self.namespace = folder, ears, node, namespace
        self.name = f'{namespace}/segmentation_node'
        self.labels = ears.subscribe(Image, f'{self.name}/labels', OUTPUT_QOS)
        self.diagnoses = ears.subscribe(DiagnosticArray, '/diagnostics', 10)
        self.sec = 0

    def camera(self):
        return self.ears.publisher(Image, f'{self.namespace}/image', INPUT_QOS)

    def label(self, camera, height=32, width=48, *, stamp=None):
        """Send a frame until it is answered; return the labels."""
        self.sec += 1
        header = Header(stamp=stamp or Time(sec=self.sec))
        frame = rgb_to_image(np.zeros((height, width, 3), np.uint8), header)
        self.ears.publish_until(
            camera, frame, lambda: self.labels and self.labels[-1].header == header, 'labels')
        return self.labels[-1]

    def status(self):
        """Return the camera's newest status, or None."""
        name = f'{self.name.lstrip("/")}: camera {self.namespace}/image'
        found = [
            status for array in self.diagnoses for status in array.status if status.name == name]
        return found[-1] if found else None


@pytest.fixture
def robot(request, tmp_path):
    """Start a node in a namespace named by the test."""
    namespace = '/' + request.node.name.partition('[')[0]
    model = write_tiny_model(tmp_path / 'model')
    more = getattr(request, 'param', ())
    arguments = ('-r', f'__ns:={namespace}', *parameter('model', model), *more)
    with node_process('segmentation_node', tmp_path / 'log', *arguments) as node, probe() as ears:
        node.wait_for(f'labels {namespace}/image')
        yield Robot(tmp_path, namespace, ears, node)
        assert node.stop() == 0
        assert 'Traceback' not in node.output()


@pytest.mark.parametrize('robot', [parameter('no_frame_warning_s', 0.5)], indirect=True)
def test_a_camera_that_dies_is_stale_and_its_return_is_seen(robot):
    camera = robot.camera()
    robot.label(camera)
    robot.ears.node.destroy_publisher(camera)
    robot.ears.wait_until(
        lambda: robot.status() and 'no frame for' in robot.status().message, 'its silence')
    assert robot.status().level == DiagnosticStatus.STALE
    camera = robot.camera()
    robot.label(camera)
    robot.diagnoses.clear()
    frame = rgb_to_image(np.zeros((32, 48, 3), np.uint8), Header())
    robot.ears.publish_until(
        camera, frame,
        lambda: robot.status() and robot.status().level != DiagnosticStatus.STALE, 'its return')


def test_two_cameras_of_different_sizes_on_one_topic_both_get_their_labels(robot):
    cameras = robot.camera(), robot.camera()
    for _ in range(3):
        for camera, size in zip(cameras, ((32, 48), (64, 32))):
            message = robot.label(camera, *size)
            assert (message.height, message.width) == size


@pytest.mark.parametrize('robot', [parameter('use_sim_time', 'true')], indirect=True)
def test_a_clock_that_jumps_back_is_survived_and_gives_no_negative_delay(robot):
    clock = robot.ears.publisher(Clock, '/clock', 10)
    camera = robot.camera()
    for sec in (1000, 10):
        message = Clock(clock=Time(sec=sec))
        for _ in range(5):
            clock.publish(message)
            robot.ears.executor.spin_once(timeout_sec=0.05)
        robot.label(camera, stamp=Time(sec=999))
    robot.diagnoses.clear()
    robot.ears.wait_until(robot.status, 'a diagnosis')
    values = {pair.key: pair.value for pair in robot.status().values}
    assert not values['latency p50 (ms)'].startswith('-')


def test_a_model_directory_that_vanishes_leaves_the_old_network_serving(robot):
    camera = robot.camera()
    robot.label(camera)
    shutil.rmtree(robot.folder / 'model')
    client = robot.ears.node.create_client(Trigger, f'{robot.name}/reload')
    robot.ears.wait_until(client.service_is_ready, 'the service')
    future = client.call_async(Trigger.Request())
    robot.ears.wait_until(future.done, 'an answer')
    assert not future.result().success and 'no such directory' in future.result().message
    robot.label(camera)


def test_a_model_directory_that_is_written_and_deleted_under_reload_never_costs_the_network(
        robot):
    place = robot.folder / 'model'
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    random = np.random.default_rng(0)
    client = robot.ears.node.create_client(Trigger, f'{robot.name}/reload')
    robot.ears.wait_until(client.service_is_ready, 'the service')
    camera = robot.camera()
    answers = []
    for turn in range(25):
        future = client.call_async(Trigger.Request())

        def meddle(future=future):
            name = random.choice(sorted(whole))
            content = whole[name] if random.random() < .5 else whole[name][
                :random.integers(len(whole[name]))]
            (place / name).write_bytes(content)
            if random.random() < .2:
                (place / name).unlink()
            return future.done()
        robot.ears.wait_until(meddle, 'an answer')
        answers.append(future.result())
        if turn % 8 == 0:
            robot.label(camera)
    assert all(answer.message for answer in answers)
    assert not all(answer.success for answer in answers)
    for name, content in whole.items():
        (place / name).write_bytes(content)
    future = client.call_async(Trigger.Request())
    robot.ears.wait_until(future.done, 'an answer')
    assert future.result().success
    robot.label(camera)


def test_an_impatient_ctrl_c_ends_the_node_as_cleanly_as_a_patient_one(robot):
    for _ in range(3):
        robot.node.process.send_signal(signal.SIGINT)
    assert robot.node.wait() == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize('delay_s', [0, 0.1, 0.2, 0.4, 0.7, 1])
def test_a_node_that_is_stopped_while_it_starts_ends_cleanly(number, delay_s, tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    with node_process('segmentation_node', tmp_path / 'log', *parameter('model', model)) as node:
        # Python itself never catches SIGTERM: from then on the script's first lines have run.
        wait_until(lambda: catches(node.process.pid, signal.SIGTERM), 'the script')
        time.sleep(delay_s)
        for _ in range(2):
            if node.process.poll() is None:
                node.process.send_signal(number)
        assert node.wait() == 0
        assert 'Traceback' not in node.output() and 'Error' not in node.output()


def catches(pid, number):
    """Return whether a process has a handler for a signal."""
    try:
        text = Path(f'/proc/{pid}/status').read_text()
    except FileNotFoundError:
        return False
    mask = next(line.split()[1] for line in text.splitlines() if line.startswith('SigCgt:'))
    return bool(int(mask, 16) >> (number - 1) & 1)
