# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A node's process: what it keeps while it spins, and how it ends."""

from __future__ import annotations

import subprocess
import sys

from fixtures_ros import ROOT
import pytest

pytest.importorskip('rclpy')

# It ends in a moment in which nothing else happens, from another thread.
SCRIPT = """
import sys, threading, time
from bkd_ros.run_node import run_node
from rclpy.node import Node
from rclpy.task import Future

class Counting(Future):
    num_callbacks = 0

    def add_done_callback(self, callback):
        self.num_callbacks += 1
        super().add_done_callback(callback)

class Busy(Node):
    def __init__(self):
        super().__init__('busy')
        self.done, self.num_ticks = Counting(), 0
        self.timer = self.create_timer(0.001, self.tick)

    def tick(self):
        self.num_ticks += 1
        if self.num_ticks == 300:
            self.timer.cancel()
            threading.Timer(0.2, self.done.set_result, [None]).start()

    def close(self):
        print(self.num_ticks, self.done.num_callbacks)
        self.destroy_node()

sys.exit(run_node(Busy, 'busy', []))
"""


def test_a_node_that_runs_for_weeks_keeps_nothing_for_each_turn():
    result = subprocess.run(
        [sys.executable, '-c', SCRIPT], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, '')
    assert result.stdout.split() == ['300', '1']


# The callback by which Python frees the lock of a module that was imported; what is raised in one
# is printed and lost.
CALLBACK = """
import os, signal, time, weakref
from bkd_ros.run_node import run_node

class Module:
    pass

def create():
    names = {'os': os, 'signal': signal}
    exec(compile(
        'def cb(ref):\\n    os.kill(os.getpid(), signal.SIGTERM)\\n    for _ in range(99): pass',
        '<frozen importlib._bootstrap>', 'exec'), names)
    module = Module()
    reference = weakref.ref(module, names['cb'])
    del module
    print('goes on')
    time.sleep(30)
    print('was not stopped')

print(run_node(create, 'stopped', []))
"""


def test_a_signal_while_an_import_lock_is_freed_ends_the_node_as_well():
    done = subprocess.run(
        [sys.executable, '-c', CALLBACK], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'goes on\n0\n', '')


# A node that nothing wakes; its end takes longer than what rclpy would do at the signal.
IDLE = """
import os, signal, sys, threading, time
from bkd_ros.run_node import run_node
import rclpy
from rclpy.node import Node
from rclpy.task import Future

class Idle(Node):
    def __init__(self):
        super().__init__('idle')
        self.done = Future()
        threading.Timer(0.5, os.kill, [os.getpid(), getattr(signal, sys.argv[1])]).start()

    def close(self):
        time.sleep(0.3)
        print('ok' if rclpy.ok() else 'shut down')
        self.destroy_node()

sys.exit(run_node(Idle, 'idle', []))
"""


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_a_signal_ends_an_idle_node_and_leaves_its_context_to_the_end(name):
    done = subprocess.run(
        [sys.executable, '-c', IDLE, name], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'ok\n', '')


# Python prints what is raised in a destructor, and goes on.
DESTRUCTOR = """
import os, signal, sys
from bkd_ros.run_node import run_node
from rclpy.node import Node
from rclpy.task import Future

class Signal:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(99):
            pass

class Node(Node):
    def __init__(self):
        super().__init__('destructor')
        self.done = Future()
        self.timer = self.create_timer(0.1, self.tick)

    def tick(self):
        self.timer.cancel()
        Signal()

    def close(self):
        print('closed')
        self.destroy_node()

sys.exit(run_node(Node, 'destructor', []))
"""


def test_a_signal_that_comes_in_a_destructor_ends_the_node_as_well():
    done = subprocess.run(
        [sys.executable, '-c', DESTRUCTOR], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, 'closed\n')
