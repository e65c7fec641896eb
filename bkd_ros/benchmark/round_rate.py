# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A camera that is answered by turns without a round of adaptation, and while one trains."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import sys
import time
from typing import Any, Callable

from bkd_ros.benchmark.cameras import Cameras, connect, film, listen
from bkd_ros.label_info import LATCHED_QOS
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

IMAGE = '/camera/image'
LABELS, ROUND = '/segmentation_node/labels', '/adaptation_node'
PATIENCE_S = 300.0  # a round reads, checks and copies its input first
WARM_UP_S = 2.0
LINGER_S = 1.0  # after the last frame


class Round(Node):
    """
    Start and stop rounds of `adaptation_node`, and know how far they are.

    :param executor: That this node is put into.
    """

    def __init__(self, executor: SingleThreadedExecutor) -> None:
        super().__init__('round_control')
        self._executor = executor
        executor.add_node(self)
        self.values: dict[str, str] = {}
        self.create_subscription(
            DiagnosticStatus, f'{ROUND}/progress', self._hear, LATCHED_QOS)
        self._heard_s = 0.0

    def start(self) -> None:
        """Begin a round, or go on with one, until it trains."""
        self._call('start')
        self._wait(lambda: int(self.values.get('step', 0)) > 0 and self.is_training, 'to train')

    def stop(self) -> None:
        """Stop the round; wait until its process is gone."""
        self._call('stop')
        self._wait(lambda: self.values['state'] == 'stopped', 'to stop')
        self.values = {}

    @property
    def is_training(self) -> bool:
        """Return whether the newest word of a round is that it trains."""
        return self.values.get('state') == 'running' and (
            self.values.get('stage') in ('teacher', 'student'))

    def steps_per_s(self, act: Callable[[], None]) -> float:
        """
        Return how many steps a second a round makes while something is done.

        :param act: What is done.
        :raises RuntimeError: If it does not train all the while.
        """
        step, began = self._next_word()
        act()
        end, ended = self._next_word()
        return (end - step) / (ended - began)

    def _next_word(self) -> tuple[int, float]:
        """Return the step and the time of the next word of the round."""
        heard = self._heard_s
        self._wait(lambda: self._heard_s > heard, 'to say how far it is')
        if not self.is_training:
            raise RuntimeError(f'the round does not train: {self.values}')
        return int(self.values['step']), self._heard_s

    def _hear(self, message: DiagnosticStatus) -> None:
        self.values = {pair.key: pair.value for pair in message.values}
        self._heard_s = time.monotonic()

    def _call(self, name: str) -> None:
        client = self.create_client(Trigger, f'{ROUND}/{name}')
        self._wait(client.service_is_ready, f'to offer ~/{name}')
        answer = client.call_async(Trigger.Request())
        self._wait(answer.done, f'to answer ~/{name}')
        self.destroy_client(client)
        if not answer.result().success:
            raise RuntimeError(f'~/{name}: {answer.result().message}')

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if self.values.get('state') == 'failed':
                raise RuntimeError(f'the round failed: {self.values["reason"]}')
            if time.monotonic() > end:
                raise RuntimeError(f'waited {PATIENCE_S:g} s for the round {what}: {self.values}')
            self._executor.spin_once(timeout_sec=0.1)


def measure(
    cameras: Cameras, executor: SingleThreadedExecutor, *, rate: float, seconds: float,
) -> dict[str, Any]:
    """
    Film for a while.

    :param cameras: One camera.
    :param executor: That it is in.
    :param rate: Frames per second.
    :param seconds: For how long.
    :return: Frames sent; labels a second; milliseconds from stamp to labels of each answer.
    """
    first = len(cameras.sent[IMAGE])
    film(cameras, executor, rate=rate, seconds=seconds)
    listen(executor, LINGER_S)
    sent = cameras.sent[IMAGE][first:]
    latencies = [
        cameras.answers[IMAGE][stamp] for stamp in sent if stamp in cameras.answers[IMAGE]]
    # A camera that comes late takes longer for its frames than it should.
    taken = (sent[-1] - sent[0]) / 1e9 * len(sent) / max(1, len(sent) - 1)
    return {
        'sent': len(sent), 'sent_per_s': len(sent) / taken,
        'labels_per_s': len(latencies) / taken, 'latencies_ms': latencies}


def turn(
    cameras: Cameras, executor: SingleThreadedExecutor, adaptation: Round, *, rate: float,
    seconds: float,
) -> dict[str, Any]:
    """
    Film without a round, let a round train alone, and film while it trains.

    :param cameras: One camera.
    :param executor: All nodes' here.
    :param adaptation: The round.
    :param rate: Frames per second.
    :param seconds: How long each of the three takes.
    """
    without = measure(cameras, executor, rate=rate, seconds=seconds)
    adaptation.start()
    alone = adaptation.steps_per_s(lambda: listen(executor, seconds))
    during: dict[str, Any] = {}
    beside = adaptation.steps_per_s(lambda: during.update(
        measure(cameras, executor, rate=rate, seconds=seconds)))
    adaptation.stop()
    return {
        'without': without, 'during': during, 'steps_per_s_alone': alone,
        'steps_per_s': beside}


def main() -> int:
    """Take turns as the command line says; return 0, or 3 if the node did not come."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--frames', type=Path, help='.npy of (N, H, W, 3) uint8')
    parser.add_argument('--rate', type=float)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--turns', type=int)
    parser.add_argument('--report', type=Path)
    options = parser.parse_args()
    rclpy.init(args=[])
    try:
        executor = SingleThreadedExecutor()
        cameras = Cameras({IMAGE: LABELS}, np.load(options.frames))
        executor.add_node(cameras)
        if not connect(cameras, executor):
            return 3
        measure(cameras, executor, rate=options.rate, seconds=WARM_UP_S)
        adaptation = Round(executor)
        options.report.write_text(json.dumps([
            turn(cameras, executor, adaptation, rate=options.rate, seconds=options.seconds)
            for _ in range(options.turns)]))
        return 0
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
