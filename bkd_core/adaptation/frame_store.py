# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Collect frames in a folder that stays within its bounds and survives a kill at any instant.

An image is written first and its record second, each to a temporary file that is synchronised
and renamed. The record makes the frame count: without it, an image is what a kill left behind,
and the next opening removes it. A frame is removed in the opposite order. A new frame is safe
on the disk before an old one goes: room for one more of the largest is kept free, and one that is
larger still takes more than the bound for that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
import fcntl
import json
import logging
from pathlib import Path
import re
from typing import Any, Iterator
import zlib

from bkd_core import atomic
from bkd_core.adaptation.frame_selection import SELECTIONS
from bkd_core.datasets.frame_record import (
    FrameMetadata,
    FrameRecord,
    IMAGE_SUFFIXES,
    NAME,
)
from bkd_core.datasets.frame_store import (
    check_format,
    FORMAT_FILE,
    FORMAT_VERSION,
    FRAMES,
    read_contents,
)
from bkd_core.errors import InputError, unknown_name
from bkd_core.visualization import encode_jpeg, encode_png
import numpy as np

logger = logging.getLogger(__name__)

LOCK = '.lock'
JPEG_QUALITY = 95
ENCODERS = {
    'jpeg': ('.jpg', lambda image: encode_jpeg(image, quality=JPEG_QUALITY)),
    'png': ('.png', encode_png),
}
BLOCK = 4096  # what a file takes is counted in blocks, as most file systems give them out
_TEMPORARY = re.compile(rf'\.{NAME.pattern}\.(jpg|png|json)\..*')
_NO_EMBEDDING = np.zeros(0, np.float16)
_NO_THUMBNAIL = np.zeros(0, np.uint8)


@dataclass(frozen=True, kw_only=True)
class Addition:
    """
    What became of a frame.

    :param name: Its name in the store; None if it was left out.
    :param reason: Why it was left out; empty if it was stored.
    :param removed: Names of the frames that gave way since one was stored before it.
    """

    name: str | None
    reason: str = ''
    removed: tuple[str, ...] = ()


