# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation node's lifecycle, services, diagnostics and further outputs, from outside."""

from __future__ import annotations

import json

from fixtures_models import write_tiny_model
import numpy as np
import pytest

pytest.importorskip('rclpy')

from bkd_core.evaluation import measure_reference  # noqa: E402
from bkd_core.inference import Segmenter  # noqa: E402
from bkd_core.inference.runtimes import RUNTIMES  # noqa: E402
from bkd_core.labels import get_label_space  # noqa: E402
from bkd_core.model_directory import file_hash  # noqa: E402
from bkd_core.visualization import colorize  # noqa: E402
from bkd_ros.camera import INPUT_QOS, OUTPUT_QOS  # noqa: E402
from bkd_ros.conversions import image_to_rgb, rgb_to_image  # noqa: E402
from bkd_ros.diagnostics import SHIFTED  # noqa: E402
from bkd_ros.label_info import LATCHED_QOS  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from fixtures_ros import node_process, parameter, probe  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.parameter_client import AsyncParameterClient  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

SPACE = get_label_space('street9')


def painted(*, seed=0, height=96, width=128):
    """Return a frame painted with the classes' colours, in blocks of 16 pixels."""
    blocks = np.random.default_rng(seed).integers(
        0, SPACE.num_classes, (height // 16, width // 16))
    return np.array(SPACE.colors, np.uint8)[np.kron(blocks, np.ones((16, 16), int))]


def array_of(message):
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width)


class Remote:
    """What a user does with a running node from another process."""

    def __init__(self, ears, namespace):
        self.ears = ears
        self.name = f'{namespace}/segmentation_node'
        self.namespace = namespace
        self.sec = 0
        self.clients = {}

    def call(self, kind, service, **fields):
        """Call a service of the node and return its response."""
        client = self.clients.get(service) or self.ears.node.create_client(
            kind, f'{self.name}/{service}')
        self.clients[service] = client
        self.ears.wait_until(client.service_is_ready, f'the service {service}')
        future = client.call_async(kind.Request(**fields))
        self.ears.wait_until(future.done, f'an answer of {service}')
        return future.result()

    def change_state(self, transition):
        return self.call(
            ChangeState, 'change_state', transition=Transition(id=transition)).success

    def state(self):
        return self.call(GetState, 'get_state').current_state.label

    def set_parameter(self, name, value):
        client = AsyncParameterClient(self.ears.node, self.name)
        self.ears.wait_until(client.services_are_ready, 'parameter services')
        future = client.set_parameters([Parameter(name, value=value)])
        self.ears.wait_until(future.done, 'an answer')
        return future.result().results[0]

    def header(self):
        self.sec += 1
        return Header(stamp=Time(sec=self.sec), frame_id='camera')

    def answer(self, camera, frame, answers):
        """Send a frame until an output has answered it; return the answer."""
        message = rgb_to_image(frame, self.header())
        self.ears.publish_until(
            camera, message,
            lambda: answers and answers[-1].header.stamp == message.header.stamp, 'an answer')
        return answers[-1]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp('models') / 'tiny')


@pytest.fixture(scope='module')
def two(model, tmp_path_factory):
    """Return a node with two cameras and what talks to it."""
    log = tmp_path_factory.mktemp('logs') / 'node.log'
    arguments = (
        '-r', '__ns:=/two', *parameter('model', model),
        *parameter('image_topics', '[front/image_raw, rear/image_raw]'))
    with node_process('segmentation_node', log, *arguments) as node, probe() as ears:
        node.wait_for('labels /two/rear/image_raw')
        remote = Remote(ears, '/two')
        remote.node = node
        remote.labels, remote.cameras = {}, {}
        for name in ('front', 'rear'):
            remote.labels[name] = ears.subscribe(
                Image, f'/two/segmentation_node/{name}/labels', OUTPUT_QOS)
            remote.cameras[name] = ears.publisher(Image, f'/two/{name}/image_raw', INPUT_QOS)
        yield remote


