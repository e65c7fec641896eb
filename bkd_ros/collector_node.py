# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Collect the frames of one or several camera topics that are worth having in a frame store.

    image, or image/compressed   in    sensor_msgs/Image or CompressedImage, best effort
    as pose_topic says           in    geometry_msgs/PoseStamped, kept with the frames
    /diagnostics                 out   diagnostic_msgs/DiagnosticArray, once a second
    ~/pause                            std_srvs/SetBool: leave frames alone, or go on

Every frame is safe on the disk before the next one is looked at, so the node may be killed at
any instant and started again on the same store.
"""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

from bkd_core.adaptation import Collector, CollectorConfig, NOT_WRITTEN, QualityConfig
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_ros import parameters
from bkd_ros.camera import camera_names
from bkd_ros.camera_input import CameraInput
from bkd_ros.diagnostics import store_status
from bkd_ros.latest_frame_worker import LatestFrameWorker
from bkd_ros.run_node import run_node
from bkd_ros.setting import declare, refuse_bad_values
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

NAME = 'collector_node'
WARNING_PERIOD_S = 10.0
DIAGNOSTICS_PERIOD_S = 1.0


class CollectorNode(Node):
    """
    Connect camera topics to a `Collector`.

    :param options: Passed on to `rclpy.node.Node`, such as parameter_overrides.
    :raises InputError: If a parameter is wrong, or the store cannot be used.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, **options)
        self.done = Future()  # never: the node runs until it is stopped
        self._values = declare(self, parameters.COLLECTOR)
        self._is_paused = False
        self._num_bad = 0
        self._pose: PoseStamped | None = None
        topics = self._values['image_topics']
        names = camera_names(topics)
        self._collector = make_collector(self._values)
        self.add_on_set_parameters_callback(self._check_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_service(SetBool, '~/pause', self._on_pause)
        self.create_timer(  # a steady clock: a simulation may stand still
            DIAGNOSTICS_PERIOD_S, self._diagnose, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if self._values['pose_topic']:
            self.create_subscription(
                PoseStamped, self._values['pose_topic'], self._on_pose, qos_profile_sensor_data)
        self._worker: LatestFrameWorker[CameraInput, Image | CompressedImage] = \
            LatestFrameWorker(self._collect, on_error=self._on_bad_frame)
        self._cameras = [
            CameraInput(
                self, topic, name=name, on_frame=self._on_frame,
                is_compressed=self._values['image_transport'] == 'compressed')
            for name, topic in zip(names, topics)]
        store = self._collector.store
        for warning in self._collector.warnings():
            self.get_logger().warning(warning)
        self.get_logger().info(
            f'collects {[camera.topic for camera in self._cameras]} into {store.folder} '
            f'({len(store)} frames, {store.num_bytes / 1e6:.1f} of {store.max_bytes / 1e6:g} MB)')

    def close(self) -> None:
        """Let the frame in work end, let go of the store and destroy the node."""
        self._worker.close()
        self._collector.close()
        self.destroy_node()

    def _check_parameters(self, changes: list[Parameter]) -> Any:
        return refuse_bad_values(parameters.COLLECTOR, changes)

    def _on_pose(self, message: PoseStamped) -> None:
        self._pose = message

    def _on_frame(self, camera: CameraInput, message: Image | CompressedImage) -> None:
        """Hand a frame over; it is judged and written in the worker's thread."""
        if not self._is_paused and camera.is_due(self.get_parameter('max_rate').value):
            self._worker.submit(camera, message)

    def _collect(self, waiting: list[tuple[CameraInput, Image | CompressedImage]]) -> None:
        for camera, message in waiting:
            addition = self._collector.offer(
                camera.to_rgb(message), camera.metadata(message.header, self._pose))
            if addition.reason == NOT_WRITTEN:
                self.get_logger().warning(
                    f'a frame of {camera.topic} could not be written: '
                    f'{self._collector.summary().fault}',
                    throttle_duration_sec=WARNING_PERIOD_S)

    def _on_bad_frame(self, camera: CameraInput, error: Exception) -> None:
        self._num_bad += 1
        self.get_logger().warning(
            f'{camera.topic}: a frame was left out: {error}',
            throttle_duration_sec=WARNING_PERIOD_S)

    def _on_pause(
        self, request: SetBool.Request, response: SetBool.Response,
    ) -> SetBool.Response:
        self._is_paused = request.data
        response.success = True
        response.message = 'leaves frames alone' if request.data else 'collects frames'
        return response

    def _diagnose(self) -> None:
        message = DiagnosticArray(status=[store_status(
            f'{self.get_fully_qualified_name().lstrip("/")}: store',
            self._collector.summary(), folder=str(self._collector.store.folder),
            max_bytes=self._collector.store.max_bytes,
            num_damaged=len(self._collector.store.damaged), num_bad=self._num_bad,
            silent_s={camera.topic: camera.silent_s for camera in self._cameras},
            silence_limit_s=self.get_parameter('no_frame_warning_s').value,
            is_paused=self._is_paused)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def make_collector(values: dict[str, Any]) -> Collector:
    """
    Return the collector that the parameters describe.

    :param values: Name -> value.
    :raises InputError: If one is wrong, or the store cannot be used.
    """
    config = CollectorConfig(
        max_megabytes=values['max_megabytes'], image_format=values['image_format'],
        selection=values['selection'], seed=values['seed'],
        blur_classes=tuple(name for name in values['blur_classes'] if name),
        blur_threshold=values['blur_threshold'],
        quality=QualityConfig(**{
            name: values[name]
            for name in ('min_sharpness', 'max_dark', 'max_bright', 'min_difference')}))
    segmenter = None
    if config.needs_network:
        segmenter = Segmenter.load(
            values['model'], device=values['device'], num_threads=values['num_threads'])
    try:
        return Collector(Path(values['store']).expanduser(), config=config, segmenter=segmenter)
    except InputError as error:
        raise InputError(f'{NAME}: {error}') from error


def main(args: list[str] | None = None) -> int:
    """
    Run the node.

    :param args: Command line, default `sys.argv`.
    :return: Exit code; 2 if a parameter is at fault or the store cannot be used.
    """
    return run_node(CollectorNode, NAME, args)


if __name__ == '__main__':
    sys.exit(main())
