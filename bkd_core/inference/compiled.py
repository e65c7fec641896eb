# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Numba's loops for what follows the network, if Numba is installed, without a wait for them.

Importing Numba takes half a second and compiling some seconds more, once on a machine. So NumPy
answers until a thread is done with both; the labels are the same.
"""

from __future__ import annotations

import importlib
import logging
import threading
from types import ModuleType
from typing import Callable

# A process that asks less often, such as `bkd predict` on some pictures, doesn't load Numba.
PATIENCE = 20

logger = logging.getLogger(__name__)


def import_loops() -> ModuleType | None:
    """Return `bkd_core.inference.loops`; None without Numba, and with one that fails."""
    try:
        return importlib.import_module('bkd_core.inference.loops')
    except ModuleNotFoundError as error:
        if error.name == 'numba':
            return None
        reason = error
    except Exception as error:  # of Numba itself or its compiler, too many kinds to name
        reason = error
    logger.warning(
        'Numba is installed, but fails: %s; NumPy goes on in its place, the same labels more '
        "slowly. Fix: pip install -U numba; for 'cannot cache', set NUMBA_CACHE_DIR to a folder "
        'that can be written', reason)
    return None


class Compiled:
    """
    The loops once they are ready.

    :param load: Returns the module `loops`, or None if there is none.
    """

    def __init__(self, load: Callable[[], ModuleType | None] = import_loops) -> None:
        self._load = load
        self._loops: ModuleType | None = None
        self._asked = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def loops(self) -> ModuleType | None:
        """Return the module `loops`; None as long as it is not ready."""
        if self._loops is None:
            self._asked += 1
            if self._asked >= PATIENCE and self._thread is None:
                self.start()
        return self._loops

    def start(self) -> threading.Thread:
        """Load the loops in a thread, which is returned; once, however often this is called."""
        with self._lock:
            if self._thread is None:
                # No daemon: a process that ends amid a compilation would crash.
                self._thread = threading.Thread(target=self._fetch, name='compiled_loops')
                self._thread.start()
            return self._thread

    def _fetch(self) -> None:
        self._loops = self._load()


COMPILED = Compiled()
WITHOUT = Compiled(lambda: None)
