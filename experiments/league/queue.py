"""A resumable queue of small jobs over local processes.

Every finished job is one file in the work folder, written at once, with the fingerprint of all that
it depends on. A later call takes it from there while the fingerprint is the same; so a killed run
goes on where it was, and a changed rule is played anew. The executor is behind a small interface:
jobs and results are plain values, so any other one can take its place.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_text_atomic
from quietdial.experiments.league.jobs import JOB_SCHEMA, Job, Plain, run_job
from quietdial.experiments.rundir import make_folder, plain

Work = Callable[[Mapping[str, Any], Plain | None], Plain]
"""What a worker calls: (spec, result of the job that it needs) -> result. A plain function."""

Key = tuple[str, str]
"""Scenario and name of a job."""

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


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ConfigError) else f"{type(error).__name__}: {text}"


class InlineExecutor:
    """Does each job in this process as soon as it is asked for its outcome."""

    slots = 1

    def __init__(self, work: Work = run_job) -> None:
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
            return [Outcome(key, None, _one_line(error))]

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

    def __init__(self, processes: int, work: Work = run_job) -> None:
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
                outcomes.append(Outcome(key, None, _one_line(error)))
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


# --- what is kept ---------------------------------------------------------------------------------


def file_of(work: Path, scenario: str, name: str) -> Path:
    """The file of a job's result."""
    slug, folder = (re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".") for text in (name, scenario))
    return work / folder / f"{slug}.json"


def kept(work: Path, scenario: str, job: Job) -> Plain | None:
    """The result of a job from an earlier call; None if there is none, or it is out of date."""
    try:
        data = json.loads(file_of(work, scenario, job.name).read_text(encoding="utf-8"))
        if data["schema"] != JOB_SCHEMA or data["fingerprint"] != job.fingerprint:
            return None
        result = data["result"]
        return result if isinstance(result, dict) and "status" in result else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(work: Path, scenario: str, job: Job, result: Plain) -> None:
    """Write the result of a job at once."""
    path = file_of(work, scenario, job.name)
    make_folder(path.parent)
    data = {"schema": JOB_SCHEMA, "fingerprint": job.fingerprint, "result": plain(result)}
    write_text_atomic(path, json.dumps(data, separators=(",", ":"), allow_nan=False) + "\n")


# --- the queue ------------------------------------------------------------------------------------


class Step(NamedTuple):
    """Progress after a job has ended.

    Attributes:
        key: its scenario and name.
        error: why it failed; empty if it did not.
        seconds: how long it took.
        done: jobs that have ended, those of earlier calls included.
        total: all jobs.
        left_s: estimated time that is left [s]; None while nothing is known.
    """

    key: Key
    error: str
    seconds: float
    done: int
    total: int
    left_s: float | None


@dataclass
class Queue:
    """Jobs, their results so far, and what went wrong.

    Attributes:
        work: folder of the results.
        jobs: all jobs; a job's `needs` names another one of the same scenario.
        results: results by scenario and name.
        errors: errors of jobs that failed, by scenario and name.
    """

    work: Path
    jobs: Sequence[tuple[str, Job]]
    results: dict[Key, Plain] = field(default_factory=dict)
    errors: dict[Key, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take what was done before; a job is out of date if the one that it needs is."""
        self.by_key = {(scenario, job.name): job for scenario, job in self.jobs}
        if len(self.by_key) != len(self.jobs):
            raise ConfigError("two scenarios of the league have the same name; rename one")
        for key, job in self.by_key.items():
            needed = (key[0], job.needs)
            if job.needs and needed in self.by_key:
                joined = f"{job.fingerprint} {self.by_key[needed].fingerprint}"
                self.by_key[key] = job._replace(fingerprint=joined)
        for key, job in self.by_key.items():
            result = kept(self.work, key[0], job)
            if result is not None:
                self.results[key] = result

    @property
    def left(self) -> list[Key]:
        """Jobs to do: those that others need first, and large ones before small ones."""
        keys = [key for key in self.by_key if key not in self.results and key not in self.errors]
        return sorted(
            keys, key=lambda key: (bool(self.by_key[key].needs), -self.by_key[key].cost, key)
        )

    def run(self, executor: Executor, on_step: Callable[[Step], None]) -> None:
        """Do all jobs that are left; failures are noted and do not stop the others.

        Whatever ends this call early, all finished results are on disk.
        """
        began = time.monotonic()
        waiting, attempts = self.left, dict.fromkeys(self.by_key, 0)
        running: dict[Key, float] = {}
        cost_left = sum(self.by_key[key].cost for key in waiting)
        cost_done = 0.0
        try:
            while waiting or running:
                for key in [key for key in waiting if self._is_ready(key)]:
                    if len(running) >= executor.slots:
                        break
                    waiting.remove(key)
                    attempts[key] += 1
                    running[key] = time.monotonic()
                    needed = self.results.get((key[0], self.by_key[key].needs))
                    executor.submit(key, self.by_key[key].spec, needed)
                for outcome in executor.finished():
                    seconds = time.monotonic() - running.pop(outcome.key)
                    if outcome.lost and attempts[outcome.key] < _ATTEMPTS:
                        waiting.insert(0, outcome.key)
                        continue
                    self._note(outcome)
                    cost_done += self.by_key[outcome.key].cost
                    spent = time.monotonic() - began
                    on_step(
                        Step(
                            key=outcome.key,
                            error=outcome.error,
                            seconds=seconds,
                            done=len(self.results) + len(self.errors),
                            total=len(self.by_key),
                            left_s=spent * (cost_left - cost_done) / cost_done
                            if cost_done > 0
                            else None,
                        )
                    )
        finally:
            executor.close()

    def _is_ready(self, key: Key) -> bool:
        """Whether the job that this one needs has ended, well or not."""
        needed = (key[0], self.by_key[key].needs)
        return needed not in self.by_key or needed in self.results or needed in self.errors

    def _note(self, outcome: Outcome) -> None:
        if outcome.result is None:
            self.errors[outcome.key] = outcome.error
            return
        self.results[outcome.key] = outcome.result
        job = self.by_key[outcome.key]
        if (outcome.key[0], job.needs) not in self.errors:  # else it lacks the comparison
            keep(self.work, outcome.key[0], job, outcome.result)
