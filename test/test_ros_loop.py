# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole loop: a camera is labelled and collected, a round adapts, its student takes over."""

from __future__ import annotations

import contextlib

from bkd_core.adaptation import ModelVersions
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.evaluation import ConfusionMatrix
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('torch')

from bkd_ros.camera import INPUT_QOS, OUTPUT_QOS  # noqa: E402
from bkd_ros.conversions import rgb_to_image  # noqa: E402
from bkd_ros.label_info import LATCHED_QOS  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from fixtures_adaptation import (  # noqa: E402
    fill_store,
    Hold,
    QUICK_OPTIONS,
    TARGET,
    train_tiny_model,
)
from fixtures_ros import node_process, parameter, probe  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from test_ros_node_control import array_of  # noqa: E402
from test_ros_versions import DEEP_QOS, deep_queues  # noqa: E402

ROUND_PATIENCE_S = 600.0  # at low priority beside whatever else runs
NAMESPACE = '/loop'
# Steps enough for a student that truly is better, which those of the quick options are not.
OPTIONS = (
    *QUICK_OPTIONS, '--teacher-steps=100', '--student-steps=200', '--student-learning-rate=0.01',
    '--lambda-target=1.0', '--logit-adjustment=0.0')
# Of a recording that is played: frames a second, and frames, many more than a round takes.
RATE = 3
NUM_RECORDED = 2000
# Every frame of the drive is wanted.
KEEP_ALL = {
    'max_rate': 0.0, 'min_sharpness': 0.0, 'max_dark': 1.0, 'max_bright': 1.0,
    'min_difference': 0.0}


class Drive:
    """A camera that sends the target's frames, each once the one before is labelled."""

    def __init__(self, loop):
        self.loop, self.ears = loop, loop.ears
        self.received = self.ears.subscribe(
            Image, f'{NAMESPACE}/segmentation_node/labels', OUTPUT_QOS)
        self.camera = self.ears.publisher(
            Image, f'{NAMESPACE}/image', INPUT_QOS, num_subscribers=2)
        loop.pause_collecting(True)
        # Until the labels are heard, frames before the drive's first one.
        self.ears.publish_until(self.camera, self.frame(0), lambda: self.received, 'labels')
        self.sent = []
        loop.pause_collecting(False)

    @property
    def labels(self):
        """Return the labels of the drive's frames."""
        return [message for message in self.received if message.header.stamp.sec > 0]

    def frame(self, number):
        header = Header(stamp=Time(sec=number), frame_id='front')
        return rgb_to_image(TARGET.image((number - 1) % len(TARGET)), header)

    def collect(self):
        """Send every frame of the target once, each when the one before is stored."""
        for number in range(1, len(TARGET) + 1):
            self.go_on(lambda number=number: len(self.sent) == number, 'a frame')
            self.ears.wait_until(
                lambda number=number: self.loop.num_stored() == len(self.labels) == number,
                'it in the store')
        self.loop.pause_collecting(True)

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
        truth = TARGET.labels((number_of(message) - 1) % len(TARGET))
        matrix.update(truth, array_of(message))
    return matrix.miou()


def number_of(message):
    """Return the number of a frame, which is its stamp in seconds."""
    return message.header.stamp.sec


class Loop:
    """
    The three nodes on one store and one folder of versions.

    :param stack: Ends them.
    :param folder: Where all their files go.
    :param monkeypatch: pytest's fixture.
    :param more: Further arguments of the nodes.
    :param hold_at: Where the round waits to be let go on.
    """

    def __init__(self, stack, folder, monkeypatch, *more, hold_at=''):
        (folder / 'customize').mkdir()
        # Also by it, the round knows the tiny network.
        self.hold = Hold(folder / 'customize', monkeypatch)
        if hold_at:
            self.hold.at(hold_at)
        model = train_tiny_model(folder / 'trained')
        self.store, self.versions = folder / 'store', ModelVersions(folder / 'versions')
        shared = {'model': model, 'versions': self.versions.folder}
        nodes = {
            'segmentation_node': {**shared, 'trial_frames': 8},
            'collector_node': {'store': self.store, 'model': model, **KEEP_ALL},
            'adaptation_node': {
                **shared, 'store': self.store, 'start_on': 'frames', 'min_frames': len(TARGET),
                'priority': 'low', 'device': 'cpu', 'options': f'[{", ".join(OPTIONS)}]'}}
        running = {
            name: stack.enter_context(node_process(
                name, folder / f'{name}.log', '-r', f'__ns:={NAMESPACE}',
                *(word for key, value in settings.items() for word in parameter(key, value)),
                *more))
            for name, settings in nodes.items()}
        self.ears = stack.enter_context(probe())
        running['segmentation_node'].wait_for(f'labels {NAMESPACE}/image')
        running['collector_node'].wait_for('collects')
        self.output = running['segmentation_node'].output
        self._pause = self.ears.node.create_client(SetBool, f'{NAMESPACE}/collector_node/pause')
        self._progress = self.ears.subscribe(
            DiagnosticStatus, f'{NAMESPACE}/adaptation_node/progress', LATCHED_QOS)
        self._diagnoses = self.ears.subscribe(DiagnosticArray, '/diagnostics', 10)

    def num_stored(self):
        """Return the number of frames in the store."""
        return len(list(self.store.glob('frames/*.json')))

    def pause_collecting(self, is_paused):
        """Let the collector pause, or go on."""
        self.ears.wait_until(self._pause.service_is_ready, 'the collector')
        answer = self._pause.call_async(SetBool.Request(data=is_paused))
        self.ears.wait_until(answer.done, 'its answer')
        assert answer.result().success

    @property
    def state(self):
        """Return the state of the newest round."""
        pairs = self._progress[-1].values if self._progress else ()
        return next((pair.value for pair in pairs if pair.key == 'state'), '')

    def is_adapted(self):
        """Tell whether a round has ended; it must have been accepted."""
        assert self.state not in ('refused', 'failed'), self._progress[-1].message
        return self.state == 'accepted'

    def serves(self, version):
        """Tell whether the newest diagnosis of the model names a version's directory."""
        values = [
            pair.value for array in self._diagnoses for status in array.status
            if status.name.endswith('segmentation_node: model') for pair in status.values
            if pair.key == 'directory']
        return bool(values) and values[-1] == str(version.directory)

    def has_passed(self, version):
        """Tell whether a version's trial has ended well."""
        return f'{version.name} passed its trial' in self.output()


