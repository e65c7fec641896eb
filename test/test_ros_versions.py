# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation node follows a folder of versions, and goes back from one that does worse."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from types import SimpleNamespace

from bkd_core.adaptation import ModelVersions
from bkd_core.adaptation.versions import BY_A_PERSON
from bkd_core.model_directory import ONNX, read_spec, resolve, write_spec
from fixtures_models import write_tiny_model
import numpy as np
import onnx
from onnx import numpy_helper
import pytest

pytest.importorskip('rclpy')

from bkd_ros.conversions import rgb_to_image  # noqa: E402
from bkd_ros.model_slot import ModelSlot  # noqa: E402
from bkd_ros.parameters import SEGMENTATION  # noqa: E402
from bkd_ros.version_follower import VersionFollower  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from fixtures_ros import node_process, parameter, probe, wait_until  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from test_ros_node_control import painted, Remote  # noqa: E402

FRAMES = 8
TRIAL = parameter('trial_frames', FRAMES)
TAKE_OVER_S = 2.0
RATE_HZ = 5.0
LOAD_S = 1.0
# Python runs it at the start of every process that finds it. Importing Numba in the background can
# cost a frame on a busy machine, which is not what is asked here.
SLOW_TO_LOAD = f"""
import sys, time
from bkd_core.inference import Segmenter

sys.modules['numba'] = None
load = Segmenter.load

def load_slowly(*args, **kwargs):
    time.sleep({LOAD_S})
    return load(*args, **kwargs)

Segmenter.load = load_slowly
"""
DEPTH = 100
DEEP_QOS = QoSProfile(depth=DEPTH)  # reliable


def write_changed_model(directory, change, *, name):
    """Write a tiny model whose last layer is changed; `change` gets its weight and bias."""
    write_tiny_model(directory, name=name)
    model = onnx.load(directory / ONNX)
    values = {item.name: item for item in model.graph.initializer}
    for key in ('weight', 'bias'):
        array = change(key, numpy_helper.to_array(values[key]).copy())
        values[key].CopyFrom(numpy_helper.from_array(array.astype(np.float32), key))
    onnx.save(model, directory / ONNX)
    write_spec(directory, read_spec(directory))
    return directory


def doubt(key, array):
    """Make a network that is sure of nothing."""
    return array * 1e-3


def sees_one_class(key, array):
    """Make a network that is sure of the first class everywhere."""
    if key == 'bias':
        array[0] += 1e4
    return array


class Robot(Remote):
    """A node on a folder of versions, its camera, and what it says of its model."""

    def __init__(self, ears, namespace, node, versions):
        super().__init__(ears, namespace)
        self.node, self.versions = node, versions
        node.wait_for(f'labels {namespace}/image')
        self.received = ears.subscribe(Image, f'{namespace}/segmentation_node/labels', DEEP_QOS)
        self.diagnoses = ears.subscribe(DiagnosticArray, '/diagnostics', 10)
        self.camera = ears.publisher(Image, f'{namespace}/image', DEEP_QOS)
        # Until the labels are heard, frames before the first one that counts.
        first = rgb_to_image(painted(), Header(frame_id='camera'))
        ears.publish_until(self.camera, first, lambda: self.received, 'labels')
        self.sent = []

    @property
    def labels(self):
        """Return the labels of the frames that count."""
        return [message for message in self.received if message.header.stamp.sec > 0]

    def film(self, condition, what):
        """Send a frame at a time, each once the one before is answered, until a condition."""
        def step():
            if not self.sent or self.is_answered() or time.monotonic() > self.due:
                self.send()
                self.due = time.monotonic() + 5.0  # it may have been lost
            return condition()
        self.ears.wait_until(step, what)

    def send(self):
        message = rgb_to_image(painted(seed=len(self.sent)), self.header())
        self.sent.append(message.header.stamp.sec)
        self.camera.publish(message)

    def is_answered(self):
        return bool(self.labels) and self.labels[-1].header.stamp.sec == self.sent[-1]

    def film_frames(self, count):
        end = len(self.labels) + count
        self.film(lambda: len(self.labels) >= end, f'{count} frames')

    def model_status(self):
        name = f'{self.name.lstrip("/")}: model'
        found = [item for array in self.diagnoses for item in array.status if item.name == name]
        return found[-1] if found else DiagnosticStatus()

    def served(self):
        """Return the number of the version that serves, by the newest diagnosis."""
        values = {pair.key: pair.value for pair in self.model_status().values}
        return int(values.get('directory', '/0').rpartition('/')[2][:6])

    def add(self, model):
        """Add a version and use it, as a round does."""
        version = self.versions.add(model, is_accepted=True, reason='The gate liked it.')
        return self.versions.use(version.name)


