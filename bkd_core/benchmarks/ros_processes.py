# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Nodes as processes of their own, out of reach of other ROS 2 programs."""

from __future__ import annotations

import os
from pathlib import Path
import random
import signal
import subprocess
import sys
from typing import Sequence

from bkd_core.errors import InputError

_PROFILE = Path('config') / 'fastdds_shared_memory.xml'
_PATIENCE_S = 20


def own_domain() -> dict[str, str]:
    """Return this process' environment with a ROS domain of its own on this host."""
    return {
        **os.environ, 'ROS_DOMAIN_ID': str(random.randrange(1, 100)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}


def shared_memory() -> dict[str, str]:
    """
    Return the variables by which the launch files keep large images from getting lost.

    :raises InputError: If the profile that they name is missing.
    """
    for folder in (Path(__file__).resolve().parents[2], Path(sys.prefix) / 'share' / 'bkd_ros'):
        profile = folder / _PROFILE
        if profile.is_file():
            return {  # Fast DDS 2 reads the first name, Fast DDS 3 the second
                'FASTRTPS_DEFAULT_PROFILES_FILE': str(profile),
                'FASTDDS_DEFAULT_PROFILES_FILE': str(profile)}
    raise InputError(f'{_PROFILE} is missing. Install the package again')


def stop(processes: Sequence[subprocess.Popen]) -> None:
    """
    Interrupt the processes that still run, and wait for their end.

    :param processes: The processes.
    """
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes:
        try:
            process.wait(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tail(log: Path) -> str:
    """
    Return the last lines of a log, in one line.

    :param log: The file.
    """
    return ' | '.join(log.read_text(errors='replace').strip().splitlines()[-4:])
