# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What `/diagnostics` says of cameras and the model, and from which limits on it warns."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Callable

from bkd_core.adaptation import Collected, RoundStatus
from bkd_core.inference import Segmenter
from bkd_ros.frame_statistics import FrameSummary, WINDOW_S
from bkd_ros.process_memory import resident_memory_mb
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE

PERIOD_S = 1.0
NOT_KNOWN = 'not known'
MAX_LATENCY_S = 1.0  # above it, labels tell of a scene that is gone
MAX_BAD_SHARE = 0.5  # of the frames that came lately
SHIFTED = 'shifted from what the model was trained for'
_YES_OR_NO = {True: 'yes', False: 'no', None: NOT_KNOWN}


class DiagnosticsPublisher:
    """
    Publish on `/diagnostics` once a second.

    :param node: The node.
    :param statuses: Returns what there is to say.
    """

    def __init__(self, node: Node, statuses: Callable[[], list[DiagnosticStatus]]) -> None:
        self._node = node
        self._statuses = statuses
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # A steady clock: a simulation that stands still is worth a diagnosis, too.
        self._timer = node.create_timer(
            PERIOD_S, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Stop, and withdraw the topic."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def _publish(self) -> None:
        message = DiagnosticArray(status=self._statuses())
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def camera_status(
    name: str, summary: FrameSummary, *, silence_limit_s: float, is_enabled: bool,
    is_wanted: bool,
) -> DiagnosticStatus:
    """
    Return a camera's status.

    STALE: no frame ever, or none for longer than allowed. ERROR: more than half of the frames
    of the last seconds could not be read. WARN: any could not; or the delay is above a second;
    or the frames are unlike what the network was trained for.

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
    elif summary.is_shifted:
        level = WARN
        message = 'it shows something else than what the model was trained for'
    return DiagnosticStatus(level=level, name=name, message=message, values=_pairs({
        'input rate (Hz)': summary.input_rate,
        'output rate (Hz)': summary.output_rate,
        'latency p50 (ms)': 1000 * summary.latency_p50_s,
        'latency p95 (ms)': 1000 * summary.latency_p95_s,
        'frames replaced by newer ones': summary.num_replaced,
        'frames that could not be labelled': summary.num_bad,
        'mean confidence': summary.mean_confidence,
        'mean entropy (nats)': summary.mean_entropy,
        'unusual frames (share)': summary.unusual_share,
        SHIFTED: _YES_OR_NO[summary.is_shifted]}))


def is_shifted(status: DiagnosticStatus) -> bool | None:
    """
    Tell from a camera's status whether it shows what its network was not trained for.

    :param status: From `camera_status`, whatever it warns of first.
    :return: None if it is no camera's status.
    """
    for pair in status.values:
        if pair.key == SHIFTED:
            return pair.value == _YES_OR_NO[True]
    return None


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """
    What the node knows of its model.

    :param segmenter: The model in use, or None.
    :param num_swaps: How often it was replaced since the node was configured.
    :param is_active: Whether the node is in its active state; else it needs no model.
    :param is_loading: Whether another one is being loaded.
    :param fault: Why the last one asked for could not be loaded; empty if it could.
    :param batch_limit: How many frames go through the network at once at most.
    :param max_batch: How many the user allows.
    :param trial: How far the trial of a new version is; empty if none is on trial.
    :param rolled_back: Which version the node went back from, and why; empty if from none.
    """

    segmenter: Segmenter | None
    num_swaps: int
    is_active: bool
    is_loading: bool
    fault: str
    batch_limit: int
    max_batch: int
    trial: str
    rolled_back: str


def model_status(name: str, state: ModelState) -> DiagnosticStatus:
    """
    Return the model's status.

    ERROR: none is loaded. WARN: the last one asked for could not be loaded, a new version did
    worse and was rolled back, or frames go through the network in smaller batches than they might.

    :param name: The node and 'model'.
    :param state: What is known of it.
    """
    level, message = OK, 'loads another model' if state.is_loading else 'serves'
    if not state.is_active:
        message = 'the node is not active'
    elif state.segmenter is None:
        level, message = ERROR, state.fault or 'no model is loaded'
    elif state.fault:
        level, message = WARN, f'still serves the model before: {state.fault}'
    elif state.rolled_back:
        level, message = WARN, state.rolled_back
    elif state.batch_limit < state.max_batch:
        level, message = WARN, f'batch reduced to {state.batch_limit}: out of memory'
    elif state.trial and not state.is_loading:
        message = f'serves; {state.trial}'
    values = {'swaps': state.num_swaps, 'process memory (MiB)': resident_memory_mb()}
    if state.segmenter is not None:
        values = {**_model_values(state.segmenter), **values}
    return DiagnosticStatus(level=level, name=name, message=message, values=_pairs(values))


def _model_values(segmenter: Segmenter) -> dict[str, object]:
    values: dict[str, object] = {
        'model': segmenter.spec.name, 'version': segmenter.version,
        'directory': segmenter.directory, 'runtime': segmenter.runtime}
    memory = segmenter.device_memory()
    if memory is not None:
        values['device memory allocated (MiB)'] = memory[0] / 2**20
        values['device memory free (MiB)'] = memory[1] / 2**20
    return values


def store_status(
    name: str, collected: Collected, *, folder: str, max_bytes: int, num_damaged: int,
    num_bad: int, silent_s: dict[str, float], silence_limit_s: float, is_paused: bool,
) -> DiagnosticStatus:
    """
    Return the status of a frame store.

    WARN: the last frame could not be written, or frames in the store are damaged. STALE: a
    camera sends nothing.

    :param name: The node and 'store'.
    :param collected: What the collector has done.
    :param folder: The store.
    :param max_bytes: What it may take.
    :param num_damaged: Frames in it that cannot be used.
    :param num_bad: Messages that could not be read.
    :param silent_s: Topic -> seconds since its last frame.
    :param silence_limit_s: Longest silence, seconds; 0 allows any.
    :param is_paused: Whether frames are left alone.
    """
    silent = [topic for topic, silence in silent_s.items() if silence > silence_limit_s > 0]
    level, message = OK, 'paused by ~/pause' if is_paused else 'collects frames'
    if collected.fault:
        level, message = WARN, f'frames cannot be written: {collected.fault}'
    elif silent:
        level, message = STALE, f'no frame of {", ".join(silent)}'
    elif num_damaged:
        level, message = WARN, f'{num_damaged} frames in the store are damaged'
    return DiagnosticStatus(level=level, name=name, message=message, values=_pairs({
        'store': folder, 'frames in the store': collected.num_frames,
        'size (MB)': collected.num_bytes / 1e6, 'largest size (MB)': max_bytes / 1e6,
        'frames stored': collected.num_stored,
        'frames that gave way to others': collected.num_removed,
        'messages that could not be read': num_bad, 'damaged frames': num_damaged,
        **{f'left out: {reason}': count for reason, count in collected.left_out.items()}}))


def round_status(
    name: str, status: RoundStatus, *, start_on: str, store: str, versions: str, num_new: int,
) -> DiagnosticStatus:
    """
    Return the status of the adaptation round.

    WARN: it failed. OK: else; the message begins with the state.

    :param name: The node and 'round'.
    :param status: How it is with the round.
    :param start_on: What a round begins at.
    :param store: The frame store.
    :param versions: The folder of versions.
    :param num_new: Frames in the store since the newest round began.
    """
    values: dict[str, object] = {
        'state': status.state, 'reason': status.reason, 'version': status.version,
        'process id': status.pid or '', 'new frames in the store': num_new,
        'starts on': start_on, 'store': store, 'versions': versions}
    message = status.state
    progress = status.progress
    if progress is not None:
        left = progress.seconds_left
        values.update({
            'stage': progress.stage, 'step': progress.step, 'steps': progress.steps,
            'seconds left in the stage': NOT_KNOWN if left is None else left})
        if status.state in ('running', 'paused'):
            message += f': {progress.stage}'
            if progress.steps:
                message += f', step {progress.step} of {progress.steps}'
            if left is not None and status.state == 'running':
                message += f', {left:.0f} s left'
    if status.reason:
        message += f': {status.reason}'
    return DiagnosticStatus(
        level=WARN if status.state == 'failed' else OK, name=name, message=message,
        values=_pairs(values))


def _pairs(values: dict[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_text(value)) for key, value in values.items()]


def _text(value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return NOT_KNOWN
        return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'
    return str(value)
