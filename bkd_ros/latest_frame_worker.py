# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One thread that works on the newest frame, so that callbacks never wait for the network."""

from __future__ import annotations

import threading
from typing import Any, Callable, Generic, TypeVar

T = TypeVar('T')

_EMPTY: Any = object()


class LatestFrameWorker(Generic[T]):
    """
    A slot for one frame and a thread that empties it.

    A frame that arrives while another waits replaces it: under load the oldest is dropped, and
    the delay never grows beyond one frame.

    :param process: Called in the thread with each frame taken from the slot.
    :param on_error: Called in the thread with what `process` raised; the thread goes on.
    :param name: The thread's name.
    """

    def __init__(
        self, process: Callable[[T], None], *, on_error: Callable[[Exception], None],
        name: str = 'latest_frame_worker',
    ) -> None:
        self._process = process
        self._on_error = on_error
        self._condition = threading.Condition()
        self._frame: Any = _EMPTY
        self._is_open = True
        self._num_replaced = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def num_replaced(self) -> int:
        """Return how many frames gave way to a newer one before their turn came."""
        with self._condition:
            return self._num_replaced

    def submit(self, frame: T) -> None:
        """
        Put a frame into the slot; never waits.

        :param frame: The newest frame. After `close` it is ignored.
        """
        with self._condition:
            if not self._is_open:
                return
            if self._frame is not _EMPTY:
                self._num_replaced += 1
            self._frame = frame
            self._condition.notify()

    def close(self, *, timeout_s: float = 10.0) -> bool:
        """
        Drop the waiting frame, let the one in work end and stop the thread.

        :param timeout_s: How long to wait for the frame in work.
        :return: Whether the thread has ended.
        """
        with self._condition:
            self._is_open = False
            self._frame = _EMPTY
            self._condition.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: not self._is_open or self._frame is not _EMPTY)
                if not self._is_open:
                    return
                frame, self._frame = self._frame, _EMPTY
            try:
                self._process(frame)
            except Exception as error:  # a bad frame must not end the thread
                self._on_error(error)
