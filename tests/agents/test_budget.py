"""Budget feedback around any policy: the compiled rule's own loop, rows alone, shields around."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from quietdial.agents.budget import BudgetFeedback, counts_of, decide, steady_steps
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import Counts, Policy, PolicySpec
from quietdial.agents.rules import FixedRatio, Marginal, MarginalBudget, Progressive
from quietdial.agents.shields import Shielded
from quietdial.envs import ConfigError, load_scenario
from quietdial.envs.pacing.controllers.sight import MEMO
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import make_world, play_days, silent_rate

TARGET = float(np.float32(0.025))  # a compiled rule is told its knob as a float32


def short(name="study-real-5", duration_s=7200.0):
    values = load_scenario(name).model_dump(exclude_none=True)
    values["episode"] = {**values["episode"], "duration_s": duration_s}
    return Scenario.model_validate(values)


def learned(
    action: Any = "residual", n_actions: int = 6, conditioned: Any = None, deployed: Any = "argmax"
) -> LearnedPolicy:
    """A random actor of two layers on the full observation of a floor of 5 agents."""
    scenario = short()
    theta_range = (0.002, 0.2) if action == "theta" else None
    spec = PolicySpec.of(
        scenario,
        observation="full",
        action=action,
        fields=observation_fields("full"),
        n_actions=n_actions,
        theta_range=theta_range,
        conditioned=conditioned,
    )
    rng = np.random.default_rng(5)
    sizes = (spec.n_inputs, 8, n_actions)
    layers = tuple(
        Layer(rng.normal(0, 0.2, (a, b)), rng.normal(0, 0.1, b)) for a, b in pairwise(sizes)
    )
    if n_actions == 6:
        layers[-1].bias[2] += 2.0  # it mostly adds nothing
    price = None if conditioned is None else 150.0
    return LearnedPolicy(layers, spec, multiplier=price, deployed=deployed, name=f"{action}-actor")


@pytest.mark.parametrize("margin", [0.0, 2.0])
@pytest.mark.parametrize("name", ["study-real-5", "machines-50"])
def test_told__moves_the_knob_as_the_compiled_rule_moves_its_threshold(name, margin):
    """Bit for bit: one world counts its calls as a plain one, one in the rule's window, by AMD.

    The rule's tick is the last event of a step, and its answer rate that of the step before.
    """
    compiled = MarginalBudget(0.03, 20.0, TARGET, margin)
    around = BudgetFeedback(Marginal(), 20.0, TARGET, margin)
    world = make_world(compiled, short(name), 3)
    every, knob = np.ones(3, np.bool_), np.full((3, 1), TARGET, np.float32)
    world.begin(every, [1, 2, 3])
    state: object | None = None
    seen = set()
    for _ in range(1800):
        p_answer = counts_of(world).p_answer
        world.step(knob, every)
        state = around.told(counts_of(world)._replace(p_answer=p_answer), state)
        np.testing.assert_array_equal(world.state.memo[:, MEMO + 1], 0.03 * state.factor)
        seen |= set(state.factor)
    assert len(seen) > 20


def test_loop__around_the_marginal_rule_plays_as_the_compiled_rule_does():
    """Not call by call, since the compiled rule begins a second later, but on average."""
    scenario, seeds = short(), np.arange(40)
    bare, compiled, around = (
        play_days(policy, scenario, seeds)
        for policy in (
            Marginal(0.03),
            MarginalBudget(0.03, 30.0, TARGET),
            BudgetFeedback(Marginal(0.03), 30.0, TARGET),
        )
    )
    gap = around.utilisation - compiled.utilisation
    assert abs(gap.mean()) < 3.0 * gap.std() / np.sqrt(len(seeds))
    rates = [silent_rate(days) for days in (bare, compiled, around)]
    assert abs(rates[2] - rates[1]) < 0.15 * abs(rates[0] - rates[1])


def test_margin__leaves_its_calls_at_the_end_with_less_chance_than_a_constant_target():
    """48 days; the spread of what is left is about .7 calls with a plan and 2.5 without."""
    scenario, seeds = load_scenario("study-real-10"), np.arange(48)
    left = []
    for policy in (MarginalBudget(0.02, 10.0, 0.0265), MarginalBudget(0.02, 10.0, 0.03, 3.0)):
        days = play_days(policy, scenario, seeds, batch=48).days
        left.append(0.03 * days["answered"] - days["silent"])
    assert 1.5 < left[1].mean() < 3.5
    assert left[1].std() < 0.6 * left[0].std()


@pytest.mark.parametrize(
    "policy",
    [Marginal(0.05), FixedRatio(3.0), learned(), learned(deployed="sampled")],
    ids=lambda policy: policy.name,
)
def test_loop__plays_a_campaign_alone_as_among_others(policy):
    fed = BudgetFeedback(policy, kappa=30.0)
    scenario = short(duration_s=1200.0)
    together = play_days(fed, scenario, np.arange(3))
    alone = play_days(fed, scenario, np.arange(3), batch=1)
    for total, values in together.days.items():
        np.testing.assert_array_equal(alone.days[total], values, err_msg=total)


@pytest.mark.parametrize("policy", [FixedRatio(4.0), learned()], ids=lambda policy: policy.name)
def test_loop__spends_more_calls_for_a_higher_target(policy):
    seeds, scenario = np.arange(8), short(duration_s=3600.0)
    low, high = (
        silent_rate(play_days(BudgetFeedback(policy, 30.0, target), scenario, seeds))
        for target in (0.005, 0.06)
    )
    assert low < 0.8 * high


def test_told__moves_every_15_s_each_campaign_by_its_own_counts():
    fed = BudgetFeedback(Marginal(), kappa=10.0, target=0.03)
    hour = (np.zeros(3), np.full(3, 3600.0), np.full(3, 0.25))
    counts = Counts(np.zeros(3), np.array([3.0, 8.0, 40.0]), np.array([100.0, 100.0, 100.0]), *hour)
    state = fed.told(counts, None)
    # .03 x 100 = 3 allowed: 0, 5 and 37 too many; -37 / 5 is cut to -4
    expected = [1.0, math.exp(-1.0), math.exp(-4.0)]
    np.testing.assert_allclose(state.factor, expected, rtol=1e-5)
    later = Counts(np.array([14.0, 15.0, 14.0]), np.zeros(3), np.full(3, 1000.0), *hour)
    state = fed.told(later, state)
    np.testing.assert_allclose(state.factor, [1.0, math.exp(2.5), math.exp(-4.0)], rtol=1e-5)
    begun_anew = Counts(np.array([14.5, 16.0, 0.0]), np.zeros(3), np.zeros(3), *hour)
    state = fed.told(begun_anew, state)
    np.testing.assert_allclose(state.factor, [1.0, math.exp(2.5), 1.0], rtol=1e-5)
    assert fed.steady_s(state) == 0.5
    assert steady_steps(fed, state, 1.0, 100) == 1
    actions, _ = fed.act(np.zeros((3, 0), np.float32), state)
    np.testing.assert_allclose(actions[:, 0], 0.02 * state.factor)


def test_loop__around_residual_actions_moves_the_rule_below_them():
    """An actor that always adds nothing is the rule itself, behind the loop too, call by call."""
    actor = learned()
    *first, last = actor.layers
    silenced = Layer(np.zeros_like(last.weight), np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]))
    nothing_added = replace(actor, layers=(*first, silenced))
    scenario, seeds = short(duration_s=3600.0), np.arange(3)
    learnt = play_days(BudgetFeedback(nothing_added, 30.0, 0.02), scenario, seeds)
    rule = play_days(BudgetFeedback(Marginal(), 30.0, 0.02), scenario, seeds)
    for total, values in rule.days.items():
        np.testing.assert_array_equal(learnt.days[total], values, err_msg=total)


def test_loop__shows_the_actor_the_base_that_it_adds_to(monkeypatch):
    shown, act = [], LearnedPolicy.act

    def watched(self, obs, state=None, **given):
        shown.append(obs.copy())
        return act(self, obs, state, **given)

    monkeypatch.setattr(LearnedPolicy, "act", watched)
    policy = BudgetFeedback(learned())
    world = make_world(policy, short(), 2)
    every = np.ones(2, np.bool_)
    world.begin(every, [1, 1])
    state: Any = policy.told(counts_of(world), None)
    state = state._replace(factor=np.array([0.01, 8.0]), moved_s=np.full(2, 1e9))  # they stay
    for _ in range(300):
        actions, state = decide(policy, world, state)
        np.testing.assert_array_equal(shown[-1][:, -1], np.minimum(world.base_dials(), 8) / 4.0)
        world.step(actions, every)
    bases = np.array(shown)[:, :, -1]
    assert bases[:, 1].sum() > 1.5 * bases[:, 0].sum()


def test_factor__of_1_changes_nothing_and_others_lean_as_stated():
    obs = np.random.default_rng(1).normal(size=(64, len(observation_fields("full"))))
    for policy in (
        learned(),
        learned("threshold", 13),
        learned("theta", 1),
        learned(conditioned=(50.0, 500.0)),
    ):
        plain, _ = policy.act(obs)
        ones, _ = policy.act(obs, factor=np.ones(64))
        np.testing.assert_array_equal(ones, plain)
    residual = learned()
    logits = residual.logits(obs) + math.log(2.0) * np.arange(6)
    np.testing.assert_array_equal(
        residual.act(obs, factor=np.full(64, 2.0))[0], logits.argmax(axis=1)
    )
    priced = learned(conditioned=(50.0, 500.0))
    cheaper, _ = priced.act(obs, factor=np.full(64, 1.5))
    np.testing.assert_array_equal(cheaper, priced.with_knob(100.0).act(obs)[0])
    lowest, _ = priced.act(obs, factor=np.full(64, 9.0))
    np.testing.assert_array_equal(lowest, priced.with_knob(50.0).act(obs)[0])
    zero = np.zeros(1)
    opening = Counts(zero, zero, zero, zero, np.full(1, 28800.0), np.full(1, 0.25))
    fed = BudgetFeedback(priced).told(opening, None)
    assert BudgetFeedback(priced).base_thetas(fed) is None  # its base rule keeps its threshold
    moved = replace(priced, spec=priced.spec.model_copy(update={"priced_theta": 0.03}))
    loop = BudgetFeedback(moved.with_knob(300.0))
    thetas = loop.base_thetas(fed)
    assert thetas is not None
    np.testing.assert_allclose(thetas, 0.015 * fed.factor)
    for name, n in (("threshold", 13), ("theta", 1)):
        scaled, _ = learned(name, n).act(obs, factor=np.full(64, 0.5))
        np.testing.assert_allclose(scaled, 0.5 * learned(name, n).act(obs)[0])


def test_shielded__around_the_loop_keeps_the_cap_and_counts_what_it_refuses():
    policy = Shielded(BudgetFeedback(Marginal(0.2), kappa=5.0, target=0.029), Shield())
    assert isinstance(policy, Policy)
    assert policy.name == "marginal+budget+deterministic"
    assert policy.knob_name == "target"
    assert policy.with_knob(0.02).knob == 0.02
    days = play_days(policy, short(), np.arange(6))
    assert (days.silent_rate <= 0.03).all()
    assert (days.days["shield_calls"] > 0).all()
    learnt = Shielded(BudgetFeedback(learned()), Shield())
    assert (play_days(learnt, short(duration_s=1800.0), np.arange(6)).silent_rate <= 0.03).all()


def test_loop__refuses_what_it_cannot_move():
    with pytest.raises(ConfigError, match="the shield comes last"):
        BudgetFeedback(Shielded(Marginal()))
    for policy in (Progressive(), BudgetFeedback(Marginal())):
        with pytest.raises(ConfigError, match="no knob to move"):
            BudgetFeedback(policy)
    with pytest.raises(ConfigError, match="kappa = -1"):
        BudgetFeedback(Marginal(), kappa=-1.0)
    with pytest.raises(ConfigError, match="margin = 2000"):
        BudgetFeedback(Marginal(), margin=2000.0)
    with pytest.raises(ConfigError, match="target"):
        BudgetFeedback(Marginal()).with_knob(0.5)
    with pytest.raises(ConfigError, match="play with decide"):
        BudgetFeedback(Marginal()).act(np.zeros((2, 0), np.float32))


def test_decide__tells_the_counts_of_a_world_once_per_decision():
    policy = BudgetFeedback(FixedRatio(4.0))
    world = make_world(policy, short(), 2)
    every = np.ones(2, np.bool_)
    world.begin(every, [1, 2])
    state: object | None = None
    for _ in range(600):
        actions, state = decide(policy, world, state)
        world.step(actions, every)
    counts = counts_of(world)
    totals = world.totals()
    np.testing.assert_array_equal(counts.silent, totals["silent"])
    np.testing.assert_array_equal(counts.answered, totals["silent"] + totals["connected"])
    np.testing.assert_array_equal(counts.now_s, [600.0, 600.0])
    np.testing.assert_array_equal(counts.spent_s, [600.0, 600.0])
    np.testing.assert_array_equal(counts.span_s, [7200.0, 7200.0])


def test_counts_of__has_the_answer_rate_that_is_observed():
    policy = learned()
    world = make_world(policy, short(), 3)
    every = np.ones(3, np.bool_)
    world.begin(every, [1, 2, 3])
    at = [field.name for field in observation_fields("full")].index("answer_rate")
    seen = []
    for _ in range(600):
        obs, p_answer = world.observe(), counts_of(world).p_answer
        np.testing.assert_allclose(obs[:, at], 2.0 * np.sqrt(p_answer) - 1.0, rtol=1e-5, atol=1e-6)
        world.step(policy.act(obs)[0], every)
        seen.append(p_answer)
    np.testing.assert_allclose(seen[0], 0.25)  # the prior
    assert np.unique(seen).size > 100
