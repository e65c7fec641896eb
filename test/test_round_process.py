# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A round as a process: what is known of it, and that it can be halted, stopped and killed."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from bkd_core.adaptation import RoundProcess
from bkd_core.adaptation.round_progress import (
    ProgressLines,
    read_line,
    RoundProgress,
    RoundResult,
)
from bkd_core.errors import InputError
import pytest

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
# Stands for `bkd adapt`: says where it is, then does what its first argument tells.
FAKE = """
import json, os, signal, sys, time
def say(**values):
    print(json.dumps(values), flush=True)
print('a library says hello')
say(stage='teacher', step=3, steps=10, seconds_left=1.5)
what = sys.argv[1]
if what in ('accepted', 'refused', 'not used'):
    state = {'accepted': 'in use'}.get(what, what)
    say(version='000002-00000000', state=state, reason='The gate says so.')
elif what == 'mistake':
    print('bkd: error: no frames', file=sys.stderr); sys.exit(2)
elif what == 'crash':
    raise ValueError('torn')
elif what == 'slow crash':
    time.sleep(1); sys.exit(1)
elif what == 'deaf':
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(stage='student', step=0, steps=0, seconds_left=None)
elif what == 'cut':
    print('{"stage": "gate", "st', end='', flush=True); os.kill(os.getpid(), signal.SIGKILL)
if what in ('long', 'deaf'):
    for step in range(10 ** 6):
        say(stage='student', step=step, steps=10 ** 6, seconds_left=None); time.sleep(0.02)
"""


@pytest.fixture
def round_of(tmp_path):
    """Return a function that makes a round of the fake; it does not outlive the test."""
    made = []

    def make(what):
        made.append(RoundProcess(
            [what], versions=tmp_path / 'versions', command=(sys.executable, '-c', FAKE)))
        return made[-1]
    yield make
    for item in made:
        if item.status.pid:
            os.kill(item.status.pid, signal.SIGKILL)
        item.close()


def wait_for(condition, what):
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f'waited in vain for {what}'
        time.sleep(0.01)


def ended(item):
    """Return the status of a round that has ended."""
    wait_for(lambda: not item.is_running, 'the end')
    return item.status


def step_of(item):
    """Return how far a round is in its long stage; -1 before."""
    progress = item.status.progress
    return progress.step if progress is not None and progress.stage == 'student' else -1


def is_halted(pid):
    """Tell whether the kernel has halted a process."""
    return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'T'


@pytest.mark.parametrize(('what', 'fault'), [
    ('mistake', 'no round could be made: no frames'), ('crash', 'ValueError: torn'),
    ('cut', 'no round could be made: code -9')])
def test_a_check_that_fails_says_why(what, fault, round_of):
    with pytest.raises(InputError, match=fault):
        round_of(what).check()
    round_of('accepted').check()


@pytest.mark.parametrize(('what', 'state', 'reason', 'version'), [
    ('accepted', 'accepted', 'The gate says so.', '000002-00000000'),
    ('refused', 'refused', 'The gate says so.', '000002-00000000'),
    ('not used', 'not used', 'The gate says so.', '000002-00000000'),
    ('rolled back', 'failed', 'ended with code 0 in stage teacher', ''),
    ('mistake', 'failed', 'no frames', ''),
    ('crash', 'failed', 'ended with code 1 in stage teacher: ValueError: torn', ''),
    ('cut', 'failed', 'killed by SIGKILL in stage teacher; the next start goes on', ''),
])
def test_how_a_round_ends_is_told_and_the_next_may_begin(what, state, reason, version, round_of):
    item = round_of(what)
    assert item.status.state == 'idle'
    for _ in range(2):
        item.start()
        status = ended(item)
        assert (status.state, status.version, status.pid) == (state, version, 0)
        assert status.reason.startswith(reason)
        assert status.progress == RoundProgress(
            stage='teacher', step=3, steps=10, seconds_left=1.5)


def test_a_round_is_halted_and_goes_on_where_it_was(round_of):
    item = round_of('long')
    item.start()
    with pytest.raises(InputError, match='a round is running'):
        item.start()
    wait_for(lambda: step_of(item) > 2, 'progress')
    item.pause(True)
    wait_for(lambda: is_halted(item.status.pid), 'the kernel')
    assert item.status.state == 'paused' and item.is_running
    time.sleep(0.1)  # what stood in the pipe
    step = step_of(item)
    time.sleep(0.3)
    assert step_of(item) == step
    item.pause(False)
    wait_for(lambda: step_of(item) > step, 'more progress')
    assert item.status.state == 'running'


