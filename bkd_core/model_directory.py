# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The one format in which a network travels: a directory, readable without torch.

    model.yaml          what the network is, what it eats, its label space, its files' hashes
    model.safetensors   weights
    model.onnx          the same network for ONNX Runtime (uint8 RGB in, logits out)
    model_int8.onnx     the same in 8-bit integers, if `bkd export` made it
    config.yaml         the resolved configuration of the run that trained it
    metrics.json        measured numbers
    MODEL_CARD.md       the same for people: data, numbers, licence, seed
    shift.json          how it answers to what it was trained for (see `bkd_core.evaluation`)
    replay/             a few labelled source frames, if they were asked for

A folder of versions (see `bkd_core.adaptation.versions`) stands for the version in use. A package
(see `bkd_core.model_package`), a folder or zip file, also holds a manifest; it is refused if
anything in it was changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import json
from pathlib import Path
import re
from typing import Any

from bkd_core import atomic
from bkd_core.errors import InputError
from bkd_core.labels import LabelSpace
from bkd_core.manifest import check_folder, file_hash, MANIFEST
from bkd_core.package_cache import unpacked
import yaml

FORMAT_VERSION = 1
MODEL_YAML = 'model.yaml'
WEIGHTS = 'model.safetensors'
ONNX = 'model.onnx'
INT8 = 'model_int8.onnx'
CONFIG = 'config.yaml'
METRICS = 'metrics.json'
CARD = 'MODEL_CARD.md'
REPORT = 'report.html'  # of the round that made the model; it shows frames of the camera
# Files that a whole model may lack, and what to do about it, also where it is a version, a package
# or the shipped student, which never change.
_REMEDIES = {
    ONNX: '. Make a copy that has it: bkd export {} --output FOLDER; or take the runtime torch',
    INT8: '. Make a copy that has it: bkd export {} --runtime onnxruntime_int8 --frames '
          'RECORDING_OR_FOLDER --output FOLDER; or take another runtime, such as auto'}
# In a folder of versions: the file that names the one in use, and what a version is called.
POINTER = 'in_use'
VERSION_NAME = re.compile(r'\d{6}-[0-9a-f]{8}')

SHIPPED = Path(__file__).parent / 'shipped'
DEFAULT_MODEL = 'street_student'

# Statistics of ImageNet, in units of 0 to 255; what timm and torchvision backbones expect.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """
    All that a program must know about a network to feed it and to read its answer.

    :param name: Name for people and logs.
    :param network: Name of the architecture in `bkd_core.models.MODELS`.
    :param network_options: Its keyword arguments, without the number of classes.
    :param label_space: What the logits' channels mean.
    :param input_height: Short side, in pixels, of the image that the network sees.
    :param size_multiple: The network's height and width are multiples of it.
    :param mean: RGB mean to subtract, in units of 0 to 255.
    :param std: RGB standard deviation to divide by, in units of 0 to 255.
    :param files: SHA-256 of the files beside `model.yaml`, by name.
    """

    name: str
    network: str
    network_options: dict[str, Any] = field(default_factory=dict)
    label_space: LabelSpace
    input_height: int
    size_multiple: int = 32
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    files: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Check the sizes and the normalisation."""
        if self.input_height < self.size_multiple or self.size_multiple < 1:
            raise InputError(
                f"model '{self.name}': input_height must be at least size_multiple "
                f'({self.size_multiple}); got {self.input_height}')
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InputError(
                f"model '{self.name}': mean and std need three values, std above 0; got "
                f'{self.mean} and {self.std}')
        for name in ('network_options', 'files'):
            value = getattr(self, name)
            if not isinstance(value, dict):
                raise InputError(
                    f"model '{self.name}': {name}: got {value!r}; expected a mapping")


def resolve(model: str | Path) -> Path:
    """
    Return the directory of a model.

    :param model: A directory, or 'default' for the student that comes with the package; a folder
        of versions stands for the version in use, a zip file of `bkd package` for its content.
    :raises InputError: If it is not a model directory, or a package that was changed.
    """
    directory = SHIPPED / DEFAULT_MODEL if str(model) == 'default' else Path(model).expanduser()
    is_zip = directory.is_file() and directory.suffix == '.zip'
    if is_zip:
        directory = unpacked(directory)
    if not directory.is_dir():
        raise InputError(
            f"model '{model}': no such directory. Give a directory written by 'bkd train', or "
            "'default' for the student that comes with the package")
    if (directory / POINTER).is_file():
        directory = directory / read_pointer(directory)[0]
    if not (directory / MODEL_YAML).is_file():
        raise InputError(
            f"model '{directory}': it holds no {MODEL_YAML}, so it is not a model directory. "
            "Give the directory that 'bkd train' wrote, such as runs/NAME/student")
    if not is_zip and (directory / MANIFEST).is_file():  # what was unpacked was compared
        check_folder(directory)
    return directory


