# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation node as a process of its own, fed with good and bad frames."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import signal

import cv2
from fixtures_models import write_tiny_model
import numpy as np
import pytest

pytest.importorskip('rclpy')

from bkd_core.inference import Segmenter  # noqa: E402
from bkd_core.labels import get_label_space  # noqa: E402
from bkd_core.model_directory import INT8, ONNX  # noqa: E402
from bkd_core.visualization import overlay  # noqa: E402
from bkd_ros.camera import INPUT_QOS, OUTPUT_QOS  # noqa: E402
from bkd_ros.conversions import image_to_rgb, rgb_to_image  # noqa: E402
from bkd_ros.label_info import LATCHED_QOS  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from fixtures_ros import node_process, parameter, probe, ROOT  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.parameter_client import AsyncParameterClient  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

SPACE = get_label_space('street9')


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp('models') / 'tiny')


class Rig:
    """A running node, a camera and ears for what it says."""

    def __init__(self, node, ears, camera):
        self.node = node
        self.ears = ears
        self.camera = camera
        self.labels = ears.subscribe(Image, '/rig/segmentation_node/labels', OUTPUT_QOS)
        self._sec = 0

    def header(self):
        self._sec += 1
        return Header(stamp=Time(sec=self._sec, nanosec=7), frame_id='front_camera')

    def send(self, message):
        """Send a frame and return its labels."""
        self.ears.publish_until(
            self.camera, message,
            lambda: self.labels and self.labels[-1].header.stamp == message.header.stamp,
            'labels of the frame')
        return self.labels[-1]


@pytest.fixture(scope='module')
def rig(model, tmp_path_factory):
    log = tmp_path_factory.mktemp('logs') / 'node.log'
    arguments = (
        '-r', '__ns:=/rig', '--params-file', ROOT / 'config' / 'segment.yaml',
        *parameter('model', model), *parameter('modell', 'x'))
    with node_process('segmentation_node', log, *arguments) as node, probe() as ears:
        node.wait_for("labels /rig/image with model 'tiny' (9 classes) by ")
        yield Rig(node, ears, ears.publisher(Image, '/rig/image', INPUT_QOS))


