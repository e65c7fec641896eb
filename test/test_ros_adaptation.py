# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The adaptation node as a process of its own: rounds that end well, badly, and go on."""

from __future__ import annotations

from dataclasses import replace
import json
import os
from pathlib import Path
import signal
import time

from bkd_core.adaptation import ModelVersions, RoundStatus
from bkd_core.adaptation.round_progress import RoundProgress
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('torch')

from bkd_ros.diagnostics import camera_status, is_shifted, round_status, SHIFTED  # noqa: E402
from bkd_ros.frame_statistics import FrameStatistics  # noqa: E402
from bkd_ros.label_info import LATCHED_QOS  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from fixtures_adaptation import fill_store, Hold, QUICK_OPTIONS, train_tiny_model  # noqa: E402
from fixtures_ros import node_process, parameter, probe  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

ROUND_PATIENCE_S = 300.0  # a busy machine has little left for a round at low priority
OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
# 'idle' would wait for ever on a machine that is busy with other things.
QUICK = (
    *parameter('priority', 'low'), *parameter('device', 'cpu'),
    *parameter('options', f'[{", ".join(QUICK_OPTIONS)}]'))


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return train_tiny_model(tmp_path_factory.mktemp('trained'))


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    """Return a store of twenty frames. Don't write into it."""
    folder = tmp_path_factory.mktemp('frames') / 'store'
    fill_store(folder)
    return folder


@pytest.fixture
def hold(tmp_path, monkeypatch):
    (tmp_path / 'customize').mkdir()
    return Hold(tmp_path / 'customize', monkeypatch)


class Robot:
    """An adaptation node in a namespace, and what it says."""

    def __init__(self, ears, namespace, node, versions):
        self.ears, self.node, self.versions = ears, node, ModelVersions(versions)
        self.name = f'{namespace.rstrip("/")}/adaptation_node'
        self.clients = {}
        self.progress = ears.subscribe(DiagnosticStatus, f'{self.name}/progress', LATCHED_QOS)
        self.diagnoses = ears.subscribe(DiagnosticArray, '/diagnostics', 10)

    def call(self, kind, service, **fields):
        client = self.clients.setdefault(
            service, self.ears.node.create_client(kind, f'{self.name}/{service}'))
        self.ears.wait_until(client.service_is_ready, f'the service {service}')
        future = client.call_async(kind.Request(**fields))
        self.ears.wait_until(future.done, f'an answer of {service}')
        return future.result()

    def value(self, key):
        """Return a value of the newest progress."""
        pairs = self.progress[-1].values if self.progress else ()
        return next((pair.value for pair in pairs if pair.key == key), '')

    def wait_for_state(self, state):
        self.ears.wait_until(
            lambda: self.value('state') == state, state, patience_s=ROUND_PATIENCE_S)

    def wait_for_hold(self, hold):
        self.ears.wait_until(
            lambda: hold.is_reached() or self.value('state') == 'failed', 'the stage',
            patience_s=ROUND_PATIENCE_S)
        assert hold.is_reached(), self.value('reason')

    def diagnosed(self):
        """Return the newest status on /diagnostics."""
        name = f'{self.name.lstrip("/")}: round'
        found = [item for array in self.diagnoses for item in array.status if item.name == name]
        return found[-1] if found else DiagnosticStatus()

    def kill_round(self):
        pid = int(self.value('process id'))
        os.kill(pid, signal.SIGKILL)
        return pid


@pytest.fixture
def start(tmp_path, model, store):
    """Return a function that starts a node in a namespace."""
    opened = []

    def run(namespace, *more):
        log = tmp_path / f'log_{len(opened)}'
        versions = tmp_path / 'versions'
        process = node_process(
            'adaptation_node', log, '-r', f'__ns:={namespace}', *parameter('store', store),
            *parameter('model', model), *parameter('versions', versions), *QUICK, *more)
        node = process.__enter__()
        opened.append(process)
        node.wait_for('versions go to')
        ears = probe()
        opened.append(ears)
        return Robot(ears.__enter__(), namespace, node, versions)
    yield run
    for context in reversed(opened):
        context.__exit__(None, None, None)


