# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Halve the size of an ONNX file without changing how it is computed."""

from __future__ import annotations

import numpy as np

# Smaller ones (normalisation, biases) keep all their digits: they weigh nothing.
MIN_ELEMENTS = 512


def store_weights_in_half_precision(model) -> None:
    """
    Replace large float32 constants by float16 ones that are cast back to float32.

    Computation stays in float32: ONNX Runtime does the casts once, when it loads the file.

    :param model: An onnx.ModelProto; changed in place.
    """
    from onnx import helper, numpy_helper, TensorProto
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < MIN_ELEMENTS:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue  # would become infinite
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f'{name}.half'))
        casts.append(helper.make_node('Cast', [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