def test_each_camera_has_its_own_labels(two, model):
    segmenter = Segmenter.load(model)
    for seed, name in enumerate(('front', 'rear')):
        frame = painted(seed=seed)
        message = two.answer(two.cameras[name], frame, two.labels[name])
        assert (array_of(message) == segmenter(frame).labels).all()


def test_the_camera_info_comes_with_the_labels_stamp(two):
    infos = two.ears.subscribe(
        CameraInfo, '/two/segmentation_node/front/camera_info', OUTPUT_QOS)
    calibration = two.ears.publisher(CameraInfo, '/two/front/camera_info', INPUT_QOS)
    sent = CameraInfo(
        header=Header(frame_id='old'), height=96, width=128, k=[float(n) for n in range(9)])
    two.ears.wait_until(lambda: two.cameras['front'].get_subscription_count(), 'the node')
    frame = rgb_to_image(painted(), two.header())

    def publish_both():
        calibration.publish(sent)
        return bool(infos)
    two.ears.publish_until(two.cameras['front'], frame, publish_both, 'camera_info')
    assert infos[-1].header == frame.header
    assert infos[-1].k.tolist() == sent.k.tolist()


def test_the_colours_alone_are_an_output(two, model):
    colors = two.ears.subscribe(Image, '/two/segmentation_node/rear/color', OUTPUT_QOS)
    frame = painted(seed=5)
    message = two.answer(two.cameras['rear'], frame, colors)
    labels = Segmenter.load(model)(frame).labels
    assert (image_to_rgb(message) == colorize(labels, SPACE)).all()


