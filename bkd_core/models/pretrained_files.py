# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of weights that were trained elsewhere; nothing in them is run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
import pickle
import re
from typing import Callable, ContextManager, TypeVar

from bkd_core.errors import InputError
import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

_T = TypeVar('_T')
# Where training programs put the network inside of a checkpoint.
_WRAPPERS = (
    'state_dict', 'model', 'model_state_dict', 'model_state', 'ResNet101', 'teacher', 'network')


def read_state(path: str | Path) -> dict[str, Tensor]:
    """
    Read a state dict, also from inside of a training program's checkpoint.

    :param path: A .safetensors file, or what torch.save wrote; read without running any of its
        code.
    :return: The tensors by name, on the CPU, without the prefix of a parallel wrapper (`module.`).
    :raises InputError: If the file is missing, can't be read, or holds no tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'network_options.weights: no such file: {path}')
    try:
        if path.suffix == '.safetensors':
            content = safetensors.torch.load_file(path)
        else:
            with _numbers_of_numpy():
                content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r'(?:GLOBAL|class) (\S+)', str(error))
        what = f' ({found[1]})' if found else ''
        raise InputError(
            f'{path}: not readable as a state dict: it holds more than tensors and numbers{what}, '
            'which could run code. Where it comes from a source that you trust, load it there and '
            'save its state dict alone, best by safetensors.torch.save_file') from error
    except (RuntimeError, EOFError, OSError, safetensors.SafetensorError) as error:
        reason = str(error).split('\n')[0]
        raise InputError(f'{path}: not readable as a state dict ({reason})') from error
    state = _unwrap(content)
    if not state:
        raise InputError(
            f'{path}: holds no state dict; expected tensors by name, or a checkpoint with '
            f'them below one of {", ".join(_WRAPPERS)}')
    return {name.removeprefix('module.'): value for name, value in state.items()}


def download(network: str, get: Callable[[], _T]) -> _T:
    """
    Run a library's own download of pretrained weights.

    :param network: What the message calls the network.
    :param get: The download.
    :raises InputError: If there is no connection, or the other side has no such file.
    """
    try:
        return get()
    except (OSError, RuntimeError) as error:
        reason = str(error).split('\n')[0]
        raise InputError(
            f'{network}: its pretrained weights could not be downloaded ({reason}). Give a local '
            'file with --model.options.weights (--stage NAME keeps it from the other stages), or '
            'start from scratch with --model.options.pretrained false') from error


def _numbers_of_numpy() -> ContextManager:
    """Let a checkpoint hold NumPy's numbers, such as the score that it was kept for."""
    if not hasattr(torch.serialization, 'safe_globals'):  # torch 2.4
        return nullcontext()
    core = np._core if hasattr(np, '_core') else np.core
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)]
    return torch.serialization.safe_globals([core.multiarray.scalar, np.dtype, *kinds])


def _unwrap(content: object) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        return {}
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            return _unwrap(content[wrapper])
    return {
        name: value for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)}
