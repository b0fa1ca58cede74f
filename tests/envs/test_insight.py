"""What richer knowledge makes of the look-ahead: scores, signals, speeds, hidden phases."""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from quietdial.envs import ConfigError, PacingVectorEnv, load_scenario
from quietdial.envs.pacing import insight
from quietdial.envs.pacing.params import N_AGENTS
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    GRID,
    LEAD_ODDS,
    RATE_ANSWERED,
    RATE_FINISHED,
    SIGHT,
    TALK,
    WRAP,
)
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario


def world_with(preset="study-stat-5", *, leads=None, floor=None, **calls):
    values = load_scenario(preset).model_dump(exclude_none=True)
    values["calls"] = {**values["calls"], **calls}
    if leads is not None:
        values["calls"]["leads"] = leads
    values["floor"] = {**values["floor"], **(floor or {})}
    return Scenario.model_validate(values)


def played(scenario, theta=0.02, *, rows=16, steps=3600, **options):
    world = World(rows, scenario, action="theta", observation="none", **options)
    everywhere = np.ones(rows, np.bool_)
    world.begin(everywhere, list(range(rows)))
    world.hold(np.full((rows, 1), theta, np.float32), everywhere, steps)
    return world


def test_scores__have_the_stated_auc_and_keep_the_mean_answer_rate():
    """False-alarm rate 1e-3 in each of the two checks (normal bounds at 3.3 standard errors)."""
    scenario = world_with(leads={"auc": 0.75, "buffer": 1})
    world = played(scenario, theta=0.2, rows=64, steps=14_400)
    totals = world.totals()
    answered, dialed = totals["answered"].sum(), totals["dialed"].sum()
    assert abs(answered / dialed - 0.25) < 3.3 * np.sqrt(0.25 * 0.75 / dialed) + 40 * 64 / dialed
    rng = np.random.default_rng(1)
    assert scenario.calls.leads is not None
    shift, n = scenario.calls.leads.shift, 400_000
    score = rng.normal(size=n) + shift * (rng.random(n) < 0.25)
    odds = np.exp(shift * score - 0.5 * shift**2) / 3.0
    answers = rng.random(n) < odds / (1.0 + odds)
    ranks = np.argsort(np.argsort(score)) + 1.0
    n1 = answers.sum()
    auc = (ranks[answers].sum() - n1 * (n1 + 1) / 2) / (n1 * (n - n1))
    assert auc == pytest.approx(0.75, abs=3.3 * np.sqrt(0.75 * 0.25 / n1))


def source_of(function: Any) -> Any:
    """The Python function behind a compiled one."""
    return function.py_func


def exact_risk(answers, releases, spare):
    """P(answers - releases >= spare) by going through all outcomes."""
    risk = 0.0
    for outcome in itertools.product([0, 1], repeat=len(answers) + len(releases)):
        a, r = outcome[: len(answers)], outcome[len(answers) :]
        q = [*answers, *releases]
        p = np.prod([x if bit else 1 - x for x, bit in zip(q, outcome, strict=True)])
        risk += p * (sum(a) - sum(r) >= spare)
    return risk


@pytest.mark.parametrize("spare", [-1, 0, 1, 2, 4])
def test_overflow_risk__is_the_poisson_binomial_law(spare):
    """The source of the compiled sums, run as Python, against all outcomes of few events."""
    answers, releases = np.array([0.3, 0.9, 0.05, 0.5]), np.array([0.2, 0.7, 0.4])
    size = 5 + 2
    state = SimpleNamespace(pmf=np.zeros((1, 2 * GRID, size)))
    params = SimpleNamespace(n={N_AGENTS: 5})
    for row, events in ((0, answers), (GRID, releases)):
        state.pmf[0, row, 0] = 1.0
        for q in events:
            source_of(insight._add)(state.pmf[0, row], size, q)
    np.testing.assert_allclose(state.pmf[0, [0, GRID]].sum(axis=1), 1.0)
    found = source_of(insight.overflow_risk)(0, state, params, 0, spare)
    assert found == pytest.approx(exact_risk(answers, releases, spare), abs=1e-12)


