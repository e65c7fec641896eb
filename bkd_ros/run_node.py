# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every node's `main` does: start, spin, end in good order, answer with an exit code."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any, Callable, Protocol

from bkd_core.errors import InputError
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

TURN_S = 0.2
EXIT_OK = 0
EXIT_INPUT_ERROR = 2
# SIGALRM: one of the others that came at a bad moment, once more.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


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
    stopped = _interrupt_once()
    try:
        return _run(create, name, args, stopped)
    except KeyboardInterrupt:  # before there was a node
        return EXIT_OK
    finally:
        rclpy.try_shutdown()
        for number in SIGNALS:  # also once Python has taken its own handlers down
            signal.signal(number, signal.SIG_IGN)


def _run(
    create: Callable[[], Any], name: str, args: list[str] | None, stopped: threading.Event,
) -> int:
    try:
        # Ours alone: rclpy's is a thread that a signal wakes, and that may then touch a guard
        # condition which the executor has freed meanwhile; the process crashes.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # a bad --ros-args; there is no logging yet
        print(f'{name}: {error}', file=sys.stderr)
        return EXIT_INPUT_ERROR
    node = None
    code = EXIT_OK
    try:
        node = create()
        _spin(node, stopped)
    except InputError as error:
        code = _report(error, name)
    except KeyboardInterrupt:
        pass
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


def _interrupt_once() -> threading.Event:
    """
    Let the first SIGINT or SIGTERM end the node, and no further one cut that end short.

    :return: Set by that signal: what is raised in a destructor is printed by Python and lost.
    """
    stopped = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _is_import_callback(frame):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            return
        stopped.set()
        _ignore_signals()
        raise KeyboardInterrupt
    for number in SIGNALS:
        signal.signal(number, interrupt)
    return stopped


def _is_import_callback(frame: FrameType | None) -> bool:
    """Return whether an import lock is being freed: Python prints what is raised there."""
    code = frame and frame.f_code
    return bool(code) and (code.co_filename, code.co_name) == (
        '<frozen importlib._bootstrap>', 'cb')


def _ignore_signals() -> None:
    """Let a second Ctrl-C, or launch's signals after the terminal's, change nothing."""
    for number in SIGNALS:
        # No SIG_IGN: Python prints a traceback for a signal that is on its way meanwhile.
        signal.signal(number, lambda *_: None)


class _Watched:
    """
    What an executor asks a future for in every turn, without a callback that stays each time.

    rclpy adds one to the future whenever something was done: a node that runs for weeks would
    keep millions of them.
    """

    def __init__(self, future: Future) -> None:
        self.done = future.done

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        """Leave it: the executor is woken by the one callback that `_spin` adds."""


def _spin(node: Any, stopped: threading.Event) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # Python calls handlers of signals between two turns only, and a turn waits for something.
    node.create_timer(TURN_S, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))
    node.done.add_done_callback(lambda future: executor.wake())
    watched = _Watched(node.done)
    try:
        while not stopped.is_set() and not node.done.done():
            executor.spin_once_until_future_complete(watched)
        if node.done.done():
            node.done.result()  # raises what a thread of the node met
    finally:
        executor.remove_node(node)
        executor.shutdown(timeout_sec=0)
