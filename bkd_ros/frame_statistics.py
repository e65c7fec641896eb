# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rates, delays and certainty of one camera's frames over the last seconds, and their shift."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import math
import statistics
import threading
import time
from typing import Callable, NamedTuple

from bkd_core.adaptation import FrameDescription, ShiftDetector

WINDOW_S = 10.0


class _Answer(NamedTuple):
    time_s: float
    latency_s: float
    confidence: float
    entropy: float


@dataclass(frozen=True, kw_only=True)
class FrameSummary:
    """
    What happened to a camera's frames; NaN stands for what is not known.

    :param silent_s: Seconds since the last frame, or since the start.
    :param has_frames: Whether a frame ever came.
    :param input_rate: Frames per second that came.
    :param output_rate: Frames per second that were answered.
    :param latency_p50_s: Median of the time from a frame's stamp to its answer.
    :param latency_p95_s: 95th percentile of it.
    :param num_bad: Frames that could not be read or labelled, since the start.
    :param num_bad_lately: The same, within the window.
    :param num_replaced: Frames that gave way to a newer one, since the start.
    :param mean_confidence: Mean probability of the labels, 0 to 1.
    :param mean_entropy: Mean entropy of the network's output, nats.
    :param unusual_share: Share of the newest frames that are unlike what the network was
        trained for, 0 to 1.
    :param is_shifted: Whether these are so many that the camera shows something else
        (`ShiftDetector`); None if it is not known, for want of a reference or of answers lately.
    """

    silent_s: float
    has_frames: bool
    input_rate: float
    output_rate: float
    latency_p50_s: float
    latency_p95_s: float
    num_bad: int
    num_bad_lately: int
    num_replaced: int
    mean_confidence: float
    mean_entropy: float
    unusual_share: float
    is_shifted: bool | None


class FrameStatistics:
    """
    Count frames; may be used from several threads.

    :param window_s: Rates, delays and certainty are those of so many last seconds.
    :param clock: Seconds of a clock that never jumps.
    """

    def __init__(
        self, *, window_s: float = WINDOW_S, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window_s = window_s
        self._clock = clock
        self._lock = threading.Lock()
        self._start_s = self._last_s = clock()
        self._has_frames = False
        self._received: deque[float] = deque()
        self._bad: deque[float] = deque()
        self._answers: deque[_Answer] = deque()
        self._num_bad = self._num_replaced = 0
        self._model: object = None
        self._detector: ShiftDetector | None = None

    def receive(self) -> None:
        """Count a frame that came."""
        with self._lock:
            self._has_frames = True
            self._last_s = self._clock()
            self._received.append(self._last_s)
            self._trim()

    def replace(self) -> None:
        """Count a frame that gave way to a newer one."""
        with self._lock:
            self._num_replaced += 1

    def fail(self) -> None:
        """Count a frame that could not be answered."""
        with self._lock:
            self._num_bad += 1
            self._bad.append(self._clock())
            self._trim()

    def answer(self, model: object, description: FrameDescription, *, latency_s: float) -> None:
        """
        Count a frame that was answered.

        :param model: What answered it; an answer of the model before tells of no shift.
        :param description: The answer.
        :param latency_s: Seconds from the frame's stamp; NaN if the stamp tells nothing.
        """
        with self._lock:
            self._answers.append(_Answer(
                self._clock(), latency_s, description.confidence, description.entropy))
            if self._detector is not None and model is self._model:
                self._detector.update(description)
            self._trim()

    def new_model(self, model: object, detector: ShiftDetector | None) -> None:
        """
        Take it that another model answers from now on.

        :param model: The model.
        :param detector: Knows what it was trained for; None if that is not known.
        """
        with self._lock:
            self._model, self._detector = model, detector

    def summary(self) -> FrameSummary:
        """Return the numbers as they are now."""
        with self._lock:
            self._trim()
            now = self._clock()
            span = max(min(self._window_s, now - self._start_s), 1e-9)
            latencies = sorted(
                answer.latency_s for answer in self._answers
                if not math.isnan(answer.latency_s))
            detector = self._detector if self._answers else None
            return FrameSummary(
                silent_s=now - self._last_s, has_frames=self._has_frames,
                input_rate=len(self._received) / span, output_rate=len(self._answers) / span,
                latency_p50_s=percentile(latencies, 0.50),
                latency_p95_s=percentile(latencies, 0.95),
                num_bad=self._num_bad, num_bad_lately=len(self._bad),
                num_replaced=self._num_replaced,
                mean_confidence=_mean([answer.confidence for answer in self._answers]),
                mean_entropy=_mean([answer.entropy for answer in self._answers]),
                unusual_share=detector.share if detector else math.nan,
                is_shifted=detector.is_shifted if detector else None)

    def _trim(self) -> None:
        oldest = self._clock() - self._window_s
        for times in (self._received, self._bad):
            while times and times[0] < oldest:
                times.popleft()
        while self._answers and self._answers[0].time_s < oldest:
            self._answers.popleft()


def percentile(ordered: list[float], share: float) -> float:
    """
    Return the smallest value that at least a share of the values do not exceed.

    :param ordered: Ascending.
    :param share: Above 0, at most 1.
    :return: NaN if there is none.
    """
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else math.nan
