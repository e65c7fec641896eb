# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Write a network as ONNX: uint8 image in, normalisation inside, coarse logits out."""

from __future__ import annotations

import copy
import io
from pathlib import Path
import warnings

from bkd_core import __version__, atomic
from bkd_core.errors import InputError
from bkd_core.model_directory import ModelSpec
from bkd_core.models.image_network import ImageNetwork
import torch
from torch import nn

# Read by every ONNX Runtime since 1.12.
OPSET = 17


def export_onnx(network: nn.Module, spec: ModelSpec, path: str | Path) -> None:
    """
    Write a network as one ONNX file with free batch, height and width.

    torch's older exporter is used on purpose: on these networks it took 3 to 5 s and the newer
    one 70 s, for graphs of the same speed. Weights are float32 whatever a model directory's are:
    the exporter folds normalisation into them, and rounding them once more would change labels.

    :param network: Normalised (B, 3, h, w) float images in, (B, C, h/s, w/s) logits out; it is
        left as it is, on its device.
    :param spec: Normalisation and sizes.
    :param path: The file; written atomically.
    :raises InputError: If the onnx package is missing.
    """
    onnx = _import_onnx()
    image_network = ImageNetwork(copy.deepcopy(network).cpu().float(), spec).eval()
    # Height and width differ, and are not the smallest, so that tracing can't mix them up.
    size = 2 * spec.size_multiple, 3 * spec.size_multiple
    example = torch.zeros((1, *size, 3), dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            image_network, (example,), buffer, dynamo=False, opset_version=OPSET,
            input_names=['image'], output_names=['logits'],
            dynamic_axes={
                'image': {0: 'batch', 1: 'height', 2: 'width'},
                'logits': {0: 'batch', 2: 'logits_height', 3: 'logits_width'}})
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name, model.producer_version = 'bkd_ros', __version__
    onnx.checker.check_model(model, full_check=True)
    atomic.write_bytes(path, model.SerializeToString())


def _import_onnx():
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            f'writing ONNX needs a package that cannot be imported ({error}): '
            'pip install "bkd_ros[train]"') from error
    return onnx
