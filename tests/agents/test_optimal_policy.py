"""The optimum as a policy of the simulator: its draws, its limits and its figures."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quietdial.agents.optimal import solve
from quietdial.agents.optimal_policy import OptimalMarkov
from quietdial.agents.policy import Policy
from quietdial.envs import ConfigError, load_scenario
from quietdial.envs.pacing.targets import OrderUpTo
from quietdial.envs.pacing.world import World

Z = float(stats.norm.ppf(1 - 0.0005))  # two-sided 99.9 % interval


@pytest.fixture(scope="module")
def optimum():
    return OptimalMarkov.of("markov-10")


def shown(*states, agents=10):
    """Observations of states (busy, in flight)."""
    return (np.array(states) / agents).astype(np.float32)


def test_policy__fits_the_protocol(optimum):
    assert isinstance(optimum, Policy)
    assert (optimum.name, optimum.observation, optimum.action) == (
        "optimal-markov",
        "markov",
        "dials",
    )
    assert (optimum.knob_name, optimum.knob) == ("cap", 0.03)


def test_policy__orders_up_to_the_table(optimum):
    """Table at 3 %: 29 25 22 19 16 12 9 6 3|4 1 0; at most six dials a decision."""
    actions, _ = optimum.act(
        shown((10, 0), (9, 0), (9, 1), (9, 7), (7, 0), (7, 4), (0, 0), (0, 25))
    )
    assert actions.tolist() == [0, 1, 0, 0, 6, 2, 6, 4]


def test_policy__randomises_as_often_as_it_should(optimum):
    state, more = None, 0
    for _ in range(500):
        actions, state = optimum.act(shown(*[(8, 3)] * 4, *[(8, 2)] * 4), state)
        assert set(actions[:4]) <= {0, 1}
        np.testing.assert_array_equal(actions[0], actions[:4])  # the same past, the same draw
        more += int(actions[0])
    p = optimum.table.p_high[8]
    assert 0.0 < p < 1.0
    assert abs(more - 500 * p) < Z * np.sqrt(500 * p * (1 - p))


def test_policy__draws_depend_on_the_seed_and_the_own_past_only(optimum):
    rng = np.random.default_rng(0)
    past = rng.integers(7, 10, (60, 3, 1)) * [1, 0] + rng.integers(0, 4, (60, 3, 1)) * [0, 1]

    def play(policy, rows):
        state, actions = None, []
        for step in past:
            action, state = policy.act(shown(*step[rows]), state)
            actions.append(action)
        return np.array(actions)

    alone = play(optimum, [1])
    np.testing.assert_array_equal(alone[:, 0], play(optimum, [0, 1, 2])[:, 1])
    np.testing.assert_array_equal(alone[:, 0], play(optimum, [2, 1])[:, 1])
    other = OptimalMarkov(optimum.world, 0.03, optimum.table, 6, seed=1)
    assert (play(other, [1]) != alone).any()


def test_policy__the_limit_on_dials_costs_next_to_nothing(optimum):
    best = solve(10, 0.25, 180.0, 12.0, 0.03)
    figures = optimum.figures()
    assert 0.0 < best.utilisation - figures.utilisation < 1e-5
    assert figures.silent_rate == pytest.approx(0.03, abs=1e-5)


def test_simulator__the_optimal_policy_has_its_exact_figures(optimum):
    """markov-10 as it is shipped, 1000 campaigns of 90 minutes after 30 minutes of warm-up."""
    exact = optimum.figures()
    campaigns = 1000
    world = World(campaigns, "markov-10", observation="markov", action="dials")
    every = np.ones(campaigns, np.bool_)
    world.begin(every, list(range(campaigns)))
    state, start = None, {}
    for step in range(7200):
        if step == 1800:
            start = world.totals()
        actions, state = optimum.act(world.observe(), state)
        world.step(actions, every)
    got = {name: value - start[name] for name, value in world.totals().items()}
    for values in (
        got["talk_s"] / got["available_s"] - exact.utilisation,
        got["silent"] - exact.silent_rate * got["answered"],
    ):
        error = np.std(values, ddof=1) / np.sqrt(campaigns)
        assert abs(np.mean(values)) < Z * error, f"mean {np.mean(values)}, standard error {error}"


def test_knob__another_cap_is_another_optimum():
    policy = OptimalMarkov.of("markov-5", 0.01)
    bolder = policy.with_knob(0.05)
    assert (policy.knob, bolder.knob) == (0.01, 0.05)
    assert bolder.table.low == solve(5, 0.25, 180.0, 12.0, 0.05).policy.low
    assert bolder.figures().silent_rate > policy.figures().silent_rate
    with pytest.raises(ConfigError, match=r"cap = 0\.7"):
        policy.with_knob(0.7)


def test_policy__refuses_what_is_not_allowed(optimum):
    with pytest.raises(ConfigError, match="not an exactly solvable"):
        OptimalMarkov.of(load_scenario("study-stat-10"))
    bad: list[tuple[dict[str, Any], str]] = [
        ({"table": OrderUpTo.fixed([1, 0])}, "1 agents does not fit 10"),
        ({"table": OrderUpTo.fixed([81, *range(10)])}, "target of 81"),
        ({"max_dials": 0}, "max_dials = 0"),
        ({"seed": -1}, "seed = -1"),
    ]
    for changes, message in bad:
        with pytest.raises(ConfigError, match=message):
            replace(optimum, **changes)
    with pytest.raises(ConfigError, match="shape"):
        optimum.act(np.zeros((4, 3), np.float32))
