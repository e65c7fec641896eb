# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How many frames go through the network at once: fewer once memory has run out."""

from __future__ import annotations

import threading
from typing import Callable, Sequence, TypeVar

Item = TypeVar('Item')
Answer = TypeVar('Answer')


class BatchLimit:
    """
    Run work on batches that fit into memory, and let no item cost the others their answers.

    :param most: Items in a batch at most.
    :param on_reduce: Called with the new limit when a batch did not fit.
    """

    def __init__(self, most: int, *, on_reduce: Callable[[int], None]) -> None:
        self.most = most
        self._on_reduce = on_reduce
        self._lock = threading.Lock()
        self._limit = most

    @property
    def limit(self) -> int:
        """Return how many items a batch may have now."""
        return self._limit

    def reset(self) -> None:
        """Forget that memory has run out: another network needs another amount."""
        with self._lock:
            self._limit = self.most

    def run(
        self, work: Callable[[Sequence[Item]], list[Answer]], items: Sequence[Item],
    ) -> list[Answer | Exception]:
        """
        Return each item's answer, or what the work raised for it.

        A batch without room is halved, and later ones are no larger. A batch that fails
        otherwise is run again item by item, since one of them is at fault.

        :param work: A batch of items -> their answers.
        :param items: Any number of them.
        """
        limit = self._limit
        if len(items) > limit:
            return self.run(work, items[:limit]) + self.run(work, items[limit:])
        try:
            return list(work(items))
        except MemoryError as error:
            if len(items) == 1:
                return [error]
            is_at_fault = False
        except Exception as error:
            if len(items) == 1:
                return [error]
            is_at_fault = True
        # Out of the handlers: what the failed pass had allocated is freed by now.
        if is_at_fault:
            return [answer for item in items for answer in self.run(work, [item])]
        self._reduce(len(items) // 2)
        return self.run(work, items)

    def _reduce(self, limit: int) -> None:
        with self._lock:
            self._limit = min(self._limit, limit)
        self._on_reduce(self._limit)
