# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks: a batch of images in, logits out."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Iterable

from bkd_core.errors import InputError, unknown_name
from bkd_core.labels import LabelSpace
from bkd_core.models.deeplab_resnet101 import DeepLabResNet101
from bkd_core.models.deeplabv2_resnet101 import DeepLabV2ResNet101
from bkd_core.models.dino import Dino
from bkd_core.models.exported_teacher import load_exported_teacher
from bkd_core.models.hrda import HRDA
from bkd_core.models.lite_deeplab import LiteDeepLab
from bkd_core.models.lite_fpn import LiteFPN
from bkd_core.models.normalized import Normalized
from bkd_core.models.segformer import SegFormer
from bkd_core.models.teacher import Teacher, TeacherSpec
from bkd_core.models.weights import load_weights, save_weights
import torch
from torch import nn

MODELS = {
    'lite_fpn': LiteFPN,
    'lite_deeplab': LiteDeepLab,
    'deeplab_resnet101': DeepLabResNet101,
    'deeplabv2_resnet101': DeepLabV2ResNet101,
    'segformer': SegFormer,
    'hrda': HRDA,
    'dino': Dino,
}

__all__ = [
    'build_network', 'check_network', 'load_network', 'load_teacher', 'load_weights', 'MODELS',
    'Normalized', 'save_weights', 'Teacher']


def build_network(name: str, num_classes: int, **options: Any) -> nn.Module:
    """
    Build a network by its name.

    :param name: One of `MODELS`.
    :param num_classes: Channels of its logits.
    :param options: The network's own keyword arguments.
    :raises InputError: If the name or an option is unknown.
    """
    check_network(name, options)
    return MODELS[name](num_classes, **options)


def check_network(name: str, options: Iterable[str]) -> None:
    """
    Refuse a network or an option that there is not, without building it.

    :param name: One of `MODELS`.
    :param options: Names of the network's own keyword arguments.
    :raises InputError: If the name or an option is unknown.
    """
    if name not in MODELS:
        raise unknown_name('network', name, MODELS)
    known = set(inspect.signature(MODELS[name]).parameters) - {'num_classes'}
    for option in options:
        if option not in known:
            raise unknown_name(f"option of network '{name}'", option, known)


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


def load_teacher(
    model: str | Path, *, label_space: LabelSpace, input_height: int, device: torch.device,
    crop_size: tuple[int, int] | None = None, name: str | None = None,
) -> Teacher:
    """
    Load a fixed teacher: a model directory, or one that was trained elsewhere.

    :param model: A model directory, or the YAML file of an exported teacher.
    :param label_space: The student's classes.
    :param input_height: Short side of the frames that the student sees, in pixels.
    :param device: Where an exported program runs.
    :param crop_size: (height, width) of the training's crops, on which an exported teacher is
        tried once.
    :param name: What messages call a model directory; its path by default.
    :raises InputError: If it is missing, damaged, or its classes can't be mapped.
    """
    if Path(model).suffix in ('.yaml', '.yml'):
        return load_exported_teacher(
            model, label_space=label_space, input_height=input_height, device=device,
            crop_size=crop_size)
    from bkd_core import model_directory
    known = model_directory.read_spec(model_directory.resolve(model))
    spec = TeacherSpec(
        name=name or str(model), label_space=known.label_space, input_height=known.input_height,
        size_multiple=known.size_multiple, mean=known.mean, std=known.std)
    return Teacher(
        load_network(model), spec, label_space=label_space, input_height=input_height)
