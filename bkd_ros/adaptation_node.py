# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Adapt a model to the frames of a store, in rounds that are processes of their own.

    /diagnostics         in    with start_on 'shift': what nodes of this namespace say of cameras
    ~/progress           out   diagnostic_msgs/DiagnosticStatus, latched, whenever it changes
    /diagnostics         out   diagnostic_msgs/DiagnosticArray, the same once a second
    ~/start                    std_srvs/Trigger: begin a round, or go on with a stopped one
    ~/pause                    std_srvs/SetBool: halt the round where it is, or let it go on
    ~/stop                     std_srvs/Trigger: stop it; ~/start goes on from its last checkpoint

A round that crashes, runs out of memory or is killed never ends this node, nor costs a frame.
What a round makes is a version in the folder `versions`, used only if the gate accepts it;
segmentation_node follows that folder.
"""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any, Callable

from bkd_core import model_directory
from bkd_core.adaptation import RoundProcess, RoundTrigger
from bkd_core.errors import InputError
from bkd_ros import parameters
from bkd_ros.diagnostics import DiagnosticsPublisher, is_shifted, round_status
from bkd_ros.label_info import LATCHED_QOS
from bkd_ros.run_node import run_node
from bkd_ros.setting import declare
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

NAME = 'adaptation_node'
PROGRESS_PERIOD_S = 0.5
START_PERIOD_S = 2.0  # between two looks at whether a round is due


class AdaptationNode(Node):
    """
    Connect services and topics to a `RoundProcess`.

    :param options: Passed on to `rclpy.node.Node`, such as parameter_overrides.
    :raises InputError: If a parameter is wrong, or something is missing without which no round
        can be made, such as labelled source frames.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, **options)
        self.done = Future()  # never: the node runs until it is stopped
        self._values = values = declare(self, parameters.ADAPTATION)
        self._versions = versions_folder(values)
        self._round = RoundProcess(
            round_arguments(values, self._versions), versions=self._versions,
            environment=thread_limits(values['num_threads']))
        self._round.check()
        self._trigger = RoundTrigger(
            values['start_on'], store=Path(values['store']).expanduser(),
            versions=self._versions, min_frames=values['min_frames'],
            shift_seconds=values['shift_seconds'])
        self._num_new = self._trigger.num_new_frames()
        self._told = ''
        self._is_held = False  # a person has stopped a round: only a person goes on with it
        self._progress = self.create_publisher(DiagnosticStatus, '~/progress', LATCHED_QOS)
        self._diagnostics = DiagnosticsPublisher(self, lambda: [self._status()])
        for kind, name, callback in (
                (Trigger, 'start', self._on_start), (SetBool, 'pause', self._on_pause),
                (Trigger, 'stop', self._on_stop)):
            self.create_service(kind, f'~/{name}', callback)
        clock = Clock(clock_type=ClockType.STEADY_TIME)  # a simulation may stand still
        self.create_timer(PROGRESS_PERIOD_S, self._tell, clock=clock)
        self.create_timer(START_PERIOD_S, self._start_if_due, clock=clock)
        if values['start_on'] == 'shift':
            self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._tell()
        self.get_logger().info(
            f"adapts '{values['model']}' to the frames in {values['store']}; versions go to "
            f'{self._versions}')

    def close(self) -> None:
        """Stop the round, so that the next start goes on with it, and destroy the node."""
        self._round.close()
        self.destroy_node()

    def _on_start(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        return self._answer(response, self._start, 'a round begins or goes on')

    def _on_pause(
        self, request: SetBool.Request, response: SetBool.Response,
    ) -> SetBool.Response:
        return self._answer(
            response, lambda: self._round.pause(request.data),
            'the round is halted' if request.data else 'the round goes on')

    def _on_stop(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        self._is_held = self._round.is_running
        return self._answer(
            response, self._round.stop, 'the round is being stopped; ~/start goes on with it')

    def _answer(self, response: Any, act: Callable[[], None], message: str) -> Any:
        """Act, and answer a service; what cannot be done is the answer, too."""
        response.success, response.message = True, message
        try:
            act()
        except InputError as error:
            response.success, response.message = False, str(error)
        self._tell()
        return response

    def _start(self) -> None:
        self._round.start()
        try:
            self._trigger.begin()
        except OSError as error:
            self.get_logger().warning(f'the next round may begin at the same frames: {error}')
        self._is_held, self._num_new = False, 0

    def _start_if_due(self) -> None:
        self._num_new = self._trigger.num_new_frames()
        if self._round.is_running or self._is_held:
            return
        # A round that the end of this node stopped was due then.
        is_unfinished = self._round.status.state == 'stopped' and (
            self._values['start_on'] != 'request')
        if is_unfinished or self._trigger.is_due:
            self.get_logger().info(
                'goes on with a round' if is_unfinished
                else f'{self._num_new} new frames: a round begins')
            try:
                self._start()
            except InputError as error:
                self.get_logger().error(str(error))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if namespace_of(status) == self.get_namespace():
                shifted = is_shifted(status)
                if shifted is not None:
                    self._trigger.on_shift(status.name, shifted)

    def _tell(self) -> None:
        """Publish the progress if it has changed, and log a change of the state."""
        status = self._status()
        if status.message != self._told:
            state = status.message.partition(':')[0]
            if state != self._told.partition(':')[0]:
                self._log(state == 'failed', f'round: {status.message}')
            self._told = status.message
            self._progress.publish(status)

    def _log(self, is_warning: bool, text: str) -> None:
        if is_warning:  # rclpy wants one severity from a line of code
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    def _status(self) -> DiagnosticStatus:
        return round_status(
            f'{self.get_fully_qualified_name().lstrip("/")}: round', self._round.status,
            start_on=self._values['start_on'], store=self._values['store'],
            versions=str(self._versions), num_new=self._num_new)


def namespace_of(status: DiagnosticStatus) -> str:
    """
    Return the namespace of the node that a status is about, such as '/' or '/robot1'.

    :param status: Its name is the node's full name without the first '/', then ': ' and a part.
    """
    node = status.name.partition(':')[0]
    return f'/{node.rpartition("/")[0]}'


def versions_folder(values: dict[str, Any]) -> Path:
    """
    Return the folder of the versions that the parameters name.

    :param values: Values of `parameters.ADAPTATION`.
    :raises InputError: If they name none, or the model is none.
    """
    if values['versions']:
        model_directory.resolve(values['model'])
        return Path(values['versions']).expanduser()
    folder = Path(values['model']).expanduser()
    if not (folder / model_directory.POINTER).is_file():
        raise InputError(
            f"{NAME}: parameter 'versions' is not set, and model '{values['model']}' is no folder "
            'of versions. Say where the versions are to go')
    return folder


def round_arguments(values: dict[str, Any], versions: Path) -> list[str]:
    """
    Return the arguments of `bkd adapt`.

    :param values: Values of `parameters.ADAPTATION`.
    :param versions: Folder of the versions.
    """
    replay = ['--replay', values['replay']] if values['replay'] else []
    return [
        values['model'], str(Path(values['store']).expanduser()), '--output', str(versions),
        '--restart-if-changed', *replay,
        '--device', values['device'], '--threads', str(values['num_threads']),
        '--priority', values['priority'], '--memory-megabytes', str(values['memory_megabytes']),
        *(option for option in values['options'] if option)]


def thread_limits(num_threads: int) -> dict[str, str]:
    """
    Return the variables by which libraries know their number of threads before they load.

    :param num_threads: The number; 0 sets none.
    """
    return {'OMP_NUM_THREADS': str(num_threads)} if num_threads else {}


def main(args: list[str] | None = None) -> int:
    """
    Run the node.

    :param args: Command line, default `sys.argv`.
    :return: Exit code; 2 if a parameter is at fault.
    """
    return run_node(AdaptationNode, NAME, args)


if __name__ == '__main__':
    sys.exit(main())
