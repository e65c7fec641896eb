# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which images normalise which in batch normalisation, and whose statistics are remembered."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Iterator

import torch
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm

Forward = Callable[[Tensor], 'tuple[Tensor, ...]']


def forward_by_domain(
    forward: Forward, network: nn.Module, images: Tensor, *, num_source: int,
) -> tuple[Tensor, ...]:
    """
    Call a network once for each domain; only the target's statistics are remembered.

    A network in training mode normalises a batch by the batch's own mean and variance. Source and
    target images in one batch are then normalised by a mixture of both, and the running
    statistics, with which the network is used on the target, become those of the mixture. Two
    calls give each domain its own, as in AdaBN (Li et al. 2016, https://arxiv.org/abs/1603.04779)
    and DSBN (Chang et al. 2019, https://arxiv.org/abs/1906.03950); scale and shift are shared, as
    in the first.

    :param forward: Calls the network: images -> one or more tensors (B, C, h, w).
    :param network: The network that it calls.
    :param images: (B, 3, H, W), 0 to 1, the source first.
    :param num_source: How many of them are the source's.
    :return: What `forward` returns, of all images.
    """
    with running_statistics_kept(network):
        source = forward(images[:num_source])
    target = forward(images[num_source:])
    return tuple(torch.cat(parts) for parts in zip(source, target))


@contextmanager
def running_statistics_used(network: nn.Module) -> Iterator[None]:
    """
    Normalise by the running statistics, as in use, and leave them as they are.

    :param network: Any network.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    modes = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.eval()
        yield
    finally:
        for layer, mode in zip(layers, modes):
            layer.train(mode)


@contextmanager
def running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """
    Leave the running statistics of all batch normalisations as they are.

    :param network: Any network.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
