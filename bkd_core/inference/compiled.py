# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Numba's loops for what follows the network, if Numba is installed, without a wait for them.

Importing Numba takes half a second and compiling some seconds more, once on a machine. So NumPy
answers until a thread is done with both; the labels are the same. The compiler works in a process
of its own: in this one it would hold up every frame, since Python runs one thread at a time.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import subprocess
import sys
import threading
import time
from types import ModuleType
from typing import Callable

# A process that asks less often, such as `bkd predict` on some pictures, doesn't load Numba.
PATIENCE = 20
COMPILATION_S = 120.0

_LOOPS = 'bkd_core.inference.loops'
logger = logging.getLogger(__name__)


def import_loops() -> ModuleType | None:
    """Return `bkd_core.inference.loops`; None without Numba, and with one that fails."""
    if importlib.util.find_spec('numba') is None:
        return None
    _compile()
    if not threading.main_thread().is_alive():
        return None
    try:
        return importlib.import_module(_LOOPS)
    except Exception as error:  # of Numba itself or its compiler, too many kinds to name
        reason = error
    logger.warning(
        'Numba is installed, but fails: %s; NumPy goes on in its place, the same labels more '
        "slowly. Fix: pip install -U numba; for 'cannot cache', set NUMBA_CACHE_DIR to a folder "
        'that can be written', reason)
    return None


def _compile() -> None:
    """Have another process import the loops: what it compiles is kept for this one."""
    if not sys.executable:
        return
    process = subprocess.Popen(
        [sys.executable, '-c', f'import os; os.nice(10); import {_LOOPS}'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + COMPILATION_S
    while process.poll() is None:
        # This process may end meanwhile: it waits for its threads.
        if not threading.main_thread().is_alive() or time.monotonic() > end:
            process.kill()
            process.wait()
        time.sleep(.05)


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
