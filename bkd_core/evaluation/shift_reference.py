# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
What a network's answers look like on the frames that it was trained for.

Kept in the model directory as `shift.json`, so that segmentation_node can tell when its camera
shows something else. Everything follows from the logits of single frames, without labels, and
is at hand wherever a frame was labelled.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, Callable, Protocol, Sequence

from bkd_core import atomic
from bkd_core.errors import InputError
import numpy as np

REFERENCE = 'shift.json'
# By each of them a frame has a score that is higher the less it is like the reference.
STATISTICS = ('entropy', 'doubt', 'logit_distance')
MAX_FRAMES = 100
_FORMAT = 1
_DIGITS = 5
# A class whose logit never varies in the reference must not decide by a rounding error.
_SMALLEST_SPREAD = 1e-2


class HasLogits(Protocol):
    """A segmenter, as far as it is needed."""

    def logits(self, frame: np.ndarray) -> np.ndarray:
        """Return (C, h, w) float32 for (H, W, 3) uint8 RGB."""


class Frames(Protocol):
    """A data set, as far as it is needed."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def image(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB."""


@dataclass(frozen=True, kw_only=True)
class FrameDescription:
    """
    A network's answer to one frame in a few numbers.

    :param entropy: Mean Shannon entropy of the pixels, nats.
    :param confidence: Mean probability of their likeliest class, 0 to 1.
    :param mean_logits: (C,), mean of each class's logits: what the network's features say of
        the whole frame.
    """

    entropy: float
    confidence: float
    mean_logits: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ShiftReference:
    """
    The same of many frames that a network was trained for.

    :param mean_logits: (C,), mean over the frames.
    :param logit_spread: (C,), standard deviation over the frames.
    :param scores: By statistic, the scores of the frames themselves, ascending.
    """

    mean_logits: np.ndarray
    logit_spread: np.ndarray
    scores: dict[str, list[float]]

    @classmethod
    def of(cls, descriptions: Sequence[FrameDescription]) -> ShiftReference:
        """
        Summarise frames.

        :param descriptions: At least two.
        :raises InputError: If there are fewer.
        """
        if len(descriptions) < 2:
            raise InputError(
                f'shift reference: got {len(descriptions)} frames; expected at least 2')
        logits = np.stack([item.mean_logits for item in descriptions])
        reference = cls(
            mean_logits=logits.mean(axis=0),
            logit_spread=np.maximum(logits.std(axis=0), _SMALLEST_SPREAD),
            scores={})
        scores = [reference.score(item) for item in descriptions]
        for name in STATISTICS:
            reference.scores[name] = sorted(score[name] for score in scores)
        return reference

    def score(self, description: FrameDescription) -> dict[str, float]:
        """
        Return how unlike the reference a frame is, by each of `STATISTICS`.

        :param description: The frame.
        :return: Entropy in nats; doubt, 1 - confidence; the logits' distance in standard
            deviations, root mean square over the classes.
        """
        deviations = (description.mean_logits - self.mean_logits) / self.logit_spread
        return {
            'entropy': description.entropy,
            'doubt': 1 - description.confidence,
            'logit_distance': float(np.sqrt((deviations ** 2).mean()))}

    def write(self, directory: Path) -> None:
        """
        Write it into a model directory.

        :param directory: The model directory.
        """
        vectors = {
            name: np.round(getattr(self, name).astype(float), _DIGITS).tolist()
            for name in ('mean_logits', 'logit_spread')}
        scores = {
            name: [round(value, _DIGITS) for value in values]
            for name, values in self.scores.items()}
        atomic.write_text(Path(directory) / REFERENCE, json.dumps(
            {'format_version': _FORMAT, **vectors, 'scores': scores}, indent=None))

    @classmethod
    def read(cls, directory: Path, *, num_classes: int) -> ShiftReference:
        """
        Read it from a model directory.

        :param directory: The model directory.
        :param num_classes: Of the model.
        :raises InputError: If the file is missing, damaged or of another model.
        """
        path = Path(directory) / REFERENCE
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
            reference = cls(
                **{name: np.array(values[name], float)
                   for name in ('mean_logits', 'logit_spread')},
                scores={name: sorted(map(float, values['scores'][name])) for name in STATISTICS})
        except FileNotFoundError as error:
            raise InputError(
                f'{path}: missing, so nobody knows how this model answers to what it was trained '
                "for. 'bkd train' and 'bkd adapt' write it") from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{path}: damaged ({error!r})') from error
        if not all(len(reference.scores[name]) >= 2 for name in STATISTICS):
            raise InputError(f'{path}: damaged (fewer than 2 frames)')
        shapes = {reference.mean_logits.shape, reference.logit_spread.shape}
        if shapes != {(num_classes,)}:
            raise InputError(
                f'{path}: expected {num_classes} classes, as the model has; got '
                f'{len(reference.mean_logits)}. Is it of another model?')
        return reference


def describe_frame(logits: np.ndarray) -> FrameDescription:
    """
    Return a network's answer to a frame in a few numbers.

    :param logits: (C, h, w) float32.
    """
    largest = logits.max(axis=0)
    shifted = logits - largest
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=0)
    probabilities = exponentials / total
    entropy = np.log(total) - (probabilities * shifted).sum(axis=0)
    return FrameDescription(
        entropy=float(entropy.mean()), confidence=float((1 / total).mean()),
        mean_logits=logits.mean(axis=(1, 2)))


def measure_reference(
    segmenter: HasLogits, frames: Frames, *, progress: Callable[[int], None] = lambda done: None,
) -> ShiftReference:
    """
    Run a segmenter over at most `MAX_FRAMES` evenly spaced frames of what it was trained for.

    :param segmenter: The segmenter.
    :param frames: The frames, at least two.
    :param progress: Called with the number of frames done.
    """
    count = min(MAX_FRAMES, len(frames))
    descriptions = []
    for index in np.linspace(0, len(frames) - 1, count).round().astype(int).tolist():
        descriptions.append(describe_frame(segmenter.logits(frames.image(index))))
        progress(len(descriptions))
    return ShiftReference.of(descriptions)
