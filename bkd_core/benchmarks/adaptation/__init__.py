# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of adaptation: protocol x method x seed, one line a run, one table."""

from bkd_core.benchmarks.adaptation.benchmark import ADAPTATION, list_runs, run_adaptation
from bkd_core.benchmarks.adaptation.plan import plan_runs, Run
from bkd_core.benchmarks.adaptation.protocol import load_protocol, Protocol
from bkd_core.benchmarks.adaptation.search import plan_search, SEARCH

__all__ = [
    'ADAPTATION', 'list_runs', 'load_protocol', 'plan_runs', 'plan_search', 'Protocol', 'Run',
    'run_adaptation', 'SEARCH']
