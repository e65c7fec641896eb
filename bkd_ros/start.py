# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Entry points of the executables, before anything large is imported.

A missing ROS is told, and Ctrl-C ends the process without a traceback while it is starting.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys


def segmentation_node() -> int:
    """Run segmentation_node and return its exit code."""
    return _start('segmentation_node')


def collector_node() -> int:
    """Run collector_node and return its exit code."""
    return _start('collector_node')


def adaptation_node() -> int:
    """Run adaptation_node and return its exit code."""
    return _start('adaptation_node')


def player_node() -> int:
    """Run player_node and return its exit code."""
    return _start('player_node')


def recorder_node() -> int:
    """Run recorder_node and return its exit code."""
    return _start('recorder_node')


def end_at_once_when_stopped() -> None:
    """Let SIGINT and SIGTERM end the process with code 0: it has done nothing yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))


def _start(name: str) -> int:
    end_at_once_when_stopped()
    if importlib.util.find_spec('rclpy') is None:
        print(
            f'{name}: rclpy is not installed. Source a ROS 2 installation, or install it from '
            "wheels: pip install 'bkd_ros[ros]'", file=sys.stderr)
        return 2
    return importlib.import_module(f'bkd_ros.{name}').main()
