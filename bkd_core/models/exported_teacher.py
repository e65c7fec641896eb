# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
A teacher that was trained elsewhere: an exported program and a YAML file that describes it.

    program: segformer.onnx          # or .pt2 of torch.export; relative to the YAML file
    label_space: cityscapes19        # a known one, or {name: mine, classes: [road, ...]}
    input_height: 512                # short side of the frames that it was trained on
    size_multiple: 32                # its height and width are multiples of it; default 1
    mean: [123.675, 116.28, 103.53]  # red, green, blue, in units of 0 to 255
    std: [58.395, 57.12, 57.375]
    channel_order: rgb               # or bgr; default rgb
    output: logits                   # or probabilities; default logits
    output_name: out                 # only for a program with several outputs
    mapping: {rider: pedestrian}     # counterparts beside the known ones; null drops a class

The program takes normalised float images (B, 3, H, W) and returns (B, C, h, w). Nothing in
the file is unpickled except tensors; still, take programs only from those whom you trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bkd_core import model_directory
from bkd_core.errors import InputError, unknown_name
from bkd_core.labels import get_label_space, LabelSpace
from bkd_core.models.programs import open_program
from bkd_core.models.teacher import Teacher, TeacherSpec
import torch
import yaml

_REQUIRED = ('program', 'label_space', 'mean', 'std')
_KEYS = (
    *_REQUIRED, 'input_height', 'size_multiple', 'channel_order', 'output', 'output_name',
    'mapping')


def load_exported_teacher(
    path: str | Path, *, label_space: LabelSpace, input_height: int, device: torch.device,
    crop_size: tuple[int, int] | None = None,
) -> Teacher:
    """
    Load a teacher that was trained elsewhere, and try it once.

    :param path: Its YAML file.
    :param label_space: The student's classes.
    :param input_height: Short side of the frames that the student sees, in pixels.
    :param device: Where to run it.
    :param crop_size: (height, width) of the training's crops, for the trial; None skips it.
    :raises InputError: If anything in the file or the program is wrong; it names the key.
    """
    path = Path(path).expanduser()
    values = _read(path)
    try:
        spec = _spec(path.stem, values)
        program = open_program(
            path.parent / str(values['program']), device=device,
            output_name=values.get('output_name'))
        if program.fixed_size is None and spec.input_height is None:
            raise InputError(
                'input_height: missing, and the program takes images of any size; give the short '
                'side of the frames that it was trained on')
        teacher = Teacher(
            program, spec, label_space=label_space, input_height=input_height,
            fixed_size=program.fixed_size).to(device)
        if crop_size is not None:
            _try(teacher, crop_size, device)
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
    return teacher


@torch.no_grad()
def _try(teacher: Teacher, crop_size: tuple[int, int], device: torch.device) -> None:
    """Show it noise of the size that training will use: an error now, not after minutes."""
    generator = torch.Generator().manual_seed(0)
    teacher(torch.rand((2, 3, *crop_size), generator=generator).to(device))


def _read(path: Path) -> dict[str, Any]:
    if path.name == model_directory.MODEL_YAML:
        raise InputError(
            f'{path}: this describes a model directory; give its folder {path.parent} instead')
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file') from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f'{path}: not readable as YAML: {error}') from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected 'key: value' lines; got {type(values).__name__}")
    for key in values:
        if key not in _KEYS:
            raise InputError(f'{path}: {unknown_name("key", str(key), _KEYS)}')
    for key in _REQUIRED:
        if key not in values:
            raise InputError(f'{path}: {key}: missing; a teacher needs {list(_REQUIRED)}')
    return values


def _spec(name: str, values: dict[str, Any]) -> TeacherSpec:
    return TeacherSpec(
        name=name, label_space=_label_space(values['label_space']),
        input_height=_whole(values, 'input_height', None),
        size_multiple=_whole(values, 'size_multiple', 1),
        mean=_colors(values, 'mean', smallest=None), std=_colors(values, 'std', smallest=0),
        channel_order=_one_of(values, 'channel_order', ('rgb', 'bgr')),
        output=_one_of(values, 'output', ('logits', 'probabilities')),
        mapping=_mapping(values.get('mapping')))


def _label_space(value: Any) -> LabelSpace:
    if isinstance(value, str):
        return get_label_space(value)
    classes = value.get('classes') if isinstance(value, dict) else None
    if not isinstance(classes, list) or not classes:
        raise InputError(
            f'label_space: got {value!r}; expected a name, or the keys name and classes')
    grey = [(128, 128, 128)] * len(classes)  # a teacher's own colours are never drawn
    return LabelSpace.from_dict(
        {'name': value.get('name', 'teacher'), 'classes': classes, 'colors': grey})


def _whole(values: dict[str, Any], key: str, default: int | None) -> int | None:
    value = values.get(key, default)
    if value is not None and (type(value) is not int or value < 1):
        raise InputError(f'{key}: got {value!r}; expected a whole number above 0')
    return value


def _colors(values: dict[str, Any], key: str, *, smallest: float | None) -> tuple[float, ...]:
    value = values[key]
    is_three = isinstance(value, list) and len(value) == 3 and all(
        isinstance(each, (int, float)) and not isinstance(each, bool) for each in value)
    if not is_three or (smallest is not None and min(value) <= smallest):
        raise InputError(
            f'{key}: got {value!r}; expected three numbers (red, green, blue)'
            f'{"" if smallest is None else " above 0"}')
    if all(0 < each < 1 for each in value):
        raise InputError(
            f'{key}: got {value!r}, which looks like units of 0 to 1; expected units of 0 to 255 '
            f'(255 times as much)')
    return tuple(float(each) for each in value)


def _one_of(values: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = values.get(key, choices[0])
    if value not in choices:
        raise InputError(f'{key}: {unknown_name("value", str(value), choices)}')
    return value


def _mapping(value: Any) -> dict[str, str | None]:
    if value is None:
        return {}
    is_mapping = isinstance(value, dict) and all(
        isinstance(key, str) and (each is None or isinstance(each, str))
        for key, each in value.items())
    if not is_mapping:
        raise InputError(
            f"mapping: got {value!r}; expected lines 'class of the teacher: class of the student'")
    return value
