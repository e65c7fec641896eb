# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run a model directory's ONNX file by ONNX Runtime."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from bkd_core import model_directory
from bkd_core.errors import InputError
from bkd_core.inference.onnx_interface import check_interface
from bkd_core.inference.out_of_memory import OutOfMemory, says_out_of_memory
from bkd_core.model_directory import ModelSpec
import numpy as np

logger = logging.getLogger(__name__)


class OnnxRuntime:
    """
    A loaded ONNX file: uint8 images in, coarse logits out.

    :param path: The file, written by `bkd_core.export`.
    :param num_classes: How many classes it must have.
    :param num_threads: Threads of one inference; 0 leaves the choice to ONNX Runtime.
    :param device: 'auto' (CUDA where it works, else CPU), 'cpu' or 'cuda'.
    :param int8: Whether the file computes in 8-bit integers, which is only done on a processor.
    :raises InputError: If the file is damaged or of another model, or the device is not there.
    """

    def __init__(
        self, path: Path, num_classes: int, *, num_threads: int = 0, device: str = 'auto',
        int8: bool = False,
    ) -> None:
        if int8 and device == 'cuda':
            raise InputError(
                "runtime 'onnxruntime_int8': 8-bit integers are for processors. Set device 'cpu' "
                "or 'auto', or runtime 'onnxruntime' or 'torch'")
        self.name = 'onnxruntime_int8' if int8 else 'onnxruntime'
        device = 'cpu' if int8 else device
        self._session = open_session(path, num_threads, device)
        check_session(self._session, path, num_classes)
        logger.info('%s runs on %s', path, self._session.get_providers()[0])

    @classmethod
    def load(cls, directory: Path, spec: ModelSpec, **options: Any) -> OnnxRuntime:
        """
        Load an ONNX file of a model directory.

        :param directory: The model directory.
        :param spec: Its `model.yaml`.
        :param options: `num_threads`, `device` and `int8`.
        :raises InputError: As above, and if the file is missing or truncated.
        """
        name = model_directory.INT8 if options.get('int8') else model_directory.ONNX
        path = model_directory.verify(directory, spec, name)
        return cls(path, spec.label_space.num_classes, **options)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """
        Run the network.

        :param images: (B, h, w, 3) uint8 RGB at the network's size.
        :return: (B, C, h / stride, w / stride) float32.
        :raises OutOfMemory: If the device has no room for it.
        """
        return run_session(self._session, images)


def run_session(session: Any, images: np.ndarray) -> np.ndarray:
    """
    Run a session of ONNX Runtime.

    :param session: Of a file written by `bkd_core.export`.
    :param images: (B, h, w, 3) uint8 RGB at the network's size.
    :return: (B, C, h / stride, w / stride) float32.
    :raises OutOfMemory: If the device has no room for it.
    """
    try:
        return session.run(['logits'], {'image': images})[0]
    except Exception as error:  # the library raises a dozen unrelated types
        if says_out_of_memory(error):
            raise OutOfMemory(images, error) from error
        raise


def open_session(path: Path, num_threads: int, device: str) -> Any:
    """
    Open an ONNX file.

    :param path: The file.
    :param num_threads: Threads of one inference; 0 leaves the choice to ONNX Runtime.
    :param device: 'auto', 'cpu' or 'cuda'.
    :return: A session of ONNX Runtime.
    :raises InputError: If the file is damaged or the device is not there.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait take the processor from everything else on a robot.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    providers = _providers(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the library raises a dozen unrelated types
        raise InputError(
            f'{path}: ONNX Runtime {onnxruntime.__version__} cannot load it, so it is damaged or '
            f'made for a newer version: {error}. Export the model again') from error
    used = session.get_providers()[0]
    if device == 'cuda' and used != providers[0]:
        raise InputError(
            "device 'cuda': ONNX Runtime could not start CUDA. Check the driver, CUDA and cuDNN, "
            "or set device 'cpu'")
    return session


def import_onnxruntime() -> Any:
    """Return the module; raise InputError with the pip line where it cannot be imported."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f'onnxruntime cannot be imported ({error}): pip install onnxruntime') from error
    return onnxruntime


def _providers(device: str, available: list[str]) -> list[str]:
    cpu, cuda = 'CPUExecutionProvider', 'CUDAExecutionProvider'
    if device == 'cpu' or (device == 'auto' and cuda not in available):
        return [cpu]
    if device == 'auto':
        return [cuda, cpu]
    if cuda not in available:
        raise InputError(
            "device 'cuda': this onnxruntime is built without CUDA. Install onnxruntime-gpu in "
            "place of onnxruntime, or set device 'cpu'")
    return [cuda, cpu]


def check_session(session: Any, path: Path, num_classes: int) -> None:
    """
    Compare a session's inputs and outputs with what `bkd_core.export` writes.

    :param session: Of ONNX Runtime.
    :param path: The file, for the message.
    :param num_classes: How many classes it must have.
    :raises InputError: If it is another graph or of another model.
    """
    inputs = [
        (port.name, port.type.removeprefix('tensor(').rstrip(')'), _sides(port))
        for port in session.get_inputs()]
    outputs = {port.name: _sides(port) for port in session.get_outputs()}
    check_interface(path, num_classes, inputs=inputs, outputs=outputs)


def _sides(port) -> list[int | None]:
    """Return a port's shape; None where a side is open."""
    return [side if isinstance(side, int) else None for side in port.shape]
