# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Versions of a model in a folder, and one pointer to the version in use.

    000001-5f0c2ab1/     a complete model directory, never changed once it is here
    000001-5f0c2ab1/version.json    the decision about it, and the hash of every file but these
    000001-5f0c2ab1/report.html     of its round; it shows frames, stays here, may be deleted
    000002-98d1e07c/
    in_use               the pointer: the version in use, then those used before, newest first
    rolled_back.json     the versions that were left by a rollback, and why
    on_trial.NODE.json   the version that a node has on trial, see `trial_file`
    not_used.json        accepted ones that were compared with a version no longer in use

A version's name is its number and the hash of its `version.json`, so that a damaged one is told
from a whole one. The pointer is a text file that is replaced atomically, not a symbolic link: it
holds the way back in the same write, survives being copied by tools and file systems that know
no links, and can be read with `head`. What it names was written to the disk, verified and given
its name before; a kill or a power cut at any instant leaves the pointer before or the new one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
import fcntl
import json
import os
from pathlib import Path
import re
import shutil
import time
from typing import Any, Iterator, Sequence

from bkd_core import atomic, model_directory
from bkd_core.adaptation.disk_errors import disk_errors
from bkd_core.adaptation.version_files import (
    files_of,
    files_to_add,
    hashes_of,
    read_record,
    RECORD,
    short_hash,
    verify_model,
)
from bkd_core.adaptation.version_marks import (
    FILES as MARK_FILES,
    mark,
    NOT_USED,
    read_marks,
    ROLLED_BACK,
    unmark,
)
from bkd_core.errors import InputError
from bkd_core.model_directory import POINTER, VERSION_NAME

STATES = ('in use', 'accepted', 'refused', ROLLED_BACK, NOT_USED, 'damaged')
LOCK = '.lock'
_BEGIN_LOCK = '.begin.lock'
BY_A_PERSON = 'A person went back to the version before.'
_KEPT_IN_POINTER = 16  # versions before the one in use that the pointer names
# What a killed writer may have left: versions being written and versions being deleted.
_LEFT_OVER = re.compile(r'\.\d{6}-')


@dataclass(frozen=True, kw_only=True)
class Version:
    """
    A version of a model.

    :param name: Its number, six digits, and a hash; also its folder's name.
    :param directory: Its model directory.
    :param state: One of `STATES`.
    :param reason: Why it was accepted, refused, rolled back or not used, or what is damaged.
    :param is_in_use: The pointer names it; a damaged one may be in use, too.
    :param parent: The version that it was made from, if it was made from one.
    :param num_rounds: How many rounds, one after the other, led to it; None if its record does
        not say.
    :param created: When it was added, ISO 8601, UTC.
    :param num_bytes: Its size on the disk.
    """

    name: str
    directory: Path
    state: str
    reason: str
    is_in_use: bool
    parent: str | None
    num_rounds: int | None
    created: str
    num_bytes: int

    @property
    def number(self) -> int:
        """Return its number, from 1."""
        return int(self.name[:6])


