# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The folder in which collected frames lie, read as a data set without labels.

    frame_store.json     the version of this layout
    frames/NAME.jpg      an image (or NAME.png); it counts only with its record
    frames/NAME.json     its record: stamp, topic, camera, pose, size, checksum

`bkd_core.adaptation.FrameStore` writes it. It may be read while frames are being added.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Sequence
import zlib

from bkd_core.datasets.frame_record import FrameRecord, NAME
from bkd_core.datasets.image_files import read_image
from bkd_core.errors import InputError, unknown_name
from bkd_core.labels import get_label_space
import numpy as np

FORMAT_VERSION = 1
FORMAT_FILE = 'frame_store.json'
FRAMES = 'frames'


@dataclass(frozen=True, kw_only=True)
class StoreContents:
    """
    What lies in a store.

    :param records: The frames, by stamp and name.
    :param damaged: File that cannot be used -> why; it stays where it is.
    """

    records: list[FrameRecord]
    damaged: dict[Path, str]


class StoredFrames:
    """
    The frames of a store in the order of their stamps.

    Each image is compared with its checksum when the store is opened, so that a damaged one is
    left out instead of ending a training. `damaged` names those that were left out.

    :param root: The store's folder.
    :param topics: Use only the frames of these topics; None for all.
    :param label_space: Name of a label space; nothing is labelled, it only tells which classes
        the frames are to be seen in.
    :raises InputError: If it is no store, of a newer version, or has no such frame.
    """

    has_labels = False

    def __init__(
        self, *, root: Path, topics: Sequence[str] | None = None, label_space: str = 'street9',
    ) -> None:
        self.label_space = get_label_space(label_space)
        self._folder = Path(root) / FRAMES
        check_format(Path(root))
        contents = read_contents(Path(root), with_checksums=True)
        self.damaged = contents.damaged
        present = {record.metadata.topic for record in contents.records}
        for topic in topics or ():
            if topic not in present:
                raise unknown_name(f'topic of the frame store {root}', topic, present)
        self._records = [
            record for record in contents.records
            if topics is None or record.metadata.topic in topics]
        if not self._records:
            raise InputError(
                f'{root}: holds no frame ({len(self.damaged)} damaged ones). Collect some with '
                "'bkd bag extract' or the collector node")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._records)

    def name(self, index: int) -> str:
        """Return the stem of a frame's files."""
        return self._records[index].name

    def record(self, index: int) -> FrameRecord:
        """Return what is known of a frame."""
        return self._records[index]

    def image(self, index: int) -> np.ndarray:
        """
        Return a frame, (H, W, 3) uint8 RGB.

        :raises InputError: If it has been removed since the store was opened, or is damaged.
        """
        path = self._folder / self._records[index].file
        if not path.exists():
            raise InputError(
                f'{path}: has given way to another frame since the store was opened. Stop '
                'collecting into it while it is read, or read a copy')
        return read_image(path)

    def labels(self, index: int) -> np.ndarray:
        """
        Refuse: a store has no labels.

        :raises InputError: Always.
        """
        raise InputError(f'{self._folder.parent}: a frame store has no labels')


def check_format(folder: Path) -> None:
    """
    Refuse a folder that is no store, or one of a newer version.

    :param folder: The store's folder.
    :raises InputError: If it is, with what to do.
    """
    file = folder / FORMAT_FILE
    try:
        version = json.loads(file.read_bytes())['format']
    except OSError as error:
        raise InputError(
            f'{folder}: is no frame store ({FORMAT_FILE}: {error.strerror}). Give the folder '
            "that 'bkd bag extract' or the collector node wrote") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f'{file}: is damaged; expected {{"format": {FORMAT_VERSION}}}') from error
    if version != FORMAT_VERSION:
        raise InputError(
            f'{folder}: is a frame store of format {version!r}; this version of bkd_ros knows '
            f'format {FORMAT_VERSION}. Update bkd_ros, or give another folder')


def read_contents(folder: Path, *, with_checksums: bool = False) -> StoreContents:
    """
    List a store.

    :param folder: The store's folder.
    :param with_checksums: Whether to read every image and compare its checksum; without, its
        size alone is compared.
    """
    records, damaged = [], {}
    for file in (folder / FRAMES).glob('*.json'):
        if not NAME.fullmatch(file.stem):
            continue
        try:
            record = FrameRecord.from_json(file.stem, file.read_bytes())
        except FileNotFoundError:
            continue  # it gave way to another one in this moment
        except InputError as error:
            damaged[file] = str(error)
            continue
        except OSError as error:
            damaged[file] = f'cannot be read ({error.strerror})'
            continue
        fault = _fault(file.with_name(record.file), record, with_checksums)
        if not fault:
            records.append(record)
        elif file.exists():
            damaged[file.with_name(record.file)] = fault
    return StoreContents(
        records=sorted(records, key=lambda record: (record.metadata.stamp_ns, record.name)),
        damaged=damaged)


def _fault(image: Path, record: FrameRecord, with_checksum: bool) -> str:
    """Return what is wrong with an image; empty if nothing is."""
    try:
        size = image.stat().st_size
        if size != record.num_bytes:
            return f'has {size} bytes; its record says {record.num_bytes}'
        if with_checksum and zlib.crc32(image.read_bytes()) != record.crc32:
            return 'its bytes have changed since it was stored'
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    return ''