@pytest.mark.parametrize('is_paused', [False, True])
def test_a_round_is_stopped_also_while_it_is_halted(is_paused, round_of):
    item = round_of('long')
    item.start()
    wait_for(lambda: step_of(item) > 0, 'progress')
    item.pause(is_paused)
    item.stop()
    status = ended(item)
    assert status.state == 'stopped' and 'in stage student' in status.reason
    for act in (item.stop, lambda: item.pause(True)):
        with pytest.raises(InputError, match='no round is running'):
            act()
    item.start()
    wait_for(lambda: step_of(item) >= 0, 'progress')


def test_a_round_that_does_not_hear_is_killed(round_of):
    item = round_of('deaf')
    item.start()
    wait_for(lambda: step_of(item) > 0, 'progress')
    item.stop(patience_s=0.5)
    with pytest.raises(InputError, match='no round is running'):
        item.pause(True)
    assert ended(item).state == 'stopped'


def test_an_unfinished_round_of_an_earlier_process_is_known(tmp_path, round_of):
    work = tmp_path / 'versions' / '.round'
    work.mkdir(parents=True)
    assert round_of('accepted').status.state == 'idle'
    (work / 'round.json').write_text('{}')
    status = round_of('accepted').status
    assert status.state == 'stopped' and 'an unfinished round is here' in status.reason


def test_a_round_whose_folder_is_taken_away_ends_with_a_reason(round_of, tmp_path):
    item = round_of('long')
    item.start()
    wait_for(lambda: step_of(item) > 0, 'progress')
    shutil.rmtree(tmp_path / 'versions')
    os.kill(item.status.pid, signal.SIGUSR1)
    assert 'killed by SIGUSR1' in ended(item).reason
    crashing = round_of('slow crash')
    crashing.start()
    wait_for(lambda: crashing.status.progress is not None, 'progress')
    shutil.rmtree(tmp_path / 'versions')
    status = ended(crashing)
    assert status.state == 'failed' and 'No such file' in status.reason


def test_a_folder_that_cannot_be_made_is_a_reason():
    item = RoundProcess(['x'], versions=Path('/dev/null/versions'))
    with pytest.raises(InputError, match='/dev/null/versions: no round can start'):
        item.start()
    assert item.status.state == 'idle'


def test_a_round_dies_with_the_process_that_started_it_even_if_it_is_halted(tmp_path):
    script = (
        'import sys, time\nfrom pathlib import Path\n'
        'from bkd_core.adaptation import RoundProcess\n'
        'child = ("import sys, time; from bkd_core.adaptation.budget import end_with;"\n'
        '         "end_with(int(sys.argv[-1])); print(1, flush=True); time.sleep(600)")\n'
        f'item = RoundProcess([], versions=Path({str(tmp_path)!r}),\n'
        '                    command=(sys.executable, "-c", child))\n'
        'item.start()\nprint(item.status.pid, flush=True)\ntime.sleep(600)\n')
    with subprocess.Popen(
            [sys.executable, '-c', script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        child = int(parent.stdout.readline())
        wait_for(lambda: death_signal_is_set(child), 'the child to tie itself to its parent')
        os.kill(child, signal.SIGSTOP)
        wait_for(lambda: is_halted(child), 'the kernel')
        parent.kill()
    wait_for(lambda: not Path(f'/proc/{child}').exists() or is_zombie(child), 'its death')


def death_signal_is_set(pid):
    """Tell whether the fake sleeps, which it does after it has asked for the signal."""
    return 'hrtimer_nanosleep' in Path(f'/proc/{pid}/wchan').read_text() or (
        Path(f'/proc/{pid}/syscall').read_text().split()[0] in ('35', '230'))


def is_zombie(pid):
    """Tell whether a process has ended, but nobody has asked how."""
    return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'


def test_progress_tells_the_time_that_is_left_and_not_too_often():
    now = [100.0]
    stream = io.StringIO()
    lines = ProgressLines(stream, clock=lambda: now[0])
    lines.report('input', 0, 0)
    lines.report('teacher', 4, 10)  # taken up again at step 4
    for step in (5, 6, 7):
        now[0] += 0.2
        lines.report('teacher', step, 10)
    now[0] += 0.01
    lines.report('teacher', 10, 10)  # the last one is always told
    lines.result(RoundResult(version='v', state='refused', reason='why'))
    said = [read_line(line) for line in stream.getvalue().splitlines()]
    assert [(item.stage, item.step) for item in said[:-1]] == [
        ('input', 0), ('teacher', 4), ('teacher', 6), ('teacher', 10)]
    # Two steps took 0.4 s, four are left.
    assert [item.seconds_left for item in said[:-1]] == [None, None, 0.8, 0.0]
    assert said[-1] == RoundResult(version='v', state='refused', reason='why')


@pytest.mark.parametrize('line', [
    'hello', '', '7', '[]', '{"stage": "teacher"}', '{"version": "v"}', '{"stage": "teach',
    json.dumps({'stage': 'a', 'step': 1, 'steps': 2, 'seconds_left': None, 'more': 1})])
def test_what_is_no_progress_is_passed_over(line):
    assert read_line(line) is None
