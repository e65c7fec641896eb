# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a network said about frames of earlier domains, learnt again beside a new one."""

from __future__ import annotations

from bkd_core.config import TrainingConfig
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.transforms import cut_image, draw_window
from bkd_core.losses import kl_divergence, log_probabilities, weighted_mean
from bkd_core.methods.batch_statistics import running_statistics_used
from bkd_core.methods.method import Method
from bkd_core.methods.resolution import loss_size, resize_logits
from bkd_core.methods.soft_label_cache import SoftLabelCache
from bkd_core.methods.soft_labels import soft_labels
import numpy as np
import torch
from torch import nn, Tensor

# Of the numbers that random streams begin with; the loader takes 0 to 4.
_STREAM = 5


class Rehearsal:
    """
    Hold a network to the soft labels that the one before it gives to stored frames.

    Continual adaptation to one target domain after the other forgets the earlier ones (Saporta
    et al. 2022, "MuHDi", https://arxiv.org/abs/2204.11667, whose remedy is distillation from the
    network before, on the new domain's frames alone). Here a few frames of the earlier domains
    are kept, and the network before labels them: exemplars with distillation, as in iCaRL
    (Rebuffi et al. 2017, https://arxiv.org/abs/1611.07725). They have no true labels; a soft
    label keeps what the network before knew and how sure it was.

        L = lambda * mean_i KL(q_i || p_i),  q from the network before, p from the trained one

    In every step half as many crops as of each domain are drawn (at least one), and pass through
    the network in a call of their own, which batch normalisation treats as in use: the running
    statistics, those of the new domain, normalise them and stay as they are. So the weights learn
    to see the earlier domains by the statistics with which the network will see them.

    :param frames: The stored frames; labels are never read.
    :param network: The network before: images of 0 to 1 -> logits; it is fixed.
    :param config: The run's configuration.
    :param weight: lambda, at least 0.
    :param max_bytes: Memory for the soft labels.
    """

    def __init__(
        self, frames: SegmentationDataset, network: nn.Module, config: TrainingConfig, *,
        weight: float, max_bytes: int,
    ) -> None:
        self.frames = frames
        self.config = config
        self.weight = weight
        self._max_bytes = max_bytes
        self._network = network.eval().requires_grad_(False)
        self._cache: SoftLabelCache | None = None

    def loss(self, method: Method, *, step: int) -> Tensor:
        """
        Return the step's loss; what is drawn follows from the seed and the step alone.

        :param method: The method that trains the network.
        :param step: Number of the step, from 0.
        :return: Scalar, at least 0.
        """
        device = next(method.student.parameters()).device
        images, windows = self._crops(step)
        images = images.to(device)
        size = loss_size(images, method.loss_stride)
        before = self._soft_labels(device).crops(windows, size)
        with running_statistics_used(method.student):
            logits = resize_logits(method.student(method.augment(images)), size)
        divergence = kl_divergence(log_probabilities(logits), before)
        return self.weight * weighted_mean(
            divergence, valid=torch.ones_like(divergence, dtype=torch.bool))

    def _crops(self, step: int) -> tuple[Tensor, tuple]:
        augmentation = self.config.augmentation
        crops = []
        for position in range(max(1, self.config.batch_size // 2)):
            rng = np.random.default_rng([self.config.seed, _STREAM, step, position])
            index = int(rng.integers(len(self.frames)))
            image = self.frames.image(index)
            window = draw_window(
                image.shape[:2], index=index, rng=rng, crop_size=augmentation.crop_size,
                input_height=self.config.model.input_height, scale=augmentation.target_scale,
                flip=augmentation.flip)
            crops.append((cut_image(image, window, augmentation.crop_size), window))
        images, windows = zip(*crops)
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        return batch.contiguous(memory_format=torch.channels_last), windows

    def _soft_labels(self, device: torch.device) -> SoftLabelCache:
        if self._cache is None:
            network = self._network.to(device, memory_format=torch.channels_last)
            self._cache = SoftLabelCache(
                self.frames,
                lambda images, size: soft_labels(network, images, size=size, temperature=1.0),
                frame_height=self.config.model.input_height, device=device,
                max_bytes=self._max_bytes)
        return self._cache