def deep_queues(namespace):
    """Return the arguments by which neither frames nor labels are lost on their way."""
    return [word for topic, side in (
        (f'{namespace}/image', 'subscription'),
        (f'{namespace}/segmentation_node/labels', 'publisher')) for word in (
            *parameter(f'qos_overrides.{topic}.{side}.reliability', 'reliable'),
            *parameter(f'qos_overrides.{topic}.{side}.depth', DEPTH))]


@contextlib.contextmanager
def steady_camera(robot):
    """Send frames at a fixed rate, answered or not, until the block ends; give their stamps."""
    ended = threading.Event()

    def film():
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            robot.send()
            due += 1 / RATE_HZ
    thread = threading.Thread(target=film)
    thread.start()
    try:
        yield robot.sent
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def models(tmp_path):
    """Return a function that writes a model."""
    def write(name, change=lambda key, array: array):
        return write_changed_model(tmp_path / 'models' / name, change, name=name)
    return write


@pytest.fixture
def start(tmp_path, models):
    """Return a function that starts a node on a folder of versions, begun from a model."""
    opened = []

    def run(namespace, *more):
        versions = ModelVersions(tmp_path / 'versions')
        context = node_process(
            'segmentation_node', tmp_path / 'log', '-r', f'__ns:={namespace}',
            *parameter('model', models('first')), *parameter('versions', versions.folder),
            *TRIAL, *more)
        node = context.__enter__()
        opened.append(context)
        ears = probe()
        opened.append(ears)
        return Robot(ears.__enter__(), namespace, node, versions)
    yield run
    for context in reversed(opened):
        context.__exit__(None, None, None)


def test_a_new_version_takes_over_at_once_and_no_frame_of_a_steady_camera_is_lost(
        start, models, tmp_path, monkeypatch):
    (tmp_path / 'sitecustomize.py').write_text(SLOW_TO_LOAD)
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    robot = start('/follows', *deep_queues('/follows'))
    assert robot.versions.in_use().number == 1
    with steady_camera(robot) as sent:
        robot.ears.wait_until(lambda: len(robot.labels) >= FRAMES, 'frames before')
        new = robot.add(models('second'))
        changed = time.monotonic()
        robot.ears.wait_until(
            lambda: f'version {new.name} took over' in robot.node.output(), 'the take-over')
        assert time.monotonic() - changed < TAKE_OVER_S + LOAD_S
        robot.ears.wait_until(lambda: robot.served() == 2, 'the diagnosis')
        robot.ears.wait_until(
            lambda: 'on trial' not in robot.model_status().message, 'the end of the trial')
    assert robot.model_status().level == DiagnosticStatus.OK
    robot.ears.wait_until(robot.is_answered, 'the last labels')
    assert f'version {new.name} passed its trial' in robot.node.output()
    # Loading takes five frames' time: had one of them waited for it, others would be lost.
    assert [message.header.stamp.sec for message in robot.labels] == sent
    assert [version.state for version in robot.versions.list()] == ['accepted', 'in use']
    assert robot.node.stop() == 0 and 'Traceback' not in robot.node.output()


def test_a_person_goes_back_and_the_node_stays_there(start, models):
    robot = start('/back')
    robot.film_frames(1)
    second = robot.add(models('second'))
    robot.film(lambda: robot.served() == 2, 'the second version')
    answer = robot.call(Trigger, 'rollback')
    assert answer.success and '000001-' in answer.message
    assert robot.versions.in_use().number == 1
    assert robot.versions.find(second.name).reason == BY_A_PERSON
    swaps = robot.node.output().count('took over')
    robot.diagnoses.clear()
    robot.film(lambda: len(robot.diagnoses) > 3 and robot.served() == 1, 'the first version')
    assert robot.node.output().count('took over') == swaps
    answer = robot.call(Trigger, 'rollback')
    assert not answer.success and 'no whole version before' in answer.message
    refused = robot.set_parameter('model', 'default')
    assert not refused.successful and 'bkd versions' in refused.reason


