# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a camera frame to labels; imports torch only if its runtime is asked for."""

from bkd_core.inference.compiled import COMPILED
from bkd_core.inference.out_of_memory import OutOfMemory
from bkd_core.inference.segmenter import Segmentation, Segmenter

__all__ = ['COMPILED', 'OutOfMemory', 'Segmentation', 'Segmenter']
