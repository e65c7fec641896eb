# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The files of one version of a model, and whether they are what its record says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from bkd_core import model_directory
from bkd_core.errors import InputError
from bkd_core.manifest import MANIFEST
from bkd_core.runs.files import RECORDS

RECORD = 'version.json'
_LEFT_BEHIND = {MANIFEST, *RECORDS}
# A report shows frames of the camera, so it may be deleted.
_NOT_VOUCHED_FOR = {RECORD, model_directory.REPORT}


def verify_model(directory: Path) -> None:
    """
    Compare the files of a model directory with the hashes in its `model.yaml`.

    :param directory: The model directory.
    :raises InputError: If one differs or is missing, or none is named.
    """
    spec = model_directory.read_spec(directory)
    if not spec.files:
        raise InputError(
            f'{directory}: {model_directory.MODEL_YAML} names no files with weights')
    for name in spec.files:
        model_directory.verify(directory, spec, name)


def read_record(directory: Path) -> tuple[dict[str, Any], str]:
    """
    Return a version's record, and what is wrong with the version.

    :param directory: The version's folder.
    :return: The record, empty if it cannot be read; '' if nothing is wrong.
    """
    try:
        text = (directory / RECORD).read_text(encoding='utf-8')
        record = json.loads(text)
        if short_hash(text) != directory.name[7:]:
            return {}, f"{RECORD} is not what the folder's name says"
        present = hashes_of(directory)
    except (OSError, ValueError) as error:
        return {}, f'{RECORD} or a file beside it cannot be read ({error})'
    wrong = sorted(
        name for name in {*record['files'], *present} - _NOT_VOUCHED_FOR
        if record['files'].get(name) != present.get(name))
    return record, f'changed, missing or added: {", ".join(wrong)}' if wrong else ''


def files_of(directory: Path) -> list[Path]:
    """
    Return the paths of a directory's files, relative to it, without hidden ones.

    A package's manifest and the records of a training run do not count: a version has a record of
    its own, and a run's pictures of frames must not travel.

    :param directory: The directory.
    """
    relative = (path.relative_to(directory) for path in directory.rglob('*') if path.is_file())
    return sorted(
        path for path in relative
        if path.parts[0] not in _LEFT_BEHIND and not any(p.startswith('.') for p in path.parts))


def files_to_add(directory: Path) -> list[Path]:
    """
    Return the paths of the files of which a version is made, relative to their directory.

    Where that is a version already, of another folder, its report stays there: it shows frames of
    the camera. What `memory_frames` put into it goes along, since that is what it is for.

    :param directory: A model directory.
    """
    is_version = (directory / RECORD).is_file()
    return [
        path for path in files_of(directory)
        if not (is_version and path.as_posix() in _NOT_VOUCHED_FOR)]


def hashes_of(directory: Path) -> dict[str, str]:
    """
    Return the SHA-256 of each of a version's files but its record and its report.

    :param directory: The version's folder.
    """
    return {
        file.as_posix(): model_directory.file_hash(directory / file)
        for file in files_of(directory) if file.as_posix() not in _NOT_VOUCHED_FOR}


def short_hash(text: str) -> str:
    """
    Return the eight digits by which a version's name vouches for its record.

    :param text: The record.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:8]
