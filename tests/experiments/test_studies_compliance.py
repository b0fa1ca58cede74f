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
from quietdial.experiments.studies import compliance, protected


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
    policy = protected.AlwaysDials(4, random=random)
    days = play_days(Shielded(policy), short(), np.arange(6))
    assert compliance.breaches(days, 0.03) == 0
    assert days.days["shield_calls"].sum() > 1000


def test_broken_worlds__are_valid_and_differ_from_the_study():
    worlds = protected.broken_worlds()
    assert len(worlds) == 4
    for name, scenario in worlds.items():
        assert scenario.name == name
        assert scenario != load_scenario("study-real-10")


def test_played__is_taken_from_the_work_folder_as_long_as_nothing_has_changed(
    monkeypatch, tmp_path
):
    seeds, policy = np.arange(4), Marginal(0.1)
    first = compliance.played(policy, short(), seeds, tmp_path)
    monkeypatch.setattr(compliance, "play_days", None)  # playing again would fail
    again = compliance.played(policy, short(), seeds, tmp_path)
    for name, values in first.days.items():
        np.testing.assert_array_equal(again.days[name], values)
    for other in (
        lambda: compliance.played(policy.with_knob(0.2), short(), seeds, tmp_path),
        lambda: compliance.played(Shielded(policy), short(), seeds, tmp_path),
        lambda: compliance.played(policy, short(1800.0), seeds, tmp_path),
        lambda: compliance.played(policy, short(), seeds + 1, tmp_path),
    ):
        with pytest.raises(TypeError, match="not callable"):
            other()


def test_play_setting__gives_each_trained_policy_its_share_of_the_same_days():
    both = protected.Setting("w", "two", (Marginal(0.01), Marginal(0.2)), short())
    days, by_policy = compliance.play_setting(both, np.arange(5), None)
    low, high = (play_days(Marginal(theta), short(), np.arange(5)) for theta in (0.01, 0.2))
    silent = [*low.days["silent"][:3], *high.days["silent"][3:]]
    np.testing.assert_array_equal(days.days["silent"], silent)
    assert by_policy == [low.utilisation[:3].mean(), high.utilisation[3:].mean()]
    (first, *_) = compliance.figures_of(both, days, None, by_policy)
    assert f"{by_policy[0]:.4f}, {by_policy[1]:.4f}" in first["note"]


def test_run__shows_every_setting_and_writes_figures_with_bounds(monkeypatch, tmp_path):
    scenario = short()
    bare = protected.Setting("w", "rule", (Marginal(0.1),), scenario)
    behind = (Shielded(Marginal(0.1), Shield()),)
    kept = protected.Setting("w", "rule + deterministic", behind, scenario, "rule")
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
