# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The equations: pure functions of tensors and plain numbers.

Every loss returns one value a pixel, in nats; `weighted_mean` is the only reduction. With the
student's map p, the teacher's map q and the ground truth y, the two flows of Bilateral Knowledge
Distillation (Wang and Li, IROS 2022) read

    L_SD = weighted_mean(CE(y, p) + lambda_s * CE(q, p))              source image
    L_TD = weighted_mean(KL(q || p) + lambda_e * H(p))                target image

and `mine_hard_pixels` gives the weights. Gradients flow into the student only.
"""

from bkd_core.losses.cross_entropy import cross_entropy
from bkd_core.losses.entropy import entropy
from bkd_core.losses.hard_pixel_mining import mine_hard_pixels, target_class_probability
from bkd_core.losses.kl_divergence import kl_divergence
from bkd_core.losses.maximum_squares import image_wise_class_weights, maximum_squares
from bkd_core.losses.probabilities import log_probabilities
from bkd_core.losses.reduction import weighted_mean
from bkd_core.losses.robust_entropy import robust_entropy
from bkd_core.losses.soft_cross_entropy import soft_cross_entropy

__all__ = [
    'cross_entropy', 'entropy', 'image_wise_class_weights', 'kl_divergence', 'log_probabilities',
    'maximum_squares', 'mine_hard_pixels', 'robust_entropy', 'soft_cross_entropy',
    'target_class_probability', 'weighted_mean']
