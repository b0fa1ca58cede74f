"""The studies of the pacer's shield and of its parity, on a few short days."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from quietdial.envs.pacing.shield import Shield
from quietdial.experiments.studies import adversary, pacer_parity, shield_cost, shield_days

SEEDS = 1000 + np.arange(18)


def test_adversary__breaks_what_has_no_shield_and_nothing_that_has_one():
    scenario = adversary.floor("short", duration_s=3600.0)
    bare = adversary.play(scenario, None, SEEDS)
    assert bare.over(0.03).all()
    shielded = adversary.play(scenario, Shield("deterministic"), SEEDS, batch=7)
    assert not shielded.over(0.03).any()
    assert not shielded.ever_over().any()
    assert (shielded.refused > 50).all()
    assert (shielded.answered > 20).all()


def test_adversary__does_what_each_pattern_says():
    scenario = adversary.floor("short", duration_s=3600.0)
    world = adversary.World(
        len(SEEDS), scenario, action="dials", observation="none", shield="deterministic"
    )
    every = np.ones(len(SEEDS), np.bool_)
    world.begin(every, SEEDS.tolist())
    against = adversary.Adversary(SEEDS, 3600.0)
    told = []
    for _ in range(3600):
        rates = against.rates(world)
        adversary.set_rates(world, rates)
        told.append(rates)
        world.step(np.full(len(SEEDS), 3), every)
    rates = np.stack(told)
    changes = (np.diff(rates, axis=0) != 0).sum(axis=0)
    pattern = (SEEDS // 3) % 3
    assert set(np.unique(rates)) == {0.1, 0.6}
    assert (changes[pattern == 0] == 1).all()
    assert (changes[pattern == 1] > 1).any()
    assert (changes[pattern == 2] > 10).all()


@pytest.mark.parametrize(
    ("name", "breaks"),
    [
        ("deterministic", False),
        ("agents seen 3 s late", True),
        ("answering-machine detection", True),
    ],
)
def test_shield_days__conditions_that_fail_are_found_and_attributed(name, breaks):
    setting = next(s for s in shield_days.settings(18, 18, 9) if s.name == name)
    fate = adversary.play(setting.scenario, setting.shield, SEEDS)
    rows = {row["name"]: row for row in shield_days.figures_of(setting, fate)}
    assert (rows[f"{name}: windows over the cap"]["value"] > 0) == breaks
    assert bool(setting.attribution) == breaks
    if name == "answering-machine detection":
        assert rows[f"{name}: windows over, as seen"]["value"] == 0
    if not breaks:
        assert 0.1 < rows[f"{name}: windows over the cap"]["hi"] < 0.2


def test_shield_days__the_pacer_itself_plays_the_same_shield():
    short = adversary.floor("short", duration_s=3600.0)
    days = shield_days.play_runtime(short, Shield("deterministic"), [3, 4], steps=900)
    assert days.differences == 0
    assert days.decisions == 1800
    assert days.refused > 500
    assert (days.fate[:, 2] <= 0).all()
    rows = shield_days.runtime_figures(days, 0.03)
    assert "0 of 1800" in rows[-1]["note"]
    table = shield_days.page_table(rows).splitlines()
    assert table[2].startswith(
        "| through the pacer, windows of 2 h | 2 | 0 (below 78) | 0 (below 78)"
    )
    assert len(table) == 4


def test_pacer_parity__finds_no_difference_and_would_find_one(monkeypatch, tmp_path):
    days = (
        pacer_parity.Day("study-real-5", "full", "random", 0.2),
        pacer_parity.Day("uk-50", "wide", "follows", 0.1),
    )
    output = tmp_path / "parity.json"
    console = Console(file=io.StringIO())
    monkeypatch.chdir(tmp_path)
    pacer_parity.run(
        work=tmp_path, processes=1, output=output, console=console, days=days, speed=False
    )
    figures = json.loads(output.read_text())["figures"]
    assert [row["value"] for row in figures] == [0, 0, 0, 0]
    assert figures[0]["n"] == 720
    assert "| study-real-5, full, random | 720 |" in pacer_parity.page_table(figures)

    class Late(pacer_parity.LogFeed):
        """A dialer that tells nothing of the calls that wait."""

        def _event(self, t, code, number, a, b, c):
            if code != 6:
                super()._event(t, code, number, a, b, c)

    monkeypatch.setattr(pacer_parity, "LogFeed", Late)
    assert pacer_parity.compare(days[0], 1).features > 50


def test_shield_cost__is_told_against_the_same_days_with_the_usual_estimate():
    rows = {row["name"]: row for row in shield_cost.usual_figures(2)}
    what = "usual days of study-real-10, marginal .02"
    busy = {name.removeprefix(what): row["value"] for name, row in rows.items() if "utilis" in name}
    assert busy[", alone: utilisation"] > busy[", deterministic: utilisation"]
    exported, usual = (
        busy[f", borrowing, {kind}: utilisation"]
        for kind in ("as exported", shield_cost.USUAL_PACE)
    )
    note = rows[f"{what}, borrowing, as exported: windows over the cap"]["note"]
    assert "0.0018 answers per agent-second; against the row before " in note
    assert f"{100 * (exported - usual):+.2f} points (" in note
