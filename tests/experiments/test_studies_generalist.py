"""The study of one policy for many floors: its floors, its verdicts, its table and picture."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.floors import ManyFloors
from quietdial.agents.policy import PolicySpec
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.randomise import RANGES
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.plots import png_bytes
from quietdial.experiments.stats import Interval
from quietdial.experiments.studies import generalist, generalist_large, generalist_late
from quietdial.experiments.studies.generalist import Found
from quietdial.experiments.studies.generalist_floors import (
    JUDGED,
    PLAN,
    RATE,
    JudgedFloor,
    Plan,
    scenario_of,
)
from quietdial.experiments.studies.generalist_page import markdown, picture
from quietdial.experiments.studies.paired import Comparison, Facing

PLANS = (PLAN, generalist_large.PLAN, generalist_late.PLAN)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_floors__judged_ones_are_new_and_where_they_say(plan: Plan) -> None:
    trained = {scenario.name for scenario in plan.training_floors()}
    assert len(trained) == plan.n_floors
    bounds = RANGES[plan.ranges]
    for tested in plan.judged:
        scenario = scenario_of(tested)
        assert scenario.name == tested.name
        assert scenario.rule.cap == RATE
        rate = scenario.calls.answer_rate
        p = {getattr(rate, name) for name in ("p", "p_low", "p_high") if hasattr(rate, name)}
        n, delay_s = scenario.floor.n_agents, scenario.belief.feed_delay_s
        within = bounds.n_agents[0] <= n <= bounds.n_agents[1]
        within = within and bounds.p_answer[0] <= min(p) and max(p) <= bounds.p_answer[1]
        if delay_s or bounds.p_late_feed == 1.0:
            within = within and bounds.feed_delay_s[0] <= delay_s <= bounds.feed_delay_s[1]
        assert within == tested.inside, tested.name
    names = [tested.name for tested in plan.judged]
    assert not trained & set(names)
    assert len(set(names)) == len(names)
    assert [tested.inside for tested in plan.judged] == sorted(
        (tested.inside for tested in plan.judged), reverse=True
    )


def test_floors__judged_ones_reach_from_one_end_of_the_range_to_the_other() -> None:
    judged = [*JUDGED, *generalist_large.JUDGED]
    inside = [scenario_of(tested) for tested in judged if tested.inside]
    agents = [scenario.floor.n_agents for scenario in inside]
    assert (min(agents), max(agents)) == RANGES[PLAN.ranges].n_agents
    assert "amd" in {scenario.calls.detection.kind for scenario in inside}
    assert any(scenario.belief.feed_delay_s > 0 for scenario in inside)
    assert sum(scenario.people is None for scenario in inside if scenario.floor.n_agents > 50) > 1
    late = [tested for tested in generalist_late.JUDGED if tested.inside]
    assert len(late) >= 4


@pytest.fixture
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds without a measurement: .001, .002, ... in the order of the floors."""
    monkeypatch.setattr(
        generalist,
        "base_thetas",
        lambda floors, **_: tuple(0.001 * (i + 1) for i, _ in enumerate(floors)),
    )


@pytest.mark.usefixtures("no_measuring")
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_jobs__have_all_seeds_keys_of_their_own_and_the_threshold_of_their_floor(
    plan: Plan,
) -> None:
    general, special = generalist.jobs_of(plan)
    assert [job.config.seed for job in general] == list(plan.seeds)
    for job in general:
        assert isinstance(job.make_env, ManyFloors)
        assert job.config.observation == plan.observation
        each = tuple(0.001 * (i + 1) for i in range(plan.n_floors))
        assert job.make_env.base_thetas == (each if plan.own_threshold else None)
    for tested in plan.judged:
        its = special[tested.name]
        assert len(its) == (len(plan.seeds) if tested.inside else 0)
        own = 0.001 if plan.own_threshold else LearnerConfig().base_theta
        assert all(job.config.base_theta == own for job in its)
    jobs = [*general, *(job for its in special.values() for job in its)]
    assert len({job.key for job in jobs}) == len({job.sha256 for job in jobs}) == len(jobs)


@pytest.mark.usefixtures("no_measuring")
def test_choose__looks_at_training_floors_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, list[str]] = {}

    def choose_all(pairs: Any, work: Path, **settings: Any) -> dict[str, Any]:
        asked.update({job.key: [floor.name for floor in floors] for job, floors in pairs})
        return {job.key: None for job, _ in pairs}

    monkeypatch.setattr(generalist, "choose_all", choose_all)
    general, special = generalist.jobs_of(PLAN)
    generalist.choose(PLAN, general, special, tmp_path, 1, Console(file=io.StringIO()))
    trained = [floor.name for floor in PLAN.training_floors()]
    assert all(asked[job.key] == trained for job in general)
    assert all(asked[job.key] == [name] for name, its in special.items() for job in its)


