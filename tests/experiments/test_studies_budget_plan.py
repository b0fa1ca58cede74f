"""The study of the planning loop: who plays, and one whole run on few short days."""

import io
import json

import pytest
from rich.console import Console

from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.rules import Marginal
from quietdial.envs import load_scenario
from quietdial.envs.scenario import changed
from quietdial.experiments.studies import budget_plan, long_windows, protected
from quietdial.experiments.studies.pool import TrainJob
from quietdial.experiments.studies.protected import Loop

SMALL = changed(load_scenario("study-real-5"), "small", episode={"duration_s": 1800.0})


def tiny_jobs(floor):
    """Two trainings that learn nothing."""
    tiny = LearnerConfig(total_steps=512, n_envs=16, n_steps=32, batch_size=256, horizon_s=300.0)
    return [
        TrainJob(f"{floor}-{seed}", tiny.model_copy(update={"seed": seed}), SMALL)
        for seed in (1, 2)
    ]


@pytest.fixture
def small(monkeypatch):
    """The study on one small floor with two tiny trainings."""
    monkeypatch.setattr(budget_plan, "FLOORS", ("small",))
    monkeypatch.setattr(budget_plan, "CHOSEN", {"small": Loop(8.0, 1.0, 0.03)})
    monkeypatch.setattr(budget_plan, "load_scenario", lambda name: SMALL)
    monkeypatch.setattr(budget_plan, "jobs_of", tiny_jobs)


@pytest.mark.usefixtures("small")
def test_run__trains_plays_fresh_days_and_writes_costs_against_the_policy_alone(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    shown, output = io.StringIO(), tmp_path / "budget-plan.json"
    budget_plan.run(
        work=tmp_path / "work",
        processes=1,
        output=output,
        console=Console(file=shown, width=150),
        n_days=6,
        n_learned_days=4,
        n_tune_days=2,
    )
    result = json.loads(output.read_text())
    figures = {row["name"]: row for row in result["figures"]}
    assert result["command"] == budget_plan.COMMAND
    for policy, n in (("marginal .02", 6), ("predict1 at 3 %", 6), ("ppo-lagrangian", 4)):
        fed = f"small, {policy} + plan, margin 1"
        assert figures[f"{fed}: cost"]["n"] == n
        assert f"{fed}: refusals" not in figures
        assert f"{fed} + borrowing, r 0.03: refusals" in figures
    for shield in ("borrowing", "deterministic"):
        assert f"small, ppo-lagrangian + {shield}: refusals" in figures
    alone = figures["small, ppo-lagrangian: utilisation"]
    assert alone["note"].count("0.") == 2, "one mean for each of two trainings"
    assert result["seeds"].startswith("test days from 2000 on, 6 for rules, 4 for trained policies")
    assert "small: marginal .02 + plan, margin 1" in shown.getvalue()


def test_settings__aim_at_the_cap_with_the_shield_around_the_loop(monkeypatch):
    monkeypatch.setattr(protected, "tune", lambda rule, *_: type("T", (), {"policy": rule}))
    rows = budget_plan.rule_settings(2)
    rows += budget_plan.learned_settings("study-real-10", [Marginal(0.02), Marginal(0.03)])
    fed = [
        one
        for row in rows
        for one in row.policies
        if "margin" in row.label and "borrow" in row.label
    ]
    assert [policy.name for policy in fed] == [
        "marginal+budget+borrowing",
        "predict1+budget+borrowing",
        *["marginal+budget+borrowing"] * 3,
    ]
    assert {policy.knob for policy in fed} == {0.03}
    learned = {row.label: row for row in rows if row.label.startswith("ppo-lagrangian")}
    assert {row.bare for row in learned.values()} == {None, "ppo-lagrangian"}
    alone = [policy.name for policy in learned["ppo-lagrangian"].policies]
    assert alone == ["marginal", "marginal"]


def test_long_windows__last_40_hours_each(monkeypatch, tmp_path):
    for row in long_windows.settings():
        assert row.scenario.episode.duration_s == 144_000.0
        assert row.world.endswith("-40h")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(long_windows, "FLOORS", ("small",))
    monkeypatch.setattr(long_windows, "LONG_H", 1.0)
    monkeypatch.setattr(long_windows, "load_scenario", lambda name: SMALL)
    output, console = tmp_path / "long-windows.json", Console(file=io.StringIO(), width=150)
    long_windows.run(
        work=tmp_path / "work", processes=1, output=output, console=console, n_windows=4
    )
    figures = {row["name"]: row for row in json.loads(output.read_text())["figures"]}
    for shield in ("borrowing", "deterministic"):
        assert figures[f"small-1h, marginal .02 + {shield}: days above the cap"]["n"] == 4
