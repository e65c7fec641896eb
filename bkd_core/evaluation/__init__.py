# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How good labels are: confusion, IoU, calibration, noise, and scores without labels."""

from bkd_core.evaluation.calibration import Calibration
from bkd_core.evaluation.confusion import ConfusionMatrix
from bkd_core.evaluation.evaluate import CLASS_SUBSETS, evaluate, Scores, scores_of
from bkd_core.evaluation.label_free import LabelFreeScores, score_without_labels
from bkd_core.evaluation.noise import noise_matrix, noise_picture, share_inside_groups

__all__ = [
    'Calibration', 'CLASS_SUBSETS', 'ConfusionMatrix', 'evaluate', 'LabelFreeScores',
    'noise_matrix', 'noise_picture', 'score_without_labels', 'Scores', 'scores_of',
    'share_inside_groups']
