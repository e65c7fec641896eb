# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Nodes as processes of their own, and a node of the test's that talks to them."""

from __future__ import annotations

from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / 'scripts'
PATIENCE_S = 60.0  # a loaded machine takes long to import rclpy and to discover


class NodeProcess:
    """
    A node started as a user starts it, with all its output in a file.

    :param executable: Name of a file in scripts/.
    :param log: Where its output goes.
    :param arguments: What follows --ros-args.
    """

    def __init__(self, executable, log, *arguments):
        self.log = log
        environment = {
            **os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONFAULTHANDLER': '1',
            'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
        with log.open('wb') as stream:
            self.process = subprocess.Popen(
                [sys.executable, SCRIPTS / executable, '--ros-args', *map(str, arguments)],
                stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=log.parent)

    def output(self):
        return self.log.read_text(errors='replace')

    def wait(self):
        """Return the exit code once it has ended by itself."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'it did not end:\n{self.output()}') from None

    def stop(self, number=signal.SIGINT):
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait_for(self, text):
        """Wait until it has printed a text; fail if it ends before."""
        wait_until(
            lambda: text in self.output() or self.process.poll() is not None,
            f'{text!r} in its output')
        assert text in self.output(), self.output()


@contextmanager
def node_process(executable, log, *arguments):
    """Start a node and see to it that it does not outlive the block."""
    node = NodeProcess(executable, log, *arguments)
    try:
        yield node
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()


def parameter(name, value):
    """Return the arguments that set a parameter."""
    return '-p', f'{name}:={value}'


def wait_until(condition, what, *, step=lambda: time.sleep(0.05), patience_s=PATIENCE_S):
    """Repeat a step until a condition holds."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f'waited {patience_s:g} s in vain for {what}'
        step()


class Probe:
    """A node of the test's, in a context of its own, that keeps what it receives."""

    def __init__(self, name='probe'):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def subscribe(self, kind, topic, qos):
        """Return a list that grows with each message."""
        received = []
        self.node.create_subscription(kind, topic, received.append, qos)
        return received

    def publisher(self, kind, topic, qos, *, num_subscribers=1):
        """Return a publisher once it has its subscribers."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.wait_until(
            lambda: publisher.get_subscription_count() >= num_subscribers,
            f'a subscriber of {topic}')
        return publisher

    def wait_until(self, condition, what, *, patience_s=PATIENCE_S):
        """Spin until a condition holds."""
        wait_until(
            condition, what, step=lambda: self.executor.spin_once(timeout_sec=0.05),
            patience_s=patience_s)

    def publish_until(self, publisher, message, condition, what, *, period_s=0.2):
        """Publish a message, and again when it may have been lost, until a condition holds."""
        due = 0.0

        def step():
            nonlocal due
            if time.monotonic() > due:
                publisher.publish(message)
                due = time.monotonic() + period_s
            self.executor.spin_once(timeout_sec=0.05)
        wait_until(condition, what, step=step)

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@contextmanager
def probe(name='probe'):
    """Make a probe and close it."""
    opened = Probe(name)
    try:
        yield opened
    finally:
        opened.close()