def test_scores__make_the_rule_surer_of_what_is_in_flight():
    """The better the score, the busier at one silent rate: a lower rate and no less utilisation."""
    found = []
    for auc in (0.5, 0.9):
        scenario = world_with("study-stat-10", leads={"auc": auc})
        totals = played(scenario, 0.02, rows=24, steps=7200, knowledge="scores").totals()
        busy = (totals["talk_s"] + totals["wrap_s"]).sum() / totals["available_s"].sum()
        found.append((totals["silent"].sum() / totals["answered"].sum(), busy))
    assert found[1][0] < found[0][0]
    assert found[1][1] > found[0][1] + 0.01


def test_scores__of_no_worth_are_the_plain_world():
    """AUC 0.5: all odds are 1, so the dials are those of the rule with the exact law."""
    scenario = world_with("study-stat-5", leads={"auc": 0.5, "buffer": 3})
    world = played(scenario, rows=2, steps=600, knowledge="scores")
    np.testing.assert_allclose(world.state.lead[:, :, LEAD_ODDS], 1.0, atol=1e-5)


def test_answer_rate__is_estimated_without_bias_when_likely_leads_are_dialed_first():
    """Weights of finished dials undo the choice; answered / dialed alone would be off.

    The estimates of 64 campaigns; 3.3 standard errors, plus 2 % for the estimate's own lag.
    """
    scenario = world_with("study-stat-10", leads={"auc": 0.85, "buffer": 20})
    scenario = scenario.model_copy(
        update={"belief": scenario.belief.model_copy(update={"answer_rate": None})}
    )
    world = World(64, scenario, action="residual_choice", observation="none", knowledge="scores")
    everywhere = np.ones(64, np.bool_)
    world.begin(everywhere, list(range(64)))
    for step in range(1500):
        world.observe()
        world.step(np.full(64, 2 + 6 * (1 + step % 2)), everywhere)  # likeliest, least likely
    est = world.state.est
    rates = est[:, RATE_ANSWERED] / est[:, RATE_FINISHED]
    assert abs(rates.mean() - 0.25) < 3.3 * rates.std() / 8 + 0.005


def test_choice__decides_who_is_dialed():
    scenario = world_with("study-stat-5", leads={"auc": 0.9, "buffer": 10})
    share = []
    for choice in range(3):
        world = World(16, scenario, action="residual_choice", observation="leads")
        everywhere = np.ones(16, np.bool_)
        world.begin(everywhere, list(range(16)))
        for _ in range(60):
            world.observe()
            world.step(np.full(16, 5 + 6 * choice), everywhere)
        totals = world.totals()
        share.append(totals["answered"].sum() / totals["dialed"].sum())
    assert share[1] > share[0] > share[2]


def test_choice__as_the_rule_chooses_is_the_rule_call_by_call():
    """The same world with `theta` and with residual 0 and choice 3, and not with the likeliest."""
    scenario = world_with("study-real-5", leads={"auc": 0.85, "buffer": 20})
    everywhere = np.ones(8, np.bool_)
    totals = []
    for action, order in (("theta", 0.02), ("residual_choice", 2 + 6 * 3), ("residual_choice", 8)):
        world = World(8, scenario, action=action, observation="none", knowledge="scores")
        world.begin(everywhere, list(range(8)))
        for _ in range(1200):
            world.observe()
            world.step(np.full((8, 1) if action == "theta" else 8, order), everywhere)
        totals.append(world.totals())
    for name in ("dialed", "answered", "silent", "talk_s"):
        np.testing.assert_array_equal(totals[0][name], totals[1][name])
    assert (totals[0]["dialed"] != totals[2]["dialed"]).any()


def test_leads_observation__shows_the_buffer_in_order():
    scenario = world_with("study-stat-5", leads={"auc": 0.85, "buffer": 6})
    env = PacingVectorEnv(
        8, scenario, observation="leads", action="residual_choice", knowledge="scores"
    )
    obs, _ = env.reset(seed=1)
    names = [field.name for field in env.observation_spec]
    best, following, least = (
        obs[:, names.index(name)] for name in ("likeliest", "next_lead", "least_likely")
    )
    assert (best >= following).all()
    assert (following >= least).all()
    assert (best > least).all()
    assert env.single_observation_space.contains(obs[0])


