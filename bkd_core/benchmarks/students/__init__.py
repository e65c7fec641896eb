# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What each choice in a student's design costs in milliseconds and saves in mIoU."""

from bkd_core.benchmarks.students.benchmark import run_student_benchmark
from bkd_core.benchmarks.students.designs import choose_designs, DESIGNS

__all__ = ['choose_designs', 'DESIGNS', 'run_student_benchmark']