class FrameStore:
    """
    Frames on a disk, within a number of bytes; one process writes at a time.

    The bound holds whenever `add` has returned. While it runs, a frame that is larger than all
    before it may exceed the bound, by less than itself, until the old ones are gone. It stays
    exceeded by no more than that where an old frame can't be removed; nothing is added then.

    :param folder: The store; made if it is missing. A folder with anything else is refused.
    :param max_bytes: What all its files may take, in bytes.
    :param image_format: 'jpeg' (quality 95) or 'png' (without loss) for frames to come.
    :param selection: Which frame gives way when it is full; one of `SELECTIONS`.
    :param seed: Of the selection.
    :raises InputError: If the folder cannot be used, another process writes to it, it is of a
        newer version, or a setting is wrong.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, image_format: str = 'jpeg',
        selection: str = 'keep_latest', seed: int = 0,
    ) -> None:
        if image_format not in ENCODERS:
            raise unknown_name('image format', image_format, ENCODERS)
        if selection not in SELECTIONS:
            raise unknown_name('selection', selection, SELECTIONS)
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self._suffix, self._encode = ENCODERS[image_format]
        self._selection = SELECTIONS[selection](seed=seed)
        self._records: dict[str, FrameRecord] = {}
        self._sizes: dict[str, int] = {}
        self._fixed_bytes = self._frame_bytes = 0
        self._removed: list[str] = []  # and not told yet
        try:
            is_new = _check_folder(self.folder)
            self._lock = _lock(self.folder)
            try:
                self._open(is_new)
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise InputError(
                f'{self.folder}: cannot be used as a frame store: {error.strerror or error}; '
                'expected a folder that can be written. Make it writable or make room on its '
                "disk, or give another one (--output; the collector node's store)") from error

    def add(
        self, image: np.ndarray, metadata: FrameMetadata, *,
        thumbnail: np.ndarray = _NO_THUMBNAIL, embedding: np.ndarray = _NO_EMBEDDING,
    ) -> Addition:
        """
        Store a frame, if it fits and is worth more than another; it is durable on return.

        :param image: (H, W, 3) uint8 RGB.
        :param metadata: Where it comes from.
        :param thumbnail: (N,) uint8, for those who compare frames.
        :param embedding: (D,) float16, for the selection.
        :raises InputError: If the image is no such array.
        :raises OSError: If the disk is full or cannot be written, or frames that are to give way
            cannot be removed; the new frame isn't stored, and those that are there stay.
        """
        self._evict(self._choose_victims(0))  # those that an earlier call could not remove
        data = self._encode(image)
        crc32 = zlib.crc32(data)
        name = self._free_name(metadata, crc32)
        if name is None:
            return Addition(name=None, reason='stored already')
        record = FrameRecord(
            name=name, metadata=metadata, suffix=self._suffix, height=image.shape[0],
            width=image.shape[1], num_bytes=len(data), crc32=crc32, thumbnail=thumbnail,
            embedding=embedding)
        text = record.to_json()
        size = _on_disk(len(data)) + _on_disk(len(text))
        if size > (self.max_bytes - self._fixed_bytes) // 2:
            return Addition(name=None, reason='larger than half of the store')
        self._selection.add(record)
        victims = self._choose_victims(size)
        if name in victims:
            self._take_back(victims)
            return Addition(name=None, reason='like others')
        try:
            self._write(record, data, text)
        except BaseException:
            self._selection.remove(name)
            self._take_back(victims)
            raise
        self._keep(record, size)
        try:
            self._evict(victims)
        except OSError as error:
            logger.warning(
                '%s: a frame that is to give way cannot be removed: %s; the next one is not '
                'stored before it can', self.folder, error.strerror or error)
        removed, self._removed = tuple(self._removed), []
        return Addition(name=name, removed=removed)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._records)

    def __iter__(self) -> Iterator[FrameRecord]:
        """Yield the records of the frames by stamp and name."""
        return iter(sorted(
            self._records.values(), key=lambda record: (record.metadata.stamp_ns, record.name)))

    @property
    def num_bytes(self) -> int:
        """Return what all files of the store take on the disk, in bytes."""
        return self._fixed_bytes + self._frame_bytes

    def close(self) -> None:
        """Let another process write."""
        self._lock.close()

    def __enter__(self) -> FrameStore:
        """Return the store."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Close it."""
        self.close()

    def _open(self, is_new: bool) -> None:
        if is_new:
            atomic.write_text(self.folder / FORMAT_FILE, json.dumps({'format': FORMAT_VERSION}))
        self._frames = self.folder / FRAMES
        self._frames.mkdir(exist_ok=True)
        atomic.sync_directory(self.folder)
        _remove_strays(self.folder)
        contents = read_contents(self.folder)
        self.damaged = contents.damaged
        for path, fault in self.damaged.items():
            logger.warning('%s: %s; it is left out and stays where it is', path, fault)
        for record in contents.records:
            self._keep(record, sum(
                _on_disk((self._frames / file).stat().st_size)
                for file in (record.file, f'{record.name}.json')))
            self._selection.add(record)
        everything = sum(
            _on_disk(path.stat().st_size) for path in self.folder.rglob('*') if path.is_file())
        self._fixed_bytes = everything - self._frame_bytes
        self._evict(self._choose_victims(0))
        self._removed.clear()
        if self.num_bytes > self.max_bytes:
            raise InputError(
                f'{self.folder}: got at most {self.max_bytes} bytes, but {self.num_bytes} are '
                'taken by files that are no frames. Give it more')

    def _free_name(self, metadata: FrameMetadata, crc32: int) -> str | None:
        """Return a name that nothing has; None if the very frame is there."""
        slug = re.sub(r'\W+', '_', metadata.topic, flags=re.ASCII).strip('_')[:80] or 'frame'
        base = name = f'{metadata.stamp_ns:019d}_{slug}'
        number = 0
        taken = {path.stem for path in self.damaged}
        while name in self._records or name in taken:
            known = self._records.get(name)
            # Stamps repeat: drivers without a clock give 0, simulations begin anew each time.
            if known and known.crc32 == crc32 and known.metadata.topic == metadata.topic:
                return None
            number += 1
            name = f'{base}_{number}'
        return name

    def _choose_victims(self, size: int) -> list[str]:
        """Take frames out of the selection until one more of the largest size would fit."""
        room = self.max_bytes - max(size, self._largest())
        taken = self.num_bytes + size
        victims = []
        while taken > room and len(victims) < len(self._records) + (size > 0):
            name = self._selection.victim()
            self._selection.remove(name)
            victims.append(name)
            if name not in self._sizes:
                break  # it is the new frame itself
            taken -= self._sizes[name]
        return victims

    def _take_back(self, victims: list[str]) -> None:
        """Put those of them that are stored back into the selection."""
        for name in victims:
            if name in self._records:
                self._selection.add(self._records[name])

    def _evict(self, victims: list[str]) -> None:
        """Remove frames that the selection gave up; after an error it has the others again."""
        try:
            for name in victims:
                self._remove(name)
        except BaseException:
            self._take_back(victims)
            raise

    def _write(self, record: FrameRecord, data: bytes, text: str) -> None:
        files = [self._frames / file for file in (record.file, f'{record.name}.json')]
        try:
            for file, content in zip(files, (data, text.encode())):
                atomic.write_bytes(file, content)
        except BaseException:
            for file in reversed(files):
                file.unlink(missing_ok=True)
            raise

    def _remove(self, name: str) -> None:
        record = self._records[name]
        (self._frames / f'{name}.json').unlink(missing_ok=True)
        del self._records[name]
        self._removed.append(name)
        size = self._sizes.pop(name)
        self._frame_bytes -= size
        try:
            # Or a power cut could leave the record of an image that is gone.
            atomic.sync_directory(self._frames)
            (self._frames / record.file).unlink(missing_ok=True)
        except BaseException:
            self._fixed_bytes += _on_disk(record.num_bytes)  # it stays until the next opening
            raise

    def _keep(self, record: FrameRecord, size: int) -> None:
        self._records[record.name] = record
        self._sizes[record.name] = size
        self._frame_bytes += size

    def _largest(self) -> int:
        return max(self._sizes.values(), default=0)


