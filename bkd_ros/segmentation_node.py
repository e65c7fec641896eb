# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Label every pixel of one or several camera topics; a lifecycle node that starts by itself.

    image, or image/compressed   in    sensor_msgs/Image or CompressedImage, best effort
    camera_info                  in    sensor_msgs/CameraInfo, beside the image
    ~/labels                     out   mono8, class ids of the model's label space
    ~/confidence                 out   mono8, 255 times the winner's probability
    ~/overlay                    out   rgb8, the frame under the classes' colours
    ~/color                      out   rgb8, the classes' colours alone
    ~/camera_info                out   sensor_msgs/CameraInfo with the labels' stamp and size
    ~/label_info                 out   std_msgs/String, latched JSON: class ids, names, colours
    ~/vision_label_info          out   vision_msgs/LabelInfo, latched, if vision_msgs is installed
    /diagnostics                 out   diagnostic_msgs/DiagnosticArray, once a second
    ~/reload                           std_srvs/Trigger: load the model's directory again
    ~/rollback                         std_srvs/Trigger: back to the model or version before
    ~/set_enabled                      std_srvs/SetBool: pause and go on

All outputs have the frame's header, untouched. Work that nobody subscribes to is not done. With
several cameras, each has its outputs under ~/NAME/.
"""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

from bkd_core.adaptation import begin_versions, ModelVersions, ShiftDetector, ShiftReference
from bkd_core.errors import InputError
from bkd_core.inference import COMPILED, Segmenter
from bkd_ros import parameters
from bkd_ros.batch_limit import BatchLimit
from bkd_ros.camera import Camera, camera_names
from bkd_ros.control import Control
from bkd_ros.diagnostics import (
    camera_status,
    DiagnosticsPublisher,
    model_status,
    ModelState,
)
from bkd_ros.frame_pipeline import FramePipeline
from bkd_ros.label_info import LabelInfoPublisher
from bkd_ros.labelling import Labelling, load_segmenter
from bkd_ros.latest_frame_worker import LatestFrameWorker
from bkd_ros.model_slot import ModelSlot
from bkd_ros.run_node import run_node
from bkd_ros.setting import declare
from bkd_ros.version_follower import VersionFollower
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image

NAME = 'segmentation_node'
WARNING_PERIOD_S = 3.0
LOOPS_PATIENCE_S = 10.0  # for Numba, which compiles once on a machine; NumPy answers meanwhile


class SegmentationNode(LifecycleNode):
    """
    Connect camera topics to a `Segmenter`.

    Configuring loads the model, activating subscribes, deactivating frees the device.

    :param options: Passed on to `rclpy.lifecycle.LifecycleNode`, such as parameter_overrides.
    :raises InputError: If a parameter is wrong or, with `autostart`, the model cannot be loaded.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, **options)
        self.done = Future()  # never: the node runs until it is stopped
        self._values = declare(self, parameters.SEGMENTATION)
        self._batches = BatchLimit(self._values['max_batch'], on_reduce=self._on_reduced_batch)
        self._pipeline = FramePipeline(
            Labelling.from_values(self._values), self._batches,
            setting=lambda name: self.get_parameter(name).value,
            on_answer=lambda segmenter, camera, answer: self._follower.on_answer(
                segmenter, camera.topic, answer),
            on_bad_frame=self._on_bad_frame)
        self._fault: InputError | None = None
        self._is_constructed = False
        self._worker: LatestFrameWorker[Camera, Image | CompressedImage] | None = None
        self._cameras: dict[str, Camera] = {}
        self._reference: tuple[Segmenter | None, ShiftReference | None] = None, None
        self._label_info: LabelInfoPublisher | None = None
        self._diagnostics: DiagnosticsPublisher | None = None
        self._slot = ModelSlot(self._load, on_swap=self._on_swap)
        self._follower = VersionFollower(self, self._slot)
        self._control = Control(self, self._slot, self._follower)
        if self._values['autostart']:
            for transition in (self.trigger_configure, self.trigger_activate):
                if transition() != TransitionCallbackReturn.SUCCESS:
                    raise self._fault or RuntimeError(f'{NAME}: {transition.__name__} failed')
        self._is_constructed = True

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Load the model; offer services and diagnostics.

        :param state: The state before.
        """
        return self._attempt(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Subscribe to the cameras.

        :param state: The state before.
        """
        result = self._attempt(self._activate)
        if result == TransitionCallbackReturn.SUCCESS:
            return super().on_activate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Let the frame in work end, unsubscribe and free the device.

        :param state: The state before.
        """
        self._deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Withdraw services and diagnostics.

        :param state: The state before.
        """
        self._clean_up()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        End from whatever state.

        :param state: The state before.
        """
        self._clean_up()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Let the frame in work end, then destroy the node."""
        self._clean_up()
        self.destroy_node()

    def _attempt(self, step: Any) -> TransitionCallbackReturn:
        """Make a step of a transition; a user's mistake is told, and the state stays."""
        try:
            step()
        except InputError as error:
            self._fault = error
            if self._is_constructed:  # else the constructor raises it
                self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        # Beside the model: later it would cost the camera frames.
        loops = COMPILED.start()
        self._label_info = LabelInfoPublisher(self)
        try:
            if self._values['versions']:
                begin_versions(
                    ModelVersions(Path(self._follower.model).expanduser()),
                    self.get_parameter('model').value)
            self._follower.load()
        except InputError:
            self._clean_up()
            raise
        loops.join(LOOPS_PATIENCE_S)
        self._control.open()
        self._follower.open()
        self._diagnostics = DiagnosticsPublisher(self, self._statuses)

    def _activate(self) -> None:
        if self._slot.current is None:  # freed by an earlier deactivation
            self._follower.load()
        try:
            self._open_cameras(self._values['image_topics'])
        except InputError:
            self._deactivate()
            raise

    def _open_cameras(self, topics: list[str]) -> None:
        names = camera_names(topics)
        self._worker = LatestFrameWorker(
            self._segment, on_error=self._on_bad_frame,
            on_replace=lambda camera: camera.statistics.replace(),
            batch_limit=lambda: self._batches.limit)
        for name, topic in zip(names, topics):
            camera = Camera(
                self, topic, is_compressed=self._values['image_transport'] == 'compressed',
                prefix='~' if len(topics) == 1 else f'~/{name}', on_frame=self._on_frame)
            self._cameras[name] = camera
            self._watch_for_shift(camera)
            segmenter = self._slot.current
            self.get_logger().info(
                f"labels {camera.topic} with model '{segmenter.spec.name}' "
                f'({segmenter.label_space.num_classes} classes) by {segmenter.runtime}')

    def _deactivate(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None
        for camera in self._cameras.values():
            camera.close()
        self._cameras.clear()
        self._slot.free()

    def _clean_up(self) -> None:
        self._follower.close()
        self._deactivate()
        self._control.close()
        for part in (self._diagnostics, self._label_info):
            if part is not None:
                part.close()
        self._diagnostics = self._label_info = None

    def _load(self, model: str) -> Segmenter:
        self._follower.on_load()
        values = {**self._values, 'model': model}
        current = self._slot.current
        # Of one network's versions the same runtime is the fastest, and a trial would take time
        # from the camera. Whether bfloat16 names the same classes depends on the weights.
        is_version = current is not None and current.directory.parent == self._follower.folder
        if is_version and values['runtime'] == 'auto' and current.runtime != 'openvino_bf16':
            values['runtime'] = current.runtime
        return load_segmenter(values, before=current)

    def _on_swap(self, segmenter: Segmenter) -> None:
        """Tell what the labels mean from now on; called from several threads."""
        self._batches.reset()
        self._follower.on_swap(segmenter)
        self._reference = segmenter, self._read_reference(segmenter)
        for camera in list(self._cameras.values()):
            self._watch_for_shift(camera)
        label_info = self._label_info  # None once the node has ended
        if label_info is not None:
            label_info.publish(segmenter)

    def _read_reference(self, segmenter: Segmenter) -> ShiftReference | None:
        try:
            return ShiftReference.read(
                segmenter.directory, num_classes=segmenter.label_space.num_classes)
        except InputError as error:
            self.get_logger().warning(f'no shift of a camera will be noticed: {error}')
            return None

    def _watch_for_shift(self, camera: Camera) -> None:
        segmenter, reference = self._reference
        camera.statistics.new_model(segmenter, reference and ShiftDetector(reference))

    def _on_frame(self, camera: Camera, message: Image | CompressedImage) -> None:
        """Hand a frame over; the network runs in the worker's thread."""
        if (self._control.is_enabled and camera.wanted()
                and camera.is_due(self.get_parameter('max_rate').value)):
            self._worker.submit(camera, message)

    def _segment(self, batch: list[tuple[Camera, Image | CompressedImage]]) -> None:
        self._pipeline.run(self._slot.current, batch)

    def _on_reduced_batch(self, limit: int) -> None:
        self.get_logger().warning(
            f'out of memory: at most {limit} frames go through the network at once from now on')

    def _on_bad_frame(self, camera: Camera, error: Exception) -> None:
        if not self.context.ok():
            return  # the node is ending: publishing is refused, the frame is not at fault
        camera.statistics.fail()
        num_bad = camera.statistics.summary().num_bad
        kind = '' if isinstance(error, InputError) else f'{type(error).__name__}: '
        self.get_logger().warning(
            f'{camera.topic}: frame dropped, {num_bad} so far: {kind}{error}',
            throttle_duration_sec=WARNING_PERIOD_S)

    def _statuses(self) -> list[DiagnosticStatus]:
        name = self.get_fully_qualified_name().lstrip('/')
        state = ModelState(
            segmenter=self._slot.current, num_swaps=self._slot.num_swaps,
            is_active=self._worker is not None, is_loading=self._slot.is_loading,
            fault=self._slot.fault, batch_limit=self._batches.limit,
            max_batch=self._batches.most, trial=self._follower.trial,
            rolled_back=self._follower.rolled_back)
        limit_s = self.get_parameter('no_frame_warning_s').value
        return [model_status(f'{name}: model', state), *(
            camera_status(
                f'{name}: camera {camera.topic}', camera.statistics.summary(),
                silence_limit_s=limit_s, is_enabled=self._control.is_enabled,
                is_wanted=bool(camera.wanted()))
            for camera in self._cameras.values())]


def main(args: list[str] | None = None) -> int:
    """
    Run the node.

    :param args: Command line, default `sys.argv`.
    :return: Exit code; 2 if a parameter or the model is at fault.
    """
    return run_node(SegmentationNode, NAME, args)


if __name__ == '__main__':
    sys.exit(main())
