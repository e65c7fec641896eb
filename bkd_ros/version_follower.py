# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation node runs what a folder of versions says, and goes back if that is worse."""

from __future__ import annotations

from dataclasses import replace
import math
import os
from pathlib import Path
import threading
import time
from typing import Any, Callable

from bkd_core import model_directory
from bkd_core.adaptation import (
    FrameScores,
    ModelVersions,
    StoredTrial,
    TrialFile,
    TrialSettings,
    TrialWindow,
    Verdict,
)
from bkd_core.errors import InputError
from bkd_core.inference import Segmentation, Segmenter
from bkd_ros.model_slot import ModelSlot
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

PERIOD_S = 0.5
MAX_STARTS = 2  # so often a node may end abruptly during a trial
RETRY_S = 10.0  # after a rollback that failed, say since a round was writing


class VersionFollower:
    """
    Load the version in use when it changes, and judge a new one by the first frames.

    :param node: The node; its parameters are declared.
    :param slot: Where its network is.
    """

    def __init__(self, node: Node, slot: ModelSlot) -> None:
        self._node = node
        self._slot = slot
        self._timer: Any = None
        self._seen: tuple[int, ...] | None = None
        self._failed: set[str] = set()  # a person who uses one again gets no second trial
        self._going_back: threading.Thread | None = None
        self._due_s = -math.inf
        self._trial = TrialWindow(self._trial_settings())
        self._is_counted = False  # among the starts in the file of the trial
        self.rolled_back = ''

    def load(self) -> None:
        """
        Load the model that the node is to run; a version on trial that cannot be loaded is left.

        :raises InputError: If it cannot be loaded, nor the version before one that is on trial.
        """
        trial = self._stored_trial()
        if trial is None or not self.is_following or (
                model_directory.read_pointer(self.folder)[0] != trial.version):
            self._slot.load_now(self.model)
            return
        fault = ''
        if not self._is_counted:
            if trial.num_starts >= MAX_STARTS:
                fault = f'the node ended abruptly {trial.num_starts} times'
            self._store(replace(trial, num_starts=trial.num_starts + 1))
        if not fault:
            try:
                self._slot.load_now(self.model)
                return
            except Exception as error:  # whatever a file holds must not end the node
                fault = f'it cannot be loaded: {error}'
        self._leave(trial.version, fault)

    def _leave(self, version: str, fault: str) -> None:
        """Load the version before one that is on trial, as the node starts."""
        self._node.get_logger().error(
            f'version {version} is on trial, but {fault}; going back to the version before')
        try:
            ModelVersions(self.folder).rollback(reason=f'On trial, {fault}.', only_from=version)
        except OSError as error:
            raise InputError(f'{self.folder}: cannot go back in this folder: {error}') from error
        self._failed.add(version)
        self._slot.load_now(self.model)
        self.rolled_back = f'version {version} was rolled back: {fault}'

    def open(self) -> None:
        """Begin to watch."""
        self._seen = None
        self._timer = self._node.create_timer(
            PERIOD_S, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Stop watching; a rollback in work ends first."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        if self._going_back is not None:
            self._going_back.join()
        trial = self._stored_trial() if self._is_counted else None
        if trial is not None:  # this end says nothing against the version
            self._store(replace(trial, num_starts=trial.num_starts - 1))
        self._is_counted = False

    @property
    def model(self) -> str:
        """Return the model, or the folder of versions, that the node is to run."""
        setting = self._node.get_parameter
        return setting('versions').value or setting('model').value

    @property
    def folder(self) -> Path | None:
        """Return the folder of versions that the node runs, or None if it runs no such folder."""
        folder = Path(self.model).expanduser()
        return folder if (folder / model_directory.POINTER).is_file() else None

    @property
    def trial(self) -> str:
        """Return how far the trial of a version is; '' if none is on trial."""
        version = self._trial.on_trial
        if not version:
            return ''
        done, frames = self._trial.progress()
        return f'version {version} is on trial: {done} of {frames} frames'

    def on_load(self) -> None:
        """Note a trial before its version is loaded, which might end the node."""
        current, folder = self._slot.current, self.folder
        if current is not None and folder is not None:
            new = folder / model_directory.read_pointer(folder)[0]
            if self._is_for_trial(current.directory, new):
                self._store_new(current.directory.name, new.name)

    def on_swap(self, segmenter: Segmenter) -> None:
        """
        Begin a trial if a newer version took over; called from several threads.

        :param segmenter: The network that serves from now on.
        """
        before, new = self._slot.previous, segmenter.directory
        if new.name == self._trial.on_trial and new.parent == self.folder:
            return  # loaded again: its trial goes on
        self._trial.end()
        self.rolled_back = ''
        stored = self._stored_trial()
        if before is not None and self._is_for_trial(before.directory, new):
            self._trial.begin(before.directory.name, new.name)
            self._store_new(before.directory.name, new.name)
        elif (before is None and stored is not None and new == self.folder / stored.version
                and self._is_for_trial(new.with_name(stored.before), new)):
            self._node.get_logger().info(
                f'version {new.name} was on trial when the node ended; its trial begins anew')
            self._trial.begin(stored.before, new.name, averages=stored.averages)
        else:
            self._forget()

    def _is_for_trial(self, before: Path, new: Path) -> bool:
        return bool(
            self.is_following and self._trial_settings().frames
            and before.parent == new.parent == self.folder and before.name < new.name
            and new.name not in self._failed)

    def on_answer(self, segmenter: Segmenter, camera: str, answer: Segmentation | None) -> None:
        """
        Take a frame that was answered or failed on; called from the worker's thread.

        :param segmenter: The network.
        :param camera: The frame's camera.
        :param answer: The answer; None if the network failed on the frame.
        """
        is_version = model_directory.VERSION_NAME.fullmatch(segmenter.directory.name)
        if is_version and self.is_following:
            self._trial.add(segmenter.directory.name, camera, answer and FrameScores.of(
                answer.labels, entropy=answer.mean_entropy, confidence=answer.mean_confidence))

    @property
    def is_following(self) -> bool:
        """Return whether the node is to load the version in use when it changes."""
        return self._node.get_parameter('follow_versions').value

    def go_back(self, done: Callable[[bool, str], None], **reason: Any) -> None:
        """
        Let the pointer name the version before, and serve it, in a thread.

        :param done: Called in the thread with whether it serves, and what there is to say.
        :param reason: Passed on to `ModelVersions.rollback`.
        """
        if self._is_going_back:
            done(False, 'the node is going back already')
            return
        versions = ModelVersions(self.folder)

        def run() -> None:
            try:
                version = versions.rollback(**reason)
            except (InputError, OSError) as error:
                done(False, str(error))
                return
            self._serve(version.directory, lambda fault: done(not fault, fault))
        self._going_back = threading.Thread(target=run, name='going_back', daemon=True)
        self._going_back.start()

    @property
    def _is_going_back(self) -> bool:
        return self._going_back is not None and self._going_back.is_alive()

    def _poll(self) -> None:
        if not self.is_following or self._slot.current is None or self._is_going_back:
            return
        self._trial.change(self._trial_settings())
        self._judge()
        self._follow()

    def _judge(self) -> None:
        verdict = self._trial.judge()
        version, fault = verdict.version, verdict.fault
        if verdict.is_over:
            self._forget()
            self._tell_end(verdict)
        if not fault or time.monotonic() < self._due_s:
            return
        self._failed.add(version)

        def done(is_served: bool, message: str) -> None:
            if is_served:
                self.rolled_back = f'version {version} was rolled back: {fault}'
                self._node.get_logger().warning(self.rolled_back)
            else:
                self._due_s = time.monotonic() + RETRY_S
                self._node.get_logger().error(
                    f'version {version} does worse ({fault}) but cannot be rolled back: '
                    f'{message}')
        self.go_back(done, reason=f'On trial, {fault}.', only_from=version)

    def _tell_end(self, verdict: Verdict) -> None:
        if verdict.not_compared:
            self._node.get_logger().warning(
                f'version {verdict.version} stays, but was not compared on '
                f'{", ".join(verdict.not_compared)}: the version before had answered too few '
                'frames there')
        else:
            self._node.get_logger().info(f'version {verdict.version} passed its trial')

    def _follow(self) -> None:
        folder = self.folder
        # What is being loaded takes over, whatever the pointer says by then: look afterwards.
        if folder is None or self._slot.is_loading:
            return
        try:
            status = os.stat(folder / model_directory.POINTER)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen == self._seen:
                return
            self._seen = seen
            name = model_directory.read_pointer(folder)[0]
        except (InputError, OSError) as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=RETRY_S)
            return
        if self._slot.current.directory != folder / name:
            self._serve(folder / name, self._report)

    def _serve(self, directory: Path, done: Callable[[str], None]) -> None:
        """Let the version in use serve, at once if it did just before."""
        previous = self._slot.previous
        if previous is not None and previous.directory == directory:
            self._slot.rollback()
            done('')
        else:
            self._node.get_logger().info(f'loading version {directory.name}')
            self._slot.swap(str(directory.parent), done)

    def _report(self, fault: str) -> None:
        if fault:
            self._node.get_logger().error(f'the version before still serves: {fault}')
        else:
            self._node.get_logger().info(
                f'version {self._slot.current.directory.name} took over')

    @property
    def _file(self) -> TrialFile | None:
        """Return the file of this node's trial; None without a folder of versions."""
        folder = self.folder
        return folder and TrialFile(folder, self._node.get_fully_qualified_name())

    def _stored_trial(self) -> StoredTrial | None:
        try:
            return self._file and self._file.read()
        except (InputError, OSError) as error:
            self._node.get_logger().error(str(error))
            return None

    def _store_new(self, before: str, new: str) -> None:
        self._store(StoredTrial(
            version=new, before=before, averages=self._trial.averages(before)))

    def _store(self, trial: StoredTrial) -> None:
        self._is_counted = True
        try:
            self._file.write(trial)
        except OSError as error:
            self._node.get_logger().warning(
                f'cannot note that version {trial.version} is on trial, so its trial ends with '
                f'this run of the node: {error}')

    def _forget(self) -> None:
        self._is_counted = False
        if self._file is not None:
            try:
                self._file.delete()
            except OSError as error:
                self._node.get_logger().warning(f'the trial begins anew at a restart: {error}')

    def _trial_settings(self) -> TrialSettings:
        return TrialSettings(**{
            name: self._node.get_parameter(f'trial_{name}').value
            for name in ('frames', 'max_entropy_gain', 'max_confidence_drop',
                         'max_label_change')})
