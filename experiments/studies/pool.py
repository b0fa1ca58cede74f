"""Trainings in parallel processes, each with one thread; what is finished is kept on disk.

A finished training is a folder `<key>-<sha>` in the work folder: its last checkpoint and
`trained.json`, written when it ended. The sha is that of its settings and its world (not of the
code: empty the work folder after a change of the learner). A killed run goes on with the trainings
that it had not finished.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quietdial.agents.checkpoint import load_policy
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.training import make_training_env, train
from quietdial.agents.policy import scenario_sha256
from quietdial.envs.errors import ConfigError, QuietDialError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import Scenario
from quietdial.experiments.bench.results import figure
from quietdial.experiments.executors import (
    Executor,
    InlineExecutor,
    Key,
    LocalExecutor,
    Outcome,
    Plain,
    run_all,
)
from quietdial.experiments.rundir import config_sha256, make_folder

__all__ = ["TrainJob", "Trained", "cost_figure", "folder_of", "train_all", "train_job"]

_DONE = "trained.json"
_SHOWN = 16  # hex digits of the sha in a folder's name


class TrainJob(NamedTuple):
    """One training.

    Attributes:
        key: name, unique among the jobs of a call.
        config: settings of the learner; its `seed` is the seed of the training.
        scenario: the world.
        make_env: makes the campaigns: a function of a module, whose name counts among the settings,
            or something with a `sha256` of its own, which counts in place of a name (`ManyFloors`).
    """

    key: str
    config: LearnerConfig
    scenario: Scenario
    make_env: Callable[[LearnerConfig, Scenario], Any] = make_training_env

    @property
    def sha256(self) -> str:
        """Fingerprint of settings and world (hex)."""
        settings = self.config.model_dump(mode="json")
        for name, usual in (("knowledge", "believed"), ("critic", "same")):
            if settings[name] == usual:  # as trainings were named before it could be set
                del settings[name]
        text = f"{config_sha256(settings)} "
        text += scenario_sha256(self.scenario)
        if self.make_env is not make_training_env:
            text += f" {getattr(self.make_env, 'sha256', None) or _name_of(self.make_env)}"
        return hashlib.sha256(text.encode()).hexdigest()


def _name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


class Trained(NamedTuple):
    """Progress: a training has ended.

    Attributes:
        key: its name.
        error: why it failed; empty if it did not.
        seconds: wall time that it took.
        done: trainings that have ended, those of earlier calls included.
        total: all trainings.
    """

    key: str
    error: str
    seconds: float
    done: int
    total: int


def folder_of(job: TrainJob, work: Path) -> Path:
    """The folder of a training in the work folder."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", job.key).strip(".")
    return work / f"{slug}-{job.sha256[:_SHOWN]}"


def is_done(folder: Path) -> bool:
    """Whether a training has ended well."""
    return (folder / _DONE).exists()


def train_job(spec: Mapping[str, Any], _: Plain | None = None) -> Plain:
    """Train one policy in this process with one torch thread; what a worker calls.

    Args:
        spec: `config`, `scenario` (objects), `make_env` and `folder` (text).
    """
    folder = Path(spec["folder"])
    if folder.exists():  # of a call that was killed
        shutil.rmtree(folder)
    make_folder(folder)
    began = time.process_time()
    trained = train(spec["config"], spec["scenario"], checkpoints=folder, make_env=spec["make_env"])
    if not trained.completed:
        raise QuietDialError("training was stopped")
    done = {
        "steps": trained.steps,
        "wall_s": round(trained.elapsed_s, 2),
        "cpu_s": round(time.process_time() - began, 2),
        "multiplier": dict(trained.multiplier),
    }
    write_json_atomic(folder / _DONE, done)
    return done


def train_all(
    jobs: Sequence[TrainJob],
    work: Path,
    processes: int = 2,
    report: Callable[[Trained], None] | None = None,
    make_executor: Callable[[int], Executor] | None = None,
) -> dict[str, LearnedPolicy]:
    """Train what is not finished yet, load the rest.

    Args:
        jobs: the trainings; long ones start first.
        work: folder of the trainings.
        processes: trainings that run at the same time; 1: in this process.
        report: called after each training that this call has done.
        make_executor: what does the jobs, from the number of them at a time (tests).

    Returns:
        The policies by key, in the order of the jobs.

    Raises:
        ConfigError: two jobs have the same key.
        QuietDialError: a training failed; the others are finished and kept.
    """
    folders = {job.key: folder_of(job, work) for job in jobs}
    if len(folders) < len(jobs):
        raise ConfigError("two trainings have the same key; rename one")
    by_key: dict[Key, TrainJob] = {("train", job.key): job for job in jobs}
    waiting = [key for key, job in by_key.items() if not is_done(folders[job.key])]
    waiting.sort(key=lambda key: -by_key[key].config.planned_steps)
    done = len(jobs) - len(waiting)
    errors: list[str] = []

    def begin(key: Key) -> tuple[Mapping[str, Any], Plain | None]:
        job = by_key[key]
        return {
            "config": job.config,
            "scenario": job.scenario,
            "make_env": job.make_env,
            "folder": str(folders[job.key]),
        }, None

    def ended(outcome: Outcome, seconds: float) -> None:
        nonlocal done
        done += 1
        if outcome.error:
            errors.append(f"{outcome.key[1]}: {outcome.error}")
        if report is not None:
            report(Trained(outcome.key[1], outcome.error, seconds, done, len(jobs)))

    if waiting:
        make_folder(work)
        run_all(_executor(min(processes, len(waiting)), make_executor), waiting, begin, ended)
    if errors:
        raise QuietDialError(f"training failed: {'; '.join(sorted(errors))}")
    return {job.key: load_policy(folders[job.key]) for job in jobs}


def _executor(number: int, make: Callable[[int], Executor] | None) -> Executor:
    if make is not None:
        return make(number)
    return InlineExecutor(train_job) if number == 1 else LocalExecutor(number, train_job)


def cost_figure(name: str, job: TrainJob, work: Path) -> Plain:
    """The row of a result file on the CPU time of a finished training."""
    cost = cost_of(job, work)
    seconds = float(cost["cpu_s"])
    return figure(name, seconds, "s", seconds, seconds, 1, f"{cost['steps']} decisions")


def cost_of(job: TrainJob, work: Path) -> Plain:
    """Steps, wall time, CPU time and multiplier of a finished training."""
    path = folder_of(job, work) / _DONE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{path} cannot be read; train {job.key!r} first") from None
    return dict(found)