def _on_disk(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK) * BLOCK


def _lock(folder: Path) -> Any:
    """Hold a store; a killed process lets go of it by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / LOCK).open('a')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise InputError(
            f'{folder}: another process is collecting frames here. Stop it, or give another '
            'folder') from error
    return lock


def _check_folder(folder: Path) -> bool:
    """Return whether a store is to be made here; refuse a folder that holds something else."""
    folder.mkdir(parents=True, exist_ok=True)
    # One that was cut off while it was made is empty, too.
    present = sorted(
        path.name for path in folder.iterdir()
        if path.name != LOCK and not path.name.startswith(f'.{FORMAT_FILE}.'))
    if present and FORMAT_FILE not in present:
        raise InputError(
            f'{folder}: holds other files ({present[0]}) and is no frame store. Give a new or '
            'empty folder')
    if present:
        check_format(folder)
    return not present


def _remove_strays(folder: Path) -> None:
    """Remove what a kill left: temporary files, and images whose record was not written."""
    for path in [*folder.glob(f'.{FORMAT_FILE}.*'), *(folder / FRAMES).iterdir()]:
        is_image = path.suffix in IMAGE_SUFFIXES and NAME.fullmatch(path.stem)
        if path.parent == folder or _TEMPORARY.fullmatch(path.name) or (
                is_image and not path.with_suffix('.json').exists()):
            logger.info('%s: was not complete when its writer ended; removed', path)
            path.unlink()
