# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a stream of frames to a store: judge, hide, describe, keep; for topics and bags alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
import errno
from pathlib import Path
import threading
from typing import Any

from bkd_core.adaptation.embedding import embedding_of
from bkd_core.adaptation.frame_quality import (
    FrameQuality,
    NEAR_DUPLICATE,
    QualityConfig,
    thumbnail,
    Thumbnails,
)
from bkd_core.adaptation.frame_selection import SELECTIONS
from bkd_core.adaptation.frame_store import Addition, FrameStore
from bkd_core.adaptation.privacy import class_ids, hide, THRESHOLD, warnings_of
from bkd_core.datasets.frame_record import FrameMetadata
from bkd_core.errors import InputError, unknown_name
from bkd_core.inference import Segmenter
import numpy as np

NOT_WRITTEN = 'not written'
MEGABYTE = 10**6


@dataclass(frozen=True, kw_only=True)
class CollectorConfig:
    """
    How a store is filled.

    :param max_megabytes: What the store may take on the disk, in units of 10^6 bytes.
    :param image_format: 'jpeg' (quality 95) or 'png' (without loss).
    :param selection: Which frame gives way when it is full; one of `SELECTIONS`.
    :param blur_classes: Classes whose pixels are made unrecognisable before a frame is stored.
    :param blur_threshold: Probability of those classes, all together, from which on a pixel is
        hidden; lower hides more.
    :param quality: Which frames are left out at once.
    :param seed: Of what the selection draws.
    """

    max_megabytes: float = 1000.0
    image_format: str = 'jpeg'
    selection: str = 'stratified_k_center'
    blur_classes: tuple[str, ...] = ()
    blur_threshold: float = THRESHOLD
    quality: QualityConfig = field(default_factory=QualityConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what is not checked elsewhere."""
        if not 0 < self.blur_threshold <= 1:
            raise InputError(
                f'blur_threshold: got {self.blur_threshold}; expected above 0, at most 1')
        if self.selection not in SELECTIONS:
            raise unknown_name('selection', self.selection, SELECTIONS)

    @property
    def needs_network(self) -> bool:
        """Tell whether each frame has to be segmented."""
        return bool(self.blur_classes) or SELECTIONS[self.selection].needs_embedding


@dataclass(frozen=True, kw_only=True)
class Collected:
    """
    What a collector has done since it was made.

    :param num_stored: Frames that went into the store.
    :param num_removed: Frames that gave way to others.
    :param left_out: Reason -> number of frames that were left out.
    :param num_frames: Frames that are in the store.
    :param num_bytes: What it takes on the disk.
    :param fault: Why the last frame could not be written; empty if it could.
    """

    num_stored: int
    num_removed: int
    left_out: dict[str, int]
    num_frames: int
    num_bytes: int
    fault: str


class Collector:
    """
    Put the frames worth having into a store; `offer` and `summary` may run in two threads.

    :param folder: The store.
    :param config: How it is filled.
    :param segmenter: The student; needed by `blur_classes` and selections that compare
        embeddings.
    :raises InputError: If the store cannot be used, or a setting is wrong.
    """

    def __init__(
        self, folder: Path, *, config: CollectorConfig, segmenter: Segmenter | None = None,
    ) -> None:
        if config.needs_network and segmenter is None:
            raise InputError(
                f"selection '{config.selection}' and blur_classes {list(config.blur_classes)} "
                'need a model')
        self._segmenter = segmenter
        self._needs_network = config.needs_network
        self._blurred = class_ids(config.blur_classes, segmenter.label_space) \
            if config.blur_classes else ()
        self._blur_threshold = config.blur_threshold
        self._blind_spots = warnings_of(config.blur_classes, segmenter.directory) \
            if config.blur_classes else []
        self._quality = FrameQuality(config.quality)
        self._thumbnails = Thumbnails(min_difference=config.quality.min_difference)
        self._lock = threading.Lock()
        self._left_out: Counter[str] = Counter()
        self._num_stored = self._num_removed = 0
        self._fault = ''
        self.store = FrameStore(
            folder, max_bytes=round(config.max_megabytes * MEGABYTE),
            image_format=config.image_format, selection=config.selection, seed=config.seed)
        for record in self.store:
            self._thumbnails.add(record.name, record.metadata.topic, record.thumbnail)

    def offer(self, image: np.ndarray, metadata: FrameMetadata) -> Addition:
        """
        Store a frame if it is worth it.

        :param image: (H, W, 3) uint8 RGB.
        :param metadata: Where it comes from.
        :return: What became of it; a disk that is full or cannot be written is a reason, too.
        """
        addition = self._judge(image, metadata)
        with self._lock:
            if addition.name is None:
                self._left_out[addition.reason] += 1
            else:
                self._num_stored += 1
                self._num_removed += len(addition.removed)
        return addition

    def warnings(self) -> list[str]:
        """Return what a user should know before the first frame is stored."""
        return self._blind_spots + [
            f'{path}: {fault}; it is left out and stays where it is'
            for path, fault in self.store.damaged.items()]

    def summary(self) -> Collected:
        """Return what has been done so far."""
        with self._lock:
            return Collected(
                num_stored=self._num_stored, num_removed=self._num_removed,
                left_out=dict(self._left_out), num_frames=len(self.store),
                num_bytes=self.store.num_bytes, fault=self._fault)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def __enter__(self) -> Collector:
        """Return the collector."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Close it."""
        self.close()

    def _judge(self, image: np.ndarray, metadata: FrameMetadata) -> Addition:
        fault = self._quality.fault(image, metadata.topic)
        if fault:
            return Addition(name=None, reason=fault)
        embedding = np.zeros(0, np.float16)
        if self._blurred:  # before anything else: not even the thumbnail shows what is hidden
            image, embedding = self._hide(image)
        picture = thumbnail(image)
        if self._thumbnails.repeats(picture, metadata.topic):
            return Addition(name=None, reason=NEAR_DUPLICATE)
        if self._needs_network and not embedding.size:
            embedding = embedding_of(self._segmenter.logits(image))
        return self._store(image, metadata, picture, embedding)

    def _hide(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = self._segmenter.logits(image)
        hidden = hide(image, logits, self._blurred, threshold=self._blur_threshold)
        return hidden, embedding_of(logits)

    def _store(
        self, image: np.ndarray, metadata: FrameMetadata, picture: np.ndarray,
        embedding: np.ndarray,
    ) -> Addition:
        try:
            addition = self.store.add(
                image, metadata, thumbnail=picture, embedding=embedding)
        except OSError as error:
            self._fault = error.strerror or str(error)
            if error.errno == errno.ENOSPC:
                self._fault += f': {self.store.folder} lies on a full disk'
            elif error.filename:
                self._fault += f': {error.filename}'
            return Addition(name=None, reason=NOT_WRITTEN)
        self._fault = ''
        for name in addition.removed:
            self._thumbnails.remove(name)
        if addition.name is not None:
            self._thumbnails.add(addition.name, metadata.topic, picture)
        return addition
