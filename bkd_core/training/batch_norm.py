# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation over the crops of all processes, or its running statistics' mean."""

from __future__ import annotations

from typing import Callable

from bkd_core.errors import InputError
import torch
from torch import distributed, nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm


class _Synchronised:
    """A normalisation in the place of a plain one, with what the plain one does afterwards."""

    def stand_for(self, plain: nn.BatchNorm2d) -> None:
        """
        Take over a layer's weights, buffers and mode.

        :param plain: BatchNorm2d, or timm's BatchNormAct2d, which drops and activates, too.
        """
        _share(plain, self)
        self.__dict__['plain'] = plain  # no submodule: names of weights stay as they are
        self.after = None if type(plain) is nn.BatchNorm2d else (
            nn.Sequential(plain.drop, plain.act))

    def forward(self, images: Tensor) -> Tensor:
        """
        Normalise by the mean and variance over the images of all processes.

        :param images: (B, C, H, W).
        """
        normal = super().forward(images)
        return normal if self.after is None else self.after(normal)


class DeviceSyncBatchNorm(_Synchronised, nn.SyncBatchNorm):
    """On CUDA: torch's."""


class _ProcessorSyncBatchNorm(nn.BatchNorm2d):
    def forward(self, images: Tensor) -> Tensor:
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


class ProcessorSyncBatchNorm(_Synchronised, _ProcessorSyncBatchNorm):
    """On the processor, where torch has none; every process brings as many images."""


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


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """
    Let a network's batch normalisations take their statistics over all processes.

    Names, weights and buffers stay.

    :param network: Changed in place.
    :param device: Where it is trained.
    :raises InputError: If it has a batch normalisation of a kind of its own.
    """
    kind = DeviceSyncBatchNorm if device.type == 'cuda' else ProcessorSyncBatchNorm

    def synchronised(layer: nn.Module) -> nn.Module:
        if not isinstance(layer, nn.BatchNorm2d) or not (
                type(layer) is nn.BatchNorm2d or {'drop', 'act'} <= {*layer._modules}):
            raise InputError(
                f'sync_batch_norm: the network has a {type(layer).__name__}, which cannot be '
                'synchronised, only BatchNorm2d can; set it to false')
        made = kind(
            layer.num_features, eps=layer.eps, momentum=layer.momentum, affine=layer.affine,
            track_running_stats=layer.track_running_stats)
        made.stand_for(layer)
        return made

    _replace(network, _BatchNorm, synchronised)


def separate_batch_norm(network: nn.Module) -> None:
    """
    Put plain batch normalisations back, for a network that is used by one process.

    :param network: Changed in place.
    """
    def plain(layer: _Synchronised) -> nn.Module:
        _share(layer, layer.plain)
        return layer.plain

    _replace(network, _Synchronised, plain)


def running_statistics(network: nn.Module) -> list[Tensor]:
    """
    Return the running means and variances of a network's batch normalisations.

    :param network: Any network.
    """
    return [
        buffer for module in network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
        for buffer in (module.running_mean, module.running_var)]


def _replace(
    network: nn.Module, kind: type, made_of: Callable[[nn.Module], nn.Module],
) -> None:
    made: dict[nn.Module, nn.Module] = {}  # one layer may stand in several places
    for parent in [*network.modules()]:
        for name, layer in parent.named_children():
            if isinstance(layer, kind):
                if layer not in made:
                    made[layer] = made_of(layer)
                setattr(parent, name, made[layer])


def _share(layer: nn.Module, other: nn.Module) -> None:
    """Give another layer the same weights, buffers and mode."""
    other.weight, other.bias = layer.weight, layer.bias
    for name, buffer in layer.named_buffers(recurse=False):
        setattr(other, name, buffer)
    other.train(layer.training)
