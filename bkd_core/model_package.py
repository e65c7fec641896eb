# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A finished model made ready to be passed on: one folder or zip file that vouches for itself."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
import shutil
import tempfile
from typing import Any

from bkd_core import atomic, model_directory
from bkd_core.config_file import read_yaml
from bkd_core.errors import InputError
from bkd_core.manifest import check_folder, check_zip, MANIFEST, write_manifest, write_zip
from bkd_core.model_card import replace_section
from bkd_core.model_directory import CARD, CONFIG, METRICS, MODEL_YAML, ModelSpec, ONNX, WEIGHTS

_NEEDED = (CARD, CONFIG, METRICS)
# What else a model directory may hold that travels; records of the run stay behind.
_OPTIONAL = ('shift.json', 'replay')
_LICENCES = '## Data and licences'


@dataclass(frozen=True, kw_only=True)
class Package:
    """
    A package that was written or checked.

    :param path: The folder or zip file.
    :param about: Name, label space, seed, commit, mIoU and licences of its model.
    :param files: Size in bytes of each file.
    """

    path: Path
    about: dict[str, Any]
    files: dict[str, int]

    @property
    def is_reproducible(self) -> bool:
        """Return whether its commit is known and nothing was changed in it."""
        commit = str(self.about.get('commit'))
        return commit != 'unknown' and not commit.endswith('-dirty')


def write_package(model: str | Path, output: Path, *, data_licences: str = '') -> Package:
    """
    Write weights, exports, settings, numbers and card of a finished model, and their hashes.

    The same model always gives the same bytes, as a folder and as a zip file.

    :param model: A model directory, or 'default'.
    :param output: A folder, or a file that ends in .zip; nothing may be there yet.
    :param data_licences: Whose data the model was trained on and under which licence, if its
        settings do not say so (`data_licences`).
    :raises InputError: If the model is not finished or damaged, nothing is said about licences,
        or something is at the output.
    """
    directory = model_directory.resolve(model)
    if output.exists():
        raise InputError(f'{output}: is there already; give another --output')
    spec = model_directory.read_spec(directory)
    names = _files_of(directory, spec)
    metrics = _read_metrics(directory / METRICS)
    licences = data_licences.strip() or str(
        read_yaml(directory / CONFIG).get('data_licences') or '').strip()
    if not licences:
        raise InputError(
            f'{directory}: nothing says whose data it was trained on and under which licence. '
            "Give --data-licences 'TEXT' (or set data_licences before training)")
    about = {
        'name': spec.name, 'network': spec.network, 'label_space': spec.label_space.name,
        'miou': metrics['scores'].get('miou'), 'seed': metrics['seed'],
        'commit': metrics['commit'], 'bkd_ros': metrics['version'], 'data_licences': licences}
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == '.zip':
        with tempfile.TemporaryDirectory(dir=output.parent, prefix='.package.') as folder:
            _fill(Path(folder), directory, names, about)
            write_zip(Path(folder), output)
    else:
        with atomic.directory(output) as folder:
            _fill(folder, directory, names, about)
    return check_package(output)


def check_package(path: Path) -> Package:
    """
    Compare a package with its manifest.

    :param path: A folder or zip file that `write_package` wrote.
    :raises InputError: If it is no package or was changed, with the name of the first file.
    """
    path = path.expanduser()
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise InputError(
                f"{path}: holds no {MANIFEST}; expected a folder or zip file that 'bkd package' "
                'wrote')
        manifest = check_folder(path)
    else:
        manifest = check_zip(path)
    if MODEL_YAML not in manifest['files']:
        raise InputError(f'{path}: holds no {MODEL_YAML}, so there is no model in it')
    return Package(
        path=path, about=manifest['about'],
        files={name: known['bytes'] for name, known in manifest['files'].items()})


def _files_of(directory: Path, spec: ModelSpec) -> list[str]:
    """Return what travels, relative to the directory; every file is whole."""
    for name in _NEEDED:
        if not (directory / name).is_file():
            raise InputError(
                f'{directory}: {name} is missing; only a model that was trained to its end and '
                "measured by 'bkd train' is packaged")
    if WEIGHTS not in spec.files and ONNX not in spec.files:
        raise InputError(f'{directory}: {MODEL_YAML} names neither {WEIGHTS} nor {ONNX}')
    for name in spec.files:
        model_directory.verify(directory, spec, name)
    names = [MODEL_YAML, *spec.files, *_NEEDED]
    for name in _OPTIONAL:
        path = directory / name
        found = [path] if path.is_file() else (
            file for file in path.rglob('[!.]*') if file.is_file())
        names.extend(file.relative_to(directory).as_posix() for file in found)
    return names


def _fill(folder: Path, directory: Path, names: list[str], about: dict[str, Any]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(directory / name, folder / name)
    card = (folder / CARD).read_text(encoding='utf-8')
    if about['data_licences'] not in card:
        (folder / CARD).write_text(
            replace_section(card, f'{_LICENCES}\n\n{about["data_licences"]}\n'), encoding='utf-8')
    write_manifest(folder, about)


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_text(encoding='utf-8'))
        missing = [key for key in ('scores', 'seed', 'commit', 'version') if key not in metrics]
    except (ValueError, TypeError) as error:
        raise InputError(f'{path}: damaged: {error}') from error
    if missing:
        raise InputError(
            f"{path}: does not name '{missing[0]}', which the card of a package must tell. "
            'Train the model anew')
    return metrics
