# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One parameter of a node: how it is declared, described and checked."""

from __future__ import annotations

from dataclasses import dataclass
import difflib
from typing import Any

from bkd_core.errors import InputError, unknown_name
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

# Declared by rclpy itself, or by the topics whose QoS a user may override.
_FOREIGN = ('use_sim_time', 'qos_overrides.', 'start_type_description_service')


@dataclass(frozen=True, kw_only=True)
class Setting:
    """
    One parameter.

    :param default: Its default; its type is the parameter's type.
    :param description: What it does, with its unit.
    :param minimum: Smallest value of a number.
    :param maximum: Largest value of a number.
    :param choices: The values of a text that is not free.
    :param is_live: Whether it may change while the node runs.
    :param is_required: Whether an empty value is refused.
    """

    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    is_live: bool = False
    is_required: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` shows."""
        choices = f' One of {list(self.choices)}.' if self.choices else ''
        descriptor = ParameterDescriptor(
            description=self.description + choices, read_only=not self.is_live)
        if self.minimum is not None:
            if isinstance(self.default, float):
                descriptor.floating_point_range = [FloatingPointRange(
                    from_value=float(self.minimum), to_value=float(self.maximum))]
            else:
                descriptor.integer_range = [IntegerRange(
                    from_value=int(self.minimum), to_value=int(self.maximum), step=1)]
        return descriptor


def declare(node: Node, settings: dict[str, Setting]) -> dict[str, Any]:
    """
    Declare a node's parameters and return their values.

    :param node: The node.
    :param settings: Name -> setting.
    :return: Name -> value, as given by defaults, parameter files and the command line.
    :raises InputError: If a value has the wrong type, lies outside its range or is missing.
    """
    values = {}
    for name, setting in settings.items():
        try:
            values[name] = node.declare_parameter(
                name, setting.default, setting.descriptor()).value
        except (InvalidParameterTypeException, InvalidParameterValueException,
                ParameterUninitializedException) as error:
            expected = f'a value like {setting.default!r}'
            if setting.minimum is not None:
                expected += f' from {setting.minimum} to {setting.maximum}'
            raise InputError(
                f"{node.get_name()}: parameter '{name}': expected {expected}; {error}") from error
        _check(node.get_name(), name, setting, values[name])
    _warn_of_unknown(node, settings)
    return values


def resolve_topic(node: Node, parameter: str, topic: str) -> str:
    """
    Return a topic's full name, remapped as the user wishes.

    :param node: The node.
    :param parameter: Where the name comes from.
    :param topic: The name.
    :raises InputError: If it is none.
    """
    try:
        return node.resolve_topic_name(topic)
    except RuntimeError as error:  # rcl's, with the line of its source code
        reason = str(error).partition(', at ')[0]
        raise InputError(
            f"{node.get_name()}: parameter '{parameter}': '{topic}': {reason}") from error


def refuse_bad_values(
    settings: dict[str, Setting], parameters: list[Parameter],
) -> SetParametersResult:
    """
    Check parameters that a user sets at run time; rclpy has checked type and range.

    :param settings: The node's settings.
    :param parameters: What is to be set.
    """
    for parameter in parameters:
        setting = settings.get(parameter.name)
        try:
            if setting is not None:
                _check('', parameter.name, setting, parameter.value)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def _check(node_name: str, name: str, setting: Setting, value: Any) -> None:
    where = f'{node_name}: ' if node_name else ''
    if setting.choices and value not in setting.choices:
        error = unknown_name(f'value of parameter {name}', value, setting.choices)
        raise InputError(f'{where}{error}')
    if setting.is_required and (not value or '' in list(value)):
        raise InputError(
            f"{where}parameter '{name}' is not set. {setting.description} Give it with "
            f'--ros-args -p {name}:=VALUE')


def _warn_of_unknown(node: Node, settings: dict[str, Setting]) -> None:
    """Name parameters that were given but that the node does not have: ROS ignores them."""
    # A warning, not an error: a file's '/**' section may hold other nodes' parameters.
    for name in getattr(node, '_parameter_overrides', {}):
        if name not in settings and not name.startswith(_FOREIGN):
            near = difflib.get_close_matches(name, settings, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ''
            node.get_logger().warning(
                f"unknown parameter '{name}' is ignored; this node has {sorted(settings)}.{hint}")
