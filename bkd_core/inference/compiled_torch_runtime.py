# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run a model directory's weights by torch, compiled ahead of time by its AOTInductor."""

from __future__ import annotations

from collections import OrderedDict
import hashlib
import importlib.util
import json
import logging
import os
from pathlib import Path
import shutil
import tempfile
import time
from typing import Any, Callable
import warnings

from bkd_core import __version__, atomic
from bkd_core.cache_folder import cache_folder
from bkd_core.errors import InputError
from bkd_core.inference import machine
from bkd_core.inference.torch_runtime import TorchRuntime
from bkd_core.model_directory import ModelSpec
import numpy as np
import torch
from torch import nn, Tensor

logger = logging.getLogger(__name__)

# Programs that are loaded at once, and that are kept on the disk (about 3 times the weights each).
MOST_SHAPES = 4
MOST_KEPT = 16

Program = Callable[[Tensor], Tensor]


class CompiledTorchRuntime(TorchRuntime):
    """
    A network that is compiled for each shape of its images, and kept for the next start.

    :param network: Normalised images in, logits out; it is copied, not changed.
    :param spec: Its normalisation.
    :param num_threads: As of `TorchRuntime`; the programs are compiled for this many.
    :param device: 'auto' (CUDA where there is one, else CPU), 'cpu' or 'cuda'.
    :raises InputError: If the device is not there, or what compiles for it.
    """

    name = 'torch_compile'

    def __init__(
        self, network: nn.Module, spec: ModelSpec, *, num_threads: int = 0,
        device: str = 'auto',
    ) -> None:
        super().__init__(network, spec, num_threads=num_threads, device=device)
        _check_compilers(self._device)
        self._facts = [_hash(self._network), *_facts(spec, self._device)]
        self._programs: OrderedDict[tuple[int, ...], Program] = OrderedDict()

    def _run(self, images: np.ndarray) -> np.ndarray:
        program = self._program(images.shape)
        with torch.inference_mode():
            logits = program(torch.from_numpy(images).to(self._device))
            return np.ascontiguousarray(logits.float().cpu().numpy())

    def _program(self, shape: tuple[int, ...]) -> Program:
        if shape not in self._programs:
            self._programs[shape] = self._load_or_build(shape)
            if len(self._programs) > MOST_SHAPES:
                self._programs.popitem(last=False)
        self._programs.move_to_end(shape)
        return self._programs[shape]

    def _path(self, shape: tuple[int, ...]) -> Path:
        """Return where the program for a shape is kept, named by all that it depends on."""
        facts = json.dumps([*self._facts, shape])
        return programs_folder() / f'{hashlib.sha256(facts.encode()).hexdigest()}.pt2'

    def _load_or_build(self, shape: tuple[int, ...]) -> Program:
        kept = self._path(shape)
        if kept.is_file():
            try:
                return torch._inductor.aoti_load_package(str(kept))
            except Exception as error:  # torch raises several unrelated types
                logger.warning('%s cannot be loaded and is built again: %s', kept, error)
        logger.info('torch_compile: building for images %s, which takes a minute or so', shape)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / 'program.pt2'
            self._build(shape, built)
            logger.info('torch_compile: built in %.1f s', time.perf_counter() - start)
            _keep(built, kept)
            return torch._inductor.aoti_load_package(str(built))

    def _build(self, shape: tuple[int, ...], path: Path) -> None:
        example = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter('ignore', FutureWarning)  # of torch about itself
                exported = torch.export.export(self._network, (example,))
                # Freezing folds constants: batch norm, and weights in the layout of the kernels.
                torch._inductor.aoti_compile_and_package(
                    exported, package_path=str(path), inductor_configs={'freezing': True})
        except Exception as error:  # torch raises a dozen unrelated types
            raise InputError(
                f"runtime 'torch_compile': torch {torch.__version__} cannot compile the network "
                f'for images {shape} on {self._device}: {_last_line(error)}. Check that the '
                "compiler works and has Python's headers (apt install g++ python3-dev), or set "
                "runtime 'torch'") from error


def programs_folder() -> Path:
    """Return the folder of compiled programs; it can be deleted at any time."""
    return cache_folder() / 'torch_compile'


def _check_compilers(device: torch.device) -> None:
    compiler = os.environ.get('CXX', 'g++')
    if shutil.which(compiler) is None:
        raise InputError(
            f"runtime 'torch_compile': no C++ compiler '{compiler}' is found. Install one (apt "
            "install g++), name one in the variable CXX, or set runtime 'torch'")
    if device.type == 'cuda' and importlib.util.find_spec('triton') is None:
        raise InputError(
            "runtime 'torch_compile': device 'cuda' needs Triton, which is not installed: pip "
            "install triton. Or set device 'cpu' or runtime 'torch'")
    if not hasattr(torch._inductor, 'aoti_compile_and_package'):
        raise InputError(
            f"runtime 'torch_compile': torch {torch.__version__} is too old; it needs 2.6 or "
            "newer: pip install 'torch>=2.6'. Or set runtime 'torch'")


def _facts(spec: ModelSpec, device: torch.device) -> list[Any]:
    """Return what a program depends on beside the weights and the shape of the images."""
    hardware = (
        [torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)]
        if device.type == 'cuda' else [machine.identity(), torch.get_num_threads()])
    return [
        __version__, torch.__version__, torch.version.cuda, spec.network, spec.network_options,
        hardware]


def _hash(network: nn.Module) -> str:
    """Return the SHA-256 of all weights and of the normalisation."""
    digest = hashlib.sha256()
    for name, values in network.state_dict().items():
        digest.update(f'{name} {values.dtype} {tuple(values.shape)}'.encode())
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _keep(built: Path, kept: Path) -> None:
    """Copy a program into its folder, and delete the oldest ones."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(kept, built.read_bytes())
        programs = sorted(kept.parent.glob('*.pt2'), key=lambda path: path.stat().st_mtime)
        for path in programs[:-MOST_KEPT]:
            path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning('torch_compile: the program cannot be kept: %s', error)


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
