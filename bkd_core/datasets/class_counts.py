# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
How many pixels of each class every image of a data set holds, counted once and remembered.

The counts are kept in the cache folder under the data set's fingerprint, which changes with any
label file. Data sets without one, such as generated ones, are counted every time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import io
import logging
import os
from pathlib import Path
from typing import Callable, Iterator, Protocol, runtime_checkable, Sequence, TypeVar
import zipfile
import zlib

from bkd_core.cache_folder import cache_folder, write_cached
from bkd_core.datasets.dataset import SegmentationDataset
import numpy as np

logger = logging.getLogger(__name__)
Result = TypeVar('Result')
_BLOCK = 512  # frames that wait for a thread; each takes memory


@runtime_checkable
class Fingerprinted(Protocol):
    """A data set that can tell whether its labels are still the same."""

    def fingerprint(self) -> str:
        """Return a text that changes when the labels do."""


def class_counts(dataset: SegmentationDataset) -> np.ndarray:
    """
    Count the pixels of every class of the data set's own label space in every image.

    All labels are read, unless the same ones were counted before.

    :param dataset: Labelled images.
    :return: (N, C + 1) int64; the last column counts pixels without a class.
    """
    path = counts_path(dataset)
    known = read_counts(path, dataset)
    if known is not None:
        return known
    counts = np.stack(list(map_frames(
        dataset,
        lambda index: count_pixels(dataset.labels(index), dataset.label_space.num_classes),
        range(len(dataset)))))
    keep_counts(path, counts)
    return counts


def map_frames(
    dataset: SegmentationDataset, function: Callable[[int], Result], indices: Sequence[int],
) -> Iterator[Result]:
    """
    Yield what a function makes of frames, in their order; of files, several at a time.

    Decoding leaves Python's lock, so that threads share the processors.

    :param dataset: The frames; those without a fingerprint are taken one by one.
    :param function: What is done with the number of a frame.
    :param indices: The numbers.
    """
    num_threads = os.cpu_count() if isinstance(dataset, Fingerprinted) else 1
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for start in range(0, len(indices), _BLOCK):
                yield from pool.map(function, indices[start:start + _BLOCK])
        finally:
            pool.shutdown(cancel_futures=True)


def count_pixels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """
    Count the pixels of each class in one image.

    :param labels: (H, W) uint8.
    :param num_classes: C.
    :return: (C + 1,) int64; the last counts pixels without a class.
    """
    counts = np.bincount(labels.ravel(), minlength=num_classes + 1)
    return np.append(counts[:num_classes], counts[num_classes:].sum())


def counts_path(dataset: SegmentationDataset) -> Path | None:
    """
    Return the file that keeps the counts of the labels as they are now; None for no file.

    :param dataset: Labelled images.
    """
    if not isinstance(dataset, Fingerprinted):
        return None
    return cache_folder() / 'class_counts' / f'{dataset.fingerprint()[:32]}.npz'


def read_counts(path: Path | None, dataset: SegmentationDataset) -> np.ndarray | None:
    """
    Return counts that were kept, as `class_counts` returns them; None where there are none.

    :param path: From `counts_path`.
    :param dataset: The labelled images, which tell the shape.
    """
    if path is None:
        return None
    try:
        with np.load(path) as file:
            counts = file['counts']
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning('%s: is not readable, so the classes are counted anew: %s', path, error)
        return None
    shape = (len(dataset), dataset.label_space.num_classes + 1)
    return counts if counts.shape == shape and counts.dtype == np.int64 else None


def keep_counts(path: Path | None, counts: np.ndarray) -> None:
    """
    Keep counts for the next time.

    :param path: From `counts_path`, asked for before the labels were read.
    :param counts: As `class_counts` returns them.
    """
    if path is None:
        return
    buffer = io.BytesIO()
    np.savez_compressed(buffer, counts=counts)
    try:
        write_cached(path, buffer.getvalue())
    except OSError as error:
        logger.warning('the counts of classes cannot be kept: %s', error)
