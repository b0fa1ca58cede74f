"""The study of information: worlds, trainings, the worth of a step, the page and its picture."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from rich.console import Console

from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import LearnedAction, PolicySpec
from quietdial.agents.rules import Marginal
from quietdial.envs import load_scenario
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.scenario import Scenario
from quietdial.experiments.stats import Interval, PolicyDays
from quietdial.experiments.studies import information, information_page
from quietdial.experiments.studies.paired import AtRate, Days


def short(n_agents: int = 5) -> Scenario:
    """A floor of the study with days of two hours."""
    values = load_scenario(f"study-real-{n_agents}").model_dump(exclude_none=True)
    values["episode"] = {**values["episode"], "duration_s": 7200.0}
    return Scenario.model_validate(values)


def step_called(label: str) -> information.Step:
    """A step by its label."""
    return next(step for step in information.STEPS if step.label == label)


def played(busy: list[float], *, reached: bool = True) -> AtRate:
    """A policy at exactly 3 % silent with this utilisation on each of some days."""
    n = len(busy)
    totals = {"dialed": 400.0, "answered": 100.0, "connected": 97.0, "silent": 3.0}
    days = {name: np.full(n, value) for name, value in totals.items()}
    days |= {"available_s": np.full(n, 100.0), "wrap_s": np.zeros(n)}
    days["talk_s"] = 100.0 * np.array(busy)
    policy_days = PolicyDays("marginal", "theta", 0.02, np.arange(n), days)
    return AtRate(Marginal(0.02), 0.03, reached, 0.03, 0.0, policy_days)


def test_with_leads__gives_the_world_scores_of_the_steps_quality() -> None:
    for step in information.STEPS:
        leads = information.with_leads(short(), step).calls.leads
        assert (leads is not None) == ("scores" in step.knowledge)
        if leads is not None:
            assert (leads.auc, leads.buffer) == (step.auc, step.buffer)


def test_jobs_of__give_learners_what_the_rule_is_given() -> None:
    jobs = information.jobs_of(short(10), information.STEPS, (1, 2))
    assert set(information.BOTH) | set(information.BOTH.values()) <= set(jobs)
    for step in (information.BASE, *information.STEPS):
        assert (step.label in jobs) == (step.learner is not None)
        for seed, job in zip((1, 2), jobs.get(step.label, ()), strict=False):
            config = job.config
            assert (config.knowledge, config.seed) == (step.knowledge, seed)
            assert config.action == ("residual_choice" if step.buffer > 1 else "residual")
            assert config.observation == ("leads" if "scores" in step.knowledge else "full")


def test_figures_of__are_paired_with_the_same_seed_and_the_same_rule() -> None:
    """Days of .80 and .82; the step adds 2 points to the rule, 3 and 1 to the two learners."""
    base = information.Found(played([0.80, 0.82]), (played([0.80, 0.82]), played([0.79, 0.81])))
    acts = tuple(information.Acts(other, 0.5, 0.1, 0.4) for other in (0.25, 0.35))
    more = information.Found(
        played([0.82, 0.84]), (played([0.83, 0.85]), played([0.80, 0.82])), acts
    )
    step = step_called("scores, AUC .85, choice of 20")
    rows = information.figures_of(short(10), step, base, more, (1, 2))
    values = {row["name"].rsplit("/", 1)[1]: row for row in rows}
    assert values["rule: worth"]["value"] == pytest.approx(0.02)
    assert values["learner: worth"]["value"] == pytest.approx(0.02)
    assert "+3.00, +1.00" in values["learner: worth"]["note"]
    assert values["learner: minus the rule"]["value"] == pytest.approx(-0.005)
    assert values["learner: other decisions"]["value"] == pytest.approx(0.3)
    assert values["learner: least likely"]["value"] == pytest.approx(0.1)
    assert "origin +3.49 points: not reproduced" in values["rule: worth"]["note"]


def test_figures_of__say_where_a_policy_does_not_reach_the_rate() -> None:
    base = information.Found(played([0.80, 0.82]))
    more = information.Found(played([0.82, 0.84], reached=False))
    (row,) = information.figures_of(short(10), step_called("who will answer"), base, more, ())
    assert "3 % not reached, compared at 3.00 %" in row["note"]


def test_verdict__weighs_both_intervals() -> None:
    gain = Interval(0.020, 0.018, 0.022, 100)
    said = [information.verdict(gain, at, (0.001, 0.004)) for at in (0.022, 0.024, 0.026)]
    assert said[0] == "reproduced"
    assert said[1].startswith("reproduced if theirs is as wide")
    assert said[2] == "not reproduced"


def test_joint_rows__are_both_less_each_alone() -> None:
    both, alone = "scores .75 and signal 10 s", "scores, AUC .75"
    found = {
        information.BASE.label: information.Found(played([0.80, 0.80])),
        information.SIGNAL: information.Found(played([0.81, 0.81])),
        alone: information.Found(played([0.82, 0.82])),
        both: information.Found(played([0.825, 0.825])),
    }
    (row,) = information.joint_rows(short(10), found)
    assert row["value"] == pytest.approx(-0.005)


def policy_of(action: LearnedAction, prefers: int, scenario: Scenario) -> LearnedPolicy:
    """A policy that always takes the same action."""
    observation = "leads" if action == "residual_choice" else "full"
    n_actions = 24 if action == "residual_choice" else 6
    fields = observation_fields(observation)
    spec = PolicySpec.of(
        scenario,
        observation=observation,
        action=action,
        fields=fields,
        n_actions=n_actions,
        knowledge="scores" if action == "residual_choice" else "believed",
    )
    layer = Layer(np.zeros((len(fields), n_actions)), np.eye(n_actions)[prefers])
    return LearnedPolicy((layer,), spec)


def test_acts_of__counts_what_the_base_rule_would_not_do() -> None:
    def acts(action: LearnedAction, prefers: int, scenario: Scenario) -> information.Acts:
        policy = policy_of(action, prefers, scenario)
        return information.acts_of(policy, scenario, n_days=2, n_steps=300)

    floor = short(10)
    assert acts("residual", 2, floor).other == 0.0
    assert acts("residual", 3, floor).other > 0.9  # one more at every decision
    less = acts("residual", 1, floor).other  # one less, only where the rule dials
    assert 0.0 < less < 0.9
    scored = information.with_leads(floor, step_called("scores, AUC .85, choice of 20"))
    for choice, calls in ((1, (1.0, 0.0, 0.0)), (2, (0.0, 1.0, 0.0)), (3, (0.0, 0.0, 1.0))):
        found = acts("residual_choice", 6 * choice + 2, scored)
        assert found[1:] == calls
        assert (found.other == 0.0) == (choice == 3), "only so it is the rule"


def test_run__finds_that_a_signal_of_20_s_helps_and_writes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(information, "load_scenario", lambda name: short(10))
    monkeypatch.chdir(tmp_path)
    steps = [step for step in information.STEPS if step.knowledge == "signal-20"]
    shown = io.StringIO()
    output = tmp_path / "information.json"
    information.run(
        work=tmp_path,
        processes=1,
        output=output,
        console=Console(file=shown, width=180),
        floors=(10,),
        steps=steps,
        days=Days(tune=24, test=24),
    )
    level, row = json.loads(output.read_text())["figures"]
    assert level["name"].endswith("rule: utilisation")
    assert row["value"] > 0.004
    assert row["lo"] < row["value"] < row["hi"]
    assert "+1.52" in shown.getvalue(), "the origin's figure stands beside"


@pytest.fixture
def result() -> dict[str, Any]:
    """A result with made-up figures of two floors, learners on the first one."""
    rows = []
    labels = ["wrap-up hidden", "scores, AUC .75", "scores .75 and signal 10 s"]
    for floor, learners in (("study-real-10", True), ("study-real-5", False)):

        def row(what: str, value: float, note: str = "", at: str = floor) -> dict[str, Any]:
            name = f"{at}/{what}"
            interval = {"lo": value - 0.002, "hi": value + 0.002, "n": 9}
            return {"name": name, "value": value, "unit": "1", "note": note, **interval}

        rows.append(row(f"{information.BASE.label}/rule: utilisation", 0.84))
        for i, label in enumerate(labels):
            note = "x; origin +1.09 points: reproduced" if "AUC" in label else "x"
            rows.append(row(f"{label}/rule: worth", 0.01 * i - 0.005, note))
            if learners:
                rows.append(row(f"{label}/learner: worth", 0.01 * i - 0.004))
                rows.append(row(f"{label}/learner: minus the rule", 0.001))
                rows.append(row(f"{label}/learner: other decisions", 0.123))
        rows.append(row(f"{labels[2]}/rule: beyond the sum", -0.004))
    commit = {"commit": "0" * 40, "dirty": False}
    return {"command": "c", "commit": commit, "figures": rows}


def test_markdown__has_a_line_for_each_step_and_says_what_was_reproduced(
    result: dict[str, Any],
) -> None:
    text = information_page.markdown(result)
    line = "| scores, AUC .75 | +0.50 (+0.30 to +0.70) | +1.09 | yes |"
    assert text.count(line) == 2
    assert f"{line} +0.60 (+0.40 to +0.80) | +0.10 (-0.10 to +0.30) | 12.3 |" in text
    assert text.count("- scores .75 and signal 10 s: -0.40 (-0.60 to -0.20) points") == 2
    assert "rule 84.0 % (83.8 to 84.2)" in text


def test_picture__has_a_bar_for_every_worth(result: dict[str, Any]) -> None:
    figure = information_page.picture(result)
    first, second = figure.axes
    assert len(first.patches) == 6, "rule and learner"
    assert len(second.patches) == 3, "the rule only"
    bars = [patch for patch in second.patches if isinstance(patch, Rectangle)]
    assert sorted(bar.get_width() for bar in bars) == pytest.approx([-0.5, 0.5, 1.5])
