# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Compare an export with the network it was made from, on real frames."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bkd_core.inference.onnx_runtime import OnnxRuntime
from bkd_core.inference.segmenter import Segmenter
from bkd_core.inference.torch_runtime import TorchRuntime
from bkd_core.model_directory import ModelSpec
import numpy as np
from torch import nn


class ExportError(RuntimeError):
    """Say that an exported file does not do what its network does."""


def check_parity(
    network: nn.Module, onnx_path: str | Path, spec: ModelSpec, frames: Sequence[np.ndarray],
    *, minimum: float = 0.999,
) -> float:
    """
    Compare the labels of an ONNX file with those of its network.

    :param network: The network that was exported; it is left as it is.
    :param onnx_path: The file.
    :param spec: The model.
    :param frames: (H, W, 3) uint8 RGB, best from the domain that the network is for: on noise
        every pixel is a close call.
    :param minimum: Smallest share of equal labels that is accepted.
    :return: The share of equal labels, 0 to 1.
    :raises ExportError: If it is below the minimum.
    """
    if not len(frames):
        raise ValueError('check_parity: no frames to compare on')
    path = Path(onnx_path)
    num_classes = spec.label_space.num_classes
    exported = Segmenter(path.parent, spec, OnnxRuntime(path, num_classes, device='cpu'))
    original = Segmenter(path.parent, spec, TorchRuntime(network, spec, device='cpu'))
    equal = total = 0
    for frame in frames:
        labels = [segmenter(frame, with_confidence=False).labels
                  for segmenter in (exported, original)]
        equal += np.count_nonzero(labels[0] == labels[1])
        total += labels[0].size
    agreement = equal / total
    if agreement < minimum:
        raise ExportError(
            f'{path}: only {agreement:.4%} of the labels are those of the network; expected at '
            f'least {minimum:.2%} on {len(frames)} frames')
    return agreement
