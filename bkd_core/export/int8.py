# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Write a network as ONNX in 8-bit integers, calibrated on frames (post-training quantisation)."""

from __future__ import annotations

from pathlib import Path
import tempfile
from typing import Iterable, Iterator

from bkd_core import __version__, atomic
from bkd_core.errors import InputError
from bkd_core.export.onnx import export_onnx
from bkd_core.inference.segmenter import resize_frame
from bkd_core.model_directory import ModelSpec
import numpy as np
from torch import nn

# The first convolutions see the image itself: in integers they cost more labels than the time
# that they save.
FLOAT_LAYERS = 3
# So that values stay integers from one convolution to the next.
_OPERATIONS = ('Conv', 'Add', 'Resize', 'Relu', 'Clip')


def export_int8(
    network: nn.Module, spec: ModelSpec, path: str | Path, frames: Iterable[np.ndarray], *,
    float_layers: int = FLOAT_LAYERS,
) -> None:
    """
    Write a network as an ONNX file that quantises weights and activations (static, QDQ).

    Jacob et al. 2018, https://arxiv.org/abs/1712.05877: a scale for each channel of the weights,
    and for each activation one from its smallest and largest value on the frames. Weights use 7
    of the 8 bits: on x86 processors without VNNI instructions the sum of two products of 8 bits
    overflows, and the labels would be others than on the machine that checked them.

    :param network: Normalised (B, 3, h, w) float images in, (B, C, h/s, w/s) logits out; it is
        left as it is.
    :param spec: Normalisation and sizes.
    :param path: The file; written atomically.
    :param frames: (H, W, 3) uint8 RGB of what the network is to see, about 30.
    :param float_layers: So many convolutions, from the first, compute in float32.
    :raises InputError: If the onnx package is missing, or float_layers leaves no
        convolution to quantise.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.') as name:
        folder = Path(name)
        export_onnx(network, spec, folder / 'float.onnx')
        atomic.write_bytes(path, _quantize(
            folder, (resize_frame(frame, spec)[None] for frame in frames), float_layers))


def _quantize(folder: Path, images: Iterator[np.ndarray], float_layers: int) -> bytes:
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process
    plain, result = str(folder / 'plain.onnx'), str(folder / 'int8.onnx')
    quant_pre_process(str(folder / 'float.onnx'), plain, skip_symbolic_shape=True)
    convolutions = [node.name for node in onnx.load(plain).graph.node if node.op_type == 'Conv']
    if not 0 <= float_layers < len(convolutions):
        raise InputError(
            f'float_layers: got {float_layers}; expected 0 to {len(convolutions) - 1}, for the '
            f'{len(convolutions)} convolutions of the network')

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(images, None)
            return None if image is None else {'image': image}

    quantization.quantize_static(
        plain, result, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        reduce_range=True, activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        op_types_to_quantize=list(_OPERATIONS), nodes_to_exclude=convolutions[:float_layers])
    model = onnx.load(result)
    # The optimiser lists operators that it knows and nothing uses; an older runtime refuses them.
    used = {node.domain for node in model.graph.node}
    kept = [item for item in model.opset_import if item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.producer_name, model.producer_version = 'bkd_ros', __version__
    onnx.checker.check_model(model)
    return model.SerializeToString()
