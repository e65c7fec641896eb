# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training: the loop, the optimizer, checkpoints, the run's log, and several processes."""

from bkd_core.training.device import choose_device
from bkd_core.training.processes import joined, present_processes
from bkd_core.training.records import RunRecords
from bkd_core.training.trainer import Trainer

__all__ = ['choose_device', 'joined', 'present_processes', 'RunRecords', 'Trainer']
