"""A pacer in shadow of recorded days sees and decides what it would have in charge."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quietdial.agents.exploring import Exploring
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import PolicySpec
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.runtime.bundled import tables_of
from quietdial.agents.shadow.campaigns import campaigns_of, not_in_log
from quietdial.agents.shadow.replay import Shadowed, shadow
from quietdial.envs.dialer_logs import RecordedDays, read_logs
from quietdial.envs.errors import CalibrationError, ConfigError
from quietdial.envs.pacing.spec import N_RESIDUALS, observation_fields
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.calibration.writers import write_asterisk, write_vicidial


def followed(bundle: Any, days: RecordedDays, **options: Any) -> list[Shadowed]:
    campaigns = campaigns_of(days, tables_of(bundle))
    return [one for campaign in campaigns for one in shadow(bundle, campaign, **options)]


def network(scenario: Scenario, deployed: Any = "argmax") -> LearnedPolicy:
    """A policy with drawn weights that looks at everything and answers near the base rule."""
    fields = observation_fields("wide")
    spec = PolicySpec.of(
        scenario, observation="wide", action="residual", fields=fields, n_actions=N_RESIDUALS
    )
    rng = np.random.default_rng(5)
    sizes = [len(fields), 16, N_RESIDUALS]
    layers = [
        Layer(rng.normal(0, a**-0.5, (a, b)).astype(np.float32).astype(np.float64), np.zeros(b))
        for a, b in itertools.pairwise(sizes)
    ]
    layers[-1].bias[2] = 1.5
    return LearnedPolicy(tuple(layers), spec, training={"config": {"seed": 5}}, deployed=deployed)


def observed(policy: LearnedPolicy, scenario: Scenario, seed: int = 0) -> np.ndarray:
    """What the policy sees at every decision of a day in charge."""
    world = World(1, scenario, observation="wide", action="residual", full=True)
    on = np.ones(1, np.bool_)
    world.begin(on, [seed])
    rows, state, over = [], None, False
    while not over:
        rows.append(world.observe()[0])
        actions, state = policy.act(rows[-1][None, :], state)
        over = bool(world.step(actions, on)[0, 4])
    return np.array(rows)


@pytest.mark.parametrize(
    "preset", ["machines-50", "late-feed-50", "blend-40", "italy-50-full", "uk-50"]
)
def test_shadow__sees_the_features_of_the_policy_in_charge(
    preset: str, bundle_of: Any, recorded: Any
) -> None:
    scenario = changed(load_scenario(preset), episode={"duration_s": 900, "n_days": 1})
    policy = network(scenario)
    days = recorded(policy, scenario)
    (found,) = followed(bundle_of(policy, scenario), days, guarded=False)
    seen = observed(policy, scenario)[: len(found)]
    assert found.obs.tobytes() == seen.tobytes()
    differs = found.policy != found.incumbent
    # lines start one after the other and a list may have nobody: the world then places fewer
    assert np.all(found.incumbent[differs] < found.policy[differs])
    assert differs.mean() < 0.2
    assert found.incumbent.sum() > 50


@pytest.mark.parametrize("deployed", ["argmax", "sampled"])
def test_shadow__of_the_policy_that_played_dials_the_same(
    deployed: str, bundle_of: Any, recorded: Any
) -> None:
    scenario = changed(load_scenario("study-real-10"), episode={"duration_s": 1800})
    policy = network(scenario, deployed)
    days = recorded(policy, scenario, n_days=2)
    found = followed(bundle_of(policy, scenario), days, guarded=False)
    assert [one.label for one in found] == ["episode 0", "episode 1"]
    for one in found:
        assert set(one.mode) == {"policy"}
        assert np.array_equal(one.policy, one.incumbent)
        assert one.incumbent.sum() > 100
        assert np.allclose(one.policy_p, one.incumbent_p, atol=1e-12)
        assert (one.policy_p < 1.0).any() == (deployed == "sampled")


def test_shadow__of_another_policy_differs_and_guards_say_why(
    bundle_of: Any, recorded: Any
) -> None:
    scenario = changed(load_scenario("study-real-10"), episode={"duration_s": 1800})
    days = recorded(Exploring(Marginal(0.01), 0.05, seed=3), scenario)
    bundle = bundle_of(Marginal(0.04), scenario)
    (alone,) = followed(bundle, days, guarded=False)
    agree = alone.policy == alone.incumbent
    assert 0.2 < agree.mean() < 0.95
    assert alone.lines_wanted.mean() > alone.lines.mean()
    assert np.array_equal(alone.policy_p, agree.astype(float))
    assert set(np.round(alone.incumbent_p, 3)) <= {0.025, 0.05, 0.95, 0.975, 1.0}
    assert (alone.incumbent_p < 0.5).mean() == pytest.approx(0.05, abs=0.03)
    (guarded,) = followed(bundle, days)
    early = guarded.mode == "progressive"
    assert early.any()
    assert {reason.split()[0] for reason in guarded.reason[early]} <= {"cold", "cap"}
    assert guarded.reason[0].startswith("cold start: 0 of 50")
    assert np.all(guarded.policy <= guarded.asked)
    assert alone.answered.sum() == guarded.answered.sum() > 50
    assert 0.5 < alone.busy_s.sum() / alone.available_s.sum() < 1.0


def test_exploring__refuses_what_cannot_be_told_apart(scenario: Scenario) -> None:
    with pytest.raises(ConfigError, match=r"must lie in|between"):
        Exploring(Marginal(), 0.0)
    with pytest.raises(ConfigError, match="draws its actions already"):
        Exploring(network(scenario, "sampled"))


@pytest.fixture
def dialer_logs(recorded: Any, tmp_path: Any) -> tuple[RecordedDays, Any]:
    """A day of ten agents as our own records, and a folder for other dialers' logs of it."""
    scenario = changed(load_scenario("study-real-10"), episode={"duration_s": 1800})
    return recorded(Marginal(0.02), scenario), tmp_path


