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
    ~/rollback                         std_srvs/Trigger: back to the model before
    ~/set_enabled                      std_srvs/SetBool: pause and go on

All outputs have the frame's header, untouched. Work that nobody subscribes to is not done. With
several cameras, each has its outputs under ~/NAME/.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bkd_core import model_directory
from bkd_core.errors import InputError
from bkd_core.inference import Segmentation, Segmenter
from bkd_core.inference.segmenter import resize_frame
from bkd_core.labels import IGNORE_INDEX
from bkd_core.visualization import colorize, overlay
from bkd_ros import parameters
from bkd_ros.camera import Camera, CAMERA_INFO, camera_names, IMAGE_OUTPUTS
from bkd_ros.conversions import labels_to_image, rgb_to_image
from bkd_ros.diagnostics import camera_status, model_status
from bkd_ros.latest_frame_worker import LatestFrameWorker
from bkd_ros.model_slot import ModelSlot
from bkd_ros.run_node import run_node
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

try:  # no wheel of it exists; Nav2's semantic layer wants its LabelInfo
    from vision_msgs import msg as vision_msgs
except ImportError:
    vision_msgs = None

NAME = 'segmentation_node'
WARNING_PERIOD_S = 3.0
DIAGNOSTICS_PERIOD_S = 1.0
WARM_UP_SIZE = (480, 640)

LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL)


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
        self._values = parameters.declare(self, parameters.SEGMENTATION)
        self._region = region_of_interest(self._values['region_of_interest'])
        self._fault: InputError | None = None
        self._is_constructed = False
        self._is_enabled = True
        self._worker: LatestFrameWorker[Camera, Image | CompressedImage] | None = None
        self._cameras: dict[str, Camera] = {}
        self._made: list[Any] = []  # what cleaning up destroys, with its destroyer
        self._slot = ModelSlot(self._load, on_swap=self._on_swap)
        self.add_on_set_parameters_callback(self._check_parameters)
        if hasattr(self, 'add_post_set_parameters_callback'):
            self.add_post_set_parameters_callback(self._apply_parameters)
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
        self._label_info = self.create_publisher(String, '~/label_info', LATCHED_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._made = [
            (self.destroy_publisher, self._label_info),
            (self.destroy_publisher, self._diagnostics)]
        if vision_msgs is not None:
            self._vision_info = self.create_publisher(
                vision_msgs.LabelInfo, '~/vision_label_info', LATCHED_QOS)
            self._made.append((self.destroy_publisher, self._vision_info))
        try:
            self._slot.load_now(self.get_parameter('model').value)
        except InputError:
            self._clean_up()
            raise
        self._made += [
            (self.destroy_service, self.create_service(kind, f'~/{name}', callback))
            for kind, name, callback in (
                (Trigger, 'reload', self._on_reload), (Trigger, 'rollback', self._on_rollback),
                (SetBool, 'set_enabled', self._on_set_enabled))]
        self._made.append((self.destroy_timer, self.create_timer(
            DIAGNOSTICS_PERIOD_S, self._diagnose,
            # A steady clock: a simulation that stands still is worth a diagnosis, too.
            clock=Clock(clock_type=ClockType.STEADY_TIME))))

    def _activate(self) -> None:
        if self._slot.current is None:  # freed by an earlier deactivation
            self._slot.load_now(self.get_parameter('model').value)
        topics = self._values['image_topics']
        names = camera_names(topics)
        self._worker = LatestFrameWorker(
            self._segment, on_error=self._on_bad_frame,
            on_replace=lambda camera: camera.statistics.replace())
        for name, topic in zip(names, topics):
            camera = Camera(
                self, topic, is_compressed=self._values['image_transport'] == 'compressed',
                prefix='~' if len(topics) == 1 else f'~/{name}', on_frame=self._on_frame)
            self._cameras[name] = camera
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
        self._deactivate()
        for destroy, item in self._made:
            destroy(item)
        self._made = []

    def _load(self, model: str) -> Segmenter:
        return load_segmenter({**self._values, 'model': model})

    def _on_swap(self, segmenter: Segmenter) -> None:
        """Tell what the labels mean from now on; called from several threads."""
        for camera in list(self._cameras.values()):
            camera.statistics.new_model()
        if not self.context.ok():
            return
        self._label_info.publish(String(data=label_info(segmenter)))
        if vision_msgs is not None:
            info = vision_label_info(segmenter, vision_msgs)
            info.header.stamp = self.get_clock().now().to_msg()
            self._vision_info.publish(info)

    def _check_parameters(self, changes: list[Parameter]) -> Any:
        result = parameters.refuse_bad_values(parameters.SEGMENTATION, changes)
        for change in changes:
            if result.successful and change.name == 'model':
                try:
                    model_directory.read_spec(model_directory.resolve(change.value))
                except InputError as error:
                    result.successful, result.reason = False, str(error)
        if result.successful and not hasattr(self, 'add_post_set_parameters_callback'):
            self._apply_parameters(changes)  # ROS 2 Humble has no callback for afterwards
        return result

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        for change in changes:
            if change.name == 'model' and self._slot.current is not None:
                self._slot.swap(change.value, self._report_swap)

    def _report_swap(self, fault: str) -> None:
        if fault:
            self.get_logger().error(f'the model before still serves: {fault}')
        else:
            self.get_logger().info(f"model '{self._slot.current.spec.name}' took over")

    async def _on_reload(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        """Load the model's directory again; frames go on being labelled meanwhile."""
        future = Future(executor=self.executor)

        def done(fault: str) -> None:
            self._report_swap(fault)
            future.set_result(fault)
            self.executor.wake()

        if self._slot.current is None:
            response.success, response.message = False, 'the node is not active'
            return response
        self._slot.swap(self.get_parameter('model').value, done)
        fault = await future
        response.success, response.message = not fault, fault or self._served()
        return response

    def _on_rollback(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        response.success = self._slot.rollback()
        response.message = self._served() if response.success else 'there is no model before'
        return response

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response,
    ) -> SetBool.Response:
        self._is_enabled = request.data
        response.success = True
        response.message = 'labels frames' if request.data else 'leaves frames alone'
        return response

    def _served(self) -> str:
        segmenter = self._slot.current
        return f"model '{segmenter.spec.name}' from {segmenter.directory} serves"

    def _on_frame(self, camera: Camera, message: Image | CompressedImage) -> None:
        """Hand a frame over; the network runs in the worker's thread."""
        if (self._is_enabled and camera.wanted()
                and camera.is_due(self.get_parameter('max_rate').value)):
            self._worker.submit(camera, message)

    def _segment(self, camera: Camera, message: Image | CompressedImage) -> None:
        wanted = camera.wanted()
        segmenter = self._slot.current
        frame = camera.to_rgb(message)
        if self._values['output_size'] == 'network':
            frame = resize_frame(frame, segmenter.spec)
        result = self._answer(segmenter, frame, 'confidence' in wanted)
        for name in IMAGE_OUTPUTS:
            if name in wanted:
                camera.publishers[name].publish(
                    self._output(name, segmenter, frame, result, message.header))
        if CAMERA_INFO in wanted:
            info = camera.camera_info(message.header, frame.shape[:2])
            if info is not None:
                camera.publishers[CAMERA_INFO].publish(info)
        camera.statistics.answer(
            latency_s=camera.latency_s(message.header), confidence=result.mean_confidence,
            entropy=result.mean_entropy)

    def _answer(
        self, segmenter: Segmenter, frame: np.ndarray, with_confidence: bool,
    ) -> Segmentation:
        """Label the region of interest; what lies outside or is too uncertain gets 255."""
        threshold = self.get_parameter('confidence_threshold').value
        with_confidence = with_confidence or threshold > 0
        left, top, right, bottom = self._region
        height, width = frame.shape[:2]
        # At least one pixel, whatever the shares are.
        x, y = (min(round(share * size), size - 1) for share, size in
                ((left, width), (top, height)))
        part = np.s_[
            y:max(y + 1, round(bottom * height)), x:max(x + 1, round(right * width))]
        result = segmenter(frame[part], with_confidence=with_confidence)
        labels, confidence = result.labels, result.confidence
        if threshold > 0:
            labels[confidence < threshold * 255] = IGNORE_INDEX
        if labels.shape != frame.shape[:2]:
            whole = np.full(frame.shape[:2], IGNORE_INDEX, np.uint8)
            whole[part] = labels
            labels = whole
            if confidence is not None:
                whole = np.zeros_like(labels)
                whole[part] = confidence
                confidence = whole
        return Segmentation(
            labels=labels, confidence=confidence, mean_entropy=result.mean_entropy,
            mean_confidence=result.mean_confidence)

    def _output(
        self, name: str, segmenter: Segmenter, frame: np.ndarray, result: Segmentation,
        header: Any,
    ) -> Image:
        if name == 'overlay':
            opacity = self.get_parameter('overlay_opacity').value
            return rgb_to_image(
                overlay(frame, result.labels, segmenter.label_space, opacity=opacity), header)
        if name == 'color':
            return rgb_to_image(colorize(result.labels, segmenter.label_space), header)
        return labels_to_image(getattr(result, name), header)

    def _on_bad_frame(self, camera: Camera, error: Exception) -> None:
        if not self.context.ok():
            return  # the node is ending: publishing is refused, the frame is not at fault
        camera.statistics.fail()
        num_bad = camera.statistics.summary().num_bad
        kind = '' if isinstance(error, InputError) else f'{type(error).__name__}: '
        self.get_logger().warning(
            f'{camera.topic}: frame dropped, {num_bad} so far: {kind}{error}',
            throttle_duration_sec=WARNING_PERIOD_S)

    def _diagnose(self) -> None:
        segmenter = self._slot.current
        name = self.get_fully_qualified_name().lstrip('/')
        statuses = [model_status(
            f'{name}: model', model=segmenter.spec.name if segmenter else '',
            directory=str(segmenter.directory) if segmenter else '',
            runtime=segmenter.runtime if segmenter else '', num_swaps=self._slot.num_swaps,
            is_active=self._worker is not None, is_loading=self._slot.is_loading,
            fault=self._slot.fault)]
        limit_s = self.get_parameter('no_frame_warning_s').value
        statuses += [
            camera_status(
                f'{name}: camera {camera.topic}', camera.statistics.summary(),
                silence_limit_s=limit_s, is_enabled=self._is_enabled,
                is_wanted=bool(camera.wanted()))
            for camera in self._cameras.values()]
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def region_of_interest(shares: list[float]) -> tuple[float, float, float, float]:
    """
    Check the region that is labelled.

    :param shares: Left, top, right, bottom, 0 to 1.
    :raises InputError: If it is no such region.
    """
    if len(shares) == 4:
        left, top, right, bottom = shares
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return left, top, right, bottom
    raise InputError(
        f"parameter 'region_of_interest': got {list(shares)}; expected left, top, right and "
        'bottom as shares from 0 to 1, left below right and top below bottom')


def load_segmenter(values: dict[str, Any]) -> Segmenter:
    """
    Load the model that a node's parameters ask for.

    :param values: Values of `parameters.SEGMENTATION`.
    :raises InputError: If it cannot be loaded.
    """
    segmenter = Segmenter.load(
        values['model'], runtime=values['runtime'], num_threads=values['num_threads'],
        input_height=values['input_height'] or None, device=values['device'])
    # The first inference is the slow one, and shows here, not at each frame, what is wrong.
    segmenter.warm_up(*WARM_UP_SIZE)
    return segmenter


def label_info(segmenter: Segmenter) -> str:
    """
    Return the JSON text that tells a subscriber what the class ids mean.

    :param segmenter: A loaded model.
    """
    space = segmenter.label_space
    return json.dumps({
        'model': segmenter.spec.name,
        'label_space': space.name,
        'ignore_index': IGNORE_INDEX,
        'classes': [
            {'id': number, 'name': name, 'color': list(color)}
            for number, (name, color) in enumerate(zip(space.classes, space.colors))],
    })


def vision_label_info(segmenter: Segmenter, messages: Any) -> Any:
    """
    Return the message that tells Nav2's semantic segmentation layer what the class ids mean.

    :param segmenter: A loaded model.
    :param messages: The module `vision_msgs.msg`.
    """
    return messages.LabelInfo(class_map=[
        messages.VisionClass(class_id=number, class_name=name)
        for number, name in enumerate(segmenter.label_space.classes)])


def main(args: list[str] | None = None) -> int:
    """
    Run the node.

    :param args: Command line, default `sys.argv`.
    :return: Exit code; 2 if a parameter or the model is at fault.
    """
    return run_node(SegmentationNode, NAME, args)


if __name__ == '__main__':
    sys.exit(main())
