# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks: a batch of images in, logits out."""

from __future__ import annotations

import inspect
from typing import Any

from bkd_core.errors import InputError, unknown_name
from bkd_core.models.deeplab_resnet101 import DeepLabResNet101
from bkd_core.models.lite_deeplab import LiteDeepLab
from bkd_core.models.lite_fpn import LiteFPN
from bkd_core.models.normalized import Normalized
from bkd_core.models.weights import load_weights, save_weights
from torch import nn

MODELS = {
    'lite_fpn': LiteFPN,
    'lite_deeplab': LiteDeepLab,
    'deeplab_resnet101': DeepLabResNet101,
}

__all__ = [
    'build_network', 'load_network', 'load_weights', 'MODELS', 'Normalized',
    'save_weights']


def build_network(name: str, num_classes: int, **options: Any) -> nn.Module:
    """
    Build a network by its name.

    :param name: One of `MODELS`.
    :param num_classes: Channels of its logits.
    :param options: The network's own keyword arguments.
    :raises InputError: If the name or an option is unknown.
    """
    if name not in MODELS:
        raise unknown_name('network', name, MODELS)
    known = set(inspect.signature(MODELS[name]).parameters) - {'num_classes'}
    for option in options:
        if option not in known:
            raise unknown_name(f"option of network '{name}'", option, known)
    return MODELS[name](num_classes, **options)


def load_network(directory: str) -> nn.Module:
    """
    Build the network of a model directory and load its weights.

    :param directory: A model directory, or 'default'.
    :return: The network in evaluation mode, on the CPU, in float32.
    :raises InputError: If the weights are missing, damaged or of another network.
    """
    from bkd_core import model_directory
    directory = model_directory.resolve(directory)
    spec = model_directory.read_spec(directory)
    path = model_directory.verify(directory, spec, model_directory.WEIGHTS)
    options = {**spec.network_options, 'pretrained': False}
    try:
        network = build_network(spec.network, spec.label_space.num_classes, **options)
    except InputError as error:
        raise InputError(f'{directory / model_directory.MODEL_YAML}: {error}') from error
    load_weights(network, path)
    return network.eval()
