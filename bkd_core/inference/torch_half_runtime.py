# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run a model directory's weights by torch on CUDA in half precision, as captured graphs."""

from __future__ import annotations

from collections import OrderedDict
import copy

from bkd_core.errors import InputError
from bkd_core.inference.torch_runtime import TorchRuntime
from bkd_core.model_directory import ModelSpec
import numpy as np
import torch
from torch import nn, Tensor

# A graph holds the memory of its forward pass; cameras have few sizes.
MOST_SHAPES = 4
_WARM_UPS = 3


class TorchHalfRuntime(TorchRuntime):
    """
    A network in float16 (batch norm and normalisation in float32) whose kernels start as one.

    :param network: Normalised images in, logits out; it is copied, not changed.
    :param spec: Its normalisation.
    :param num_threads: As of `TorchRuntime`.
    :param device: 'auto' or 'cuda'.
    :raises InputError: If there is no CUDA device.
    """

    name = 'torch_half'

    def __init__(
        self, network: nn.Module, spec: ModelSpec, *, num_threads: int = 0,
        device: str = 'auto',
    ) -> None:
        if device == 'cpu' or not torch.cuda.is_available():
            reason = ("device is 'cpu'" if device == 'cpu'
                      else f'torch {torch.__version__} sees none')
            raise InputError(
                f"runtime 'torch_half': it needs a CUDA device, and {reason}. Set runtime "
                "'torch', or 'auto' for the fastest")
        super().__init__(HalfNetwork(network), spec, num_threads=num_threads, device='cuda')
        self._graphs: OrderedDict[tuple[int, ...], CapturedGraph] = OrderedDict()

    def _run(self, images: np.ndarray) -> np.ndarray:
        return self._graph(images.shape).run(images)

    def _graph(self, shape: tuple[int, ...]) -> CapturedGraph:
        if shape not in self._graphs:
            # First, so that the memory of the one that goes is there for the one that comes.
            if len(self._graphs) == MOST_SHAPES:
                self._graphs.popitem(last=False)
            self._graphs[shape] = CapturedGraph(self._network, shape, self._device)
        self._graphs.move_to_end(shape)
        return self._graphs[shape]


class HalfNetwork(nn.Module):
    """
    A network in float16 but for its batch norm, whose variances may leave float16's range.

    :param network: Normalised images in, logits out, in float32; it is copied, not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                continue
            for values in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if values.is_floating_point():
                    values.data = values.data.half()

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, h, w) float32, normalised.
        :return: (B, C, h / stride, w / stride) float32.
        """
        return self.network(images.half()).float()


class CapturedGraph:
    """
    A forward pass at one shape, recorded once and replayed from and into buffers of its own.

    :param network: (B, h, w, 3) uint8 in, logits out; on the device, in evaluation mode.
    :param shape: (B, h, w, 3).
    :param device: A CUDA device.
    """

    def __init__(
        self, network: nn.Module, shape: tuple[int, ...], device: torch.device,
    ) -> None:
        self._images = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._pinned_images = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        with torch.inference_mode():
            # Libraries choose kernels and take memory in their first runs, which a graph may not.
            stream = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    self._forward(network)
            torch.cuda.current_stream(device).wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile: a node labels while it loads a model.
            with torch.cuda.graph(self._graph, capture_error_mode='thread_local'):
                self._logits = self._forward(network)
        self._pinned_logits = torch.empty(
            self._logits.shape, dtype=torch.float32, pin_memory=True)
        self._device = device

    def run(self, images: np.ndarray) -> np.ndarray:
        """
        Return the logits.

        :param images: (B, h, w, 3) uint8.
        :return: (B, C, h / stride, w / stride) float32.
        """
        np.copyto(self._pinned_images.numpy(), images)
        with torch.inference_mode():
            self._images.copy_(self._pinned_images, non_blocking=True)
            self._graph.replay()
            self._pinned_logits.copy_(self._logits, non_blocking=True)
        torch.cuda.current_stream(self._device).synchronize()
        return self._pinned_logits.numpy().copy()

    def _forward(self, network: nn.Module) -> Tensor:
        return network(self._images).contiguous()
