# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a round finds where it works: the version in use, and a round that was stopped."""

from __future__ import annotations

from contextlib import contextmanager
import fcntl
import json
import logging
from pathlib import Path
import shutil
from typing import Any, Iterator

from bkd_core import model_directory
from bkd_core.adaptation.versions import ModelVersions, Version
from bkd_core.errors import InputError

logger = logging.getLogger(__name__)

WORK = '.round'
STUDENT = 'student'
IDENTITY = 'round.json'
_LOCK = '.lock'
_FIRST = 'The model that adaptation began with.'


def begin_versions(versions: ModelVersions, model: str | Path) -> Version:
    """
    Return the version in use; the first time, the model becomes it.

    :param versions: The folder.
    :param model: The model that adaptation began with, or the folder itself.
    :raises InputError: If the folder holds versions of another model, or the one in use is
        damaged.
    """
    given = model_directory.resolve(model)
    versions.begin(given, reason=_FIRST)
    names = require_same_model(versions, given)
    in_use = versions.in_use() or versions.use(names[0])
    require_whole(in_use)
    return in_use


def require_same_model(versions: ModelVersions, model: Path) -> list[str]:
    """
    Return the names of the versions that are a model.

    :param versions: The folder.
    :param model: The model's directory.
    :raises InputError: If there is none.
    """
    names = [
        version.name for version in versions.list()
        if is_same_model(version.directory, model)]
    if not names:
        raise InputError(
            f"{versions.folder}: holds versions of another model than '{model}'. Give the model "
            'that they began with, the folder itself, or another --output')
    return names


def require_whole(version: Version) -> None:
    """
    Refuse a damaged version in use.

    :param version: The version.
    :raises InputError: If it is damaged.
    """
    if version.state == 'damaged':
        raise InputError(
            f'{version.directory}: the version in use is damaged ({version.reason}). Go back: '
            f'bkd versions {version.directory.parent} rollback')


def is_same_model(directory: Path, other: Path) -> bool:
    """
    Compare the files that say what a model is and which hashes its weights have.

    :param directory: A model directory.
    :param other: Another one.
    """
    paths = [path / model_directory.MODEL_YAML for path in (directory, other)]
    return all(path.is_file() for path in paths) and (
        paths[0].read_bytes() == paths[1].read_bytes())


@contextmanager
def only_round(work: Path) -> Iterator[None]:
    """
    Be the only round in a folder of versions; a killed process lets go of it by itself.

    :param work: Folder of what the round reaches.
    :raises InputError: If there is another one.
    """
    work.mkdir(exist_ok=True)
    with (work.parent / f'{WORK}{_LOCK}').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f'{work.parent}: another round is running here. Wait for it, or stop it'
            ) from error
        yield


def clear_work(work: Path) -> None:
    """
    Empty the folder of what a round reached; after a kill meanwhile no round goes on from it.

    :param work: The folder.
    """
    (work / IDENTITY).unlink(missing_ok=True)
    shutil.rmtree(work)
    work.mkdir()


def take_up_round(
    work: Path, identity: dict[str, Any], versions: ModelVersions, parent: Version, *,
    restart_if_changed: bool = False,
) -> None:
    """
    Clear away what the round cannot go on from; refuse to go on with another round.

    A round whose parent is no longer in use is thrown away, which is logged: its student would
    be compared with the wrong version.

    :param work: Folder of what a round reached.
    :param identity: What the round that is to go on is.
    :param versions: The versions.
    :param parent: The version in use.
    :param restart_if_changed: Throw another unfinished round away, too, and log it.
    :raises InputError: If another unfinished round is here.
    """
    path = work / IDENTITY
    before = json.loads(path.read_text(encoding='utf-8')) if path.exists() else None
    if before is None:  # it was killed before it had read its input, or when it was cleared away
        clear_work(work)
    elif before['parent'] != parent.name:
        made = version_of(versions, work / STUDENT, parent=before['parent'])
        if made is None:
            logger.warning(
                '%s: the unfinished round on version %s is thrown away, since version %s is in '
                'use now', work, before['parent'], parent.name)
        elif made.state == 'accepted':  # it was killed between keeping and using it
            versions.use(made.name, only_from=before['parent'])
        clear_work(work)
    elif before != identity:
        changed = ', '.join(sorted(
            key for key in {**before, **identity} if before.get(key) != identity.get(key)))
        if not restart_if_changed:
            raise InputError(
                f'{work}: an unfinished round with other {changed} is here. Give the same command '
                'again to go on with it, or --restart to throw it away')
        logger.warning('%s: the unfinished round with other %s is thrown away', work, changed)
        clear_work(work)


def version_of(versions: ModelVersions, student: Path, *, parent: str) -> Version | None:
    """
    Return the newest version that a round made of a student, such as one that was killed then.

    :param versions: The versions.
    :param student: The student's model directory.
    :param parent: Name of the version that the round was made on.
    """
    for version in reversed(versions.list()):
        if version.parent == parent and is_same_model(version.directory, student):
            return version
    return None
