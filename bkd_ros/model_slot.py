# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The network in use; another one takes its place without a frame being lost."""

from __future__ import annotations

import threading
from typing import Callable

from bkd_core.errors import InputError
from bkd_core.inference import Segmenter


class ModelSlot:
    """
    Hold the network in use and the one before it, and load the next in a thread.

    The old network serves until the new one is warm; whoever works on a frame keeps the one
    that it took.

    :param load: Model name or directory -> a warm segmenter; may raise anything.
    :param on_swap: Called after another network has taken the place, in the thread that did it.
    """

    def __init__(
        self, load: Callable[[str], Segmenter], *, on_swap: Callable[[Segmenter], None],
    ) -> None:
        self._load = load
        self._on_swap = on_swap
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wanted: tuple[str, list[Callable[[str], None]]] | None = None
        self.current: Segmenter | None = None
        self.previous: Segmenter | None = None
        self.num_swaps = 0
        self.fault = ''

    @property
    def is_loading(self) -> bool:
        """Return whether a network is being loaded."""
        with self._lock:
            return self._thread is not None

    def load_now(self, model: str) -> None:
        """
        Load the first network, in the caller's thread.

        :param model: Model name or directory.
        :raises InputError: If it cannot be loaded.
        """
        self.current, self.previous = self._load(model), None
        self.fault = ''
        self._on_swap(self.current)

    def swap(self, model: str, done: Callable[[str], None] = lambda fault: None) -> None:
        """
        Load another network in a thread and let it take the place.

        While one is being loaded, only the newest of further wishes is kept.

        :param model: Model name or directory.
        :param done: Called in the thread, with the reason if it could not be loaded, else ''.
        """
        with self._lock:
            waiting = self._wanted[1] if self._wanted else []
            self._wanted = model, [*waiting, done]
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name='model_loader', daemon=True)
                self._thread.start()

    def rollback(self) -> bool:
        """Put the network before into the place of the current one; False if there is none."""
        with self._lock:
            if self.previous is None or self.current is None:
                return False
            self.current, self.previous = self.previous, self.current
            self.num_swaps += 1
            self.fault = ''
        self._on_swap(self.current)
        return True

    def free(self, *, timeout_s: float = 30.0) -> None:
        """
        Let go of all networks, after the one that is being loaded has come.

        :param timeout_s: How long to wait for it.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        self.current = self.previous = None

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._wanted is None:
                    self._thread = None
                    return
                (model, waiting), self._wanted = self._wanted, None
            fault = self._try(model)
            for done in waiting:
                done(fault)

    def _try(self, model: str) -> str:
        try:
            segmenter = self._load(model)
        except Exception as error:  # whatever a file holds must not end the node
            kind = '' if isinstance(error, InputError) else f'{type(error).__name__}: '
            self.fault = f'{kind}{error}'
            return self.fault
        with self._lock:
            self.current, self.previous = segmenter, self.current
            self.num_swaps += 1
            self.fault = ''
        self._on_swap(segmenter)
        return ''
