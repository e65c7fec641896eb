# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""On what a run computes."""

from __future__ import annotations

import os

from bkd_core.errors import InputError
from bkd_core.training.processes import local_rank, present_processes
import torch


def choose_device(name: str) -> torch.device:
    """
    Return the device that a name stands for.

    Of several processes each takes the GPU of its number on its machine.

    :param name: 'auto', 'cpu', 'cuda' or 'cuda:N'.
    :raises InputError: If it is not available.
    """
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        if present_processes().size > 1 and device.type == 'cuda' and torch.cuda.is_available():
            device = _own_device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device: got '{name}', which is not available here: "
            f"{str(error).splitlines()[0]}. Use 'auto' or 'cpu'") from error
    return device


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """
    Tell whether a run computes in bfloat16, by autocast.

    :param precision: 'auto', 'float32' or 'bfloat16'.
    :param device: From `choose_device`.
    """
    if precision == 'auto':
        return device.type == 'cuda' and torch.cuda.is_bf16_supported()
    return precision == 'bfloat16'


def make_deterministic(seed: int) -> None:
    """
    Let a run follow from its seed.

    :param seed: At least 0.
    """
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory before it is written; filling it first costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.manual_seed(seed)


def _own_device(device: torch.device) -> torch.device:
    if device.index is not None:
        raise InputError(
            f"device: got '{device}', which several processes cannot share; give 'cuda', then "
            'each takes one of its own (CUDA_VISIBLE_DEVICES says which there are)')
    number, available = local_rank(), torch.cuda.device_count()
    if number >= available:
        raise InputError(
            f'device: {number + 1} or more processes were started on this machine, which has '
            f'{available} GPUs; give torchrun --nproc-per-node {available}')
    torch.cuda.set_device(number)
    return torch.device('cuda', number)
