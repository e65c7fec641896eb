# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A tiny model directory whose labels a reader can predict, written without torch."""

from __future__ import annotations

from pathlib import Path

from bkd_core.labels import get_label_space
from bkd_core.model_directory import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, ONNX, write_spec
import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

STRIDE = 8
SHARPNESS = 0.5


def write_tiny_model(
    directory: str | Path, label_space: str = 'street9', *, input_height: int = 64,
    name: str = 'tiny',
) -> Path:
    """
    Write a complete model directory with an ONNX file and no weights for torch.

    The network names the class whose colour is nearest to the mean colour of each block of
    8 by 8 pixels: a frame painted with `label_space.colors` comes back as its own labels
    (by the first of two classes that share a colour).

    :param directory: Where; made if it is missing.
    :param label_space: Name of the label space.
    :param input_height: Short side of what the network sees; a multiple of 32.
    :param name: The model's name in `model.yaml`.
    :return: The directory.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    space = get_label_space(label_space)
    spec = ModelSpec(
        name=name, network='lite_fpn', label_space=space, input_height=input_height)
    onnx.save(nearest_color_network(np.array(space.colors, np.float32)), directory / ONNX)
    write_spec(directory, spec)
    return directory


def nearest_color_network(colors: np.ndarray) -> onnx.ModelProto:
    """
    Return the graph: normalise, average blocks, score every class by a 1x1 convolution.

    The squared distance of x to a colour k is |x|^2 - 2 k.x + |k|^2, and |x|^2 is common to
    all classes, so the logit 2 k.x - |k|^2 is largest for the nearest colour.

    :param colors: (C, 3) RGB, 0 to 255.
    :return: 'image' uint8 (B, h, w, 3) -> 'logits' float32 (B, C, h / 8, w / 8).
    """
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    normalised = (colors - mean) / std
    weight = SHARPNESS * 2 * normalised[:, :, None, None]
    bias = -SHARPNESS * (normalised ** 2).sum(axis=1)
    constants = {'mean': mean, 'std': std, 'weight': weight, 'bias': bias}
    nodes = [
        helper.make_node('Cast', ['image'], ['pixels'], to=TensorProto.FLOAT),
        helper.make_node('Sub', ['pixels', 'mean'], ['centred']),
        helper.make_node('Div', ['centred', 'std'], ['normalised']),
        helper.make_node('Transpose', ['normalised'], ['planes'], perm=[0, 3, 1, 2]),
        helper.make_node(
            'AveragePool', ['planes'], ['blocks'],
            kernel_shape=[STRIDE, STRIDE], strides=[STRIDE, STRIDE]),
        helper.make_node('Conv', ['blocks', 'weight', 'bias'], ['logits'])]
    graph = helper.make_graph(
        nodes, 'nearest_color',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, ['batch', 'h', 'w', 3])],
        [helper.make_tensor_value_info(
            'logits', TensorProto.FLOAT, ['batch', len(colors), 'h8', 'w8'])],
        [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), key)
         for key, value in constants.items()])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
