# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How good labels are, with and without a truth, and how unlike the usual ones they are."""

from bkd_core.evaluation.calibration import Calibration
from bkd_core.evaluation.confusion import ConfusionMatrix
from bkd_core.evaluation.evaluate import CLASS_SUBSETS, evaluate, Scores, scores_of
from bkd_core.evaluation.label_free import LabelFreeScores, score_without_labels
from bkd_core.evaluation.noise import noise_matrix, noise_picture, share_inside_groups
from bkd_core.evaluation.shift_reference import (
    describe_frame,
    FrameDescription,
    measure_reference,
    REFERENCE,
    ShiftReference,
    STATISTICS,
)

__all__ = [
    'Calibration', 'CLASS_SUBSETS', 'ConfusionMatrix', 'describe_frame', 'evaluate',
    'FrameDescription', 'LabelFreeScores', 'measure_reference', 'noise_matrix', 'noise_picture',
    'REFERENCE', 'score_without_labels', 'Scores', 'scores_of', 'share_inside_groups',
    'ShiftReference', 'STATISTICS']