def street(height=96, width=128, seed=0):
    """Return a frame painted with the classes' colours, in blocks of 16 pixels."""
    blocks = np.random.default_rng(seed).integers(
        0, SPACE.num_classes, (height // 16, width // 16))
    return np.array(SPACE.colors, np.uint8)[np.kron(blocks, np.ones((16, 16), int))]


def array_of(message):
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width)


def test_labels_are_those_of_the_segmenter_with_the_header_untouched(rig, model):
    frame, header = street(), rig.header()
    message = rig.send(rgb_to_image(frame, header))
    assert message.header == header
    assert message.encoding == 'mono8'
    expected = Segmenter.load(model)(frame).labels
    assert len(np.unique(expected)) > 3
    assert (array_of(message) == expected).all()


def test_other_encodings_give_the_same_labels(rig):
    frame = street(seed=1)
    expected = array_of(rig.send(rgb_to_image(frame, rig.header())))
    swapped = rgb_to_image(frame[..., ::-1], rig.header())
    swapped.encoding = 'bgr8'
    assert (array_of(rig.send(swapped)) == expected).all()


@pytest.mark.parametrize(('changes', 'reason'), [
    ({'encoding': 'rgb99'}, "Unknown image encoding 'rgb99'"),
    ({'width': 0}, '0x96 image, encoding rgb8: expected at least one row and one column'),
    ({'step': 5}, 'got a step of 5 bytes; a row needs at least 384'),
    ({'height': 500}, '128x500 image, encoding rgb8, step 384: the data is truncated'),
])
def test_a_bad_frame_is_dropped_and_the_next_good_one_labelled(rig, changes, reason):
    bad = rgb_to_image(street(), rig.header())
    for name, value in changes.items():
        setattr(bad, name, value)
    # Its warning is throttled, so it is sent until it has been said.
    rig.ears.publish_until(
        rig.camera, bad, lambda: reason in rig.node.output(), f'the warning {reason}')
    line = next(line for line in rig.node.output().splitlines() if reason in line)
    assert '[WARN]' in line
    assert '/rig/image: frame dropped' in line
    good = rig.header()
    assert rig.send(rgb_to_image(street(), good)).header == good
    assert bad.header.stamp not in [message.header.stamp for message in rig.labels]


def test_a_change_of_resolution_is_said_and_followed(rig):
    rig.send(rgb_to_image(street(96, 128), rig.header()))
    message = rig.send(rgb_to_image(street(64, 160), rig.header()))
    assert (message.height, message.width) == (64, 160)
    rig.node.wait_for('the resolution changed from 128x96 to 160x64')
    rig.send(rgb_to_image(street(96, 128), rig.header()))


def test_a_frame_of_one_pixel_gets_its_label(rig):
    message = rig.send(rgb_to_image(np.full((1, 1, 3), 90, np.uint8), rig.header()))
    assert (message.height, message.width, len(message.data)) == (1, 1, 1)


def test_label_info_is_there_for_late_subscribers(rig):
    infos = rig.ears.subscribe(String, '/rig/segmentation_node/label_info', LATCHED_QOS)
    rig.ears.wait_until(lambda: infos, 'label_info')
    info = json.loads(infos[0].data)
    assert info['model'] == 'tiny'
    assert info['label_space'] == 'street9'
    assert info['ignore_index'] == 255
    assert info['classes'][0] == {'id': 0, 'name': 'road', 'color': list(SPACE.colors[0])}
    assert [item['name'] for item in info['classes']] == list(SPACE.classes)


def test_an_unknown_parameter_is_named_with_the_nearest_known_one(rig):
    assert "unknown parameter 'modell' is ignored" in rig.node.output()
    assert "Did you mean 'model'?" in rig.node.output()


def test_confidence_and_overlay_have_the_frames_size_and_header(rig, model):
    confidences = rig.ears.subscribe(Image, '/rig/segmentation_node/confidence', OUTPUT_QOS)
    overlays = rig.ears.subscribe(Image, '/rig/segmentation_node/overlay', OUTPUT_QOS)
    frame, header = street(seed=3), rig.header()
    rig.ears.publish_until(
        rig.camera, rgb_to_image(frame, header),
        lambda: confidences and overlays, 'confidence and overlay')
    expected = Segmenter.load(model)(frame)
    assert confidences[0].header == overlays[0].header == header
    assert confidences[0].encoding == 'mono8'
    assert (array_of(confidences[0]) == expected.confidence).all()
    assert overlays[0].encoding == 'rgb8'
    tinted = overlay(frame, expected.labels, SPACE, opacity=0.5)
    assert (image_to_rgb(overlays[0]) == tinted).all()


def test_opacity_changes_while_the_node_runs_and_wrong_values_are_refused(rig):
    client = AsyncParameterClient(rig.ears.node, '/rig/segmentation_node')
    rig.ears.wait_until(client.services_are_ready, 'parameter services')

    def set_parameter(name, value):
        future = client.set_parameters([Parameter(name, value=value)])
        rig.ears.wait_until(future.done, 'an answer')
        return future.result().results[0]
    assert set_parameter('overlay_opacity', 0.0).successful
    assert not set_parameter('overlay_opacity', 1.5).successful
    assert not set_parameter('num_threads', 2).successful  # read-only
    refused = set_parameter('model', '/no/such/model')
    assert not refused.successful and 'no such directory' in refused.reason
    overlays = rig.ears.subscribe(Image, '/rig/segmentation_node/overlay', OUTPUT_QOS)
    frame, header = street(seed=4), rig.header()
    rig.ears.publish_until(
        rig.camera, rgb_to_image(frame, header),
        lambda: overlays and overlays[-1].header == header, 'the overlay')
    assert (image_to_rgb(overlays[-1]) == frame).all()


def test_the_node_runs_without_torch_and_ends_cleanly_at_ctrl_c(rig):
    # The last test of the rig: it ends it.
    libraries = Path(f'/proc/{rig.node.process.pid}/maps').read_text()
    assert 'onnxruntime' in libraries or 'openvino' in libraries
    assert 'libtorch' not in libraries
    assert rig.node.stop() == 0
    assert 'Traceback' not in rig.node.output()


def test_compressed_frames_are_labelled_and_a_silent_topic_is_explained(model, tmp_path):
    arguments = (
        '-r', '__ns:=/packed', '-r', 'image:=/packed/camera', *parameter('model', model),
        *parameter('image_transport', 'compressed'), *parameter('no_frame_warning_s', 0.5))
    with node_process('segmentation_node', tmp_path / 'log', *arguments) as node, probe() as ears:
        node.wait_for('nobody publishes it')
        assert '/packed/camera/compressed: no frame for' in node.output()
        labels = ears.subscribe(Image, '/packed/segmentation_node/labels', OUTPUT_QOS)
        camera = ears.publisher(CompressedImage, '/packed/camera/compressed', INPUT_QOS)
        message = CompressedImage(
            format='png', header=Header(stamp=Time(sec=5), frame_id='packed'))
        data = cv2.imencode('.png', street()[..., ::-1])[1].tobytes()
        message.data.frombytes(data[:-30])
        ears.publish_until(
            camera, message, lambda: 'the PNG is truncated' in node.output(), 'the warning')
        message.data = type(message.data)('B', data)
        ears.publish_until(camera, message, lambda: labels, 'labels')
        assert labels[0].header == message.header
        assert (array_of(labels[0]) == Segmenter.load(model)(street()).labels).all()
        assert node.stop(signal.SIGTERM) == 0
        assert 'Traceback' not in node.output()


def test_8_bit_integers_are_run_where_they_are_asked_for_without_torch(model, tmp_path):
    arguments = ('-r', '__ns:=/int8', *parameter('runtime', 'onnxruntime_int8'))
    with node_process(
            'segmentation_node', tmp_path / 'log', *arguments, *parameter('model', model)) as node:
        assert node.wait() == 2  # the model has no such file
        assert f'bkd export {model} --runtime onnxruntime_int8' in node.output()
    copy = shutil.copytree(model, tmp_path / 'copy')
    shutil.copy(copy / ONNX, copy / INT8)
    with node_process(
            'segmentation_node', tmp_path / 'log2', *arguments, *parameter('model', copy),
    ) as node, probe() as ears:
        node.wait_for('(9 classes) by onnxruntime_int8')
        labels = ears.subscribe(Image, '/int8/segmentation_node/labels', OUTPUT_QOS)
        camera = ears.publisher(Image, '/int8/image', INPUT_QOS)
        message = rgb_to_image(street(), Header(stamp=Time(sec=5), frame_id='camera'))
        ears.publish_until(camera, message, lambda: labels, 'labels')
        expected = Segmenter.load(copy, runtime='onnxruntime_int8')(street()).labels
        assert (array_of(labels[0]) == expected).all()
        assert 'libtorch' not in Path(f'/proc/{node.process.pid}/maps').read_text()


@pytest.mark.parametrize(('arguments', 'reason'), [
    (parameter('model', '/no/such/model'), "model '/no/such/model': no such directory"),
    (parameter('image_transport', 'theora'), "'theora'; choose one of ['compressed', 'raw']"),
    (parameter('overlay_opacity', 2.0), "parameter 'overlay_opacity': expected a value like 0.5"),
    (('--params-file', '/no/such.yaml'), '/no/such.yaml'),
    (parameter('image_topics', "['front/image', 'bad topic']"),
     "parameter 'image_topics': 'bad topic': failed to resolve name: topic name must not contain"),
    (parameter('image_topics', "['/a//b']"), "must not contain repeated '/'"),
])
def test_a_mistake_of_the_user_ends_the_node_with_code_2_and_one_line(
        arguments, reason, tmp_path):
    with node_process('segmentation_node', tmp_path / 'log', *arguments) as node:
        assert node.wait() == 2
        assert reason in node.output()
        assert 'Traceback' not in node.output()
