# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training: the loop, the optimizer, checkpoints and the run's log."""

from bkd_core.training.records import RunRecords
from bkd_core.training.trainer import choose_device, Trainer

__all__ = ['choose_device', 'RunRecords', 'Trainer']
