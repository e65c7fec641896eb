# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a training run leaves in its folder, and reading it without torch."""

from bkd_core.runs.compare import compare_runs, Comparison
from bkd_core.runs.files import BEST, CHECKPOINT, LOCK, LOG, PICTURES, TENSORBOARD
from bkd_core.runs.find import find_runs, require_begun
from bkd_core.runs.run import read_run, Run

__all__ = [
    'BEST', 'CHECKPOINT', 'compare_runs', 'Comparison', 'find_runs', 'LOCK', 'LOG', 'PICTURES',
    'read_run', 'require_begun', 'Run', 'TENSORBOARD']
