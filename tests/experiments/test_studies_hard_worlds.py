"""The study of worlds in which the rules' model is wrong: worlds, verdicts, table, picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from quietdial.agents.rules import Marginal
from quietdial.agents.rules.catalogue import catalogue
from quietdial.experiments.stats import Interval, PolicyDays
from quietdial.experiments.studies import hard_worlds, hard_worlds_tried, late_worlds
from quietdial.experiments.studies.paired import AtRate, Comparison, Facing


def _facing(name: str, level: float, gap: Interval, *, reached: bool = True) -> Facing:
    matrix = np.full((3, 4), gap.value)
    return Facing(
        name,
        "knob",
        1.0,
        reached,
        0.03,
        Interval(level, level - 0.01, level + 0.01, 4),
        gap,
        matrix,
    )


def _found(gap: Interval) -> Comparison:
    """A comparison on four made-up days; `predict1` is the best rule that reaches the rate."""
    totals = {"dialed": 400.0, "answered": 100.0, "connected": 97.0, "silent": 3.0}
    totals |= {"talk_s": 80.0, "wrap_s": 5.0, "available_s": 100.0}
    days = PolicyDays(
        "ppo-lagrangian", "theta", 0.02, np.arange(4), {k: np.full(4, v) for k, v in totals.items()}
    )
    levels = {"predict1": 0.84, "quantile-age": 0.99}
    rows = [
        _facing(name, levels.get(name, 0.8), gap, reached=name != "quantile-age")
        for name in hard_worlds.RULES
    ]
    one = AtRate(Marginal(0.02), 0.03, True, 0.03, 1.0, days)
    return Comparison(0.03, (one, one, one), Interval(0.85, 0.84, 0.86, 12), tuple(rows))


def test_worlds__are_at_least_eight_and_all_can_be_built() -> None:
    names = [world.name for world in hard_worlds.WORLDS]
    assert len(set(names)) == len(names) >= 8
    for world in hard_worlds.WORLDS:
        scenario = world.build()
        assert scenario.name == world.name
        assert scenario.rule.cap == hard_worlds.RATE


def test_late_worlds__are_seen_late_and_have_seeds_of_their_own() -> None:
    assert not set(late_worlds.PLAN.seeds) & set(hard_worlds.SEEDS)
    for world in late_worlds.PLAN.worlds:
        scenario = world.build()
        assert scenario.name == world.name
        assert scenario.rule.cap == hard_worlds.RATE
        assert scenario.belief.feed_delay_s >= 3.0


def test_tried__are_worlds_that_were_even_with_other_learners() -> None:
    worlds = hard_worlds_tried.PLAN.worlds
    assert len({world.name for world in worlds}) == len(worlds) == 6
    for world in worlds:
        config = hard_worlds.config_of(world, 0.02, 1)
        assert config.observation == "wide"
        told = world.name.endswith("-told")
        assert (config.critic == "privileged") == told
        assert (config.algorithm == "recurrent-ppo") != told


def test_rules__are_in_the_catalogue_and_see_no_hidden_truth() -> None:
    listed = {entry.name: entry for entry in catalogue()}
    for name in hard_worlds.RULES:
        assert listed[name].tuned
        assert not listed[name].privileged


def test_jobs__stand_on_the_rule_as_it_was_tuned() -> None:
    world = hard_worlds.WORLDS[0]
    base = _found(Interval(0.0, 0.0, 0.0, 4)).learned[0]
    jobs = hard_worlds.jobs_of(world, base)
    assert [job.config.seed for job in jobs] == list(hard_worlds.SEEDS)
    assert {job.config.base_theta for job in jobs} == {0.02}
    assert {job.config.observation for job in jobs} == {"wide"}


def test_best_rule__does_not_count_who_did_not_reach_the_rate() -> None:
    assert hard_worlds.best_rule(_found(Interval(0.0, -0.1, 0.1, 4))).name == "predict1"


@pytest.mark.parametrize(
    ("lo", "hi", "said"), [(0.001, 0.02, "won"), (-0.001, 0.02, "even"), (-0.02, -0.001, "lost")]
)
def test_markdown__tells_every_world_with_its_verdict(lo: float, hi: float, said: str) -> None:
    gap = Interval((lo + hi) / 2, lo, hi, 12)
    figures = []
    for world in hard_worlds.WORLDS:
        figures += hard_worlds.figures_of(world, _found(gap))
    text = hard_worlds.markdown(
        {
            "command": hard_worlds.PLAN.command,
            "commit": {"commit": "0" * 40, "dirty": False},
            "figures": figures,
        }
    )
    rows = [line for line in text.split("\n") if line.startswith("| `")]
    assert len(rows) == len(hard_worlds.WORLDS)
    assert all("| predict1 84.0 |" in row for row in rows)
    assert all(row.strip("| ").endswith(f"**{said}**" if said == "won" else said) for row in rows)


PLANS = (hard_worlds.PLAN, late_worlds.PLAN, hard_worlds_tried.PLAN)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_page__shows_what_was_recorded(plan: hard_worlds.Plan, repository: Path) -> None:
    kept = repository / f"experiments/results/{plan.name}.json"
    result = json.loads(kept.read_text(encoding="utf-8"))
    assert result["command"] == plan.command
    page = (repository / hard_worlds.PAGE).read_text(encoding="utf-8")
    assert hard_worlds.markdown(result, plan).strip() in page
    assert (repository / plan.picture).is_file()
    assert f"({plan.picture.relative_to('docs')})" in page


def test_record__fills_the_place_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = hard_worlds_tried.PLAN
    gap = Interval(0.01, 0.005, 0.015, 12)
    figures = [
        row for world in plan.worlds for row in hard_worlds.figures_of(world, _found(gap), plan)
    ]
    result = {
        "command": plan.command,
        "commit": {"commit": "0" * 40, "dirty": False},
        "figures": figures,
    }
    page = tmp_path / "docs" / "hard-worlds.md"
    (page.parent / "figures").mkdir(parents=True)
    page.write_text(
        "<!-- figures: begin -->\nkept\n<!-- figures: end -->\n"
        f"<!-- figures of {plan.name}: begin -->\n<!-- figures of {plan.name}: end -->\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hard_worlds, "play", lambda *_: result)
    out = tmp_path / "result.json"
    hard_worlds_tried.run(work=tmp_path, processes=1, output=out, console=Console(quiet=True))
    assert json.loads(out.read_text()) == result
    text = page.read_text()
    assert "begin -->\nkept\n" in text
    assert text.count("| `") == len(plan.worlds)
    assert (tmp_path / plan.picture).is_file()