def test_shadow__of_a_vicidial_log_is_near_and_says_what_is_missing(
    dialer_logs: tuple[RecordedDays, Any], bundle_of: Any
) -> None:
    days, folder = dialer_logs
    rule, scenario = Marginal(0.02), load_scenario("study-real-10")
    (folder / "vicidial").mkdir()
    write_vicidial(days, folder / "vicidial")
    told = read_logs(folder / "vicidial")
    bundle = bundle_of(rule, scenario)
    (ours,) = followed(bundle, days, guarded=False)
    (theirs,) = followed(bundle, told, guarded=False)
    assert theirs.incumbent.sum() == pytest.approx(ours.incumbent.sum(), rel=0.02)
    # whole seconds and no order within one: near, not the same
    assert (theirs.policy == theirs.incumbent).mean() > 0.6
    assert theirs.lines_wanted.mean() == pytest.approx(ours.lines_wanted.mean(), rel=0.15)
    said = " ".join(not_in_log(told, tables_of(bundle)))
    for part in ("hours of the floor", "1000 ms", "list", "log-outs", "agent set aside"):
        assert part in said, said


def test_shadow__of_an_asterisk_log_needs_the_cdr_and_names_the_missing_wrap_up(
    dialer_logs: tuple[RecordedDays, Any], bundle_of: Any
) -> None:
    days, folder = dialer_logs
    (folder / "asterisk").mkdir()
    write_asterisk(days, folder / "asterisk", wrap_pauses=False)
    told = read_logs(folder / "asterisk")
    bundle = bundle_of(Marginal(0.02), load_scenario("study-real-10"))
    (found,) = followed(bundle, told, guarded=False)
    assert found.incumbent.sum() > 100
    said = " ".join(not_in_log(told, replace(tables_of(bundle), n_agents=12)))
    assert "wrap-up is not in the log" in said
    assert "it was 12 in training" in said
    queue_log = next(p for p in (folder / "asterisk").iterdir() if "queue" in p.name)
    with pytest.raises(CalibrationError, match=r"dialed_ms of calls.*give the CDR"):
        campaigns_of(read_logs(queue_log), tables_of(bundle))
