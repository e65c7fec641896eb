# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Compare an export with the network it was made from, on real frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Sequence

from bkd_core.inference.onnx_runtime import OnnxRuntime
from bkd_core.inference.segmenter import Segmenter
from bkd_core.inference.torch_runtime import TorchRuntime
from bkd_core.model_directory import ModelSpec
import numpy as np
from torch import nn


class ExportError(RuntimeError):
    """Say that an exported file does not do what its network does."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """
    How much of a network's labels an export names, too.

    :param agreement: Share of equal labels over all frames, 0 to 1.
    :param worst: The same of the frame with the fewest equal labels.
    :param num_frames: How many frames were compared.
    """

    agreement: float
    worst: float
    num_frames: int


def measure_parity(
    exported: Segmenter, original: Segmenter, frames: Iterable[np.ndarray],
) -> Parity:
    """
    Compare the labels of two segmenters.

    :param exported: The export.
    :param original: The network that it was made from.
    :param frames: (H, W, 3) uint8 RGB, at least one; best from the domain that the network is
        for: on noise every pixel is a close call.
    """
    equal, sizes = [], []
    for frame in frames:
        labels = [segmenter(frame, with_confidence=False).labels
                  for segmenter in (exported, original)]
        equal.append(np.count_nonzero(labels[0] == labels[1]))
        sizes.append(labels[0].size)
    if not sizes:
        raise ValueError('measure_parity: no frames to compare on')
    return Parity(
        agreement=sum(equal) / sum(sizes), worst=float(np.divide(equal, sizes).min()),
        num_frames=len(sizes))


def check_parity(
    network: nn.Module, onnx_path: str | Path, spec: ModelSpec, frames: Sequence[np.ndarray],
    *, minimum: float = 0.999,
) -> float:
    """
    Compare the labels of an ONNX file with those of its network.

    :param network: The network that was exported; it is left as it is.
    :param onnx_path: The file.
    :param spec: The model.
    :param frames: (H, W, 3) uint8 RGB, as for `measure_parity`.
    :param minimum: Smallest share of equal labels that is accepted.
    :return: The share of equal labels, 0 to 1.
    :raises ExportError: If it is below the minimum.
    """
    path = Path(onnx_path)
    num_classes = spec.label_space.num_classes
    exported = Segmenter(path.parent, spec, OnnxRuntime(path, num_classes, device='cpu'))
    original = Segmenter(path.parent, spec, TorchRuntime(network, spec, device='cpu'))
    parity = measure_parity(exported, original, frames)
    if parity.agreement < minimum:
        raise ExportError(
            f'{path}: only {parity.agreement:.4%} of the labels are those of the network; '
            f'expected at least {minimum:.2%} on {parity.num_frames} frames')
    return parity.agreement
