"""Where small jobs are done: in this process, or in processes of this machine.

Jobs and results can be pickled and the interface is small, so any other executor can take the
place of these. :func:`run_all` drives one: it starts what is ready, and tries a job again whose
worker process died.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from quietdial.envs.errors import ConfigError

Plain = dict[str, Any]
"""Plain values by name."""

Work = Callable[[Mapping[str, Any], Plain | None], Plain]
"""What a worker calls: (spec, result of the job that it needs) -> result. A plain function."""

Key = tuple[str, str]
"""Group and name of a job; in the league the group is its scenario."""

_ATTEMPTS = 2
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Outcome(NamedTuple):
    """How one job ended: a result, or an error in one line."""

    key: Key
    result: Plain | None
    error: str = ""
    lost: bool = False  # the worker died; the job may be tried again


class Executor(Protocol):
    """Where jobs are done."""

    @property
    def slots(self) -> int:
        """Jobs that run at the same time."""
        ...

    def submit(self, key: Key, spec: Mapping[str, Any], needed: Plain | None) -> None:
        """Start a job."""
        ...

    def finished(self) -> list[Outcome]:
        """Wait until at least one started job has ended."""
        ...

    def close(self) -> None:
        """End all work at once, finished or not."""
        ...


def one_line(error: BaseException) -> str:
    """An error as a user sees it: the text alone where it is meant for one."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ConfigError) else f"{type(error).__name__}: {text}"


class InlineExecutor:
    """Does each job in this process as soon as it is asked for its outcome."""

    slots = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: list[tuple[Key, Mapping[str, Any], Plain | None]] = []

    def submit(self, key: Key, spec: Mapping[str, Any], needed: Plain | None) -> None:
        """Remember a job."""
        self._waiting.append((key, spec, needed))

    def finished(self) -> list[Outcome]:
        """Do the oldest job."""
        key, spec, needed = self._waiting.pop(0)
        try:
            return [Outcome(key, self._work(spec, needed))]
        except Exception as error:  # noqa: BLE001  one job must not stop the others
            return [Outcome(key, None, one_line(error))]

    def close(self) -> None:
        """Forget what was not begun."""
        self._waiting.clear()


def _worker_begins() -> None:
    """Let Ctrl-C reach the main process only, and end when that one does, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started within it use one thread for linear algebra."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class LocalExecutor:
    """Processes of this machine, started afresh (spawn); one that dies is replaced."""

    def __init__(self, processes: int, work: Work) -> None:
        if processes < 1:
            raise ConfigError(f"jobs = {processes} must be at least 1")
        self._processes, self._work = processes, work
        self._pool = self._new_pool()
        self._running: dict[Future[Plain], Key] = {}

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_worker_begins,
        )

    @property
    def slots(self) -> int:
        """Number of processes."""
        return self._processes

    def submit(self, key: Key, spec: Mapping[str, Any], needed: Plain | None) -> None:
        """Hand a job to a process."""
        with _one_thread_each():
            try:
                future = self._pool.submit(self._work, spec, needed)
            except BrokenProcessPool:  # a process died while nobody waited for it
                self._pool = self._new_pool()
                future = self._pool.submit(self._work, spec, needed)
        self._running[future] = key

    def finished(self) -> list[Outcome]:
        """Wait for the next jobs to end."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        outcomes: list[Outcome] = []
        for future in done:
            key = self._running.pop(future)
            try:
                outcomes.append(Outcome(key, future.result()))
            except BrokenProcessPool:
                outcomes.append(Outcome(key, None, "a worker process died", lost=True))
            except Exception as error:  # noqa: BLE001  one job must not stop the others
                outcomes.append(Outcome(key, None, one_line(error)))
        if any(outcome.lost for outcome in outcomes):
            outcomes += [
                Outcome(key, None, "a worker process died", lost=True)
                for key in self._running.values()
            ]
            self._running.clear()
            self._end_pool()
            self._pool = self._new_pool()
        return outcomes

    def _end_pool(self) -> None:
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=5.0)

    def close(self) -> None:
        """End the processes at once."""
        self._running.clear()
        self._end_pool()


# --- the loop -------------------------------------------------------------------------------------


def run_all(
    executor: Executor,
    waiting: list[Key],
    begin: Callable[[Key], tuple[Mapping[str, Any], Plain | None] | None],
    ended: Callable[[Outcome, float], None],
) -> None:
    """Do all jobs; the executor is closed at the end, whatever ends it.

    Args:
        executor: where they are done.
        waiting: the jobs, in the order in which they should start; emptied.
        begin: spec of a job and the result that it needs; None while it cannot start yet.
        ended: called with every outcome and the time that its job took [s]. A job whose worker
            process died is tried once more before that.
    """
    attempts = dict.fromkeys(waiting, 0)
    running: dict[Key, float] = {}
    try:
        while waiting or running:
            for key in list(waiting):
                if len(running) >= executor.slots:
                    break
                ready = begin(key)
                if ready is None:
                    continue
                waiting.remove(key)
                attempts[key] += 1
                running[key] = time.monotonic()
                executor.submit(key, *ready)
            for outcome in executor.finished():
                seconds = time.monotonic() - running.pop(outcome.key)
                if outcome.lost and attempts[outcome.key] < _ATTEMPTS:
                    waiting.insert(0, outcome.key)
                else:
                    ended(outcome, seconds)
    finally:
        executor.close()
