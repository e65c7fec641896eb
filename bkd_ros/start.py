# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Entry points of the executables; a missing ROS is told before anything imports it."""

from __future__ import annotations

import importlib
import importlib.util
import sys


def segmentation_node() -> int:
    """Run segmentation_node and return its exit code."""
    return _start('segmentation_node')


def player_node() -> int:
    """Run player_node and return its exit code."""
    return _start('player_node')


def recorder_node() -> int:
    """Run recorder_node and return its exit code."""
    return _start('recorder_node')


def _start(name: str) -> int:
    if importlib.util.find_spec('rclpy') is None:
        print(
            f'{name}: rclpy is not installed. Source a ROS 2 installation, or install it from '
            "wheels: pip install 'bkd_ros[ros]'", file=sys.stderr)
        return 2
    return importlib.import_module(f'bkd_ros.{name}').main()
