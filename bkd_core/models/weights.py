# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Weights on disk as safetensors: nothing in them can run code."""

from __future__ import annotations

from pathlib import Path
from typing import Container

from bkd_core import atomic
from bkd_core.errors import InputError
import safetensors.torch
import torch
from torch import nn, Tensor


def save_weights(network: nn.Module, path: Path, *, half_precision: bool = False) -> None:
    """
    Write a network's weights and buffers atomically.

    :param network: Any network.
    :param path: The file, ending in .safetensors.
    :param half_precision: Store floats as float16: half the size, about three digits.
    """
    state = {}
    for name, value in network.state_dict().items():
        value = value.detach().cpu().contiguous()
        state[name] = value.half() if half_precision and value.is_floating_point() else value
    atomic.write_bytes(path, safetensors.torch.save(state))


def load_weights(network: nn.Module, path: Path) -> None:
    """
    Load weights into a network of the same architecture, in the network's own precision.

    :param network: Built like the one that was saved; changed in place.
    :param path: The file.
    :raises InputError: If the file is damaged or belongs to another network.
    """
    try:
        state = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f'{path}: the weights are not readable: {error}') from error
    expected = network.state_dict()
    problems = differences(state, expected)
    if problems:
        raise InputError(
            f'{path}: these weights belong to another network: {problems[0]}'
            f' (and {len(problems) - 1} more differences). Check the network and the label space')
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(state[name])


def differences(
    state: dict[str, Tensor], expected: dict[str, Tensor], *, optional: Container[str] = (),
) -> list[str]:
    """
    Return what keeps weights from being those of a network, in words.

    :param state: The weights by name.
    :param expected: Those of the network.
    :param optional: Names that may be missing.
    """
    return [
        f'{name} is missing' for name in expected if name not in state and name not in optional
    ] + [
        f'{name} is not part of the network' for name in state if name not in expected
    ] + [
        f'{name} has shape {tuple(state[name].shape)}, expected {tuple(value.shape)}'
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape]
