"""A resumable queue of small jobs over local processes.

Every finished job is one file in the work folder, written at once, with the fingerprint of all that
it depends on. A later call takes it from there while the fingerprint is the same; so a killed run
goes on where it was, and a changed rule is played anew. Where jobs are done is up to the executor.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_text_atomic
from quietdial.experiments.executors import Executor, Key, Outcome, Plain, run_all
from quietdial.experiments.league.jobs import JOB_SCHEMA, Job
from quietdial.experiments.rundir import make_folder, plain

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
        waiting = self.left
        cost_left = sum(self.by_key[key].cost for key in waiting)
        cost_done = 0.0

        def begin(key: Key) -> tuple[Mapping[str, Any], Plain | None] | None:
            job = self.by_key[key]
            if not self._is_ready(key):
                return None
            return job.spec, self.results.get((key[0], job.needs))

        def ended(outcome: Outcome, seconds: float) -> None:
            nonlocal cost_done
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
                    left_s=spent * (cost_left - cost_done) / cost_done if cost_done > 0 else None,
                )
            )

        run_all(executor, waiting, begin, ended)

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
