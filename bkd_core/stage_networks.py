# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The networks that a stage builds on: what it starts from, and its teachers."""

from __future__ import annotations

from pathlib import Path

from bkd_core import model_directory
from bkd_core.config import TrainingConfig
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
from bkd_core.models import load_network, load_teacher
from bkd_core.training import choose_device
from torch import nn


def load_initial(
    model: str | None, config: TrainingConfig, stages: Path,
) -> nn.Module | None:
    """
    Return the network that a stage starts from; None if it starts from its architecture's weights.

    :param model: The setting `model.init`: a model directory or 'stage:NAME'.
    :param config: The stage's configuration.
    :param stages: Folder of the stages.
    :raises InputError: If there is no such model, or its classes are others.
    """
    if model is None:
        return None
    directory = place_of('model.init', model, stages)
    try:
        space = model_directory.read_spec(model_directory.resolve(directory)).label_space
    except InputError as error:
        raise InputError(f'model.init: {error}') from error
    if space.classes != get_label_space(config.label_space).classes:
        raise InputError(
            f"model.init: '{model}' was trained in the label space '{space.name}'; this run's "
            f"label_space is '{config.label_space}'. They must have the same classes")
    return load_network(directory)


def load_teachers(
    named: str | tuple[str, ...] | None, config: TrainingConfig, stages: Path,
) -> nn.Module | None:
    """
    Return the named teacher, a ModuleList of several, or None if none is named.

    :param named: The setting `method.teacher`: model directories, 'stage:NAME' or YAML files.
    :param config: The stage's configuration.
    :param stages: Folder of the stages.
    :raises InputError: If one cannot be loaded or its classes cannot be mapped.
    """
    if named is None:
        return None
    setting, names = 'method.teacher', (named,) if isinstance(named, str) else named
    try:
        teachers = [
            load_teacher(
                place_of(setting, name, stages),
                label_space=get_label_space(config.label_space),
                input_height=config.model.input_height, device=choose_device(config.device),
                crop_size=config.augmentation.crop_size, name=name)
            for name in names or ('',)]
    except InputError as error:
        text = str(error)
        raise InputError(
            text if text.startswith(setting) else f'{setting}: {text}') from error
    return teachers[0] if len(teachers) == 1 else nn.ModuleList(teachers)


def place_of(setting: str, model: str, stages: Path) -> str | Path:
    """
    Return the path that a setting means: 'stage:NAME' is the folder NAME beside this stage.

    :param setting: Its name, for the error.
    :param model: Its value.
    :param stages: Folder of the stages.
    :raises InputError: If the value is empty.
    """
    if not model:
        raise InputError(f"{setting}: got nothing; expected a model directory or 'stage:NAME'")
    return stages / model[len('stage:'):] if model.startswith('stage:') else model
