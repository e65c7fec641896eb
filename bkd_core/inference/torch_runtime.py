# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run a model directory's weights by torch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from bkd_core.errors import InputError
from bkd_core.inference.out_of_memory import OutOfMemory
from bkd_core.model_directory import ModelSpec
from bkd_core.models import load_network
from bkd_core.models.image_network import ImageNetwork
import numpy as np
import torch
from torch import nn

_CPU_OUT_OF_MEMORY = 'DefaultCPUAllocator'  # a plain RuntimeError


class TorchRuntime:
    """
    A loaded network: uint8 images in, coarse logits out.

    :param network: Normalised images in, logits out; it is copied, not changed.
    :param spec: Its normalisation.
    :param num_threads: Threads of torch in this whole process; 0 leaves them as they are.
    :param device: 'auto' (CUDA where there is one, else CPU), 'cpu' or 'cuda'.
    :raises InputError: If the device is not there.
    """

    name = 'torch'

    def __init__(
        self, network: nn.Module, spec: ModelSpec, *, num_threads: int = 0,
        device: str = 'auto',
    ) -> None:
        if num_threads:
            torch.set_num_threads(num_threads)
        self._device = _choose_device(device)
        network = ImageNetwork(copy.deepcopy(network), spec).eval().to(self._device)
        self._network = network.to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, directory: Path, spec: ModelSpec, **options: Any) -> TorchRuntime:
        """
        Load the weights of a model directory.

        :param directory: The model directory.
        :param spec: Its `model.yaml`.
        :param options: `num_threads` and `device`.
        :raises InputError: As above, and if the weights are missing, truncated or of another
            network.
        """
        return cls(load_network(directory), spec, **options)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """
        Run the network.

        :param images: (B, h, w, 3) uint8 RGB at the network's size.
        :return: (B, C, h / stride, w / stride) float32.
        :raises OutOfMemory: If the device has no room for it.
        """
        try:
            return self._run(images)
        except RuntimeError as error:
            if (isinstance(error, torch.cuda.OutOfMemoryError)
                    or _CPU_OUT_OF_MEMORY in str(error)):
                raise OutOfMemory(images, error) from error
            raise

    def device_memory(self) -> tuple[int, int] | None:
        """
        Return the bytes that torch has allocated on the CUDA device, and those that are free.

        :return: None on a processor.
        """
        if self._device.type != 'cuda':
            return None
        return torch.cuda.memory_allocated(self._device), torch.cuda.mem_get_info(self._device)[0]

    def _run(self, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(images).to(self._device))
            return np.ascontiguousarray(logits.float().cpu().numpy())


def _choose_device(device: str) -> torch.device:
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device == 'cuda' and not torch.cuda.is_available():
        raise InputError(
            f"device 'cuda': torch {torch.__version__} sees no CUDA device. Set device 'cpu', or "
            'install a CUDA build of torch and its driver')
    return torch.device(device)
