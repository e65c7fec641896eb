# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Which frames teach nothing: blurred, badly exposed, or like one that is stored.

The defaults were measured on real drives, see docs/results/frame_selection.md.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
import statistics

from bkd_core.errors import InputError
import cv2
import numpy as np

BLURRED = 'blurred'
TOO_DARK, TOO_BRIGHT = 'too dark', 'too bright'
NEAR_DUPLICATE = 'near-duplicate'

WORKING_HEIGHT = 240  # finer detail than this is mostly the sensor's noise
THUMBNAIL_SIZE = (16, 12)  # width, height
_BLUR_WIDTH = 9
_DARK, _BRIGHT = 10, 250


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """
    From which limits on a frame is left out.

    :param min_sharpness: Sharpness, relative to the median of the topic's last frames; 0 keeps
        all.
    :param max_dark: Share of pixels of a luma up to 10; 1 keeps all.
    :param max_bright: Share of pixels of a luma from 250; 1 keeps all.
    :param min_difference: Least mean difference from every stored frame of the topic, between
        thumbnails of mean 0 and deviation 1; 0 keeps all.
    :param recent_frames: How many last frames the sharpness is compared with.
    :raises InputError: If a value is out of range.
    """

    min_sharpness: float = 0.85
    max_dark: float = 0.5
    max_bright: float = 0.4
    min_difference: float = 0.035
    recent_frames: int = 30

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ('min_sharpness', 'max_dark', 'max_bright', 'min_difference'):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f'{name}: got {getattr(self, name)}; expected 0 to 1')
        if self.recent_frames < 1:
            raise InputError(f'recent_frames: got {self.recent_frames}; expected at least 1')


class FrameQuality:
    """
    Judge frames one after the other.

    :param config: The limits.
    """

    def __init__(self, config: QualityConfig) -> None:
        self._config = config
        self._recent: dict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=config.recent_frames))

    def fault(self, image: np.ndarray, topic: str) -> str:
        """
        Return why a frame should be left out; empty if it is good.

        :param image: (H, W, 3) uint8 RGB.
        :param topic: Frames are compared with those of the same topic.
        """
        grey = working_grey(image)
        if float((grey <= _DARK).mean()) > self._config.max_dark:
            return TOO_DARK
        if float((grey >= _BRIGHT).mean()) > self._config.max_bright:
            return TOO_BRIGHT
        sharp = sharpness(grey)
        recent = self._recent[topic]
        recent.append(sharp)
        is_blurred = sharp < self._config.min_sharpness * statistics.median(recent)
        return BLURRED if is_blurred else ''


class Thumbnails:
    """
    Tiny pictures of the stored frames, to find one that a new frame repeats.

    :param min_difference: Below it, a frame is a near-duplicate.
    """

    def __init__(self, *, min_difference: float) -> None:
        self._min_difference = min_difference
        self._topics: dict[str, str] = {}
        self._names: dict[str, list[str]] = defaultdict(list)
        self._pictures: dict[str, np.ndarray] = {}

    def add(self, name: str, topic: str, picture: np.ndarray) -> None:
        """
        Know a stored frame.

        :param name: The frame's.
        :param topic: Its topic.
        :param picture: From `thumbnail`; one of another size is not compared.
        """
        if picture.size == THUMBNAIL_SIZE[0] * THUMBNAIL_SIZE[1]:
            rows = self._pictures.get(topic, np.zeros((0, picture.size), np.float32))
            self._pictures[topic] = np.vstack([rows, normalised(picture)])
            self._names[topic].append(name)
            self._topics[name] = topic

    def remove(self, name: str) -> None:
        """
        Forget a frame.

        :param name: The frame's.
        """
        topic = self._topics.pop(name, None)
        if topic is not None:
            index = self._names[topic].index(name)
            del self._names[topic][index]
            self._pictures[topic] = np.delete(self._pictures[topic], index, axis=0)

    def repeats(self, picture: np.ndarray, topic: str) -> bool:
        """
        Tell whether a frame is like one of its topic that is stored.

        :param picture: From `thumbnail`.
        :param topic: Its topic.
        """
        if not self._names[topic]:
            return False
        return bool(differences(picture, self._pictures[topic]).min() < self._min_difference)


def working_grey(image: np.ndarray) -> np.ndarray:
    """
    Return a frame's luma at the height at which it is judged, or its own if that is less.

    :param image: (H, W, 3) uint8 RGB.
    :return: (h, w) uint8.
    """
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if height <= WORKING_HEIGHT:
        return grey
    size = max(1, round(width * WORKING_HEIGHT / height)), WORKING_HEIGHT
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def sharpness(grey: np.ndarray) -> float:
    """
    Return how much of a picture's detail blurring it would destroy, in its blurrier direction.

    Crete et al. 2007, "The blur effect", https://doi.org/10.1117/12.702790: a sharp picture
    loses most of the differences between neighbours when it is blurred, a blurred one hardly
    any. Unlike the variance of the Laplacian it depends little on what is seen.

    :param grey: (h, w) uint8.
    :return: 0 (wholly blurred, or flat) to 1.
    """
    picture = grey.astype(np.float32)
    return min(
        _lost_share(picture, cv2.blur(picture, size), axis)
        for axis, size in ((1, (_BLUR_WIDTH, 1)), (0, (1, _BLUR_WIDTH))))


def _lost_share(picture: np.ndarray, blurred: np.ndarray, axis: int) -> float:
    before, after = (np.abs(np.diff(values, axis=axis)) for values in (picture, blurred))
    total = float(before.sum())
    return float(np.maximum(before - after, 0).sum()) / total if total else 0.0


def thumbnail(image: np.ndarray) -> np.ndarray:
    """
    Return a frame as a tiny grey picture.

    Differences between thumbnails are graded; the bits of a perceptual hash flip in flat
    regions by the sensor's noise alone.

    :param image: (H, W, 3) uint8 RGB.
    :return: (N,) uint8, row by row.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA).ravel()


def normalised(picture: np.ndarray) -> np.ndarray:
    """
    Return a thumbnail with mean 0 and deviation 1, so that the exposure does not matter.

    :param picture: (N,) uint8.
    :return: (N,) float32.
    """
    centred = picture.astype(np.float32) - picture.mean(dtype=np.float32)
    return centred / max(float(centred.std()), 1.0)


def differences(picture: np.ndarray, others: np.ndarray) -> np.ndarray:
    """
    Return the mean absolute differences between a thumbnail and others.

    :param picture: (N,) uint8.
    :param others: (M, N) float32, normalised.
    :return: (M,) float32.
    """
    return np.abs(others - normalised(picture)).mean(axis=1)