def read_pointer(folder: Path) -> list[str]:
    """
    Return the version in use and those that were used before it, newest first.

    :param folder: A folder of versions.
    :raises InputError: If the pointer is damaged.
    """
    path = folder / POINTER
    names = path.read_text(encoding='utf-8', errors='replace').splitlines()
    if not names or not all(VERSION_NAME.fullmatch(name) for name in names):
        raise InputError(
            f'{path}: damaged; expected a name such as 000001-5f0c2ab1 in each line, got '
            f'{names[:3]}. Delete it and choose a version: bkd versions {folder} use NUMBER')
    return names


def read_spec(directory: str | Path) -> ModelSpec:
    """
    Read `model.yaml`.

    :param directory: A model directory.
    :raises InputError: If the file is missing, damaged or of a newer format.
    """
    path = Path(directory) / MODEL_YAML
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise InputError(f"model '{directory}': {MODEL_YAML} is missing") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: not readable as YAML: {error}') from error
    # 'files' is written last: without it the file is half a file.
    if not isinstance(values, dict) or not {'format_version', 'files'} <= values.keys():
        raise InputError(
            f"{path}: expected a mapping with 'format_version' and 'files'; it is damaged")
    if values['format_version'] != FORMAT_VERSION:
        raise InputError(
            f"{path}: format_version {values['format_version']}; this bkd_ros reads "
            f'{FORMAT_VERSION}. Install the version that wrote it')
    try:
        values['label_space'] = LabelSpace.from_dict(values.get('label_space'))
        for key in ('mean', 'std'):
            if key in values:
                values[key] = tuple(float(value) for value in values[key])
        return ModelSpec(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f'{path}: {error}') from error


def write_spec(directory: str | Path, spec: ModelSpec) -> None:
    """
    Write `model.yaml` with the hashes of the files that lie beside it.

    :param directory: A model directory that already holds weights and exports.
    :param spec: What to write; its `files` are replaced.
    """
    directory = Path(directory)
    values = {
        'format_version': spec.format_version,
        'name': spec.name,
        'network': spec.network,
        'network_options': spec.network_options,
        'label_space': spec.label_space.to_dict(),
        'input_height': spec.input_height,
        'size_multiple': spec.size_multiple,
        'mean': list(spec.mean),
        'std': list(spec.std),
        'files': {
            name: file_hash(directory / name)
            for name in (WEIGHTS, ONNX, INT8) if (directory / name).is_file()},
    }
    atomic.write_text(directory / MODEL_YAML, yaml.safe_dump(values, sort_keys=False))


def version(directory: str | Path, spec: ModelSpec) -> str:
    """
    Return what tells a model from another of the same name.

    :param directory: The model directory.
    :param spec: Its `model.yaml`.
    :return: The beginning of its weights' SHA-256 (of the ONNX file's, if it has no weights) and,
        if `metrics.json` names it, the commit that trained it, such as 'a1b2c3d4e5f6, commit
        9b542484fa2b'; 'not known' without either.
    """
    digest = spec.files.get(WEIGHTS) or spec.files.get(ONNX) or ''
    try:
        commit = json.loads((Path(directory) / METRICS).read_text(encoding='utf-8'))['commit']
    except (OSError, ValueError, KeyError, TypeError):
        commit = ''  # a directory without measured numbers is whole, too
    parts = [str(digest)[:12], f'commit {commit}' if commit else '']
    return ', '.join(part for part in parts if part) or 'not known'


def verify(directory: str | Path, spec: ModelSpec, name: str) -> Path:
    """
    Return the path of a file of the model after comparing it with its hash.

    :param directory: The model directory.
    :param spec: Its `model.yaml`.
    :param name: `WEIGHTS`, `ONNX` or `INT8`.
    :raises InputError: If the file is missing, truncated or changed.
    """
    path = Path(directory) / name
    if not path.is_file():
        remedy = _REMEDIES.get(name, '').format(directory)
        raise InputError(f"model '{directory}': {name} is missing{remedy}")
    expected = spec.files.get(name)
    if expected is not None and file_hash(path) != expected:
        raise InputError(
            f'{path}: its SHA-256 differs from the one in {MODEL_YAML}: the file is truncated or '
            'was replaced ({} bytes). Copy the model directory again'.format(path.stat().st_size))
    return path


def network_size(spec: ModelSpec, height: int, width: int) -> tuple[int, int]:
    """
    Return the size at which the network sees a frame: aspect kept, short side as declared.

    :param spec: The model.
    :param height: The frame's height, pixels.
    :param width: The frame's width, pixels.
    :return: (height, width), both multiples of `spec.size_multiple`.
    """
    scale = spec.input_height / min(height, width)
    multiple = spec.size_multiple
    return tuple(
        max(multiple, int(round(side * scale / multiple)) * multiple) for side in (height, width))
