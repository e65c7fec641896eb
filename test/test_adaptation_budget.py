# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A round lets other processes go first, keeps to its memory, and stops when it is asked to."""

from __future__ import annotations

import os
from pathlib import Path
import resource
import signal
import subprocess
import sys

from bkd_core.adaptation.budget import memory_limit, stop_on_sigterm
from bkd_core.errors import InputError
import pytest

ROOT = Path(__file__).resolve().parents[1]


def run_python(script, **options):
    """Run a script in a process of its own; return what it printed."""
    result = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, timeout=120,
        **options)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_the_priority_is_lowered_once():
    before = os.nice(0)
    assert run_python(
        'import os\nfrom bkd_core.adaptation.budget import lower_priority\n'
        'lower_priority()\nlower_priority()\nprint(os.nice(0))') == [str(max(10, before))]


@pytest.mark.parametrize('allocate', [
    'import numpy; numpy.ones(500_000_000, numpy.uint8)',
    'import torch; torch.ones(500_000_000, dtype=torch.uint8)', 'bytearray(500_000_000)'])
def test_memory_beyond_the_budget_ends_in_a_sentence(allocate):
    words = run_python(
        'from bkd_core.adaptation.budget import memory_limit\n'
        'from bkd_core.errors import InputError\n'
        f'{allocate.replace("500_000_000", "1")}\n'
        'import resource\n'
        'used = int(open("/proc/self/statm").read().split()[5]) * 4096 // 1_000_000\n'
        'try:\n'
        f'    with memory_limit(used + 200):\n        {allocate}\n'
        'except InputError as error:\n    print(error)\n')
    assert 'needs more memory than it may have (--memory-megabytes' in ' '.join(words)


def test_the_limit_ends_with_its_block_and_zero_is_none():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limit(0):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with memory_limit(100_000):
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == 100_000_000_000
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match='shapes'), memory_limit(0):
        raise RuntimeError('shapes differ')
    with pytest.raises(InputError, match='needs more memory'), memory_limit(0):
        raise RuntimeError('CUDA out of memory')


def test_sigterm_stops_like_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stop_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(('is_idle', 'policy', 'niceness'), [
    (True, 'SCHED_IDLE', '19'), (False, 'SCHED_OTHER', '10')])
@pytest.mark.parametrize('user', [None, 65534])
def test_a_round_goes_behind_others_with_all_of_its_threads_and_its_session(
        is_idle, policy, niceness, user):
    # A user without rights, too; numpy has started its threads before the priority is lowered.
    if user is not None and os.getuid() != 0:
        pytest.skip('only root can become another user')
    # One that was root must be made an owner of its files in /proc again.
    become = '' if user is None else (
        f'os.setgid({user}); os.setuid({user}); ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n')
    words = run_python(
        'import ctypes, os, threading, numpy\n'
        'from bkd_core.adaptation.budget import lower_priority\n'
        f'{become}'
        'early = threading.Thread(target=threading.Event().wait, daemon=True)\n'
        'early.start()\n'
        f'lower_priority(is_idle={is_idle})\n'
        'late = threading.Thread(target=threading.Event().wait, daemon=True)\n'
        'late.start()\n'
        f'print(*(os.sched_getscheduler(thread) == os.{policy}\n'
        '        for thread in (0, early.native_id, late.native_id)))\n'
        'try:\n    print(open("/proc/self/autogroup").read().split()[-1])\n'
        f'except FileNotFoundError:\n    print({niceness})\n', start_new_session=True)
    assert words == ['True', 'True', 'True', niceness]


def test_a_round_that_somebody_else_started_is_refused():
    words = run_python(
        'from bkd_core.adaptation.budget import end_with\n'
        'from bkd_core.errors import InputError\n'
        'try:\n    end_with(1 << 22)\nexcept InputError as error:\n    print(error)\n')
    assert 'did not start this one' in ' '.join(words)
