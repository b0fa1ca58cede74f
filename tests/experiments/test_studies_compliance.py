"""The study of compliance on few short days: its table, its figures, its worlds."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from quietdial.agents.rules import Marginal
from quietdial.agents.shields import Shielded
from quietdial.envs import load_scenario
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import play_days
from quietdial.experiments.studies import compliance


def short(duration_s=3600.0):
    values = load_scenario("study-real-5").model_dump(exclude_none=True)
    values["episode"] = {**values["episode"], "duration_s": duration_s}
    return Scenario.model_validate(values)


def test_breaches__counts_days_above_the_cap_with_and_without_those_of_detection():
    days = play_days(Marginal(0.2), short(), np.arange(6))
    silent, answered = days.days["silent"], days.days["answered"]
    assert compliance.breaches(days, 0.03) == (silent > 0.03 * answered).sum()
    days.days["silent_amd"][:] = silent
    assert compliance.breaches(days, 0.03, seen=True) == 0


@pytest.mark.parametrize("random", [False, True])
def test_always_dials__cannot_break_the_cap_behind_the_deterministic_shield(random):
    policy = compliance.AlwaysDials(4, random=random)
    days = play_days(Shielded(policy), short(), np.arange(6))
    assert compliance.breaches(days, 0.03) == 0
    assert days.days["shield_calls"].sum() > 1000


def test_broken_worlds__are_valid_and_differ_from_the_study():
    worlds = compliance.broken_worlds()
    assert len(worlds) == 4
    for name, scenario in worlds.items():
        assert scenario.name == name
        assert scenario != load_scenario("study-real-10")


def test_run__shows_every_setting_and_writes_figures_with_bounds(monkeypatch, tmp_path):
    scenario = short()
    bare = compliance.Setting("w", "rule", Marginal(0.1), scenario, None)
    behind = Shielded(Marginal(0.1), Shield())
    kept = compliance.Setting("w", "rule + deterministic", behind, scenario, "rule")
    monkeypatch.setattr(compliance, "settings", lambda n: [bare, kept])
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    console = Console(file=shown, width=150)
    output = tmp_path / "compliance.json"
    compliance.run(
        work=tmp_path, processes=1, output=output, console=console, n_days=12, n_tune_days=2
    )
    figures = {row["name"]: row for row in json.loads(output.read_text())["figures"]}
    none = figures["w, rule + deterministic: days above the cap"]
    assert (none["value"], none["hi"]) == (0.0, 0.25), "0 of 12: 3 / n"
    assert figures["w, rule: days above the cap"]["value"] > 0
    assert figures["w, rule + deterministic: cost"]["value"] < 0
    assert "rule + deterministic" in shown.getvalue()
    table = compliance.page_table(list(figures.values())).splitlines()
    assert len(table) == 4
    assert "| w | rule + deterministic | " in table[3]
    assert "| 0 (below 25.0) |" in table[3]
