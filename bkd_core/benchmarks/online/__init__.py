# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of adaptation rounds: do they help, do they stay good, does the gate hold."""

from bkd_core.benchmarks.online.benchmark import list_work, run_online
from bkd_core.benchmarks.online.budget import BUDGETS
from bkd_core.benchmarks.online.plan import PARTS

__all__ = ['BUDGETS', 'list_work', 'PARTS', 'run_online']
