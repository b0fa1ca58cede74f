"""The study of the budget loop: who plays, and one whole run on few short days."""

import io
import json

import pytest
from rich.console import Console

from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.rules import Marginal
from quietdial.envs import load_scenario
from quietdial.envs.scenario import changed
from quietdial.experiments.studies import budget_loop
from quietdial.experiments.studies.pool import TrainJob

SMALL = changed(load_scenario("study-real-5"), "small", episode={"duration_s": 1800.0})


def test_learned_settings__put_the_loop_inside_the_shield():
    rows = budget_loop.learned_settings("study-real-10", [Marginal(0.02), Marginal(0.03)], 10)
    names = {row.label: [policy.name for policy in row.policies] for row in rows}
    fed = "ppo-lagrangian + budget + borrowing, r 0.007"
    assert names["ppo-lagrangian"] == ["marginal"] * 2
    assert names[fed] == ["marginal+budget+borrowing"] * 2
    assert {row.bare for row in rows} == {None, "ppo-lagrangian"}
    assert {row.n_days for row in rows} == {10}


def test_long_windows__last_40_hours_each():
    for row in budget_loop.long_settings():
        assert row.scenario.episode.duration_s == 144_000.0
        assert row.world.endswith("-40h")


@pytest.fixture
def small(monkeypatch):
    """The study on one small floor with two tiny trainings."""
    loop = budget_loop.Loop(20.0, 0.025, 0.005)

    def jobs(floor):
        tiny = LearnerConfig(
            total_steps=512, n_envs=16, n_steps=32, batch_size=256, horizon_s=300.0
        )
        return [
            TrainJob(f"{floor}-{seed}", tiny.model_copy(update={"seed": seed}), SMALL)
            for seed in (1, 2)
        ]

    monkeypatch.setattr(budget_loop, "FLOORS", ("small",))
    monkeypatch.setattr(budget_loop, "CHOSEN", {"small": loop})
    monkeypatch.setattr(budget_loop, "LONG_WINDOWS", {"small": 2})
    monkeypatch.setattr(budget_loop, "LONG_H", 1.0)
    monkeypatch.setattr(budget_loop, "load_scenario", lambda name: SMALL)
    monkeypatch.setattr(budget_loop, "jobs_of", jobs)


@pytest.mark.usefixtures("small")
def test_run__trains_plays_and_writes_costs_against_the_policy_alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    output = tmp_path / "budget-loop.json"
    budget_loop.run(
        work=tmp_path / "work",
        processes=1,
        output=output,
        console=Console(file=shown, width=150),
        n_days=6,
        n_tune_days=2,
    )
    result = json.loads(output.read_text())
    figures = {row["name"]: row for row in result["figures"]}
    assert result["command"] == budget_loop.COMMAND
    alone = figures["small, ppo-lagrangian: utilisation"]
    assert alone["n"] == 6
    assert alone["note"].count("0.") == 2, "one mean for each of two trainings"
    fed = "small, ppo-lagrangian + budget + borrowing, r 0.005"
    assert f"{fed}: cost" in figures
    assert figures["small, marginal .02 + budget: cost"]["n"] == 6
    assert figures["small-1h, marginal .02 + deterministic: days above the cap"]["n"] == 2
    assert "small-1h: marginal .02 + borrowing" in shown.getvalue()
