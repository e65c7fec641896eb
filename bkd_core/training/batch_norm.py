# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation over the crops of all processes, or its running statistics' mean."""

from __future__ import annotations

from functools import cache
from typing import Callable

from bkd_core.errors import InputError
import torch
from torch import distributed, nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm


class ProcessorSyncBatchNorm(nn.BatchNorm2d):
    """
    Do on the processor what torch's SyncBatchNorm does on CUDA only.

    Every process must bring as many images, as those of a training do.
    """

    def forward(self, images: Tensor) -> Tensor:
        """
        Normalise by the mean and variance over the images of all processes.

        :param images: (B, C, H, W).
        """
        if not self.training:
            return super().forward(images)
        self._check_input_dim(images)
        values = images.float()
        count = values.numel() // values.shape[1] * distributed.get_world_size()
        mean = _Sum.apply(values.sum((0, 2, 3))) / count
        centered = values - mean.view(1, -1, 1, 1)
        variance = _Sum.apply(centered.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / max(count - 1, 1))
        normal = centered * torch.rsqrt(variance + self.eps).view(1, -1, 1, 1)
        if self.affine:
            normal = normal * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normal.to(images.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Sum(torch.autograd.Function):
    """Sum over the processes; what depends on the sum in any of them, depends on each summand."""

    @staticmethod
    def forward(context, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


class _Activated:
    """What timm's batch normalisations do after normalising."""

    def forward(self, images: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(images)))


_SYNCHRONISED = (nn.SyncBatchNorm, ProcessorSyncBatchNorm)


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """
    Let a network's batch normalisations take their statistics over all processes.

    On CUDA they become torch's SyncBatchNorm, on the processor `ProcessorSyncBatchNorm`; names,
    weights and buffers stay.

    :param network: Changed in place.
    :param device: Where it is trained.
    :raises InputError: If it has a batch normalisation of a kind of its own.
    """
    kind = nn.SyncBatchNorm if device.type == 'cuda' else ProcessorSyncBatchNorm
    _convert(network, kind, lambda layer: not isinstance(layer, _SYNCHRONISED))


def separate_batch_norm(network: nn.Module) -> None:
    """
    Make batch normalisations plain again, for a network that is used by one process.

    :param network: Changed in place.
    """
    _convert(network, nn.BatchNorm2d, lambda layer: isinstance(layer, _SYNCHRONISED))


def running_statistics(network: nn.Module) -> list[Tensor]:
    """
    Return the running means and variances of a network's batch normalisations.

    :param network: Any network.
    """
    return [
        buffer for module in network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
        for buffer in (module.running_mean, module.running_var)]


def _convert(
    network: nn.Module, kind: type[nn.Module], is_due: Callable[[nn.Module], bool],
) -> None:
    converted: dict[nn.Module, nn.Module] = {}  # one layer may stand in several places
    for parent in [*network.modules()]:
        for name, layer in parent.named_children():
            if isinstance(layer, _BatchNorm) and is_due(layer):
                if layer not in converted:
                    converted[layer] = _as_kind(layer, kind)
                setattr(parent, name, converted[layer])


def _as_kind(layer: _BatchNorm, kind: type[nn.Module]) -> nn.Module:
    # timm's BatchNormAct2d, which EfficientNet-Lite has, is one layer with its activation.
    is_activated = hasattr(layer, 'act') and hasattr(layer, 'drop')
    if not is_activated and type(layer) not in (nn.BatchNorm2d, *_SYNCHRONISED):
        raise InputError(
            f'sync_batch_norm: the network has a {type(layer).__name__}, which cannot be '
            'synchronised, only BatchNorm2d can; set it to false')
    made = (_activated(kind) if is_activated else kind)(
        layer.num_features, eps=layer.eps, momentum=layer.momentum, affine=layer.affine,
        track_running_stats=layer.track_running_stats)
    if is_activated:
        made.act, made.drop = layer.act, layer.drop
    made.weight, made.bias = layer.weight, layer.bias
    for name, buffer in layer.named_buffers(recurse=False):
        setattr(made, name, buffer)
    return made.train(layer.training)


@cache
def _activated(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f'Activated{kind.__name__}', (_Activated, kind), {})