def test_choice_figure__has_the_step_and_every_gain() -> None:
    choice = {"step": 0, "agents": [6, 30], "gains": {"1000": [0.001, None]}}
    row = generalist.choice_figure("generalist-seed-1", choice)
    assert row["value"] == 0.0
    assert row["note"].startswith("base rule; ")
    assert row["note"].endswith("6, 30 agents by each checkpoint: 1,000: +0.10, -")


def always(action: int, scenario: Scenario) -> LearnedPolicy:
    """A residual policy with one answer to everything."""
    fields = observation_fields("full")
    spec = PolicySpec.of(
        scenario, observation="full", action="residual", fields=fields, n_actions=6
    )
    bias = np.eye(6)[action]
    return LearnedPolicy((Layer(np.zeros((len(fields), 6)), bias),), spec)


def test_departures__are_decisions_with_another_number_of_calls() -> None:
    scenario = changed(load_scenario("study-real-5"), "short", episode={"duration_s": 600.0})
    shares = [generalist.departures(always(a, scenario), scenario, 2) for a in (2, 1, 3)]
    assert (shares[0] == 0).all()
    assert ((shares[1] > 0) & (shares[1] < 1)).all()  # where the rule dials nothing, less is none
    assert (shares[2] > 0.9).all()


def test_judge__holds_seed_against_seed_and_rule(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The base rule itself on short days: as good as itself, and no departures."""
    short = changed(load_scenario("study-real-5"), "short", episode={"duration_s": 1800.0})
    monkeypatch.setattr(generalist, "scenario_of", lambda floor: short)
    floor = JUDGED[0]._replace(n_tune=8, n_test=8)
    rule = [always(2, short)] * len(PLAN.seeds)
    found = generalist.judge(floor, rule, rule, tmp_path, 1, Console(file=io.StringIO()))
    assert found.gaps["specialist"].value == 0.0
    assert abs(found.gaps["marginal"].value) < 0.01  # tuned alike, from other first knobs
    assert {"specialist", "marginal", "fixed-ratio"} <= set(found.gaps)
    assert found.departures["generalist"].value == found.departures["specialist"].value == 0.0
    outside = generalist.judge(floor, rule, [], tmp_path, 1, Console(file=io.StringIO()))
    assert outside.learnt is None
    assert "specialist" not in outside.gaps


def test_judge__meets_a_rule_that_cannot_have_the_rate_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A made-up ratio that is at 1 %, whatever its knob; the generalists are tuned down to it."""
    asked: list[tuple[float, tuple[str, ...]]] = []

    def compare(learned: Any, others: Any, scenario: Any, rate: float, **given: Any) -> Any:
        asked.append((rate, given["names"]))
        rows = {}
        for name in given["names"]:
            gap = Interval(rate, 0.0, 0.05, 9)  # by its value one can tell which rate it is of
            reached = name != "fixed-ratio" or rate == 0.01
            at = rate if reached else 0.01
            level = Interval(0.8, 0.7, 0.9, 9)
            rows[name] = Facing(name, "r", 1.0, reached, at, level, gap, np.zeros((1, 1)))
        judged: Any = tuple(SimpleNamespace(policy=one, reached=True) for one in learned)
        return Comparison(rate, judged, Interval(0.8, 0.7, 0.9, 9), tuple(rows.values()))

    monkeypatch.setattr(generalist, "compare_at_rate", compare)
    monkeypatch.setattr(generalist, "departures", lambda policy, scenario: np.zeros(4))
    policies = [always(2, load_scenario("study-real-5"))] * 2
    quiet = Console(file=io.StringIO())
    found = generalist.judge(JUDGED[-1], policies, [], tmp_path, 1, quiet, seeds=(1, 2))
    assert asked == [(0.03, generalist.RULES), (0.01, ("fixed-ratio",))]
    gaps = {name: gap.value for name, gap in found.gaps.items()}
    assert gaps == {"marginal": 0.03, "fixed-ratio": 0.01, "fixed-ratio, at its own rate": 0.03}
    assert "fixed-ratio at 1.00 %" in found.notes
    (row,) = [row for row in generalist.figures_of(found) if row["name"].endswith("own rate")]
    assert row["note"] == "the generalist at 3 %, paired by day"
    notes = {row["name"]: row["note"] for row in generalist.figures_of(found)}
    assert notes[f"{JUDGED[-1].name}/fixed-ratio/utilisation"] == "at its own silent rate"
    assert notes[f"{JUDGED[-1].name}/marginal/utilisation"] == "at 3 % silent"


def found_on(tested: JudgedFloor, **gaps: Interval) -> Found:
    gaps = {"fixed-ratio": Interval(0.05, 0.04, 0.06, 9), **gaps}
    level = Interval(0.85, 0.84, 0.86, 9)
    levels = dict.fromkeys(gaps, level)
    learnt = gaps.get("marginal") if tested.inside else None
    share = {"generalist": Interval(0.02, 0.01, 0.03, 9)}
    return Found(tested, level, levels, gaps, learnt, share, "")


@pytest.mark.parametrize(
    ("gap", "ratio", "said"),
    [
        ((0.001, -0.004), (0.05, 0.04, 0.06), "within 0.5 points: met; above the ratio"),
        ((-0.003, -0.006), (0.05, 0.04, 0.06), "within 0.5 points: met, not surely; above"),
        ((-0.006, -0.007), (0.05, 0.04, 0.06), "within 0.5 points: not met; above"),
        ((0.001, -0.004), (0.01, -0.01, 0.03), "met; not surely above the ratio"),
        ((0.001, -0.004), (-0.02, -0.03, -0.01), "met; BELOW the ratio"),
    ],
)
def test_verdict__says_what_is_sure(
    gap: tuple[float, float], ratio: tuple[float, float, float], said: str
) -> None:
    found = found_on(
        JUDGED[0],
        specialist=Interval(gap[0], gap[1], gap[0] + 0.01, 9),
        **{"fixed-ratio": Interval(*ratio, 9)},
    )
    assert said in generalist.verdict(found)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ((0.02, 0.01), "above the ratio, above `marginal`"),
        ((0.0, -0.01), "above the ratio"),
        ((-0.02, -0.03), "above the ratio, BELOW `marginal`"),
    ],
)
def test_verdict__says_whether_it_gains_on_the_base_rule(
    rule: tuple[float, float], said: str
) -> None:
    gap = Interval(rule[0], rule[1], 2 * rule[0] - rule[1], 9)
    assert generalist.verdict(found_on(JUDGED[-1], marginal=gap)) == said


