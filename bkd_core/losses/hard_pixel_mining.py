# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Image-Wise Hard Pixel Mining (Wang and Li, IROS 2022).

The paper weighs the hard pixels of an image more, against class imbalance and without estimating
class frequencies on the unlabelled target. Hardness is compared *inside one image*, never over
the batch: an easy image keeps as much say as a hard one.

[Inferred: the paper's formula is not known to us. Both forms below are ours; so are their
normalisation and the rounding of k.] On a target image the hardest pixels are also those where
the teacher errs most; leave pixels out by `valid` (such as those of low teacher confidence) and
they are neither ranked nor weighted.
"""

from __future__ import annotations

from bkd_core.errors import unknown_name
from bkd_core.losses.probabilities import target_log_probability
from bkd_core.losses.shapes import check_same_pixels
import torch
from torch import Tensor

FORMS = ('none', 'top_k', 'focal')


@torch.no_grad()
def mine_hard_pixels(
        loss: Tensor, hardness_probability: Tensor | None, *, valid: Tensor, form: str = 'none',
        ratio: float = 0.25, min_pixels: int = 1, gamma: float = 1.0) -> Tensor:
    """
    Return the weight of every pixel; its mean over the valid pixels of each image is 1.

    With O_n the valid pixels of image n:

        none:   w_i = 1
        top_k:  w_i = |O_n| / k if l_i is among the k largest losses of its image, else 0,
                k = min(max(ratio |O_n|, min_pixels, 1), |O_n|), ratio |O_n| rounded
        focal:  w_i = |O_n| h_i^gamma / sum_{j in O_n} h_j^gamma,  h_i = 1 - hardness_probability_i

    The factor |O_n| / k makes the top-k loss the mean over the pixels kept, so that `ratio`
    changes which pixels count but not the scale of the loss. Among equal losses the pixel that
    comes first in row order is taken. If every pixel of an image has h = 0, all weigh 1. The
    focal form follows Lin et al. 2017, https://arxiv.org/abs/1708.02002, normalised per image.

    :param loss: (B, H, W), floating, per-pixel loss; used by top_k.
    :param hardness_probability: (B, H, W), 0 to 1, the student's probability of the target class
        (see `target_class_probability`); used by focal, else it may be None.
    :param valid: (B, H, W), bool.
    :param form: 'none', 'top_k' or 'focal'.
    :param ratio: Share of the valid pixels that top_k keeps, above 0, at most 1.
    :param min_pixels: Fewest pixels that top_k keeps in an image, at least 0.
    :param gamma: Exponent of focal, at least 0; 0 weighs all pixels alike.
    :return: (B, H, W), type of the loss, at least 0; 0 outside `valid`; no gradient.
    :raises ValueError: If a shape, the form or a number is out of its range.
    """
    if form not in FORMS:
        raise unknown_name('form of hard pixel mining', form, FORMS)
    if not 0 < ratio <= 1 or min_pixels < 0 or not gamma >= 0:
        raise ValueError(
            'expected 0 < ratio <= 1, min_pixels >= 0 and gamma >= 0; got '
            f'ratio={ratio}, min_pixels={min_pixels}, gamma={gamma}')
    check_same_pixels(loss=loss, valid=valid)
    if form == 'none':
        return valid.to(loss.dtype)
    if form == 'top_k':
        weights = _top_k(loss.flatten(1), valid.flatten(1), ratio, min_pixels)
    else:
        if hardness_probability is None:
            raise ValueError("form 'focal' needs hardness_probability; got None")
        check_same_pixels(hardness_probability=hardness_probability, valid=valid)
        weights = _focal(1 - hardness_probability.flatten(1), valid.flatten(1), gamma)
    return weights.view_as(loss).to(loss.dtype)


@torch.no_grad()
def target_class_probability(student_log_probabilities: Tensor, target: Tensor) -> Tensor:
    """
    Return the student's probability of the class it is to learn, p_i[target class].

    [Inferred: on a source image the target class is the label, on a target image the teacher's
    most probable class.]

    :param student_log_probabilities: (B, C, H, W), from `log_probabilities`.
    :param target: (B, H, W), int64, 0 to C - 1, or 255 where there is none.
    :return: (B, H, W), 0 to 1; 1 where there is no target class; no gradient.
    :raises ValueError: If the shapes disagree.
    """
    return target_log_probability(student_log_probabilities, target).exp()


def _top_k(loss: Tensor, valid: Tensor, ratio: float, min_pixels: int) -> Tensor:
    count = valid.sum(dim=1, keepdim=True)  # (B, 1)
    k = (ratio * count.double()).round().long().clamp(min=max(min_pixels, 1)).minimum(count)
    # The stable sort serves every image its own k and gives the same answer on every device.
    order = loss.masked_fill(~valid, -torch.inf).sort(dim=1, descending=True, stable=True).indices
    is_kept = torch.arange(loss.shape[1], device=loss.device) < k  # (B, H * W), by rank
    weight = count / k.clamp(min=1)
    return torch.zeros_like(loss).scatter(1, order, (is_kept * weight).to(loss.dtype))


def _focal(hardness: Tensor, valid: Tensor, gamma: float) -> Tensor:
    hardness = hardness.clamp(min=0).masked_fill(~valid, 0)  # 1 - p may round below 0
    # Dividing by the largest leaves the weights as they are and keeps powers from underflowing.
    largest = hardness.amax(dim=1, keepdim=True)
    hardness = torch.where(largest > 0, hardness / largest.clamp(min=1e-30), 1.0)
    power = hardness.pow(gamma).masked_fill(~valid, 0)
    total = power.sum(dim=1, keepdim=True)
    return power * valid.sum(dim=1, keepdim=True) / total.clamp(min=torch.finfo(power.dtype).tiny)
