# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One thread that works on the newest frames, so that callbacks never wait for the network."""

from __future__ import annotations

import threading
from typing import Callable, Generic, Hashable, TypeVar

T = TypeVar('T')
Key = TypeVar('Key', bound=Hashable)


class LatestFrameWorker(Generic[Key, T]):
    """
    A slot for one frame of each camera, and a thread that empties them in turn.

    A frame that arrives while another of its camera waits takes that one's place: under load the
    oldest is dropped, the delay never grows beyond one frame of each camera, and no camera
    keeps another from its turn.

    :param process: Called in the thread with what waits, at most one frame of each camera, in
        the order of their turns.
    :param on_error: Called in the thread with each camera of a batch and what `process` raised;
        the thread goes on.
    :param on_replace: Called with the camera of a frame that gave way to a newer one.
    :param batch_limit: Tells how many frames `process` may get at once; at least 1.
    :param name: The thread's name.
    """

    def __init__(
        self, process: Callable[[list[tuple[Key, T]]], None], *,
        on_error: Callable[[Key, Exception], None],
        on_replace: Callable[[Key], None] = lambda key: None,
        batch_limit: Callable[[], int] = lambda: 1, name: str = 'latest_frame_worker',
    ) -> None:
        self._process = process
        self._on_error = on_error
        self._on_replace = on_replace
        self._batch_limit = batch_limit
        self._condition = threading.Condition()
        self._waiting: dict[Key, T] = {}  # in the order of their turns
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, key: Key, frame: T) -> None:
        """
        Put a frame into its camera's slot; never waits.

        :param key: The camera.
        :param frame: Its newest frame. After `close` it is ignored.
        """
        with self._condition:
            if not self._is_open:
                return
            is_replaced = key in self._waiting
            self._waiting[key] = frame  # a replaced one's turn stays
            self._condition.notify()
        if is_replaced:
            self._on_replace(key)

    def close(self, *, timeout_s: float = 10.0) -> bool:
        """
        Drop the waiting frames, let those in work end and stop the thread.

        :param timeout_s: How long to wait for the frames in work.
        :return: Whether the thread has ended.
        """
        with self._condition:
            self._is_open = False
            self._waiting.clear()
            self._condition.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: not self._is_open or self._waiting)
                if not self._is_open:
                    return
                keys = list(self._waiting)[:self._batch_limit()]
                batch = [(key, self._waiting.pop(key)) for key in keys]
            try:
                self._process(batch)
            except Exception as error:  # a bad frame must not end the thread
                for key in keys:
                    self._on_error(key, error)