def test_frames_do_not_wait_for_a_rollback_that_waits_for_a_round(start, models):
    robot = start('/locked')
    robot.film_frames(1)
    robot.add(models('second'))
    robot.film(lambda: robot.served() == 2, 'the second version')
    client = robot.ears.node.create_client(Trigger, f'{robot.name}/rollback')
    robot.ears.wait_until(client.service_is_ready, 'the service')
    with writing(robot.versions):
        # Whichever comes first waits for the writer, and the other is refused at once.
        answers = [client.call_async(Trigger.Request()) for _ in range(2)]
        robot.ears.wait_until(lambda: any(answer.done() for answer in answers), 'a refusal')
        again, answer = sorted(answers, key=lambda answer: not answer.done())
        assert not again.result().success
        assert 'is going back already' in again.result().message
        robot.film_frames(5)
        assert not answer.done() and robot.served() == 2
    robot.film(answer.done, 'the answer')
    assert answer.result().success and '000001-' in answer.result().message


@contextlib.contextmanager
def writing(versions):
    """Be the writer of a folder of versions, as a round is that adds one."""
    with (versions.folder / '.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Follower:
    """A follower of a folder of versions whose networks load when a test lets them."""

    def __init__(self, versions, *, torn=(), **changes):
        self.versions = versions
        self.torn = torn  # numbers of the versions that cannot be loaded
        self.settings = {
            **{name: setting.default for name, setting in SEGMENTATION.items()},
            'versions': str(versions.folder), **changes}
        self.log = []
        self.let_go = threading.Semaphore(0)
        self.slot = ModelSlot(self.load, on_swap=lambda new: self.follower.on_swap(new))
        self.follower = VersionFollower(self.node(), self.slot)
        self.follower.load()
        self.follower.open()

    def node(self):
        """Return what the follower needs of a node; `look` is what its timer calls."""
        def log(message, **options):
            self.log.append(message)

        def create_timer(period_s, look, clock):
            self.look = look
        return SimpleNamespace(
            get_parameter=lambda name: SimpleNamespace(value=self.settings[name]),
            get_logger=lambda: SimpleNamespace(info=log, warning=log, error=log),
            get_fully_qualified_name=lambda: '/robot/segmentation_node',
            create_timer=create_timer)

    def load(self, model):
        self.follower.on_load()
        directory = resolve(model)
        self.loading = int(directory.name[:6])
        if self.loading in self.torn:
            raise ValueError('torn weights')
        if self.slot.current is not None:
            assert self.let_go.acquire(timeout=30)
        return SimpleNamespace(directory=directory)

    def finish_loading(self):
        self.let_go.release()
        wait_until(lambda: not self.slot.is_loading, 'the end of loading')

    def answer(self, count, *, entropy=0.5):
        """Let the network that serves answer frames."""
        answer = SimpleNamespace(
            labels=np.zeros((8, 8), np.uint8), mean_entropy=entropy, mean_confidence=0.75)
        for _ in range(count):
            self.follower.on_answer(self.slot.current, '/image', answer)

    def fail(self, count):
        """Let the network that serves fail on frames."""
        for _ in range(count):
            self.follower.on_answer(self.slot.current, '/image', None)

    def take_new(self, model):
        """Add a version, use it, and let it take over."""
        self.versions.use(self.versions.add(model, is_accepted=True, reason='better').name)
        self.look()
        self.finish_loading()

    def served(self):
        return int(self.slot.current.directory.name[:6])


def versions_of(folder, models, *names):
    """Return a folder of versions, the newest of which is in use."""
    versions = ModelVersions(folder)
    for name in names:
        versions.use(versions.add(models(name), is_accepted=True, reason='better').name)
    return versions


def test_a_pointer_that_changes_back_while_a_version_loads_is_followed(tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    robot = Follower(versions)
    versions.use(versions.add(models('second'), is_accepted=True, reason='better').name)
    robot.look()
    wait_until(lambda: robot.loading == 2, 'the loading')
    versions.rollback()
    robot.look()  # the first still serves
    robot.finish_loading()
    assert robot.served() == 2
    robot.look()
    assert robot.served() == 1 and not robot.slot.is_loading


def test_a_pointer_that_changes_on_while_a_version_loads_is_followed(tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    robot = Follower(versions)
    for name in ('second', 'third'):
        versions.use(versions.add(models(name), is_accepted=True, reason='better').name)
        robot.look()
    robot.finish_loading()
    robot.look()
    robot.finish_loading()
    assert robot.served() == 3


@pytest.mark.parametrize(('num_before', 'end'), [
    (FRAMES, 'passed its trial'), (1, 'was not compared on /image: the version before')])
def test_the_log_says_how_a_trial_ended(num_before, end, tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    robot = Follower(versions, trial_frames=FRAMES)
    robot.answer(num_before)
    robot.take_new(models('second'))
    robot.answer(FRAMES - 1)
    robot.look()
    assert 'took over' in robot.log[-1]
    robot.answer(1)
    robot.look()
    assert end in robot.log[-1]


def test_a_node_that_ended_during_a_trial_goes_on_with_it(tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    robot = Follower(versions, trial_frames=FRAMES)
    robot.answer(FRAMES)
    robot.take_new(models('second'))
    for trial_ends in (False, True):
        robot = Follower(versions, trial_frames=FRAMES)
        assert robot.served() == 2 and 'is on trial: 0 of 8' in robot.follower.trial
        robot.answer(FRAMES - 1 if not trial_ends else FRAMES)
        robot.look()
        robot.follower.close()
    assert 'passed its trial' in robot.log[-1]
    assert Follower(versions).follower.trial == '' and not list(versions.folder.glob('on_trial*'))


def test_a_version_is_compared_with_the_one_before_the_node_ended(tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    robot = Follower(versions, trial_frames=FRAMES)
    robot.answer(FRAMES, entropy=0.5)
    robot.take_new(models('second'))
    robot = Follower(versions, trial_frames=FRAMES)
    robot.answer(2, entropy=2.0)
    robot.look()
    robot.follower.close()
    robot.finish_loading()
    assert robot.served() == 1 and versions.in_use().number == 1
    assert 'is 2.000 nats; it was 0.500' in robot.follower.rolled_back


@pytest.mark.parametrize('is_torn_at_first', [True, False])
def test_a_version_on_trial_that_cannot_be_loaded_at_the_start_is_left(
        is_torn_at_first, tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    robot = Follower(versions, torn={2} if is_torn_at_first else ())
    robot.take_new(models('second'))
    assert robot.served() == (1 if is_torn_at_first else 2) and versions.in_use().number == 2
    robot = Follower(versions, torn={2})
    assert robot.served() == 1 and versions.in_use().number == 1
    assert 'cannot be loaded: torn weights' in versions.find('2').reason
    assert 'cannot be loaded: torn weights' in robot.follower.rolled_back
    with pytest.raises(ValueError, match='torn'):
        Follower(versions, torn={1})  # it is not on trial


def test_a_version_on_trial_that_ends_the_node_again_and_again_is_left(tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    Follower(versions).take_new(models('second'))
    for _ in range(3):
        robot = Follower(versions)
        assert robot.served() == 2
        robot.follower.close()  # in good order, which does not count
    Follower(versions)
    robot = Follower(versions)
    assert robot.served() == 1 and versions.in_use().number == 1
    assert 'the node ended abruptly 2 times' in versions.find('2').reason


def test_a_trial_that_cannot_be_read_is_an_error_in_the_log_and_no_trial(tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    Follower(versions).take_new(models('second'))
    path, = versions.folder.glob('on_trial*')
    path.write_text('{"half')
    robot = Follower(versions)
    assert robot.served() == 2 and robot.follower.trial == ''
    assert str(path) in robot.log[0] and 'Delete it' in robot.log[0]


def test_a_killed_node_judges_a_version_by_what_it_saw_before(start, models):
    robot = start('/killed', *parameter('trial_frames', 20))
    robot.film_frames(20)
    bad = robot.add(models('doubting', doubt))
    # No frame comes meanwhile, or it would be judged at once.
    robot.ears.wait_until(lambda: robot.served() == 2, 'the bad version')
    robot.node.stop(signal.SIGKILL)
    robot = start('/killed', *parameter('trial_frames', 20))
    assert f'{bad.name} was on trial when the node ended' in robot.node.output()
    robot.film(lambda: robot.model_status().level == DiagnosticStatus.WARN, 'the warning')
    assert 'it was' in robot.model_status().message and robot.versions.in_use().number == 1


def test_a_version_that_fails_on_every_frame_is_left(tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first')
    robot = Follower(versions, trial_frames=20)
    robot.take_new(models('second'))  # before the first one has answered a frame
    robot.fail(4)
    robot.look()
    assert 'is on trial: 4 of 20' in robot.follower.trial
    robot.fail(1)
    robot.look()
    robot.follower.close()  # waits for the way back
    assert robot.served() == 1 and versions.in_use().number == 1
    assert 'it failed on each of 5 frames' in robot.follower.rolled_back


def test_who_wants_to_go_back_while_the_node_does_is_refused(tmp_path, models):
    versions = versions_of(tmp_path / 'versions', models, 'first', 'second', 'third')
    robot = Follower(versions)
    answers = []
    with writing(versions):
        for _ in range(2):
            robot.follower.go_back(lambda *answer: answers.append(answer))
        assert answers == [(False, 'the node is going back already')]
    robot.follower.close()  # waits for the first
    robot.finish_loading()
    assert answers[1:] == [(True, '')] and versions.in_use().number == 2
    assert robot.served() == 2


@pytest.mark.parametrize(('name', 'change', 'fault'), [
    ('doubting', doubt, 'the mean entropy over'),
    ('stubborn', sees_one_class, 'of the pixels have another class')])
def test_a_version_that_does_worse_is_left_and_marked(name, change, fault, start, models):
    robot = start(f'/{name}')
    robot.film_frames(FRAMES)
    bad = robot.add(models(name, change))
    robot.film(
        lambda: robot.model_status().level == DiagnosticStatus.WARN, 'the warning')
    message = robot.model_status().message
    assert message.startswith(f'version {bad.name} was rolled back') and fault in message
    assert robot.served() == 1 and robot.versions.in_use().number == 1
    marked = robot.versions.find(bad.name)
    assert marked.state == 'rolled back' and fault in marked.reason
    assert message in robot.node.output()
    # A person who insists gets it, and the node does not argue again.
    robot.versions.use(bad.name)
    robot.film(lambda: robot.served() == 2, 'the bad version')
    robot.film_frames(2 * FRAMES)
    assert robot.versions.in_use().number == 2
    robot.film(lambda: robot.model_status().level == DiagnosticStatus.OK, 'no more warning')


def test_a_node_that_is_told_not_to_follow_takes_a_version_when_it_is_asked(start, models):
    robot = start('/waits', *parameter('follow_versions', 'false'))
    robot.film_frames(1)
    robot.add(models('doubting', doubt))
    robot.film(lambda: len(robot.diagnoses) > 3, 'some seconds')
    assert robot.served() == 1
    assert '000002-' in robot.call(Trigger, 'reload').message
    robot.film_frames(2 * FRAMES)
    assert robot.versions.in_use().number == 2


def test_a_damaged_pointer_or_version_leaves_the_node_as_it_is(start, models):
    robot = start('/damaged')
    robot.film_frames(1)
    new = robot.versions.add(models('second'), is_accepted=True, reason='better')
    pointer = robot.versions.folder / 'in_use'
    pointer.write_text('nonsense\n')
    robot.film(lambda: 'in_use: damaged' in robot.node.output(), 'the error')
    (new.directory / ONNX).write_bytes(b'torn')
    pointer.write_text(f'{new.name}\n')
    robot.film(lambda: robot.model_status().level == DiagnosticStatus.WARN, 'the warning')
    assert 'still serves the model before' in robot.model_status().message
    assert robot.served() == 1
    robot.film_frames(2)
    robot.versions.use('1')
    good = robot.add(models('third'))
    robot.film(lambda: robot.served() == good.number, 'the third version')


def test_a_folder_that_cannot_be_begun_ends_the_node_with_a_reason(tmp_path, models):
    for name, model, versions, reason in (
            ('place', models('first'), '/dev/null/versions', 'cannot be a folder of model'),
            ('model', tmp_path / 'none', tmp_path / 'versions', 'no such directory')):
        with node_process(
                'segmentation_node', tmp_path / name, *parameter('model', model),
                *parameter('versions', versions)) as node:
            assert node.wait() == 2
        assert reason in node.output() and 'Traceback' not in node.output()
