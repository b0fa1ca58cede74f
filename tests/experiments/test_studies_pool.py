"""Trainings in processes: kept, taken up again, and the same as in this process."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.floors import ManyFloors
from quietdial.envs.errors import ConfigError, QuietDialError
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.executors import InlineExecutor, Plain
from quietdial.experiments.studies import pool
from quietdial.experiments.studies.command import progress
from quietdial.experiments.studies.pool import Trained, TrainJob, train_all

SCENARIO = load_scenario("markov-5")


def job(seed: int, **settings: Any) -> TrainJob:
    config = LearnerConfig(
        total_steps=64,
        n_envs=8,
        n_steps=8,
        batch_size=64,
        net=(4,),
        observation="markov",
        action="dials",
        seed=seed,
        **settings,
    )
    return TrainJob(f"seed {seed}", config, SCENARIO)


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `train_job` note the folders that it trains into."""
    calls: list[str] = []
    real = pool.train_job

    def counted(spec: Mapping[str, Any], needed: Plain | None = None) -> Plain:
        calls.append(Path(spec["folder"]).name)
        return real(spec, needed)

    monkeypatch.setattr(pool, "train_job", counted)
    return calls


def test_train_all__keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch)
    steps: list[Trained] = []
    first = train_all([job(1)], tmp_path, 1, steps.append)
    again = train_all([job(2), job(1)], tmp_path, 1, steps.append)
    assert list(again) == ["seed 2", "seed 1"]
    assert [name.rpartition("-")[0] for name in calls] == ["seed-1", "seed-2"]
    assert [(s.key, s.done, s.total, s.error) for s in steps] == [
        ("seed 1", 1, 1, ""),
        ("seed 2", 2, 2, ""),
    ]
    obs = np.random.default_rng(0).random((20, 2))
    assert np.array_equal(first["seed 1"].logits(obs), again["seed 1"].logits(obs))
    assert not np.array_equal(again["seed 2"].logits(obs), again["seed 1"].logits(obs))
    train_all([job(1, gamma=0.9)], tmp_path, 1)  # other settings: another training
    assert len(calls) == 3
    assert pool.cost_of(job(1), tmp_path)["steps"] == 64


def test_train_all__begins_an_unfinished_training_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    train_all([job(1)], tmp_path, 1)
    folder = pool.folder_of(job(1), tmp_path)
    (folder / "trained.json").unlink()
    (folder / "step-999").mkdir()
    policy = train_all([job(1)], tmp_path, 1)["seed 1"]
    assert len(calls) == 2
    assert policy.training is not None
    assert policy.training["step"] == 64


def test_train_all__names_what_failed_after_the_others_have_ended(tmp_path: Path) -> None:
    bad = job(1)._replace(
        key="bad", config=job(1).config.model_copy(update={"observation": "nothing"})
    )
    with pytest.raises(QuietDialError, match=r"training failed: bad: .*nothing"):
        train_all([bad, job(2)], tmp_path, 1)
    assert pool.is_done(pool.folder_of(job(2), tmp_path))
    with pytest.raises(ConfigError, match="same key"):
        train_all([job(1), job(1)], tmp_path, 1)


def test_sha256__counts_the_floors() -> None:
    plain = job(1)
    floors = (SCENARIO, load_scenario("markov-10"))
    makers = [ManyFloors(floors), ManyFloors(floors[::-1])]
    prints = {plain._replace(make_env=maker).sha256 for maker in makers} | {plain.sha256}
    assert len(prints) == 3


@pytest.mark.slow
def test_train_all__other_processes_find_the_same_policies(tmp_path: Path) -> None:
    jobs = [job(1), job(2)]
    apart = train_all(jobs, tmp_path / "two", 2)
    here = train_all(
        jobs, tmp_path / "one", 2, make_executor=lambda _: InlineExecutor(pool.train_job)
    )
    obs = np.random.default_rng(0).random((20, 2))
    for key, policy in here.items():
        assert np.array_equal(policy.logits(obs), apart[key].logits(obs))


def test_progress__tells_the_time_left_from_what_was_trained_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter([160.0, 220.0, 340.0])
    monkeypatch.setattr("quietdial.experiments.studies.command.time.monotonic", lambda: next(now))
    written = io.StringIO()
    report = progress(Console(width=100, file=written))
    for done in (3, 4, 6):  # two were done by an earlier call
        report(Trained(f"job-{done}", "", 60.0, done, 6))
    assert written.getvalue().splitlines() == [
        "3/6 job-3: 60 s, about 3 min 00 s left",
        "4/6 job-4: 60 s, about 2 min 00 s left",
        "6/6 job-6: 60 s",
    ]
