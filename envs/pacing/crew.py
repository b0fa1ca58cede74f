"""Threads that play parts of a batch side by side.

Compiled code releases Python's lock, and what happens to a campaign does not depend on its
neighbours, so any split of the rows gives the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from quietdial.envs.errors import ConfigError

MOST_THREADS = 256


class Crew:
    """A few threads that wait for work; the caller's own thread is one of them.

    Args:
        threads: how many, 1 to 256.
    """

    def __init__(self, threads: int) -> None:
        if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
            raise ConfigError(
                f"threads = {threads!r} must be a whole number from 1 to {MOST_THREADS}"
            )
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._process = -1

    def parts(self, n_rows: int) -> list[slice]:
        """`n_rows` rows in at most `threads` parts of nearly the same size, none empty."""
        n = min(self.threads, n_rows)
        return [slice(i * n_rows // n, (i + 1) * n_rows // n) for i in range(n)]

    def run(self, function: Callable[..., Any], calls: Sequence[Sequence[Any]]) -> None:
        """Call `function` with each of `calls`, side by side; returns when all are done."""
        pool = self._ready()
        others = [pool.submit(function, *call) for call in calls[1:]]
        function(*calls[0])
        for other in others:
            other.result()

    def _ready(self) -> ThreadPoolExecutor:
        """The waiting threads; new ones in a process that was forked, which has none."""
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(max(self.threads - 1, 1), "quietdial")
            self._process = os.getpid()
        return self._pool

    def __reduce__(self) -> tuple[type[Crew], tuple[int]]:
        """Copies and pickles start their own threads."""
        return Crew, (self.threads,)