def test_a_round_that_is_killed_in_each_stage_ends_in_a_version_that_is_used(start, hold):
    robot = start('/killed')
    robot.wait_for_state('idle')
    assert robot.diagnosed().name == '' or robot.diagnosed().level == OK
    for stage in ('input', 'teacher:5', 'student', 'student:20', 'gate', 'report'):
        hold.at(stage)
        assert robot.call(Trigger, 'start').success
        assert not robot.call(Trigger, 'start').success
        robot.wait_for_hold(hold)
        assert robot.value('state') == 'running'
        robot.kill_round()
        robot.wait_for_state('failed')
        name = stage.partition(':')[0]
        assert f'killed by SIGKILL in stage {name}' in robot.value('reason')
        assert 'the next start goes on' in robot.value('reason')
    robot.diagnoses.clear()
    robot.ears.wait_until(lambda: robot.diagnosed().level == WARN, 'the warning')
    assert [version.number for version in robot.versions.list()] in ([1], [])
    hold.release()
    log = (robot.versions.folder / '.round.log')
    assert robot.call(Trigger, 'start').success
    robot.wait_for_state('accepted')
    assert 'Traceback' not in log.read_text()
    second = robot.versions.in_use()
    assert second.number == 2 and second.name == robot.value('version')
    assert second.reason == robot.value('reason')
    assert not (robot.versions.folder / '.round').exists()
    robot.ears.wait_until(lambda: robot.diagnosed().message.startswith('accepted'), 'it')
    assert robot.diagnosed().level == OK
    assert robot.node.stop() == 0 and 'Traceback' not in robot.node.output()


def test_a_round_is_paused_stopped_and_taken_up_by_the_next_node(start, hold, tmp_path):
    robot = start('/stopped')
    for service, fields in (('pause', {'data': True}), ('stop', {})):
        kind = SetBool if fields else Trigger
        answer = robot.call(kind, service, **fields)
        assert not answer.success and 'no round is running' in answer.message
    hold.at('student:12')
    assert robot.call(Trigger, 'start').success
    robot.wait_for_hold(hold)
    assert robot.call(SetBool, 'pause', data=True).success
    robot.wait_for_state('paused')
    pid = int(robot.value('process id'))
    robot.ears.wait_until(lambda: state_of(pid) == 'T', 'the kernel to halt it')
    assert robot.value('stage') == 'student' and robot.value('steps') == '40'
    robot.ears.wait_until(
        lambda: robot.diagnosed().message.startswith('paused: student'), 'the pause')
    assert robot.call(SetBool, 'pause', data=False).success
    robot.wait_for_state('running')
    assert robot.call(SetBool, 'pause', data=True).success
    assert robot.call(Trigger, 'stop').success  # also while it is halted
    robot.wait_for_state('stopped')
    assert not Path(f'/proc/{pid}').exists()
    # The end of the node is a stop, too.
    hold.at('student:12')
    assert robot.call(Trigger, 'start').success
    robot.wait_for_hold(hold)
    pid = int(robot.value('process id'))
    assert robot.node.stop() == 0 and not Path(f'/proc/{pid}').exists()

    hold.release()
    robot = start('/next')
    robot.wait_for_state('stopped')
    assert 'an unfinished round is here' in robot.value('reason')
    assert robot.call(Trigger, 'start').success
    robot.wait_for_state('accepted')
    log = robot.versions.in_use().directory / 'log.jsonl'
    assert log.read_text().count('"step"') == 40
    assert 'teacher: train' not in (robot.versions.folder / '.round.log').read_text()


@pytest.mark.parametrize('changed', ['version in use', 'settings'])
def test_an_unfinished_round_that_nothing_can_go_on_from_gives_way_to_a_new_one(
        changed, start, hold, model, tmp_path):
    versions = ModelVersions(tmp_path / 'versions')
    versions.begin(model, reason='first')
    work = versions.folder / '.round'
    work.mkdir()
    parent = versions.in_use().name if changed == 'settings' else '000002-00000000'
    (work / 'round.json').write_text(json.dumps({'parent': parent, 'settings': {}}))
    robot = start('/changed')
    robot.wait_for_state('stopped')
    hold.at('teacher')
    assert robot.call(Trigger, 'start').success
    robot.wait_for_hold(hold)
    assert 'is thrown away' in (versions.folder / '.round.log').read_text()
    identity = json.loads((work / 'round.json').read_text())
    assert identity['parent'] == versions.in_use().name and identity['settings']['seed'] == 0


