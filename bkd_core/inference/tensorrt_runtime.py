# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Run a model directory's ONNX file by TensorRT, through ONNX Runtime's provider for it.

TensorRT builds an engine for one network, one size of images, one device and one version of
itself, which takes up to minutes. Engines are kept in the cache under a hash of all of these, so
that one of another device is never met; one that is damaged is built anew.
"""

from __future__ import annotations

from collections import OrderedDict
import hashlib
import json
import logging
from pathlib import Path
import shutil
import tempfile
from typing import Any

from bkd_core import model_directory
from bkd_core.cache_folder import cache_folder
from bkd_core.errors import InputError
from bkd_core.inference import machine
from bkd_core.inference.onnx_runtime import (
    check_session,
    import_onnxruntime,
    open_session,
    run_session,
)
from bkd_core.inference.out_of_memory import OutOfMemory
from bkd_core.model_directory import ModelSpec
import numpy as np

logger = logging.getLogger(__name__)

PROVIDER = 'TensorrtExecutionProvider'
# An engine holds memory of the device; cameras have few sizes.
MOST_SHAPES = 4
_MOST_ENGINES = 32
# Both packages of ONNX Runtime write into one folder, and bkd_ros itself requires the processors'.
_INSTALL = (
    'pip install "onnxruntime-gpu[cuda,cudnn]" "bkd_ros[tensorrt]"; '
    'pip uninstall -y onnxruntime; pip install --force-reinstall --no-deps onnxruntime-gpu')


class TensorRtRuntime:
    """
    A loaded ONNX file: uint8 images in, coarse logits out.

    :param path: The file, written by `bkd_core.export`.
    :param num_classes: How many classes it must have.
    :param num_threads: As of `OnnxRuntime`, for what TensorRT leaves to the processor.
    :param device: 'auto' or 'cuda'.
    :param half: Compute in float16 where TensorRT finds it faster.
    :raises InputError: If a package, the driver or the device is missing, or the file is damaged
        or of another model.
    """

    def __init__(
        self, path: Path, num_classes: int, *, num_threads: int = 0, device: str = 'auto',
        half: bool = False,
    ) -> None:
        self.name = 'tensorrt_half' if half else 'tensorrt'
        if device == 'cpu':
            raise InputError(
                f"runtime '{self.name}': it needs a CUDA device, and device is 'cpu'. Set device "
                "'cuda' or 'auto', or runtime 'auto' for the fastest of a processor")
        self._onnxruntime, self._tensorrt_version = _import_libraries(self.name)
        self._path, self._num_threads, self._half = path, num_threads, half
        # By the processor: it reads the file alone, without building anything.
        check_session(open_session(path, num_threads, 'cpu'), path, num_classes)
        self._sessions: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    @classmethod
    def load(cls, directory: Path, spec: ModelSpec, **options: Any) -> TensorRtRuntime:
        """
        Load the ONNX file of a model directory.

        :param directory: The model directory.
        :param spec: Its `model.yaml`.
        :param options: `num_threads`, `device` and `half`.
        :raises InputError: As above, and if the file is missing or truncated.
        """
        path = model_directory.verify(directory, spec, model_directory.ONNX)
        return cls(path, spec.label_space.num_classes, **options)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """
        Run the network; the first time at a shape, load its engine or build it.

        :param images: (B, h, w, 3) uint8 RGB at the network's size.
        :return: (B, C, h / stride, w / stride) float32.
        :raises OutOfMemory: If the device has no room for it.
        :raises InputError: If TensorRT does not start or cannot build the network.
        """
        return run_session(self._session(images.shape), images)

    def _session(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._sessions:
            # First, so that the memory of the one that goes is there for the one that comes.
            if len(self._sessions) == MOST_SHAPES:
                self._sessions.popitem(last=False)
            self._sessions[shape] = self._load_or_build(shape)
        self._sessions.move_to_end(shape)
        return self._sessions[shape]

    def _load_or_build(self, shape: tuple[int, ...]) -> Any:
        folder = engines_folder() / self._key(shape)
        if folder.is_dir():
            try:
                return self._open(shape, folder)
            except (InputError, OutOfMemory):  # not the engine's fault
                raise
            except Exception as error:  # the library raises a dozen unrelated types
                logger.warning('%s: the engine is built anew, since it fails: %s', folder, error)
                shutil.rmtree(folder, ignore_errors=True)
        logger.info(
            '%s: TensorRT builds an engine for %s, which may take minutes', self._path, shape)
        return self._build_and_keep(shape, folder)

    def _build_and_keep(self, shape: tuple[int, ...], folder: Path) -> Any:
        """Build beside the folder, and move there what ran: a kill leaves no half an engine."""
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix='.', dir=folder.parent))
        except OSError as error:
            logger.warning('%s: the engine cannot be kept: %s', folder, error)
            return self._build(shape, None)
        try:
            session = self._build(shape, unfinished)
            try:
                unfinished.replace(folder)
            except OSError as error:  # another process was faster, or the disk is full
                logger.warning('%s: the engine cannot be kept: %s', folder, error)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _forget_oldest(folder.parent)
        return session

    def _build(self, shape: tuple[int, ...], folder: Path | None) -> Any:
        try:
            return self._open(shape, folder)
        except (InputError, OutOfMemory):
            raise
        except Exception as error:  # the library raises a dozen unrelated types
            raise InputError(
                f'{self._path}: TensorRT cannot build it for images {shape}: {error}. Set runtime '
                "'auto'") from error

    def _open(self, shape: tuple[int, ...], folder: Path | None) -> Any:
        """Return a session that has run once, whose engine comes from the folder or goes there."""
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._num_threads
        options.log_severity_level = 3
        sides = 'image:' + 'x'.join(map(str, shape))
        settings = {
            'trt_fp16_enable': self._half,
            'trt_profile_min_shapes': sides,
            'trt_profile_opt_shapes': sides,
            'trt_profile_max_shapes': sides}
        if folder is not None:
            settings |= {
                'trt_engine_cache_enable': True,
                'trt_engine_cache_path': str(folder)}
        session = self._onnxruntime.InferenceSession(
            str(self._path), options, providers=[
                (PROVIDER, settings), 'CUDAExecutionProvider', 'CPUExecutionProvider'])
        # The library goes on without a provider that does not start.
        if session.get_providers()[0] != PROVIDER:
            raise InputError(
                f"runtime '{self.name}': TensorRT did not start; ONNX Runtime "
                f'{self._onnxruntime.__version__} took {session.get_providers()}. Check the '
                'driver, and that the versions of CUDA, cuDNN and TensorRT are those that this '
                "onnxruntime-gpu was built for, or set runtime 'auto'")
        run_session(session, np.full(shape, 127, np.uint8))
        return session

    def _key(self, shape: tuple[int, ...]) -> str:
        """Return a hash of all that an engine depends on."""
        facts = [
            model_directory.file_hash(self._path), shape, self.name, self._onnxruntime.__version__,
            self._tensorrt_version, machine.nvidia_devices(), machine.identity()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def engines_folder() -> Path:
    """Return the folder of the engines, one folder for each."""
    return cache_folder() / 'tensorrt'


def _import_libraries(name: str) -> tuple[Any, str]:
    """Return onnxruntime, with what its provider links to loaded, and TensorRT's version."""
    onnxruntime = import_onnxruntime()
    if PROVIDER not in onnxruntime.get_available_providers():
        raise InputError(
            f"runtime '{name}': this onnxruntime {onnxruntime.__version__} is built without "
            f"TensorRT: {_INSTALL}")
    try:
        import tensorrt  # its libraries are not where the system looks for them
    except ImportError as error:
        raise InputError(
            f"runtime '{name}': tensorrt cannot be imported ({error}): {_INSTALL}") from error
    if hasattr(onnxruntime, 'preload_dlls'):  # since 1.21: CUDA and cuDNN of pip
        onnxruntime.preload_dlls()
    return onnxruntime, tensorrt.__version__


def _forget_oldest(folder: Path) -> None:
    ages = []
    for engine in folder.glob('[!.]*'):
        try:
            ages.append((engine.stat().st_mtime_ns, engine))
        except FileNotFoundError:  # another process was faster
            continue
    for _, engine in sorted(ages)[:-_MOST_ENGINES]:
        shutil.rmtree(engine, ignore_errors=True)
