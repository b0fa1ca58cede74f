"""The study of the planning loop: who plays, and one whole run on few short days."""

import io
import json

import pytest
from rich.console import Console

from quietdial.envs import load_scenario
from quietdial.envs.scenario import changed
from quietdial.experiments.studies import budget_plan, long_windows, protected
from quietdial.experiments.studies.protected import Loop

SMALL = changed(load_scenario("study-real-5"), "small", episode={"duration_s": 1800.0})


@pytest.fixture
def small(monkeypatch):
    """The study on one small floor."""
    monkeypatch.setattr(budget_plan, "FLOORS", ("small",))
    monkeypatch.setattr(budget_plan, "CHOSEN", {"small": Loop(8.0, 0.03, 0.03, margin=1.0)})
    monkeypatch.setattr(budget_plan, "load_scenario", lambda name: SMALL)


@pytest.mark.usefixtures("small")
def test_run__plays_fresh_days_and_names_the_plan(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shown, output = io.StringIO(), tmp_path / "budget-plan.json"
    budget_plan.run(
        work=tmp_path / "work",
        processes=1,
        output=output,
        console=Console(file=shown, width=150),
        n_days=6,
        n_tune_days=2,
    )
    result = json.loads(output.read_text())
    figures = {row["name"]: row for row in result["figures"]}
    assert result["command"] == budget_plan.COMMAND
    for policy in ("marginal .02", "predict1 at 3 %"):
        fed = f"small, {policy} + plan, margin 1"
        assert figures[f"{fed}: cost"]["n"] == 6
        assert f"{fed}: refusals" not in figures
        assert f"{fed} + borrowing, r 0.03: refusals" in figures
    assert result["seeds"].startswith("test days 6 to 11; ")
    assert "small: marginal .02 + plan, margin 1" in shown.getvalue()


def test_settings__aim_at_the_cap_with_the_shield_around_the_loop(monkeypatch):
    monkeypatch.setattr(protected, "tune", lambda rule, *_: type("T", (), {"policy": rule}))
    rows = budget_plan.settings(2)
    fed = [row.policies[0] for row in rows if "margin" in row.label and "borrow" in row.label]
    assert [policy.name for policy in fed] == [
        "marginal+budget+borrowing",
        "predict1+budget+borrowing",
        "marginal+budget+borrowing",
    ]
    assert {policy.knob for policy in fed} == {0.03}


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
