# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What can run a network, by name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bkd_core.errors import InputError
from bkd_core.inference.onnx_runtime import OnnxRuntime
from bkd_core.inference.openvino_runtime import OpenVinoRuntime
from bkd_core.inference.tensorrt_runtime import TensorRtRuntime
from bkd_core.model_directory import ModelSpec
import numpy as np


class Runtime(Protocol):
    """Runs a network."""

    name: str

    @classmethod
    def load(cls, directory: Path, spec: ModelSpec, **options: Any) -> Runtime:
        """Load a model directory; the options are `num_threads` and `device`."""

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return (B, C, h / stride, w / stride) float32 for (B, h, w, 3) uint8 RGB."""


def load_runtime(name: str, directory: Path, spec: ModelSpec, **options: Any) -> Runtime:
    """
    Load a model into a runtime.

    :param name: One of `LOADERS`.
    :param directory: The model directory.
    :param spec: Its `model.yaml`.
    :param options: `num_threads` and `device`.
    :raises InputError: If the model, a file of it, the device or the library is at fault.
    """
    return LOADERS[name](directory, spec, **options)


def _load_torch(
    directory: Path, spec: ModelSpec, *, name: str = 'torch', **options: Any,
) -> Runtime:
    try:
        from bkd_core.inference.compiled_torch_runtime import CompiledTorchRuntime
        from bkd_core.inference.torch_half_runtime import TorchHalfRuntime
        from bkd_core.inference.torch_runtime import TorchRuntime
        kinds = {
            kind.name: kind for kind in (TorchRuntime, TorchHalfRuntime, CompiledTorchRuntime)}
        return kinds[name].load(directory, spec, **options)
    except ImportError as error:
        raise InputError(
            f"model '{directory}': runtime '{name}' needs a package that cannot be imported "
            f'({error}): pip install "bkd_ros[train]"') from error


# In the order of preference where two are equally fast.
LOADERS = {
    'onnxruntime': OnnxRuntime.load,
    'openvino': OpenVinoRuntime.load,
    'openvino_bf16': partial(OpenVinoRuntime.load, bfloat16=True),
    'onnxruntime_int8': partial(OnnxRuntime.load, int8=True),
    'openvino_int8': partial(OpenVinoRuntime.load, int8=True),
    'tensorrt': TensorRtRuntime.load,
    'tensorrt_half': partial(TensorRtRuntime.load, half=True),
    'torch': _load_torch,
    'torch_half': partial(_load_torch, name='torch_half'),
    'torch_compile': partial(_load_torch, name='torch_compile'),
}
RUNTIMES = ('auto', *LOADERS)
