# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What `/diagnostics` says of cameras and the model, and from which limits on it warns."""

from __future__ import annotations

import math

from bkd_ros.frame_statistics import FrameSummary, WINDOW_S
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE

MAX_LATENCY_S = 1.0  # above it, labels tell of a scene that is gone
MAX_BAD_SHARE = 0.5  # of the frames that came lately
MAX_ENTROPY_TREND = 1.5  # the scene no longer looks like the model's first frames


def camera_status(
    name: str, summary: FrameSummary, *, silence_limit_s: float, is_enabled: bool,
    is_wanted: bool,
) -> DiagnosticStatus:
    """
    Return a camera's status.

    STALE: no frame ever, or none for longer than allowed. ERROR: more than half of the frames
    of the last seconds could not be read. WARN: any could not; or the delay is above a second;
    or the network's entropy is 1.5 times what it was at the beginning.

    :param name: The node and the camera's topic.
    :param summary: From `FrameStatistics`.
    :param silence_limit_s: Longest silence, seconds; 0 allows any.
    :param is_enabled: Whether frames are labelled at all.
    :param is_wanted: Whether somebody subscribes to an answer.
    """
    level, message = OK, 'labels its frames'
    if not summary.has_frames:
        level, message = STALE, 'no frame came yet'
    elif silence_limit_s and summary.silent_s > silence_limit_s:
        level, message = STALE, f'no frame for {summary.silent_s:.0f} s'
    elif not is_enabled:
        message = 'switched off by ~/set_enabled'
    elif not is_wanted:
        message = 'nobody subscribes to its labels'
    elif summary.num_bad_lately > MAX_BAD_SHARE * summary.input_rate * WINDOW_S:
        level, message = ERROR, 'most of its frames cannot be labelled'
    elif summary.num_bad_lately:
        level, message = WARN, 'some of its frames cannot be labelled'
    elif summary.latency_p95_s > MAX_LATENCY_S:
        level, message = WARN, f'its labels come {summary.latency_p95_s:.1f} s late'
    elif summary.entropy_trend > MAX_ENTROPY_TREND:
        level = WARN
        message = 'the network is less certain than it was: has the scene or the light changed?'
    return DiagnosticStatus(level=level, name=name, message=message, values=_pairs({
        'input rate (Hz)': summary.input_rate,
        'output rate (Hz)': summary.output_rate,
        'latency p50 (ms)': 1000 * summary.latency_p50_s,
        'latency p95 (ms)': 1000 * summary.latency_p95_s,
        'frames replaced by newer ones': summary.num_replaced,
        'frames that could not be labelled': summary.num_bad,
        'mean confidence': summary.mean_confidence,
        'mean entropy (nats)': summary.mean_entropy,
        'entropy, relative to the first frames': summary.entropy_trend}))


def model_status(
    name: str, *, model: str, directory: str, runtime: str, num_swaps: int, is_active: bool,
    is_loading: bool, fault: str, batch_limit: int, max_batch: int,
) -> DiagnosticStatus:
    """
    Return the model's status.

    ERROR: none is loaded. WARN: the last one asked for could not be loaded, or frames go through
    the network in smaller batches than they might.

    :param name: The node and 'model'.
    :param model: Name of the loaded model; empty if there is none.
    :param directory: Where it lies.
    :param runtime: What runs it.
    :param num_swaps: How often it was replaced since the node was configured.
    :param is_active: Whether the node is in its active state; else it needs no model.
    :param is_loading: Whether another one is being loaded.
    :param fault: Why the last one asked for could not be loaded; empty if it could.
    :param batch_limit: How many frames go through the network at once at most.
    :param max_batch: How many the user allows.
    """
    level, message = OK, 'loads another model' if is_loading else 'serves'
    if not is_active:
        message = 'the node is not active'
    elif not model:
        level, message = ERROR, fault or 'no model is loaded'
    elif fault:
        level, message = WARN, f'still serves the model before: {fault}'
    elif batch_limit < max_batch:
        level, message = WARN, f'batch reduced to {batch_limit}: out of memory'
    return DiagnosticStatus(level=level, name=name, message=message, values=_pairs({
        'model': model, 'directory': directory, 'runtime': runtime, 'swaps': num_swaps}))


def _pairs(values: dict[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_text(value)) for key, value in values.items()]


def _text(value: object) -> str:
    if isinstance(value, float):
        return 'not known' if math.isnan(value) else f'{value:.3g}'
    return str(value)
