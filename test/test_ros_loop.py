# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole loop: a camera is labelled and collected, a round adapts, its student takes over."""

from __future__ import annotations

import contextlib

from bkd_core.adaptation import ModelVersions
from bkd_core.evaluation import ConfusionMatrix
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('torch')

from bkd_ros.camera import INPUT_QOS, OUTPUT_QOS  # noqa: E402
from bkd_ros.conversions import rgb_to_image  # noqa: E402
from bkd_ros.label_info import LATCHED_QOS  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from fixtures_adaptation import Hold, QUICK_OPTIONS, TARGET, train_tiny_model  # noqa: E402
from fixtures_ros import node_process, parameter, probe  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from test_ros_node_control import array_of  # noqa: E402

ROUND_PATIENCE_S = 600.0  # at low priority beside whatever else runs
NAMESPACE = '/loop'
# Steps enough for a student that truly is better, which those of the quick options are not.
OPTIONS = (
    *QUICK_OPTIONS, '--teacher-steps=100', '--student-steps=200', '--student-learning-rate=0.01',
    '--lambda-target=1.0', '--logit-adjustment=0.0')
# Every frame of the drive is wanted.
KEEP_ALL = {
    'max_rate': 0.0, 'min_sharpness': 0.0, 'max_dark': 1.0, 'max_bright': 1.0,
    'min_difference': 0.0}


class Drive:
    """A camera that sends the target's frames, each once the one before is labelled."""

    def __init__(self, ears):
        self.ears = ears
        labels = ears.subscribe(Image, f'{NAMESPACE}/segmentation_node/labels', OUTPUT_QOS)
        self.camera = ears.publisher(Image, f'{NAMESPACE}/image', INPUT_QOS, num_subscribers=2)
        self.collecting = ears.node.create_client(SetBool, f'{NAMESPACE}/collector_node/pause')
        self.pause_collecting(True)
        # Until the labels are heard, frames before the drive's first one.
        ears.publish_until(self.camera, self.frame(0), lambda: labels, 'labels')
        self.received = labels
        self.sent = []
        self.pause_collecting(False)

    def pause_collecting(self, is_paused):
        self.ears.wait_until(self.collecting.service_is_ready, 'the collector')
        answer = self.collecting.call_async(SetBool.Request(data=is_paused))
        self.ears.wait_until(answer.done, 'its answer')
        assert answer.result().success

    @property
    def labels(self):
        """Return the labels of the drive's frames."""
        return [message for message in self.received if message.header.stamp.sec > 0]

    def frame(self, number):
        header = Header(stamp=Time(sec=number), frame_id='front')
        return rgb_to_image(TARGET.image((number - 1) % len(TARGET)), header)

    def collect(self, store):
        """Send every frame of the target once, each when the one before is stored."""
        def stored():
            return len(list(store.glob('frames/*.json')))
        for number in range(1, len(TARGET) + 1):
            self.go_on(lambda number=number: len(self.sent) == number, 'a frame')
            self.ears.wait_until(
                lambda number=number: stored() == len(self.labels) == number, 'it in the store')
        self.pause_collecting(True)

    def go_on(self, condition, what):
        def step():
            if len(self.labels) == len(self.sent):
                self.sent.append(len(self.sent) + 1)
                self.camera.publish(self.frame(self.sent[-1]))
            return condition()
        self.ears.wait_until(step, what, patience_s=ROUND_PATIENCE_S)


def miou(answers):
    """Return the mean IoU of labels of the drive, by the truth of its frames."""
    matrix = ConfusionMatrix(TARGET.label_space.num_classes)
    for message in answers:
        truth = TARGET.labels((message.header.stamp.sec - 1) % len(TARGET))
        matrix.update(truth, array_of(message))
    return matrix.miou()


def is_served(diagnoses, version):
    """Tell whether the newest diagnosis of the model names a version's directory."""
    values = [
        pair.value for array in diagnoses for status in array.status
        if status.name.endswith('segmentation_node: model') for pair in status.values
        if pair.key == 'directory']
    return bool(values) and values[-1] == str(version.directory)


@pytest.mark.slow
def test_a_camera_is_collected_adapted_to_and_labelled_by_the_new_student(tmp_path, monkeypatch):
    (tmp_path / 'customize').mkdir()
    Hold(tmp_path / 'customize', monkeypatch)  # the round knows the tiny network
    model = train_tiny_model(tmp_path / 'trained')
    store, versions = tmp_path / 'store', tmp_path / 'versions'
    shared = {'model': model, 'versions': versions}
    nodes = {
        'segmentation_node': {**shared, 'trial_frames': 8},
        'collector_node': {'store': store, 'model': model, **KEEP_ALL},
        'adaptation_node': {
            **shared, 'store': store, 'start_on': 'frames', 'min_frames': len(TARGET),
            'priority': 'low', 'device': 'cpu', 'options': f'[{", ".join(OPTIONS)}]'}}
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(node_process(
                name, tmp_path / f'{name}.log', '-r', f'__ns:={NAMESPACE}',
                *(word for key, value in settings.items() for word in parameter(key, value))))
            for name, settings in nodes.items()}
        ears = stack.enter_context(probe())
        running['segmentation_node'].wait_for(f'labels {NAMESPACE}/image')
        running['collector_node'].wait_for('collects')
        progress = ears.subscribe(
            DiagnosticStatus, f'{NAMESPACE}/adaptation_node/progress', LATCHED_QOS)
        diagnoses = ears.subscribe(DiagnosticArray, '/diagnostics', 10)
        drive = Drive(ears)
        original = ModelVersions(versions).in_use()
        ears.wait_until(lambda: is_served(diagnoses, original), 'the original model')
        drive.collect(store)  # what a round learns from is then the same in every run

        def state():
            pairs = progress[-1].values if progress else ()
            return next((pair.value for pair in pairs if pair.key == 'state'), '')

        ended = ('accepted', 'refused', 'failed')
        drive.go_on(lambda: state() in ended, 'the end of a round')
        assert state() == 'accepted', progress[-1].message
        version = ModelVersions(versions).in_use()
        assert version.number == 2
        assert (version.directory / 'report.html').is_file()
        drive.go_on(lambda: is_served(diagnoses, version), 'the new student')
        first = len(drive.labels) + 1  # one frame may be in work while it takes over
        drive.go_on(
            lambda: len(drive.labels) >= first + len(TARGET), 'its answer to every frame')
        output = running['segmentation_node'].output
        drive.go_on(lambda: f'{version.name} passed its trial' in output(), "the trial's end")
        assert is_served(diagnoses, version) and ModelVersions(versions).in_use().number == 2
        # No frame was lost, not at the swap either.
        stamps = [message.header.stamp.sec for message in drive.labels]
        assert stamps == drive.sent[:len(stamps)]
        before, after = drive.labels[:len(TARGET)], drive.labels[first:first + len(TARGET)]
        assert miou(after) > miou(before) + 0.1