@pytest.fixture
def result() -> dict[str, Any]:
    """A made-up result: an inside and an outside floor."""
    gaps = {"marginal": Interval(0.002, 0.001, 0.003, 9)}
    inside = found_on(JUDGED[0], **gaps, specialist=Interval(-0.004, -0.006, -0.002, 9))
    outside = found_on(JUDGED[-1], **gaps)
    outside = outside._replace(notes="fixed-ratio at 2.00 %")
    figures = [row for found in (inside, outside) for row in generalist.figures_of(found)]
    return {"command": "c", "commit": {"commit": "0" * 40, "dirty": False}, "figures": figures}


def test_markdown__has_a_row_for_each_floor(result: dict[str, Any]) -> None:
    rows = [line for line in markdown(result).splitlines() if line.startswith("| `")]
    assert len(rows) == 2
    assert "| -0.40 (-0.60 to -0.20) |" in rows[0]
    assert "met, not surely" in rows[0]
    assert "outside the range" in rows[1]
    assert "not at 3 %: fixed-ratio at 2.00 %" in rows[1]
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_picture__shows_every_floor_and_opponent(result: dict[str, Any]) -> None:
    figure = picture(result)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [t.name for t in JUDGED]
    _, labels = axes.get_legend_handles_labels()
    assert labels == ["specialist", "marginal", "fixed-ratio"]
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_picture__marks_what_is_not_at_the_rate(result: dict[str, Any]) -> None:
    row = {"name": f"{JUDGED[0].name}/generalist minus fixed-ratio, at its own rate"}
    figure = picture({**result, "figures": [*result["figures"], row]})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [label for label in labels if label.endswith("*")] == [f"{JUDGED[0].name}*"]
    texts = [text.get_text() for text in figure.texts]
    said = f"* where a rule cannot have that, at its own rate: fixed-ratio on {JUDGED[0].name}"
    assert said in texts
    assert any("at 3 % silent*" in text for text in texts)
    assert not any("*" in text.get_text() for text in picture(result).texts)
