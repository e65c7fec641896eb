# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Whether a new version of a model does worse on a live camera than the version before.

There are no labels, so what is compared are the network's own answers: to the frames just before
the version changed, by the version before, and to as many frames just after, by the new one; and
on how many of them each failed.

The gate's flicker, the share of pixels whose label changes from a frame to the next, is not among
them. The gate shows both networks the same frames; here they see others, and what moves in them
counts as flicker: a robot that drives off would cost a good version, one that halts would hide a
bad one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import threading
from typing import Collection, Iterable

from bkd_core.errors import InputError
from bkd_core.labels import IGNORE_INDEX
import numpy as np

# The first look is taken after this share of the frames.
_FIRST_LOOK = 0.25
# So much larger may the share of the frames be that a version fails on.
_MAX_FAILED_GAIN = 0.1
# Every so many rows and columns of the labels are counted.
_LABEL_STEP = 4


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """
    How long a version is on trial, and how much worse it may be, by means over frames.

    :param frames: Frames of each camera that are compared with as many before; 0: no trial.
    :param max_entropy_gain: Largest gain of the mean entropy, nats.
    :param max_confidence_drop: Largest drop of the mean confidence, 0 to 1.
    :param max_label_change: Largest share of the pixels, 0 to 1, that would have to change their
        class to turn the classes' shares before into those after. It finds a network that is
        sure of one class everywhere.
    """

    frames: int = 100
    max_entropy_gain: float = 0.3
    max_confidence_drop: float = 0.15
    max_label_change: float = 0.4

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, least, most in (
                ('frames', 0, np.inf), ('max_entropy_gain', 0, np.inf),
                ('max_confidence_drop', 0, 1), ('max_label_change', 0, 1)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(
                    f'trial.{name}: got {value}; expected a number from {least} to {most}')


@dataclass(frozen=True, kw_only=True)
class FrameScores:
    """
    A network's answer to one frame.

    :param entropy: Mean entropy, nats.
    :param confidence: Mean probability of the likeliest class, 0 to 1.
    :param label_shares: (256,) float, share of the labelled pixels that has each train id.
    """

    entropy: float
    confidence: float
    label_shares: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, *, entropy: float, confidence: float) -> FrameScores:
        """
        Return the scores of a frame.

        :param labels: (H, W) uint8 train ids; 255 is left out.
        :param entropy: Mean entropy, nats.
        :param confidence: Mean probability of the likeliest class, 0 to 1.
        """
        counts = np.bincount(labels[::_LABEL_STEP, ::_LABEL_STEP].ravel(), minlength=256)
        counts[IGNORE_INDEX] = 0
        return cls(
            entropy=entropy, confidence=confidence,
            label_shares=counts / max(1, counts.sum()))

    @classmethod
    def mean(cls, items: Collection[FrameScores]) -> FrameScores:
        """
        Return the mean over frames.

        :param items: Their scores, at least one.
        """
        return cls(
            entropy=float(np.mean([item.entropy for item in items])),
            confidence=float(np.mean([item.confidence for item in items])),
            label_shares=np.mean([item.label_shares for item in items], axis=0))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    What is known of the version on trial.

    :param version: Its name; '' if none is on trial.
    :param fault: What is worse about it, in a sentence; '' if nothing is, or it is too early.
    :param is_over: Whether its trial ended now, every camera that answered having given all of
        its frames.
    :param not_compared: When it is over, the cameras to which the version before had answered
        too few frames.
    """

    version: str = ''
    fault: str = ''
    is_over: bool = False
    not_compared: tuple[str, ...] = ()


class TrialWindow:
    """
    Compare versions on what a node's cameras show; may be used from several threads.

    Frames are told apart by the version that answered, so those that were in work while the
    version changed count for the right one.

    :param settings: How long, and how much worse.
    """

    def __init__(self, settings: TrialSettings) -> None:
        self._lock = threading.Lock()
        self._settings = settings
        # version -> camera -> answers; None for a frame that the version failed on
        self._answers: dict[str, dict[str, deque[FrameScores | None]]] = {}
        self._before = ''
        self._on_trial = ''

    @property
    def on_trial(self) -> str:
        """Return the version that is on trial; '' if none is."""
        with self._lock:
            return self._on_trial

    def change(self, settings: TrialSettings) -> None:
        """
        Set how long, and how much worse; a trial that goes on is judged by it.

        :param settings: The settings.
        """
        with self._lock:
            self._settings = settings

    def begin(
        self, before: str, new: str, *,
        averages: dict[str, tuple[int, FrameScores]] | None = None,
    ) -> None:
        """
        Put a version on trial.

        :param before: The version that answered until now.
        :param new: The version that answers from now on.
        :param averages: What `averages` returned of the version before, in an earlier process;
            None: what it answered in this one counts.
        """
        with self._lock:
            self._before, self._on_trial = before, new if self._settings.frames else ''
            known = self._answers.get(before, {}) if averages is None else {
                camera: deque([mean] * min(count, max(1, self._settings.frames)))
                for camera, (count, mean) in averages.items()}
            self._answers = {before: known, new: {}}

    def averages(self, version: str) -> dict[str, tuple[int, FrameScores]]:
        """
        Return camera -> how many frames are known that a version answered, and their mean.

        :param version: The version.
        """
        with self._lock:
            known = {
                camera: _answered(answers)
                for camera, answers in self._answers.get(version, {}).items()}
        return {
            camera: (len(answers), FrameScores.mean(answers))
            for camera, answers in known.items() if answers}

    def end(self) -> None:
        """End a trial, whatever came of it."""
        with self._lock:
            self._on_trial = ''

    def add(self, version: str, camera: str, scores: FrameScores | None) -> None:
        """
        Take a frame that was answered, or that a version failed on.

        :param version: The version that answered or failed.
        :param camera: The frame's camera.
        :param scores: The answer; None if it failed.
        """
        with self._lock:
            size = max(1, self._settings.frames)
            answers = self._answers.setdefault(version, {}).setdefault(camera, deque())
            if version != self._on_trial or len(answers) < size:
                answers.append(scores)
            while len(answers) > size:
                answers.popleft()

    def progress(self) -> tuple[int, int]:
        """Return how many frames the slowest camera has given to the trial, and of how many."""
        with self._lock:
            counts = [len(answers) for answers in self._answers.get(self._on_trial, {}).values()]
            return min(counts, default=0), self._settings.frames

    def judge(self) -> Verdict:
        """Return what is known of the version on trial; this ends a trial that is over."""
        with self._lock:
            if not self._on_trial:
                return Verdict()
            version, new = self._on_trial, self._answers.get(self._on_trial, {})
            for camera, answers in new.items():
                fault = self._compare(camera, list(answers))
                if fault:
                    return Verdict(version=version, fault=fault)
            tried = sum(len(answers) for answers in new.values())
            if tried >= self._first_look and not any(map(_answered, new.values())):
                return Verdict(version=version, fault=f'it failed on each of {tried} frames')
            if not new or any(len(answers) < self._settings.frames for answers in new.values()):
                return Verdict(version=version)
            self._on_trial = ''
            return Verdict(version=version, is_over=True, not_compared=tuple(
                camera for camera in new if len(self._known(camera)) < self._first_look))

    @property
    def _first_look(self) -> int:
        return max(1, round(_FIRST_LOOK * self._settings.frames))

    def _known(self, camera: str) -> list[FrameScores | None]:
        return list(self._answers.get(self._before, {}).get(camera, ()))

    def _compare(self, camera: str, after: list[FrameScores | None]) -> str:
        known = self._known(camera)
        count = min(len(known), len(after))
        if count < self._first_look:
            return ''
        fault = compare(known[-count:], after[:count], self._settings)
        return f'{camera}: {fault}' if fault else ''


def compare(
    before: list[FrameScores | None], after: list[FrameScores | None], settings: TrialSettings,
) -> str:
    """
    Return by what the answers got worse, in a sentence; '' if by nothing.

    :param before: Answers of the version before, at least one; None for a frame it failed on.
    :param after: As many of the new version.
    :param settings: How much worse they may be.
    """
    answered = _answered(before), _answered(after)
    failed = len(before) - len(answered[0]), len(after) - len(answered[1])
    if failed[1] - failed[0] > _MAX_FAILED_GAIN * len(after):
        return (
            f'it failed on {failed[1]} of {len(after)} frames, the version before on {failed[0]}; '
            f'{_MAX_FAILED_GAIN:.0%} more are allowed')
    if not all(answered):
        return ''
    old, new = FrameScores.mean(answered[0]), FrameScores.mean(answered[1])
    # The total variation distance.
    change = float(np.abs(new.label_shares - old.label_shares).sum() / 2)
    # NaN is worse than anything.
    if not new.entropy - old.entropy <= settings.max_entropy_gain:
        return (
            f'the mean entropy over {len(after)} frames is {new.entropy:.3f} nats; it was '
            f'{old.entropy:.3f}, and {settings.max_entropy_gain:g} more are allowed')
    if not old.confidence - new.confidence <= settings.max_confidence_drop:
        return (
            f'the mean confidence over {len(after)} frames is {new.confidence:.3f}; it was '
            f'{old.confidence:.3f}, and {settings.max_confidence_drop:g} less is allowed')
    if not change <= settings.max_label_change:
        return (
            f'{change:.0%} of the pixels have another class, over {len(after)} frames before and '
            f'after; {settings.max_label_change:.0%} are allowed')
    return ''


def _answered(answers: Iterable[FrameScores | None]) -> list[FrameScores]:
    return [scores for scores in answers if scores is not None]
