# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run adaptation rounds, each as a process of its own that may be paused, stopped or killed."""

from __future__ import annotations

from dataclasses import dataclass, replace
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
from typing import Mapping, Sequence

from bkd_core.adaptation.round_folder import IDENTITY, WORK
from bkd_core.adaptation.round_progress import read_line, RoundProgress, RoundResult
from bkd_core.errors import InputError

STATES = ('idle', 'running', 'paused', 'stopped', 'refused', 'accepted', 'not used', 'failed')
LOG = '.round.log'
COMMAND = (sys.executable, '-m', 'bkd_core', 'adapt')
STOP_PATIENCE_S = 30.0
CLOSE_PATIENCE_S = 4.0  # launch kills what has not ended five seconds after Ctrl-C
_GOES_ON = 'the next start goes on from the last checkpoint'
_INPUT_ERROR = 2
_ERROR = 'bkd: error: '
_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class RoundStatus:
    """
    How it is with the round.

    :param state: One of `STATES`.
    :param reason: Why it is in this state, in a sentence; empty if there is nothing to say.
    :param progress: How far it is, or was; None before the first word.
    :param version: Name of the version that it made; empty if it made none.
    :param pid: Its process id while it runs or is paused, else 0.
    """

    state: str = 'idle'
    reason: str = ''
    progress: RoundProgress | None = None
    version: str = ''
    pid: int = 0


class RoundProcess:
    """
    Start rounds one after the other, and know how it is with the newest.

    :param arguments: Those of `bkd adapt`.
    :param versions: Folder of the versions; the log of the newest round lies there.
    :param environment: Variables of the process, beside those of this one.
    :param command: What runs a round; the arguments follow.
    """

    def __init__(
        self, arguments: Sequence[str], *, versions: Path,
        environment: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND,
    ) -> None:
        self._command = [*command, *arguments]
        self._versions = versions
        self._environment = {**os.environ, **(environment or {})}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._watcher: threading.Thread | None = None
        self._is_stopping = False
        self._status = RoundStatus()
        if (versions / WORK / IDENTITY).is_file():
            self._status = RoundStatus(
                state='stopped', reason=(
                    'an unfinished round is here; the next start goes on with it, or begins anew '
                    'if the version in use or the settings have changed'))

    @property
    def status(self) -> RoundStatus:
        """Return how it is with the newest round."""
        with self._lock:
            return self._status

    @property
    def is_running(self) -> bool:
        """Return whether a round runs or is paused."""
        return self.status.state in ('running', 'paused')

    def check(self) -> None:
        """
        Wait for the word that all that a round needs is here, but for target frames.

        :raises InputError: If something is missing or wrong, the arguments among it.
        """
        done = subprocess.run(
            [*self._command, '--check'], stdin=subprocess.DEVNULL, capture_output=True,
            env=self._environment, text=True, errors='replace', check=False)
        if done.returncode:
            raise InputError(
                'no round could be made: '
                f'{_last_line(done.stderr).removeprefix(_ERROR) or f"code {done.returncode}"}')

    def start(self) -> None:
        """
        Start a round, or go on with one that was stopped or killed.

        The round is killed with the thread that called this: let it be one that lasts.

        :raises InputError: If one runs, or the folder of the versions cannot be made.
        """
        if self.is_running:
            raise InputError('a round is running')
        try:
            self._versions.mkdir(parents=True, exist_ok=True)
            with (self._versions / LOG).open('wb') as log:
                # In a session of its own it gets no Ctrl-C, and a share of the processor that
                # it can lower itself.
                process = subprocess.Popen(
                    [*self._command, '--supervisor', str(os.getpid())],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                    env=self._environment, text=True, errors='replace', start_new_session=True)
        except OSError as error:
            raise InputError(f'{self._versions}: no round can start: {error}') from error
        with self._lock:
            self._process, self._is_stopping = process, False
            self._status = RoundStatus(state='running', pid=process.pid)
        self._watcher = threading.Thread(
            target=self._watch, args=(process,), name='round_watcher', daemon=True)
        self._watcher.start()

    def pause(self, is_paused: bool) -> None:
        """
        Halt the round where it is, or let it go on; its memory stays taken.

        :param is_paused: Whether it is to be halted.
        :raises InputError: If no round runs, or it is being stopped.
        """
        with self._lock:
            if self._status.state not in ('running', 'paused') or self._is_stopping:
                raise InputError('no round is running')
            self._process.send_signal(signal.SIGSTOP if is_paused else signal.SIGCONT)
            self._status = replace(self._status, state='paused' if is_paused else 'running')

    def stop(self, *, patience_s: float = STOP_PATIENCE_S) -> None:
        """
        Ask the round to stop; it loses what it did since its last checkpoint.

        :param patience_s: After so long it is killed; nothing more is lost then.
        :raises InputError: If no round runs.
        """
        with self._lock:
            if self._status.state not in ('running', 'paused'):
                raise InputError('no round is running')
            process, self._is_stopping = self._process, True
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # else a paused one would never hear of it
            self._status = replace(self._status, state='running', reason='is being stopped')
        killer = threading.Timer(patience_s, process.kill)  # does nothing to one that has ended
        killer.daemon = True
        killer.start()

    def close(self) -> None:
        """Stop the round if one runs, and wait for its end."""
        if self.is_running:
            try:
                self.stop(patience_s=CLOSE_PATIENCE_S)
            except InputError:
                pass  # it ended by itself in this moment
        if self._watcher is not None:
            self._watcher.join(2 * CLOSE_PATIENCE_S)

    def _watch(self, process: subprocess.Popen[str]) -> None:
        result = None
        for line in process.stdout:
            said = read_line(line)
            if isinstance(said, RoundResult):
                result = said
            elif said is not None:
                with self._lock:
                    self._status = replace(self._status, progress=said)
        code = process.wait()
        process.stdout.close()
        with self._lock:
            self._status = replace(
                self._status, pid=0,
                **self._ended(code) if result is None else _decided(result))

    def _ended(self, code: int) -> dict[str, str]:
        """Return state and reason of a round that ended without a result."""
        stage = self._status.progress.stage if self._status.progress else 'start'
        if self._is_stopping or code == _INTERRUPTED:
            return {'state': 'stopped', 'reason': f'stopped in stage {stage}; {_GOES_ON}'}
        if code < 0:
            return {'state': 'failed', 'reason': (
                f'killed by {_signal_name(-code)} in stage {stage}; {_GOES_ON}')}
        last = self._last_line()
        if code == _INPUT_ERROR:
            return {'state': 'failed', 'reason': last.removeprefix(_ERROR)}
        return {'state': 'failed', 'reason': (
            f'ended with code {code} in stage {stage}: {last} ({self._versions / LOG}); '
            f'{_GOES_ON}')}

    def _last_line(self) -> str:
        try:
            text = (self._versions / LOG).read_text(encoding='utf-8', errors='replace')
        except OSError as error:  # somebody removed it
            return str(error)
        return _last_line(text)


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), '')


def _decided(result: RoundResult) -> dict[str, str]:
    state = {'in use': 'accepted', 'not used': 'not used'}.get(result.state, 'refused')
    reason = result.reason
    if result.state == 'rolled back':
        reason = f'it made the same student as one that was rolled back: {reason}'
    return {'state': state, 'reason': reason, 'version': result.version}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'
