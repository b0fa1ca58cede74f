"""Rules without a limit on the rate: everything plays and judges; only training asks for a cap."""

import numpy as np
import pytest
from rich.console import Console

from quietdial.agents.learners.config import LearnerConfig, require_cap
from quietdial.agents.learners.training import train
from quietdial.agents.policy import PolicySpec
from quietdial.agents.rules import FixedRatio, Marginal, Progressive
from quietdial.envs import ConfigError, Scenario, load_scenario
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.regulation.rule import load_rule, profile_names
from quietdial.experiments import evaluate, report
from quietdial.experiments.config import RATE_WITHOUT_CAP, JudgeConfig
from quietdial.experiments.play import play
from quietdial.experiments.plots import FrontierPoint, frontier_figure
from quietdial.experiments.simulate import simulate

WITHOUT = ("au", "de", "fr", "none", "uk_2017")


def short(rule, seconds=1800.0):
    """`study-stat-5` for half an hour under a rule."""
    data = load_scenario("study-stat-5").model_dump(mode="json", exclude_none=True)
    greeting = {"kind": "constant", "value_s": 0.5}
    data["calls"]["greeting"] = {"start": greeting, "length": greeting}
    data["calls"]["ring_timeout_s"] = 28
    data["episode"]["duration_s"] = seconds
    return Scenario.model_validate(data | {"rule": rule})


@pytest.fixture(scope="module")
def verdict():
    policies = [Marginal(0.03), FixedRatio(2.0), Progressive()]
    rate = JudgeConfig().target(1.0)
    return evaluate.judge(policies, short("fr"), target_rate=rate, n_tune_days=6, n_test_days=6)


def test_profiles__without_a_limit_are_these():
    assert tuple(name for name in profile_names() if load_rule(name).cap == 1.0) == WITHOUT


@pytest.mark.parametrize("rule", WITHOUT)
def test_training__says_to_set_a_cap(rule):
    expected = rf"rule '{rule}' has no limit .*set rule\.cap .*profile: {rule}, cap: 0\.03"
    with pytest.raises(ConfigError, match=expected):
        train(LearnerConfig(total_steps=1), short(rule))


def test_training__of_a_rule_of_ones_own_names_a_profile_that_exists():
    with pytest.raises(ConfigError, match=r"profile: it_2014, cap: 0\.03"):
        require_cap(load_scenario("contactcenters-blend"))


@pytest.mark.parametrize("rule", WITHOUT)
def test_profile_with_a_cap__can_be_trained_under(rule):
    scenario = short({"profile": rule, "cap": 0.03})
    require_cap(scenario)
    assert [window.cap for window in scenario.rule.all_windows] == [0.03]
    assert scenario.rule.attempts == load_rule(rule).attempts
    spec = PolicySpec.of(
        scenario,
        observation="full",
        action="dials",
        fields=observation_fields("full"),
        n_actions=scenario.max_dials + 1,
    )
    assert spec.cap == 0.03


def test_profile_with_a_cap__is_trained_under():
    config = LearnerConfig(
        total_steps=256, n_envs=8, n_steps=32, batch_size=64, net=(8,), horizon_s=300.0
    )
    trained = train(config, short({"profile": "de", "cap": 0.03}))
    assert trained.completed
    assert trained.policy.spec.cap == 0.03


def test_target__without_a_cap():
    assert JudgeConfig().target(1.0) == RATE_WITHOUT_CAP == 0.03
    assert JudgeConfig().target(0.03) == pytest.approx(0.027)
    assert JudgeConfig(target_rate=0.05).target(1.0) == 0.05


def test_judge__tunes_to_the_rate_and_says_that_there_is_no_cap(verdict):
    assert verdict.cap == 1.0
    assert verdict.target_rate == RATE_WITHOUT_CAP
    first = report.sentences(verdict)[0]
    assert "is under a rule without a cap" in first
    assert "100 %" not in first
    assert "(no cap)" in str(report.table(verdict).title)


def test_frontier__without_a_cap_has_no_line_and_is_framed_by_its_points(verdict):
    points = [FrontierPoint.of(row) for row in verdict.summaries]
    figure = frontier_figure(points, cap=verdict.cap)
    axes = figure.axes[0]
    assert not any(text.get_gid() == "cap-label" for text in axes.texts)
    highest = max(100 * row.silent_rate.hi for row in verdict.summaries)
    assert highest < axes.get_xlim()[1] < 1.2 * highest + 0.2


@pytest.mark.parametrize("rule", WITHOUT)
def test_simulate_and_play__work_without_a_cap(rule):
    scenario = short(rule, 600.0)
    result = simulate(FixedRatio(2.0), scenario, n_campaigns=2)
    table = result.table()
    assert table.row_count > 5
    assert all(tally.n_above == 0 for tally in result.windows)
    totals = play(FixedRatio(2.0), scenario, Console(quiet=True), speed=0)
    assert totals["dialed"] > 0


def test_play_days__plays_every_session_of_a_calendar():
    data = short("fr").model_dump(mode="json", exclude_none=True)
    data["episode"] |= {"first_day": "2026-06-01", "n_days": 2, "start": "12:00"}
    data["episode"] |= {"duration_s": 10_800, "close_s": 70.0, "time_zone": "Europe/Paris"}
    data["episode"]["decision_interval_s"] = 5.0
    scenario = Scenario.model_validate(data)
    days = evaluate.play_days(Progressive(), scenario, evaluate.test_seeds(2)).days
    # two days of 12-13 and 14-15, without the lunch gap; who still talks at a close goes on
    hours = days["available_s"] / 3600 / scenario.floor.n_agents
    assert np.all((hours >= 4.0) & (hours < 4.5))
    totals = play(Progressive(), scenario, Console(quiet=True), speed=0)
    assert totals["available_s"] / 3600 / scenario.floor.n_agents >= 4.0