def test_wrap_hidden__keeps_the_age_of_the_whole_state():
    world = played(world_with("study-stat-5"), rows=4, steps=900, knowledge="wrap-hidden")
    plain = played(world_with("study-stat-5"), rows=4, steps=900)
    state = world.state.agent
    wrapping = state[:, :, AGENT_STATE] == WRAP
    ages_s = (900_000 - state[:, :, AGENT_SINCE][wrapping]) / 1000.0
    seen = plain.state.agent[:, :, AGENT_STATE] == WRAP
    plain_s = (900_000 - plain.state.agent[:, :, AGENT_SINCE][seen]) / 1000.0
    assert ages_s.min() > plain_s.max() / 4
    assert np.median(ages_s) > 60 > np.median(plain_s)
    np.testing.assert_array_equal(world.params.release[TALK - 1], world.params.release[WRAP - 1])


def test_ages_hidden__gives_every_age_the_same_row():
    params = World(1, "study-stat-5", knowledge="ages-hidden").params
    for table in (params.release[TALK - 1], params.release[WRAP - 1], params.ring):
        assert np.ptp(table, axis=0).max() < 1e-12


def test_signal__tells_who_will_be_free_and_lowers_the_risk_of_the_others():
    base = World(1, "study-stat-5").params.release[TALK - 1]
    told = World(1, "study-stat-5", knowledge="signal-20").params.release[TALK - 1]
    assert (told <= base + 1e-12).all()
    world = played(world_with("study-stat-5"), rows=32, steps=900, knowledge="signal-20")
    plain = played(world_with("study-stat-5"), rows=32, steps=900)
    for it in (world, plain):
        it.observe()
    variance = slice(SIGHT + 2 * GRID, SIGHT + 3 * GRID)
    assert world.state.est[:, variance].mean() < plain.state.est[:, variance].mean()


def test_speeds__are_told_apart():
    """The table of an average agent is the nominal one; fast ones are free sooner."""
    scenario = world_with("study-stat-5", floor={"speed_sd": 0.4})
    params = World(1, scenario, knowledge="speeds").params
    talk = params.release[TALK - 1 :: 8][:9]
    assert talk.shape[0] == 9
    young = talk[:, 10, 0]
    assert (np.diff(young[:6]) < 0).all(), "classes go from fast to slow"
    world = played(scenario, rows=8, steps=600, knowledge="speeds")
    assert world.totals()["answered"].sum() > 0


def test_knowledge__is_joined_and_checked():
    scenario = world_with(leads={"auc": 0.75})
    played(scenario, rows=1, steps=60, knowledge="scores+signal-10")
    with pytest.raises(ConfigError, match="both say what the tables"):
        World(1, scenario, knowledge="learnt+signal-10")
    with pytest.raises(ConfigError, match="give one signal"):
        World(1, scenario, knowledge="signal-5+signal-10")
    with pytest.raises(ConfigError, match="must be one of"):
        World(1, scenario, knowledge="telepathy")
    with pytest.raises(ConfigError, match="has no scores of leads"):
        World(1, "study-stat-5", knowledge="scores")
    with pytest.raises(ConfigError, match="has no scores of leads"):
        World(1, "study-stat-5", action="residual_choice")


def test_vicidial_level__sets_the_level_every_15_s():
    env = PacingVectorEnv(4, "study-real-10", action="vicidial_level")
    assert env.scenario.episode.decision_interval_s == 15.0
    dialed = []
    for level in (0, 12):
        env.reset(seed=1)
        for _ in range(120):
            env.step(np.full(4, level))
        dialed.append(env.totals()["dialed"].sum())
    assert dialed[1] > 1.5 * dialed[0]
    with pytest.raises(ConfigError, match="brings its own controller"):
        World(1, "study-real-10", action="vicidial_level", controller="genesys")
