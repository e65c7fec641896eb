# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A network, a data set and settings that train in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bkd_core.config import AugmentationConfig, ModelConfig, OptimizerConfig, TrainingConfig
from bkd_core.labels import get_label_space
from bkd_core.method_config import (
    AnchoredSelfTrainingConfig,
    BilateralDistillationConfig,
    FourierDomainAdaptationConfig,
    MaxSquareConfig,
    MiningConfig,
    SelfTrainingConfig,
    SourceOnlyConfig,
)
from bkd_core.models import MODELS
import numpy as np
import torch
from torch import nn, Tensor

BLOCK = 16


class TinyNetwork(nn.Module):
    """
    Two convolutions and a classifier, logits at stride 4.

    :param num_classes: Channels of the logits.
    :param width: Channels inside.
    :param dropout: Probability of dropping a channel in training.
    :param pretrained: Accepted as all networks do, without effect.
    """

    size_multiple = 32

    def __init__(
        self, num_classes: int, *, width: int = 8, dropout: float = 0.0,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width),
            nn.ReLU(), nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU())
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, H, W).
        """
        return self.classifier(self.dropout(self.trunk(images)))


class PaintedFrames:
    """
    Frames of coloured blocks: a block's colour tells its class.

    :param num_frames: How many.
    :param seed: What they show follows from it and the index.
    :param shade: Factor on the colours: another value is another domain.
    :param size: (height, width), multiples of the blocks' size.
    """

    has_labels = True

    def __init__(
        self, num_frames: int = 6, *, seed: int = 0, shade: float = 1.0,
        size: tuple[int, int] = (64, 96),
    ) -> None:
        self.num_frames = num_frames
        self.seed = seed
        self.shade = shade
        self.size = size
        self.label_space = get_label_space('street9')

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.num_frames

    def name(self, index: int) -> str:
        """Return a frame's name."""
        return f'painted_{index:03d}'

    def image(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8."""
        colors = np.array(self.label_space.colors)[self.labels(index)] * self.shade
        noise = np.random.default_rng([self.seed, index, 1]).integers(-8, 9, colors.shape)
        return np.clip(colors + noise, 0, 255).astype(np.uint8)

    def labels(self, index: int) -> np.ndarray:
        """Return (H, W) uint8."""
        blocks = np.random.default_rng([self.seed, index, 0]).integers(
            0, 9, (self.size[0] // BLOCK, self.size[1] // BLOCK))
        return np.kron(blocks, np.ones((BLOCK, BLOCK))).astype(np.uint8)


METHOD_SETTINGS = {
    'source_only': SourceOnlyConfig(),
    'max_square': MaxSquareConfig(),
    'fda': FourierDomainAdaptationConfig(beta=0.1),
    'self_training': SelfTrainingConfig(ema_decay=0.9, confidence_threshold=0.2),
    'anchored_self_training': AnchoredSelfTrainingConfig(
        ema_decay=0.9, confidence_threshold=0.2, teacher='given'),
    'bilateral_distillation': BilateralDistillationConfig(
        teacher='given', teacher_view='crop', mining=MiningConfig(min_pixels=8)),
}


def tiny_config(method: str = 'source_only', **changes: Any) -> TrainingConfig:
    """
    Return the settings of a run of a second.

    :param method: Name of the method.
    :param changes: Fields of the configuration to replace.
    """
    config = TrainingConfig(
        model=ModelConfig(network='tiny', input_height=64),
        method=METHOD_SETTINGS[method],
        augmentation=AugmentationConfig(crop_size=(32, 32), color_jitter=0.0, blur=0.0),
        optimizer=OptimizerConfig(learning_rate=0.01, warmup_steps=2),
        steps=20, batch_size=2, checkpoint_steps=5, device='cpu', precision='float32')
    return replace(config, **changes)


def register_tiny_network(monkeypatch) -> None:
    """
    Make the network known as 'tiny', until the test is over.

    :param monkeypatch: pytest's fixture.
    """
    monkeypatch.setitem(MODELS, 'tiny', TinyNetwork)


def tiny_teacher() -> TinyNetwork:
    """Return a network of fixed random weights."""
    torch.manual_seed(7)
    return TinyNetwork(9)
