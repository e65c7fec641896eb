# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every node's `main` does: start, spin, end in good order, answer with an exit code."""

from __future__ import annotations

import signal
import sys
from typing import Any, Callable, Protocol

from bkd_core.errors import InputError
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.task import Future

EXIT_OK = 0
EXIT_INPUT_ERROR = 2


class RunnableNode(Protocol):
    """A node that can be run to its end."""

    done: Future

    def close(self) -> None:
        """Stop threads and finish what the node writes, then destroy it; may raise InputError."""


def run_node(create: Callable[[], Any], name: str, args: list[str] | None = None) -> int:
    """
    Create a node and spin it until it is done or the process is told to stop.

    :param create: Returns a `RunnableNode`.
    :param name: Name for messages before the node exists.
    :param args: Command line, default `sys.argv`.
    :return: Exit code: 0 after a normal end, SIGINT or SIGTERM; 2 after a user's mistake.
    """
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # a bad --ros-args; there is no logging yet
        print(f'{name}: {error}', file=sys.stderr)
        return EXIT_INPUT_ERROR
    try:
        return _run(create, name)
    finally:
        rclpy.try_shutdown()
        _ignore_signals()  # rclpy has put the handlers back that it found


def _run(create: Callable[[], Any], name: str) -> int:
    node = None
    code = EXIT_OK
    try:
        node = create()
        _spin(node)
    except InputError as error:
        code = _report(error, name)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise
        # else: stopped while it was starting; rclpy refuses every call after the signal
    finally:
        _ignore_signals()
        if node is not None:
            try:
                node.close()
            except InputError as error:
                code = _report(error, name)
    return code


def _report(error: InputError, name: str) -> int:
    get_logger(name).fatal(str(error))
    return EXIT_INPUT_ERROR


def _ignore_signals() -> None:
    """Let a second Ctrl-C, or launch's signals after the terminal's, not cut the end short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _spin(node: Any) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin_until_future_complete(node.done)
        if node.done.done():
            node.done.result()  # raises what a thread of the node met
    finally:
        executor.remove_node(node)
        executor.shutdown(timeout_sec=0)
