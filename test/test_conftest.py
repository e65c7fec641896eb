# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The test run's own set-up: ROS domains apart, and no silent skip where ROS is required."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from conftest import reserve_domain_id

ROOT = Path(__file__).resolve().parents[1]


def collect(folder, **variables):
    """Collect one test file in a new run that sees `folder` first on its path."""
    return subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '--collect-only', '-p', 'no:cacheprovider',
         'test/test_style.py'],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, 'PYTHONPATH': str(folder), **variables})


def test_two_test_runs_never_share_a_ros_domain():
    first, first_lock = reserve_domain_id()
    second, second_lock = reserve_domain_id()
    with first_lock, second_lock:
        assert len({first, second, int(os.environ['ROS_DOMAIN_ID'])}) == 3
        assert 1 <= first <= 100 and 1 <= second <= 100


def test_a_domain_is_free_again_after_its_run():
    first, lock = reserve_domain_id()
    lock.close()
    second, lock = reserve_domain_id()
    lock.close()
    assert first == second


def test_required_ros_that_is_missing_ends_the_run(tmp_path):
    (tmp_path / 'rclpy.py').write_text("raise ImportError('no rclpy here')")
    result = collect(tmp_path, REQUIRE_ROS='1')
    assert result.returncode == 4  # pytest's code for a wrong use
    assert 'REQUIRE_ROS=1' in result.stderr and 'no rclpy here' in result.stderr


def test_missing_ros_is_fine_where_it_is_not_required(tmp_path):
    (tmp_path / 'rclpy.py').write_text("raise ImportError('no rclpy here')")
    assert collect(tmp_path, REQUIRE_ROS='').returncode == 0
