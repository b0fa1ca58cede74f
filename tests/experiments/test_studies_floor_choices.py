"""The choices of finished trainings: kept, taken up again, and the policies that come of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quietdial.agents.learners.config import LearnerConfig
from quietdial.envs.errors import QuietDialError
from quietdial.envs.scenario import changed, load_scenario
from quietdial.experiments.executors import Plain
from quietdial.experiments.studies import floor_choices
from quietdial.experiments.studies.pool import TrainJob, folder_of, train_all

FIVE = changed(load_scenario("study-real-5"), "five", episode={"duration_s": 900.0})
SMALL = LearnerConfig(
    total_steps=1024,
    n_envs=16,
    n_steps=32,
    batch_size=256,
    net=(4,),
    horizon_s=300.0,
    checkpoint_every=1,
)


def test_choose_all__keeps_each_choice_and_gives_its_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [TrainJob("one", SMALL, FIVE)]
    train_all(jobs, tmp_path)
    told: list[str] = []

    def choose(n_episodes: int) -> dict[str, Any]:
        asked = [(job, (FIVE,)) for job in jobs]
        return floor_choices.choose_all(
            asked, tmp_path, n_floors=1, n_episodes=n_episodes, said=told.append
        )

    policy, choice = choose(2)["one"]
    kept = json.loads((folder_of(jobs[0], tmp_path) / "chosen.json").read_text())
    assert kept == choice
    assert set(choice["gains"]) == {"512", "1024"}
    assert (policy.training or {})["step"] == (choice["step"] or 1024)
    assert len(told) == 1

    def fail(spec: Any, _: Plain | None = None) -> Plain:
        raise QuietDialError("looked again")

    monkeypatch.setattr(floor_choices, "choose_job", fail)
    assert choose(2)["one"][1] == choice  # not chosen again
    with pytest.raises(QuietDialError, match="looked again"):
        choose(3)  # on other episodes it is
