# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras go through the network together; faults stay with their camera."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from bkd_core.errors import InputError  # noqa: E402
from bkd_core.inference import OutOfMemory, Segmenter  # noqa: E402
from bkd_core.model_directory import read_spec  # noqa: E402
from bkd_ros.batch_limit import BatchLimit  # noqa: E402
from bkd_ros.camera import IMAGE_OUTPUTS  # noqa: E402
from bkd_ros.conversions import rgb_to_image  # noqa: E402
from bkd_ros.frame_pipeline import FramePipeline  # noqa: E402
from bkd_ros.labelling import Labelling, load_segmenter  # noqa: E402
from bkd_ros.segmentation_node import SegmentationNode  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from fixtures_models import write_tiny_model  # noqa: E402
import rclpy  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

SETTINGS = {'confidence_threshold': 0.0, 'overlay_opacity': 0.5}


class FakeRuntime:
    """A network with room for so many images, whose class is the mean of the image."""

    name = 'fake'

    def __init__(self, room=99):
        self.room = room
        self.passes = []

    def logits(self, images):
        self.passes.append(len(images))
        if len(images) > self.room:
            raise OutOfMemory(images, RuntimeError('no room'))
        if (images == 250).all(axis=(1, 2, 3)).any():
            raise RuntimeError('the network chokes on this image')
        logits = np.zeros((len(images), 9, images.shape[1] // 8, images.shape[2] // 8), np.float32)
        for index, image in enumerate(images):
            logits[index, round(image.mean())] = 5
        return logits


class FakeCamera:
    """What the pipeline needs of a camera; it keeps what would go out."""

    def __init__(self, wanted=('labels',)):
        self.sent, self.answers = {}, []
        self.publishers = {
            name: SimpleNamespace(publish=lambda message, name=name: self.keep(name, message))
            for name in IMAGE_OUTPUTS}
        self.statistics = SimpleNamespace(
            answer=lambda *values, latency_s: self.answers.append((*values, latency_s)))
        self._wanted = set(wanted)

    def keep(self, name, message):
        self.sent[name] = np.asarray(message.data, np.uint8)

    def to_rgb(self, message):
        if message is None:
            raise ValueError('unreadable')
        return np.asarray(message.data, np.uint8).reshape(message.height, message.width, 3)

    def wanted(self):
        return self._wanted

    def latency_s(self, header):
        return 0.25


class Bench:
    """A pipeline around a fake network."""

    def __init__(self, folder, *, room=99, max_batch=8):
        self.runtime = FakeRuntime(room)
        directory = write_tiny_model(folder)
        self.segmenter = Segmenter(directory, read_spec(directory), self.runtime)
        self.faults, self.limits, self.answered = [], [], []
        self.batches = BatchLimit(max_batch, on_reduce=self.limits.append)
        self.pipeline = FramePipeline(
            Labelling(region=(0.0, 0.0, 1.0, 1.0), at_network_size=False), self.batches,
            setting=SETTINGS.__getitem__,
            on_answer=lambda segmenter, camera, answer: self.answered.append(
                (segmenter, camera, answer and answer.mean_entropy)),
            on_bad_frame=lambda camera, error: self.faults.append((camera, str(error))))

    def run(self, cameras, values):
        """Send each camera a frame of one value; None is an unreadable message."""
        self.pipeline.run(self.segmenter, [
            (camera, None if value is None else rgb_to_image(
                np.full((64, 96, 3), value, np.uint8), Header()))
            for camera, value in zip(cameras, values)])


def labels_of(cameras):
    return [np.unique(camera.sent['labels']).tolist() for camera in cameras]


def test_all_waiting_frames_are_labelled_in_one_pass(tmp_path):
    bench, cameras = Bench(tmp_path), [FakeCamera() for _ in range(4)]
    bench.run(cameras, [3, 1, 4, 2])
    assert bench.runtime.passes == [4]
    assert labels_of(cameras) == [[3], [1], [4], [2]]
    assert all(camera.answers[0][2] == 0.25 for camera in cameras)
    assert bench.answered == [
        (bench.segmenter, camera, camera.answers[0][1].entropy) for camera in cameras]


def test_only_who_subscribes_to_the_confidence_gets_it(tmp_path):
    bench = Bench(tmp_path)
    cameras = [FakeCamera(), FakeCamera(('labels', 'confidence'))]
    bench.run(cameras, [1, 2])
    assert [set(camera.sent) for camera in cameras] == [{'labels'}, {'labels', 'confidence'}]


def test_a_message_that_cannot_be_read_costs_only_its_own_camera_a_frame(tmp_path):
    bench, cameras = Bench(tmp_path), [FakeCamera() for _ in range(3)]
    bench.run(cameras, [3, None, 2])
    assert bench.faults == [(cameras[1], 'unreadable')] and len(bench.answered) == 2
    assert bench.runtime.passes == [2] and labels_of([cameras[0], cameras[2]]) == [[3], [2]]


def test_a_frame_that_the_network_chokes_on_costs_only_its_own_camera_a_frame(tmp_path):
    bench, cameras = Bench(tmp_path), [FakeCamera() for _ in range(3)]
    bench.run(cameras, [3, 250, 2])
    assert bench.faults == [(cameras[1], 'the network chokes on this image')]
    assert labels_of([cameras[0], cameras[2]]) == [[3], [2]] and not cameras[1].answers
    assert [entropy is None for *_, entropy in bench.answered] == [False, True, False]


def test_without_memory_for_all_the_batch_is_halved_and_nothing_is_lost(tmp_path):
    bench, cameras = Bench(tmp_path, room=2), [FakeCamera() for _ in range(4)]
    for _ in range(2):
        bench.run(cameras, [3, 1, 4, 2])
    assert bench.runtime.passes == [4, 2, 2, 2, 2]
    assert bench.limits == [2] and not bench.faults
    assert labels_of(cameras) == [[3], [1], [4], [2]]


def test_without_memory_for_one_frame_it_is_dropped_with_the_reason(tmp_path):
    bench, camera = Bench(tmp_path, room=0), FakeCamera()
    bench.run([camera], [3])
    (found, reason), = bench.faults
    assert found is camera and not camera.sent
    assert 'out of memory with 1 x 96x64 pixels at once: no room. Set input_height' in reason
    bench.runtime.room = 1
    bench.run([camera], [3])
    assert labels_of([camera]) == [[3]]


def shapes_at_load(monkeypatch, model, *, room=99, before=None):
    """Load a model for a node; return the shapes that its network has run on by then."""
    shapes, runtime = [], FakeRuntime(room)
    logits = runtime.logits
    runtime.logits = lambda images: shapes.append(images.shape[:3]) or logits(images // 127)
    monkeypatch.setattr(Segmenter, 'load', lambda model, **options: Segmenter(
        model, read_spec(model), runtime))
    values = {'model': model, 'runtime': 'auto', 'num_threads': 0, 'input_height': 0,
              'device': 'auto'}
    load_segmenter(values, before=before)
    return shapes


def test_a_network_is_warm_for_the_frames_that_the_one_before_got(tmp_path, monkeypatch):
    bench, cameras = Bench(tmp_path), [FakeCamera() for _ in range(2)]
    bench.run(cameras, [3, 1])
    bench.run(cameras[:1], [3])
    model = bench.segmenter.directory
    assert shapes_at_load(monkeypatch, model) == [(1, 64, 96)]
    own = [(2, 64, 96), (1, 64, 96)]
    assert shapes_at_load(monkeypatch, model, before=bench.segmenter) == own
    bench.segmenter._recent.pop((64, 96, 1))
    assert shapes_at_load(monkeypatch, model, before=bench.segmenter) == own  # one is tried
    # Too many at once for its memory: the node sends fewer when it comes to that.
    assert shapes_at_load(monkeypatch, model, before=bench.segmenter, room=1) == own
    with pytest.raises(InputError, match='no room'):
        shapes_at_load(monkeypatch, model, before=bench.segmenter, room=0)


class FakeNode(SegmentationNode):
    """The node around a network with room for one image."""

    def _load(self, model):
        directory = write_tiny_model(model)
        return Segmenter(directory, read_spec(directory), FakeRuntime(room=1))


def test_a_node_says_in_its_diagnostics_that_memory_does_not_suffice_until_another_model_comes(
        tmp_path):
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = FakeNode(context=context, namespace='small', parameter_overrides=[
            rclpy.Parameter('model', value=str(tmp_path)), rclpy.Parameter('max_batch', value=4),
            rclpy.Parameter('image_topics', value=['a', 'b', 'c'])])
        status = DiagnosticStatus.OK, 'serves'

        def found():
            model, *_ = node._statuses()
            return model.level, model.message
        assert found() == status
        frame = rgb_to_image(np.full((64, 96, 3), 3, np.uint8), Header())
        cameras = list(node._cameras.values())
        node._segment([(camera, frame) for camera in cameras])
        assert found() == (DiagnosticStatus.WARN, 'batch reduced to 1: out of memory')
        assert [camera.statistics.summary().num_bad for camera in cameras] == [0, 0, 0]
        assert all(camera.statistics.summary().mean_confidence > .5 for camera in cameras)
        node._slot.load_now(str(tmp_path))
        assert found() == status
        node.close()
    finally:
        rclpy.try_shutdown(context=context)
