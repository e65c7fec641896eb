# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Exported programs that run without the code that made them: torch.export (.pt2) and ONNX."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Callable, Iterator
import zipfile

from bkd_core.errors import InputError
import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class Program:
    """
    An exported program: normalised images in, one map over classes out.

    It is no torch module on purpose: an exported module refuses `eval()` and keeps its device.

    :param path: Its file, for messages.
    :param shape: The shape that the program declares; None or a name where it is free.
    :param run: Takes (B, 3, H, W), returns the map.
    """

    def __init__(
        self, path: Path, shape: tuple[Any, ...], run: Callable[[Tensor], Tensor],
    ) -> None:
        self.path = path
        self._run = run
        if len(shape) != 4 or shape[1] not in (3, None) and isinstance(shape[1], int):
            raise InputError(
                f'{path}: expected one input of shape (B, 3, H, W), normalised RGB or BGR '
                f'images; the program takes {tuple(shape)}')
        batch, _, *size = (side if isinstance(side, int) else None for side in shape)
        self.batch = batch
        self.fixed_size = None if None in size else tuple(size)

    def __call__(self, images: Tensor) -> Tensor:
        """
        Run the program; one that was exported for a fixed batch runs several times.

        :param images: (B, 3, H, W), float32, normalised.
        :raises InputError: If the program fails or B is no multiple of its fixed batch.
        """
        parts = [images] if self.batch is None else images.split(self.batch)
        if self.batch is not None and len(images) % self.batch:
            raise InputError(
                f'{self.path}: the program takes batches of {self.batch} only; got '
                f'{len(images)} images. Export it with a free batch, or with a batch of 1')
        try:
            with torch.autocast(images.device.type, enabled=False):
                outputs = [self._run(part.contiguous()) for part in parts]
        except InputError:
            raise
        except Exception as error:  # both runtimes raise a dozen unrelated types
            raise InputError(
                f'{self.path}: the program failed on images of shape {tuple(images.shape)}: '
                f'{_first_line(error)}. Set size_multiple to what it needs, or export it with '
                'free height and width') from error
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def open_program(path: Path, *, device: torch.device, output_name: str | None) -> Program:
    """
    Open an exported program by its suffix.

    :param path: A .pt2 or .onnx file.
    :param device: Where to run it.
    :param output_name: Which output to take of a program that names several.
    :raises InputError: If the file is missing, damaged or of another kind.
    """
    openers = {'.pt2': _open_pt2, '.onnx': _open_onnx}
    if path.suffix.lower() not in openers:
        raise InputError(f'program: got {path.name}; expected a .pt2 (torch.export) or .onnx file')
    if not path.is_file():
        raise InputError(f'program: no such file: {path}')
    return openers[path.suffix.lower()](path, device, output_name)


def _open_pt2(path: Path, device: torch.device, output_name: str | None) -> Program:
    _refuse_pickled_objects(path)
    try:
        with _weights_only():
            exported = torch.export.load(path)
        from torch.export.passes import move_to_device_pass
        exported = move_to_device_pass(exported, device)
    except Exception as error:
        raise InputError(
            f'{path}: torch {torch.__version__} cannot load it ({_first_line(error)}): it is '
            'damaged, made by another version of torch.export, or holds more than tensors. '
            'Export it again, or give an ONNX file') from error
    names = exported.graph_signature.user_inputs
    values = [node.meta['val'] for node in exported.graph.nodes if node.name in names]
    if len(values) != 1 or not isinstance(values[0], Tensor):
        raise InputError(f'{path}: expected a program of one image batch; it takes {len(names)}')
    module, dtype = exported.module(), values[0].dtype
    shape = tuple(side if isinstance(side, int) else None for side in values[0].shape)
    return Program(path, shape, lambda images: _choose(
        module(images.to(dtype)), output_name, path))


def _open_onnx(path: Path, device: torch.device, output_name: str | None) -> Program:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f'{path}: needs onnxruntime ({error}): pip install onnxruntime') from error
    providers = ['CPUExecutionProvider']
    if device.type == 'cuda' and 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        providers.insert(0, 'CUDAExecutionProvider')
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise InputError(
            f'{path}: ONNX Runtime {onnxruntime.__version__} cannot load it '
            f'({_first_line(error)})') from error
    if device.type == 'cuda':
        logger.warning(
            '%s runs by ONNX Runtime (%s); its images and soft labels pass through host memory. '
            'A .pt2 program stays on the GPU', path, session.get_providers()[0])
    return _onnx_program(path, session, output_name)


def _onnx_program(path: Path, session: Any, output_name: str | None) -> Program:
    inputs = session.get_inputs()
    types = {'tensor(float)': torch.float32, 'tensor(float16)': torch.float16}
    if len(inputs) != 1 or inputs[0].type not in types:
        got = [(each.name, each.type, each.shape) for each in inputs]
        raise InputError(
            f'{path}: expected one input of float images (B, 3, H, W); the program takes {got}')
    name, dtype = inputs[0].name, types[inputs[0].type]

    def run(images: Tensor) -> Tensor:
        arrays = session.run(None, {name: images.to(dtype).cpu().numpy()})
        outputs = {
            output.name: torch.from_numpy(array).to(images.device)
            for output, array in zip(session.get_outputs(), arrays)}
        return _choose(outputs, output_name, path)
    return Program(path, tuple(inputs[0].shape), run)


def _choose(output: Any, name: str | None, path: Path) -> Any:
    """Return the one output, or the one of this name."""
    if isinstance(output, (tuple, list)):
        output = {str(index): value for index, value in enumerate(output)}
    if not isinstance(output, dict):
        return output
    if name is None and len(output) == 1:
        return next(iter(output.values()))
    if name not in output:
        raise InputError(
            f'{path}: output_name: got {name!r}; the program has the outputs {list(output)}')
    return output[name]


def _refuse_pickled_objects(path: Path) -> None:
    """Refuse an archive with objects that could run code when they are unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            configs = [
                json.loads(archive.read(name)) for name in archive.namelist()
                if name.endswith('_constants_config.json')]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(
            f'{path}: not readable as a torch.export program ({error}); it is damaged, or not '
            'what torch.export.save wrote') from error
    for config in configs:
        for key, value in config.get('config', {}).items():
            if not str(value.get('path_name', '')).startswith('tensor_'):
                raise InputError(
                    f"{path}: the constant '{key}' is no tensor but a pickled object, which "
                    'could run any code. Export the program without it')


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Keep torch.export.load from unpickling anything but tensors."""
    variable = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
    before = os.environ.get(variable)
    os.environ[variable] = '1'
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