class ModelVersions:
    """
    The versions of a model, for one writer at a time and any number of readers.

    :param folder: Their folder; `add` makes it.
    :param wait_s: How long a writer waits for another one.
    """

    def __init__(self, folder: str | Path, *, wait_s: float = 10.0) -> None:
        self.folder = Path(folder)
        self._wait_s = wait_s

    def list(self) -> list[Version]:
        """Return all versions by their numbers, each compared with its hashes."""
        used = self._pointer()[:1]
        return [self._read(name, is_in_use=name in used) for name in self._names()]

    def begin(self, model: Path, *, reason: str) -> None:
        """
        Make a model the first version, and use it, unless there are versions already.

        :param model: The model directory.
        :param reason: Why it is accepted, in a sentence.
        :raises InputError: If it is no complete model, another process is writing, or the folder
            cannot be made.
        """
        if self.list():
            return  # the folder may be one that can only be read
        with disk_errors(self.folder, otherwise='cannot be a folder of model versions'):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / _BEGIN_LOCK).open('w')
        with lock:  # several nodes may begin at once
            self._wait_for(lock)
            if not self.list():
                self.use(self.add(model, is_accepted=True, reason=reason).name)

    def in_use(self) -> Version | None:
        """Return the version that the pointer names, or None before the first one is used."""
        pointer = self._pointer()
        return self._read(pointer[0], is_in_use=True) if pointer else None

    def find(self, wanted: str) -> Version:
        """
        Return a version.

        :param wanted: Its name or its number.
        :raises InputError: If there is none.
        """
        for version in self.list():
            if wanted == version.name or wanted.isdecimal() and int(wanted) == version.number:
                return version
        raise InputError(
            f"{self.folder}: there is no version '{wanted}'; there are {self._names()}")

    def add(
        self, candidate: Path, *, is_accepted: bool, reason: str, parent: str | None = None,
        num_rounds: int | None = None,
    ) -> Version:
        """
        Copy a model directory in; it becomes visible once it is complete and verified.

        :param candidate: The model directory; files whose names begin with '.' stay behind, and
            so does the report of one that is a version already.
        :param is_accepted: Whether it may ever be used.
        :param reason: Why, in a sentence.
        :param parent: Name of the version that it was made from.
        :param num_rounds: How many rounds, one after the other, led to it.
        :raises InputError: If it is no complete model or another process is writing.
        """
        candidate = model_directory.resolve(candidate)
        verify_model(candidate)
        record = json.dumps({
            'is_accepted': is_accepted, 'reason': reason, 'parent': parent,
            'num_rounds': num_rounds,
            'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
            'files': hashes_of(candidate)}, indent=1)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._writing():
            names = self._names()
            number = int(names[-1][:6]) + 1 if names else 1
            name = f'{number:06d}-{short_hash(record)}'
            with atomic.directory(self.folder / name) as copy:
                for file in files_to_add(candidate):
                    (copy / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(candidate / file, copy / file)
                (copy / RECORD).write_text(record, encoding='utf-8')
                if hashes_of(copy) != json.loads(record)['files']:
                    raise InputError(
                        f'{candidate}: the copy in {self.folder} differs from it. Does another '
                        'process write into it? Is the disk at fault?')
            return self._read(name, is_in_use=False)

    def use(self, wanted: str, *, only_from: str | None = None) -> Version:
        """
        Let the pointer name another version.

        One that was set aside is taken, too: who names it knows why, and the mark is gone.

        :param wanted: Its name or number; only an accepted, undamaged one is taken.
        :param only_from: Use it only if the version of this name is in use. Else it is marked as
            not used, unless it was used already.
        :return: The version that was wanted, in use or marked.
        :raises InputError: If it is refused, damaged or missing, or another process is writing.
        """
        with self._writing():
            version = self.find(wanted)
            if version.state not in ('accepted', 'in use', *MARK_FILES):
                raise InputError(
                    f'version {version.name} is {version.state} ({version.reason}) and is never '
                    'used; choose an accepted one')
            pointer = self._pointer()
            if only_from is not None and pointer[:1] != [only_from]:
                if version.state == 'accepted' and version.name not in pointer:
                    mark(self.folder, NOT_USED, version.name, why_not_used(only_from, pointer))
                return self._read(version.name, is_in_use=version.is_in_use)
            unmark(self.folder, version.name)
            self._point([version.name, *(name for name in pointer if name != version.name)])
            return self._read(version.name, is_in_use=True)

    def rollback(self, *, reason: str = BY_A_PERSON, only_from: str | None = None) -> Version:
        """
        Let the pointer name the version that was used before, passing over damaged ones.

        The version that is left is kept and marked: no round uses it again, only `use` does.

        :param reason: Why, in a sentence.
        :param only_from: Do nothing unless the version of this name is in use.
        :return: The version in use.
        :raises InputError: If there is none, or another process is writing.
        """
        with self._writing():
            left, *before = self._pointer() or ['']
            if left and only_from not in (None, left):
                return self._read(left, is_in_use=True)
            while before and self._read(before[0], is_in_use=False).state != 'accepted':
                before = before[1:]
            if not before:
                raise InputError(
                    f'{self.folder}: there is no whole version before the one in use')
            self._point(before)  # first: what was left is out of use, whatever comes now
            mark(self.folder, ROLLED_BACK, left, reason)
            return self._read(before[0], is_in_use=True)

    def prune(self, max_bytes: int) -> list[str]:
        """
        Delete versions until the others fit: damaged, then refused, then accepted, oldest first.

        The version in use, the one before it, the first (the original), the newest, and the
        newest refused one always stay, so the bound holds if five versions fit into it. One that
        was rolled back or not used counts as refused.

        :param max_bytes: What the versions may take up.
        :return: The names of those that were deleted.
        :raises InputError: If another process is writing.
        """
        with self._writing():
            versions = self.list()
            kept = self._protected(versions)
            excess = sum(version.num_bytes for version in versions) - max_bytes
            order = {'damaged': 0, 'refused': 1, ROLLED_BACK: 1, NOT_USED: 1, 'accepted': 2}
            candidates = sorted(
                (version for version in versions if version.name not in kept),
                key=lambda version: (order[version.state], version.number))
            deleted = []
            for version in candidates:
                if excess <= 0:
                    break
                self._delete(version)
                excess -= version.num_bytes
                deleted.append(version.name)
            return deleted

    def _protected(self, versions: list[Version]) -> set[str]:
        names = [version.name for version in versions]
        refused = [
            version.name for version in versions if version.state in ('refused', *MARK_FILES)]
        return {*self._pointer()[:2], *names[:1], *names[-1:], *refused[-1:]}

    def _delete(self, version: Version) -> None:
        # It loses its name at once; what a kill leaves of it is nobody's version.
        hidden = self.folder / f'.{version.name}.deleted'
        os.rename(version.directory, hidden)
        atomic.sync_directory(self.folder)
        shutil.rmtree(hidden)

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(
            entry.name for entry in os.scandir(self.folder)
            if VERSION_NAME.fullmatch(entry.name) and entry.is_dir())

    def _pointer(self) -> list[str]:
        """Return the names in the pointer that still are versions; the first is in use."""
        if not (self.folder / POINTER).exists():
            return []
        first, *before = model_directory.read_pointer(self.folder)
        present = set(self._names())
        return [first, *(name for name in before if name in present)]

    def _point(self, names: list[str]) -> None:
        kept = names[:1 + _KEPT_IN_POINTER]
        atomic.write_text(self.folder / POINTER, ''.join(f'{name}\n' for name in kept))

    def _read(self, name: str, *, is_in_use: bool) -> Version:
        directory = self.folder / name
        record, fault = read_record(directory)
        if fault:
            state, reason = 'damaged', fault
        elif not record['is_accepted']:
            state, reason = 'refused', record['reason']
        elif is_in_use:
            state, reason = 'in use', record['reason']
        else:
            state, reason = self._mark_of(name) or ('accepted', record['reason'])
        return Version(
            name=name, directory=directory, state=state, reason=reason,
            is_in_use=is_in_use, parent=record.get('parent'),
            num_rounds=record.get('num_rounds'), created=record.get('created', ''),
            num_bytes=sum((directory / file).stat().st_size for file in files_of(directory)))

    def _mark_of(self, name: str) -> tuple[str, str] | None:
        for state in MARK_FILES:
            reason = read_marks(self.folder, state).get(name)
            if reason is not None:
                return state, reason
        return None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only writer, and clear away what a killed one left."""
        if not self.folder.is_dir():
            raise InputError(f'{self.folder}: no such folder of model versions')
        with (self.folder / LOCK).open('w') as lock:
            self._wait_for(lock)
            for entry in os.scandir(self.folder):
                if _LEFT_OVER.match(entry.name):
                    shutil.rmtree(entry.path)
            yield

    def _wait_for(self, lock: Any) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise InputError(
                        f'{self.folder}: another process has been writing here for '
                        f'{self._wait_s:g} s. Try again when it is done') from error
            time.sleep(0.05)


def why_not_used(compared: str, pointer: Sequence[str]) -> str:
    """
    Return why an accepted version is not used: the one that it was compared with is not, either.

    :param compared: Name of the version that it was compared with.
    :param pointer: The version in use, then those before; empty if none is in use.
    """
    return (
        f'The version in use changed during the round: it was {compared}, with which this one was '
        f'compared, and is {pointer[0] if pointer else "none"} now.')
