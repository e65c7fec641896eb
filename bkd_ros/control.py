# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a user changes while the segmentation node runs: its model, by parameter or service."""

from __future__ import annotations

from typing import Any

from bkd_core import model_directory
from bkd_core.errors import InputError
from bkd_ros import parameters
from bkd_ros.model_slot import ModelSlot
from bkd_ros.setting import refuse_bad_values
from bkd_ros.version_follower import VersionFollower
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger


class Control:
    """
    Carry out what parameters and services ask for.

    :param node: The node; its parameters are declared.
    :param slot: Where its network is.
    :param follower: Goes back among the versions of a model.
    """

    def __init__(self, node: Node, slot: ModelSlot, follower: VersionFollower) -> None:
        self._node = node
        self._slot = slot
        self._follower = follower
        self._services: list[Any] = []
        # Of their own: until a service has answered, nothing else of its group is called, and
        # the cameras' frames are in the node's.
        self._group = ReentrantCallbackGroup()
        self.is_enabled = True
        node.add_on_set_parameters_callback(self._check_parameters)
        if hasattr(node, 'add_post_set_parameters_callback'):
            node.add_post_set_parameters_callback(self._apply_parameters)

    def open(self) -> None:
        """Offer the services."""
        self._services = [
            self._node.create_service(
                kind, f'~/{name}', callback, callback_group=self._group)
            for kind, name, callback in (
                (Trigger, 'reload', self._reload), (Trigger, 'rollback', self._rollback),
                (SetBool, 'set_enabled', self._set_enabled))]

    def close(self) -> None:
        """Withdraw the services."""
        for service in self._services:
            self._node.destroy_service(service)
        self._services = []

    def _check_parameters(self, changes: list[Parameter]) -> Any:
        result = refuse_bad_values(parameters.SEGMENTATION, changes)
        for change in changes:
            if result.successful and change.name == 'model':
                try:
                    self._check_model(change.value)
                except InputError as error:
                    result.successful, result.reason = False, str(error)
        if result.successful and not hasattr(self._node, 'add_post_set_parameters_callback'):
            self._apply_parameters(changes)  # ROS 2 Humble has no callback for afterwards
        return result

    def _check_model(self, model: str) -> None:
        versions = self._node.get_parameter('versions').value
        if versions:
            raise InputError(
                f"model: the node runs the versions in '{versions}'; choose one of them by "
                f"'bkd versions {versions} use NUMBER'")
        model_directory.read_spec(model_directory.resolve(model))

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        for change in changes:
            if change.name == 'model' and self._slot.current is not None:
                self._slot.swap(change.value, self._report_swap)

    def _report_swap(self, fault: str) -> None:
        if fault:
            self._node.get_logger().error(f'the model before still serves: {fault}')
        else:
            self._node.get_logger().info(f"model '{self._slot.current.spec.name}' took over")

    async def _reload(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        """Load the model's directory again; frames go on being labelled meanwhile."""
        future = Future(executor=self._node.executor)

        def done(fault: str) -> None:
            self._report_swap(fault)
            future.set_result(fault)
            self._node.executor.wake()

        if self._slot.current is None:
            response.success, response.message = False, 'the node is not active'
            return response
        self._slot.swap(self._follower.model, done)
        fault = await future
        response.success, response.message = not fault, fault or self._served()
        return response

    async def _rollback(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        """Serve the model before; of a folder of versions, the version before."""
        if self._slot.current is None:
            response.success, response.message = False, 'the node is not active'
            return response
        if self._follower.folder is None:
            response.success = self._slot.rollback()
            response.message = self._served() if response.success else 'there is no model before'
            return response
        future = Future(executor=self._node.executor)

        def done(is_served: bool, message: str) -> None:
            future.set_result((is_served, message))
            self._node.executor.wake()
        self._follower.go_back(done)
        response.success, fault = await future
        response.message = self._served() if response.success else fault
        return response

    def _set_enabled(
        self, request: SetBool.Request, response: SetBool.Response,
    ) -> SetBool.Response:
        self.is_enabled = request.data
        response.success = True
        response.message = 'labels frames' if request.data else 'leaves frames alone'
        return response

    def _served(self) -> str:
        segmenter = self._slot.current
        return f"model '{segmenter.spec.name}' from {segmenter.directory} serves"
