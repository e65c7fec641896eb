# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run a model directory's weights by torch; the only file of this package that imports it."""

from __future__ import annotations

from pathlib import Path

from bkd_core import model_directory
from bkd_core.errors import InputError
from bkd_core.models import load_network
import numpy as np
import torch


class TorchRuntime:
    """
    A loaded network: uint8 image in, coarse logits out.

    :param directory: The model directory.
    :param spec: Its `model.yaml`.
    :param num_threads: Threads of torch in this whole process; 0 leaves them as they are.
    :param device: 'auto' (CUDA where there is one, else CPU), 'cpu', 'cuda' or 'cuda:N'.
    :raises InputError: If the weights are missing or damaged, or the device is not there.
    """

    name = 'torch'

    def __init__(
        self, directory: Path, spec: model_directory.ModelSpec, *, num_threads: int,
        device: str,
    ) -> None:
        self.path = directory / model_directory.WEIGHTS
        if num_threads:
            torch.set_num_threads(num_threads)
        self._device = _choose_device(device)
        network = load_network(directory).to(self._device)
        self._network = network.to(memory_format=torch.channels_last)
        self._mean, self._std = (
            torch.tensor(values, device=self._device).view(1, 3, 1, 1)
            for values in (spec.mean, spec.std))

    def logits(self, image: np.ndarray) -> np.ndarray:
        """
        Run the network.

        :param image: (h, w, 3) uint8 RGB at the network's size.
        :return: (C, h / stride, w / stride) float32.
        """
        with torch.inference_mode():
            pixels = torch.from_numpy(image).to(self._device)[None].permute(0, 3, 1, 2)
            logits = self._network((pixels.float() - self._mean) / self._std)
        return np.ascontiguousarray(logits[0].float().cpu().numpy())


def _choose_device(device: str) -> torch.device:
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(
            f"device '{device}': expected 'auto', 'cpu', 'cuda' or 'cuda:N'") from error
    if chosen.type == 'cuda' and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device '{device}': torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices. Set device 'cpu', or install torch with CUDA and its driver")
    return chosen
