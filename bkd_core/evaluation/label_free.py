# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Scores for a camera without labels.

None of them says how right a network is: one that calls everything road is certain, agrees with
its like and never flickers. They are for comparing networks that were measured otherwise before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import math
from typing import Any, Callable, Protocol

from bkd_core.errors import InputError
from bkd_core.evaluation.evaluate import Prediction
from bkd_core.labels import id_mapping, IGNORE_INDEX, LabelSpace
import numpy as np


class Frames(Protocol):
    """The part of a data set that is needed; a sequence is in the order of time."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def name(self, index: int) -> str:
        """Return a frame's name."""

    def image(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB."""


@dataclass(frozen=True, kw_only=True)
class LabelFreeScores:
    """
    What can be said of a segmenter without labels.

    :param mean_entropy: Mean entropy of the predictions, nats.
    :param agreement: Share of pixels that a second segmenter labels alike; NaN without one.
    :param flicker: Share of pixels whose label changes from a frame to the next. Motion of the
        camera and of things counts too, so only compare segmenters on the same sequence; on
        frames that are no sequence it means nothing. NaN for a single frame.
    :param num_frames: How many frames it was measured on.
    """

    mean_entropy: float
    agreement: float
    flicker: float
    num_frames: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None stands for NaN."""
        return {
            name: None if math.isnan(value) else value for name, value in asdict(self).items()}


def score_without_labels(
    segmenter: Callable[[np.ndarray], Prediction], frames: Frames, *,
    label_space: LabelSpace | None = None,
    reference: Callable[[np.ndarray], Prediction] | None = None,
    reference_space: LabelSpace | None = None,
    progress: Callable[[int], None] | None = None,
) -> LabelFreeScores:
    """
    Run a segmenter over frames, and a second one beside it.

    :param segmenter: Frame in, object with `labels` and `mean_entropy` out.
    :param frames: Frames, in the order of time.
    :param label_space: The segmenter's; needed if the reference has another.
    :param reference: The second segmenter, such as the student's teacher.
    :param reference_space: Its label space, if it is another; its labels are mapped, and pixels
        whose class has no counterpart are left out.
    :param progress: Called after each frame with the number of frames done.
    :raises InputError: If there is no frame or two frames in a row differ in size.
    """
    if not len(frames):
        raise InputError('evaluation: the data set has no frames')
    mapping = None
    if reference_space is not None and label_space is not None and reference_space != label_space:
        mapping = id_mapping(reference_space, label_space)
    entropies, alike, changes, previous = [], np.zeros(2, np.int64), [], None
    for index in range(len(frames)):
        image = frames.image(index)
        prediction = segmenter(image)
        entropies.append(getattr(prediction, 'mean_entropy', math.nan))
        if reference is not None:
            other = reference(image).labels
            alike += count_alike(prediction.labels, other if mapping is None else mapping[other])
        if previous is not None:
            try:
                changes.append(flicker(previous, prediction.labels))
            except InputError as error:
                raise InputError(f"frame '{frames.name(index)}': {error}") from error
        previous = prediction.labels
        if progress is not None:
            progress(index + 1)
    return LabelFreeScores(
        mean_entropy=float(np.mean(entropies)),
        agreement=float(alike[0] / alike[1]) if alike[1] else math.nan,
        flicker=float(np.mean(changes)) if changes else math.nan, num_frames=len(frames))


def count_alike(labels: np.ndarray, reference: np.ndarray) -> tuple[int, int]:
    """
    Return the number of pixels that two segmenters label alike, and the number compared.

    :param labels: (H, W) integers.
    :param reference: The same; pixels of 255 are left out.
    :raises InputError: If the shapes differ.
    """
    _require_one_shape(labels, reference, 'the reference labels')
    is_compared = reference != IGNORE_INDEX
    return int(((labels == reference) & is_compared).sum()), int(is_compared.sum())


def flicker(previous: np.ndarray, labels: np.ndarray) -> float:
    """
    Return the share of pixels whose label differs from the frame before.

    :param previous: (H, W) integers.
    :param labels: The same.
    :raises InputError: If the shapes differ.
    """
    _require_one_shape(labels, previous, 'the frame before')
    return float((labels != previous).mean())


def _require_one_shape(labels: np.ndarray, other: np.ndarray, what: str) -> None:
    if labels.shape != other.shape:
        raise InputError(
            f'its labels have the shape {labels.shape}, {what} {other.shape}; expected frames of '
            'one size')
