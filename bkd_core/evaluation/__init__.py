# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How good labels are: confusion matrix, intersection over union, a run over a data set."""

from bkd_core.evaluation.confusion import ConfusionMatrix
from bkd_core.evaluation.evaluate import evaluate, Scores, scores_of

__all__ = ['ConfusionMatrix', 'evaluate', 'Scores', 'scores_of']