@pytest.mark.slow
def test_a_camera_is_collected_adapted_to_and_labelled_by_the_new_student(tmp_path, monkeypatch):
    with contextlib.ExitStack() as stack:
        loop = Loop(stack, tmp_path, monkeypatch)
        drive = Drive(loop)
        original = loop.versions.in_use()
        loop.ears.wait_until(lambda: loop.serves(original), 'the original model')
        drive.collect()  # what a round learns from is then the same in every run
        drive.go_on(loop.is_adapted, 'the end of a round')
        version = loop.versions.in_use()
        assert version.number == 2
        assert (version.directory / 'report.html').is_file()
        drive.go_on(lambda: loop.serves(version), 'the new student')
        first = len(drive.labels) + 1  # one frame may be in work while it takes over
        drive.go_on(
            lambda: len(drive.labels) >= first + len(TARGET), 'its answer to every frame')
        drive.go_on(lambda: loop.has_passed(version), "the trial's end")
        assert loop.serves(version) and loop.versions.in_use().number == 2
        # No frame was lost, not at the swap either.
        stamps = [number_of(message) for message in drive.labels]
        assert stamps == drive.sent[:len(stamps)]
        before, after = drive.labels[:len(TARGET)], drive.labels[first:first + len(TARGET)]
        assert miou(after) > miou(before) + 0.1


def write_recording(path, numbers):
    """Write frames of the target, by the numbers of their seconds."""
    with RecordingWriter(path) as writer:
        for number in numbers:
            writer.write_image(
                f'{NAMESPACE}/image', TARGET.image((number - 1) % len(TARGET)),
                stamp_ns=number * 10 ** 9)


def played(stack, recording):
    """Return the process that plays a recording to both nodes with a camera."""
    return stack.enter_context(node_process(
        'player_node', recording.with_suffix('.log'), *parameter('recording', recording),
        *parameter('rate', float(RATE)), *parameter('min_subscribers', 2),
        *parameter('start_delay_s', 2.0)))


@pytest.mark.slow
def test_a_recording_that_is_played_ends_in_a_better_student_and_no_frame_is_lost(
        tmp_path, monkeypatch):
    # What was collected, and so what the round learns from, is the same in every run.
    fill_store(tmp_path / 'store')
    write_recording(tmp_path / 'drive', range(1, NUM_RECORDED + 1))
    with contextlib.ExitStack() as stack:
        loop = Loop(stack, tmp_path, monkeypatch, *deep_queues(NAMESPACE), hold_at='teacher')
        loop.pause_collecting(True)
        labels = loop.ears.subscribe(
            Image, f'{NAMESPACE}/segmentation_node/labels', DEEP_QOS)
        player = played(stack, tmp_path / 'drive')

        def play_until(condition, what):
            def is_met():
                assert player.process.poll() is None, f'{what} did not come in time'
                return condition()
            loop.ears.wait_until(is_met, what, patience_s=ROUND_PATIENCE_S)

        play_until(lambda: len(labels) > len(TARGET), 'labels of the original model')
        loop.hold.release()
        play_until(loop.is_adapted, 'the end of a round')
        version = loop.versions.in_use()
        play_until(lambda: loop.serves(version), 'the new student')
        first = len(labels) + 1
        play_until(lambda: len(labels) >= first + len(TARGET), 'its answer to every frame')
        play_until(lambda: loop.has_passed(version), "the trial's end")
        assert [item.state for item in loop.versions.list()] == ['accepted', 'in use']
        numbers = [number_of(message) for message in labels]
        assert numbers == list(range(1, len(numbers) + 1))
        assert miou(labels[first:first + len(TARGET)]) > miou(labels[:len(TARGET)]) + 0.1
