# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run an ONNX file of a model by OpenVINO, in float32 or, where asked for, bfloat16 or int8."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
import logging
from pathlib import Path
from typing import Any

from bkd_core import model_directory
from bkd_core.errors import InputError
from bkd_core.inference.machine import has_bfloat16
from bkd_core.inference.onnx_interface import check_interface
from bkd_core.inference.out_of_memory import OutOfMemory, says_out_of_memory
from bkd_core.model_directory import ModelSpec
import numpy as np

logger = logging.getLogger(__name__)

# Compiled for one shape a network is about a tenth faster; cameras have few sizes.
MOST_SHAPES = 4


class OpenVinoRuntime:
    """
    A loaded ONNX file: uint8 images in, coarse logits out.

    :param path: The file, written by `bkd_core.export`.
    :param num_classes: How many classes it must have.
    :param num_threads: Threads of one inference; 0 leaves the choice to OpenVINO.
    :param device: 'auto' or 'cpu'.
    :param bfloat16: Compute in bfloat16: about half the time and other labels for a few pixels.
    :param int8: Whether the file computes in 8-bit integers.
    :raises InputError: If OpenVINO is missing, the file is damaged or of another model, or the
        processor can't do what is asked.
    """

    def __init__(
        self, path: Path, num_classes: int, *, num_threads: int = 0, device: str = 'auto',
        bfloat16: bool = False, int8: bool = False,
    ) -> None:
        if device == 'cuda':
            raise InputError(
                "device 'cuda': OpenVINO runs on the processor here. Set device 'cpu' or 'auto', "
                "or runtime 'onnxruntime' or 'torch'")
        if bfloat16 and not has_bfloat16():
            raise InputError(
                "runtime 'openvino_bf16': this processor has no bfloat16 instructions (AMX, "
                "AVX512-BF16 or Arm BF16), and without them it is slower. Set runtime 'openvino'")
        self.name = (
            'openvino_int8' if int8 else 'openvino_bf16' if bfloat16 else 'openvino')
        self._path = path
        self._core, self._model = _read(path)
        _check_interface(self._model, path, num_classes)
        self._settings = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': 'bf16' if bfloat16 else 'f32',
            # Pinned threads wait for their core while another program has it.
            'ENABLE_CPU_PINNING': False}
        if num_threads:
            self._settings['INFERENCE_NUM_THREADS'] = num_threads
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    @classmethod
    def load(cls, directory: Path, spec: ModelSpec, **options: Any) -> OpenVinoRuntime:
        """
        Load an ONNX file of a model directory.

        :param directory: The model directory.
        :param spec: Its `model.yaml`.
        :param options: `num_threads`, `device`, and `bfloat16` or `int8`.
        :raises InputError: As above, and if the file is missing or truncated.
        """
        name = model_directory.INT8 if options.get('int8') else model_directory.ONNX
        path = model_directory.verify(directory, spec, name)
        return cls(path, spec.label_space.num_classes, **options)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """
        Run the network; the first time at a shape, compile it.

        :param images: (B, h, w, 3) uint8 RGB at the network's size.
        :return: (B, C, h / stride, w / stride) float32.
        :raises OutOfMemory: If there is no room for it.
        """
        try:
            return self._request(images.shape).infer(
                {'image': images}, share_inputs=True)['logits']
        except RuntimeError as error:
            if says_out_of_memory(error):
                raise OutOfMemory(images, error) from error
            raise

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._requests:
            self._requests[shape] = self._compile(shape)
            if len(self._requests) > MOST_SHAPES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shape)
        return self._requests[shape]

    def _compile(self, shape: tuple[int, ...]) -> Any:
        try:
            self._model.reshape({'image': list(shape)})
            compiled = self._core.compile_model(self._model, 'CPU', self._settings)
        except RuntimeError as error:
            if says_out_of_memory(error):
                raise
            raise InputError(
                f'{self._path}: OpenVINO cannot run it on images {shape}: {error}. Set runtime '
                "'onnxruntime'") from error
        return compiled.create_infer_request()


@lru_cache(maxsize=None)
def _core() -> Any:
    """
    Return the one Core of the process, which lives as long as it.

    Its processor plugin gives the thread another stack for signals, and takes it away when it is
    freed. Several Cores put freed stacks back into force, and the next signal ends the process.
    """
    import openvino
    return openvino.Core()


def _read(path: Path) -> tuple[Any, Any]:
    try:
        import openvino
    except ImportError as error:
        raise InputError(
            f"runtime 'openvino': openvino cannot be imported ({error}): "
            'pip install "bkd_ros[openvino]"') from error
    core = _core()
    try:
        return core, core.read_model(str(path))
    except RuntimeError as error:
        raise InputError(
            f'{path}: OpenVINO {openvino.__version__} cannot read it, so it is damaged or made '
            f'for a newer version: {error}. Export the model again') from error


def _check_interface(model: Any, path: Path, num_classes: int) -> None:
    inputs = [
        (port.any_name, str(port.element_type.to_dtype()), _sides(port)) for port in model.inputs]
    outputs = {port.any_name: _sides(port) for port in model.outputs}
    check_interface(path, num_classes, inputs=inputs, outputs=outputs)


def _sides(port: Any) -> list[int | None]:
    """Return a port's shape; None where a side is open."""
    return [side.get_length() if side.is_static else None for side in port.partial_shape]
