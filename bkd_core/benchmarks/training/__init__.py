# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How fast a training step is, part by part, beside the same step written plainly."""

from bkd_core.benchmarks.training.benchmark import run_training_benchmark

__all__ = ['run_training_benchmark']
