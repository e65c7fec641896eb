# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Unsupervised domain adaptation and Bilateral Knowledge Distillation, without ROS."""

import os

__version__ = '0.1.0'

# OpenMP threads that spin while they wait make torch ten times slower on a machine that is
# also busy with something else. It must be set before torch is imported; a user's own
# setting wins.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
