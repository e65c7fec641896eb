# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""AdamW or SGD with the field's parameter groups and schedule."""

from __future__ import annotations

from bkd_core.config import OptimizerConfig
import torch
from torch import nn

# Pretrained trunks; everything else is a decoder and learns faster.
_TRUNKS = ('trunk', 'backbone')


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """
    Return an optimizer: decoder at a higher rate, no decay on norms and biases.

    :param network: The student.
    :param config: Which one, rates and decay.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            is_trunk = any(part in _TRUNKS for part in name.split('.'))
            groups.setdefault((is_trunk, parameter.ndim > 1), []).append(parameter)
    settings = [
        {
            'params': parameters,
            'base_learning_rate': config.learning_rate * (
                1.0 if is_trunk else config.head_multiplier),
            'weight_decay': config.weight_decay if is_weight else 0.0,
        } for (is_trunk, is_weight), parameters in groups.items()]
    if config.name == 'sgd':
        return torch.optim.SGD(
            settings, lr=config.learning_rate, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(settings, fused=True)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, *, step: int, steps: int,
) -> None:
    """
    Set every group's rate for a step.

    :param optimizer: From `build_optimizer`.
    :param config: Warm-up and power.
    :param step: Number of the step, from 0.
    :param steps: Steps of the whole run.
    """
    factor = learning_rate_factor(
        step, steps=steps, warmup_steps=config.warmup_steps, power=config.power)
    for group in optimizer.param_groups:
        group['lr'] = group['base_learning_rate'] * factor


def learning_rate_factor(step: int, *, steps: int, warmup_steps: int, power: float) -> float:
    """
    Return the rate relative to its peak: linear warm-up times (1 - step / steps) ** power.

    :param step: Number of the step, from 0.
    :param steps: Steps of the whole run.
    :param warmup_steps: Steps until the warm-up is over.
    :param power: Power of the decay.
    :return: 0 to 1.
    """
    warmup = min(1.0, (step + 1) / (warmup_steps + 1))
    return warmup * (1 - step / steps) ** power