def test_uncertain_pixels_get_255(two, model):
    frame = (painted(seed=6) // 2 + 60).astype(np.uint8)
    expected = Segmenter.load(model)(frame)
    threshold = float(np.median(expected.confidence)) / 255
    assert two.set_parameter('confidence_threshold', threshold).successful
    labels = array_of(two.answer(two.cameras['front'], frame, two.labels['front']))
    is_uncertain = expected.confidence < threshold * 255
    assert 0 < is_uncertain.mean() < 1
    assert (labels[is_uncertain] == 255).all()
    assert (labels[~is_uncertain] == expected.labels[~is_uncertain]).all()
    assert two.set_parameter('confidence_threshold', 0.0).successful


def test_the_node_can_be_paused(two):
    assert two.call(SetBool, 'set_enabled', data=False).success
    paused = rgb_to_image(painted(), two.header())
    for _ in range(5):
        two.cameras['front'].publish(paused)
        two.ears.executor.spin_once(timeout_sec=0.1)
    assert two.call(SetBool, 'set_enabled', data=True).success
    two.answer(two.cameras['front'], painted(), two.labels['front'])
    assert paused.header.stamp not in [message.header.stamp for message in two.labels['front']]


def test_diagnostics_tell_of_both_cameras_and_the_model(two, model):
    arrays = two.ears.subscribe(DiagnosticArray, '/diagnostics', 10)
    frame = rgb_to_image(painted(), two.header())

    def statuses():
        return {status.name: status for status in arrays[-1].status} if arrays else {}

    def is_told():
        front = statuses().get('two/segmentation_node: camera /two/front/image_raw')
        values = {pair.key: pair.value for pair in front.values} if front else {}
        return float(values.get('output rate (Hz)', 0)) > 0
    two.ears.publish_until(two.cameras['front'], frame, is_told, 'a diagnosis')
    found = statuses()
    assert set(found) == {
        'two/segmentation_node: model', 'two/segmentation_node: camera /two/front/image_raw',
        'two/segmentation_node: camera /two/rear/image_raw'}
    model_values = {
        pair.key: pair.value for pair in found['two/segmentation_node: model'].values}
    assert model_values['model'] == 'tiny' and model_values['runtime'] in RUNTIMES
    assert model_values['version'] == file_hash(model / 'model.onnx')[:12]
    assert float(model_values['process memory (MiB)']) > 20
    assert found['two/segmentation_node: model'].level == DiagnosticStatus.OK
    front = found['two/segmentation_node: camera /two/front/image_raw']
    values = {pair.key: pair.value for pair in front.values}
    assert 0 < float(values['mean confidence']) <= 1
    # The stamps lie decades in the past: the labels are late, and that is said.
    assert front.level == DiagnosticStatus.WARN and 'late' in front.message


class Painted:
    """The frames that a model was trained for."""

    def __len__(self):
        return 20

    def image(self, index):
        """Return (H, W, 3) uint8 RGB."""
        return painted(seed=index)


def test_a_camera_that_shows_something_else_than_the_training_is_warned_of(tmp_path):
    model = write_tiny_model(tmp_path / 'model')
    measure_reference(Segmenter.load(model), Painted()).write(model)
    arguments = ('-r', '__ns:=/odd', *parameter('model', model))
    with node_process('segmentation_node', tmp_path / 'node.log', *arguments) as node, (
            probe()) as ears:
        node.wait_for('labels /odd/image')
        remote = Remote(ears, '/odd')
        labels = ears.subscribe(Image, '/odd/segmentation_node/labels', OUTPUT_QOS)
        camera = ears.publisher(Image, '/odd/image', INPUT_QOS)
        arrays = ears.subscribe(DiagnosticArray, '/diagnostics', 10)
        remote.header = lambda: Header(stamp=ears.node.get_clock().now().to_msg())

        def show(frames):
            for frame in frames:
                remote.answer(camera, frame, labels)
            arrays.clear()
            ears.wait_until(lambda: own(), 'a diagnosis')
            return own()[-1], {pair.key: pair.value for pair in own()[-1].values}[SHIFTED]

        def own():
            return [status for array in list(arrays) for status in array.status
                    if status.name == 'odd/segmentation_node: camera /odd/image']
        assert show(painted(seed=seed) for seed in range(20, 45))[1] == 'no'
        blue = np.full((96, 128, 3), (0, 0, 255), np.uint8)
        status, is_shifted = show([blue] * 20)
        assert (status.level, is_shifted) == (DiagnosticStatus.WARN, 'yes')
        assert status.message == 'it shows something else than what the model was trained for'
        (model / 'shift.json').unlink()
        assert remote.call(Trigger, 'reload').success
        node.wait_for('no shift of a camera will be noticed: ')
        status, is_shifted = show([blue])
        assert (status.level, is_shifted) == (DiagnosticStatus.OK, 'not known')


def test_another_model_takes_over_and_is_rolled_back(two, tmp_path):
    other = write_tiny_model(tmp_path / 'other', 'camvid11', name='other')
    infos = two.ears.subscribe(String, '/two/segmentation_node/label_info', LATCHED_QOS)

    def served():
        return json.loads(infos[-1].data)['model'] if infos else ''
    two.ears.wait_until(lambda: served() == 'tiny', 'label_info')
    assert not two.call(Trigger, 'rollback').success
    assert two.set_parameter('model', str(other)).successful
    two.ears.wait_until(lambda: served() == 'other', 'the other model')
    space = get_label_space('camvid11')
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[:] = space.colors[-1]
    message = two.answer(two.cameras['rear'], frame, two.labels['rear'])
    assert (array_of(message) == space.num_classes - 1).all()
    answer = two.call(Trigger, 'rollback')
    assert answer.success and "model 'tiny'" in answer.message
    two.ears.wait_until(lambda: served() == 'tiny', 'the model before')


def test_reload_takes_what_lies_in_the_directory_now_and_survives_a_torn_one(two, tmp_path):
    place = write_tiny_model(tmp_path / 'place', name='old')
    assert two.set_parameter('model', str(place)).successful
    two.node.wait_for("model 'old' took over")
    write_tiny_model(place, name='new')
    answer = two.call(Trigger, 'reload')
    assert answer.success and "model 'new'" in answer.message
    (place / 'model.onnx').write_bytes((place / 'model.onnx').read_bytes()[:100])
    answer = two.call(Trigger, 'reload')
    assert not answer.success and 'model.onnx' in answer.message
    message = two.answer(two.cameras['front'], painted(), two.labels['front'])
    assert len(np.unique(array_of(message))) > 3  # the model before still serves


def test_no_frame_is_lost_while_a_model_is_swapped(two, model):
    # A camera at 20 Hz; the model is changed five times meanwhile. Every frame is answered but
    # those that wait while the one before them is in work.
    labels, camera = two.labels['rear'], two.cameras['rear']
    two.answer(camera, painted(), labels)
    sent = []
    swaps = iter(range(5))

    def step():
        message = rgb_to_image(painted(), two.header())
        sent.append(message.header.stamp.sec)
        camera.publish(message)
        if len(sent) % 20 == 5:
            next(swaps)
            two.clients['reload'].call_async(Trigger.Request())
        for _ in range(5):
            two.ears.executor.spin_once(timeout_sec=0.01)
        return len(sent) == 100
    assert two.set_parameter('model', str(model)).successful
    while not step():
        pass
    two.answer(camera, painted(), labels)
    answered = {message.header.stamp.sec for message in labels} & set(sent)
    assert len(answered) >= 0.9 * len(sent)
    gaps = np.diff(sorted(answered))
    assert gaps.max() <= 5  # no swap is a pause


def test_ctrl_c_ends_the_node_cleanly(two):
    # The last test of these two cameras: it ends them.
    assert two.node.stop() == 0
    assert 'Traceback' not in two.node.output()


def test_a_lifecycle_manager_leads_the_node_through_its_states(model, tmp_path):
    arguments = (
        '-r', '__ns:=/led', *parameter('model', model), *parameter('autostart', 'false'),
        *parameter('region_of_interest', '[0.25, 0.5, 1.0, 1.0]'),
        *parameter('output_size', 'network'))
    with node_process('segmentation_node', tmp_path / 'log', *arguments) as node, probe() as ears:
        remote = Remote(ears, '/led')
        assert remote.state() == 'unconfigured'
        assert remote.change_state(Transition.TRANSITION_CONFIGURE)
        assert remote.state() == 'inactive'
        camera = ears.node.create_publisher(Image, '/led/image', INPUT_QOS)
        assert camera.get_subscription_count() == 0
        labels = ears.subscribe(Image, '/led/segmentation_node/labels', OUTPUT_QOS)
        for _ in range(2):
            assert remote.change_state(Transition.TRANSITION_ACTIVATE)
            message = remote.answer(camera, painted(), labels)
            # 96 x 128 is 64 x 96 to the network; the left quarter and the upper half are cut.
            assert (message.height, message.width) == (64, 96)
            found = array_of(message)
            assert (found[:32] == 255).all() and (found[:, :24] == 255).all()
            assert (found[32:, 24:] != 255).all()
            assert remote.change_state(Transition.TRANSITION_DEACTIVATE)
            ears.wait_until(lambda: not camera.get_subscription_count(), 'it to unsubscribe')
        assert remote.change_state(Transition.TRANSITION_CLEANUP)
        assert remote.state() == 'unconfigured'
        assert remote.change_state(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert node.stop() == 0
        assert 'Traceback' not in node.output()


def test_a_model_that_is_not_there_leaves_a_led_node_unconfigured_until_it_is(tmp_path):
    place = tmp_path / 'model'
    arguments = (
        '-r', '__ns:=/late', *parameter('model', place), *parameter('autostart', 'false'))
    with node_process('segmentation_node', tmp_path / 'log', *arguments) as node, probe() as ears:
        remote = Remote(ears, '/late')
        assert not remote.change_state(Transition.TRANSITION_CONFIGURE)
        assert remote.state() == 'unconfigured'
        node.wait_for('no such directory')
        write_tiny_model(place)
        assert remote.change_state(Transition.TRANSITION_CONFIGURE)
        assert remote.change_state(Transition.TRANSITION_ACTIVATE)
        assert remote.state() == 'active'
        assert node.stop() == 0