def test_a_killed_node_takes_its_round_with_it(start, hold):
    robot = start('/orphan')
    hold.at('teacher')
    assert robot.call(Trigger, 'start').success
    robot.wait_for_hold(hold)
    pid = int(robot.value('process id'))
    assert robot.call(SetBool, 'pause', data=True).success
    assert robot.node.stop(signal.SIGKILL) == -signal.SIGKILL
    robot.ears.wait_until(lambda: state_of(pid) in ('', 'Z'), 'the end of the round')


def state_of(pid):
    """Return the letter by which the kernel tells a process' state; '' if there is none."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ''


def test_enough_new_frames_begin_a_round_and_a_refused_student_is_told(start, hold, tmp_path):
    own = tmp_path / 'own'
    strict = ', '.join([*QUICK_OPTIONS, '--min-label-free-gain=0.99'])
    robot = start(
        '/frames', *parameter('store', own), *parameter('start_on', 'frames'),
        *parameter('min_frames', 20), *parameter('options', f'[{strict}]'))
    robot.wait_for_state('idle')
    fill_store(own)
    robot.wait_for_state('refused')
    assert 'label free gain' in robot.value('reason')
    assert [version.state for version in robot.versions.list()] == ['in use', 'refused']
    robot.ears.wait_until(
        lambda: robot.diagnosed().message.startswith('refused'), 'the diagnosis')
    assert robot.diagnosed().level == OK and robot.value('new frames in the store') == '0'
    assert robot.node.output().count('a round begins') == 1


@pytest.mark.parametrize(('namespace', 'own', 'others'), [
    ('/shift', 'shift/', ('other/', 'shift10/', 'shift/inner/', '')),
    ('/', '', ('robot1/',))])
def test_a_shift_of_its_own_cameras_that_lasts_begins_a_round(
        namespace, own, others, start, hold):
    hold.at('input')
    robot = start(
        namespace, *parameter('start_on', 'shift'), *parameter('min_frames', 20),
        *parameter('shift_seconds', '1.5'))
    robot.wait_for_state('idle')
    diagnostics = robot.ears.publisher(
        DiagnosticArray, '/diagnostics', QoSProfile(depth=10), num_subscribers=2)

    def say(shifted, *nodes):
        for node in nodes:  # each sends a message of its own
            diagnostics.publish(DiagnosticArray(status=[DiagnosticStatus(
                name=f'{node}: camera /image', values=[
                    KeyValue(key=SHIFTED, value=shifted)])]))

    def hear(seconds, *words):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            say(*words)
            robot.ears.executor.spin_once(timeout_sec=0.1)
    front, rear = f'{own}segmentation_node', f'{own}rear_segmentation_node'
    hear(3.0, 'no', front)
    hear(3.0, 'not known', front)
    hear(5.0, 'yes', *(f'{other}segmentation_node' for other in others))
    assert robot.value('state') == 'idle'
    robot.ears.wait_until(
        lambda: say('yes', front) or say('no', rear) or robot.value('state') == 'running',
        'a round')


@pytest.mark.parametrize(('more', 'reason'), [
    (parameter('store', '/nowhere'), 'no such file or folder of target frames'),
    (parameter('memory_megabytes', '10'), 'needs more memory than it may have')])
def test_a_round_that_cannot_be_made_says_why_and_the_node_stays(more, reason, start, hold):
    robot = start('/mistaken', *more)
    assert robot.call(Trigger, 'start').success
    robot.wait_for_state('failed')
    assert reason in robot.value('reason')
    assert robot.call(Trigger, 'start').success


@pytest.mark.parametrize(('arguments', 'reason'), [
    ((), "parameter 'store' is not set"),
    (parameter('store', 'here'), "parameter 'versions' is not set, and model 'default' is no"),
    ((*parameter('store', 'here'), *parameter('versions', 'v'), *parameter('model', 'nowhere')),
     "model 'nowhere': no such directory"),
    ((*parameter('store', 'here'), *parameter('versions', 'v')), 'no labelled source frames'),
    ((*parameter('store', 'here'), *parameter('versions', 'v'), *parameter('replay', '/nowhere')),
     'no round could be made: /nowhere'),
    ((*parameter('store', 'here'), *parameter('versions', 'v'),
      *parameter('options', '[--no-such-option]')), "unknown option '--no-such-option'"),
    ((*parameter('store', 'here'), *parameter('start_on', 'frame')), "'frame'; choose one of"),
    ((*parameter('store', 'here'), *parameter('priority', 'high')), "'high'; choose one of")])
def test_a_mistake_ends_the_node_with_code_2_and_a_reason(arguments, reason, tmp_path):
    with node_process('adaptation_node', tmp_path / 'log', *arguments) as node:
        assert node.wait() == 2
    assert reason in node.output() and 'Traceback' not in node.output()


def test_a_round_of_the_node_is_idle_for_the_kernel_in_a_session_of_its_own(start, hold):
    # Only its first line is waited for: an idle process may be left nothing by others.
    hold.at('input')
    robot = start('/idle', *parameter('priority', 'idle'))
    assert robot.call(Trigger, 'start').success
    robot.ears.wait_until(lambda: robot.value('process id') != '', 'the round')
    pid = int(robot.value('process id'))
    robot.ears.wait_until(
        lambda: os.sched_getscheduler(pid) == os.SCHED_IDLE, 'SCHED_IDLE',
        patience_s=ROUND_PATIENCE_S)
    assert os.getsid(pid) == pid
    assert os.sched_getscheduler(robot.node.process.pid) == os.SCHED_OTHER
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))  # to end soon


PROGRESS = RoundProgress(stage='student', step=30, steps=120, seconds_left=61.7)


@pytest.mark.parametrize(('status', 'level', 'message'), [
    ({}, OK, 'idle'),
    ({'state': 'running'}, OK, 'running'),
    ({'state': 'running', 'progress': PROGRESS}, OK,
     'running: student, step 30 of 120, 62 s left'),
    ({'state': 'paused', 'progress': PROGRESS}, OK, 'paused: student, step 30 of 120'),
    ({'state': 'stopped', 'progress': PROGRESS, 'reason': 'why'}, OK, 'stopped: why'),
    ({'state': 'refused', 'progress': PROGRESS, 'reason': 'why'}, OK, 'refused: why'),
    ({'state': 'accepted', 'reason': 'why'}, OK, 'accepted: why'),
    ({'state': 'not used', 'reason': 'why'}, OK, 'not used: why'),
    ({'state': 'failed', 'progress': PROGRESS, 'reason': 'why'}, WARN, 'failed: why')])
def test_the_status_begins_with_the_state_and_says_why(status, level, message):
    found = round_status(
        'n: round', RoundStatus(**status), start_on='request', store='s', versions='v', num_new=7)
    assert (found.level, found.message) == (level, message)
    values = {pair.key: pair.value for pair in found.values}
    assert values['new frames in the store'] == '7'
    if 'progress' in status:
        assert (values['stage'], values['step'], values['seconds left in the stage']) == (
            'student', '30', '61.7')


def test_the_shift_is_read_from_a_cameras_status_whatever_it_warns_of():
    statistics = FrameStatistics()
    statistics.receive()

    def status(**changes):
        return camera_status(
            'n: camera c', replace(statistics.summary(), **changes), silence_limit_s=5,
            is_enabled=True, is_wanted=True)
    assert is_shifted(status()) is is_shifted(status(is_shifted=False)) is False
    assert is_shifted(DiagnosticStatus(name='n: model')) is None
    late = status(is_shifted=True, latency_p95_s=9.0)
    assert 'late' in late.message and is_shifted(late) is True
