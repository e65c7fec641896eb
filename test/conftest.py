# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What all tests share: ROS isolation, the data root, and what is skipped where."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
import shutil
import tempfile

import pytest

# Child processes of the tests inherit these. ROS nodes of other runs, and of other machines,
# stay out of sight.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def reserve_domain_id():
    """
    Return a ROS domain id that no other test run on this machine uses, and its lock.

    Ids above 101 may collide with the system's ephemeral ports.

    :return: The id, and an open file; the id is free again once the file is closed.
    """
    start = os.getpid() % 100
    for offset in range(100):
        domain_id = 1 + (start + offset) % 100
        path = Path(tempfile.gettempdir()) / f'bkd_ros_test_domain_{os.getuid()}_{domain_id}'
        lock = path.open('w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
        else:
            return domain_id, lock
    raise RuntimeError('all ROS domain ids from 1 to 100 are taken by other test runs')


def pytest_configure(config):
    """Reserve a ROS domain id; end the run if ROS is required and missing."""
    domain_id, lock = reserve_domain_id()
    config.add_cleanup(lock.close)
    os.environ['ROS_DOMAIN_ID'] = str(domain_id)
    # Which runtime was the fastest is kept there; a user's own choices stay as they are.
    os.environ['XDG_CACHE_HOME'] = cache = tempfile.mkdtemp(prefix='bkd_ros_test_cache_')
    config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
    if os.environ.get('REQUIRE_ROS') == '1':
        try:
            import rclpy  # noqa: F401
        except ImportError as error:
            raise pytest.UsageError(
                f'REQUIRE_ROS=1, but rclpy cannot be imported ({error}). '
                "Install the ROS wheels with pip install '.[ros]', or source a ROS 2 "
                'installation.') from error


def pytest_collection_modifyitems(items):
    """Skip tests that need a CUDA device where there is none."""
    marked = [item for item in items if item.get_closest_marker('gpu')]
    if marked and not _has_cuda():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))


def _has_cuda():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


@pytest.fixture(scope='session')
def data_root():
    """Return the folder of real data that BKD_DATA_ROOT names; skip without it."""
    value = os.environ.get('BKD_DATA_ROOT')
    if not value:
        pytest.skip('BKD_DATA_ROOT is not set: real data is not tested')
    path = Path(value)
    if not path.is_dir():
        pytest.fail(f'BKD_DATA_ROOT={value} is not a folder')
    return path
