"""The exact optimum against the published tables, against itself, and its policy as a whole."""

import numpy as np
import pytest

from quietdial.agents.optimal import Optimum, frontier, policy_iteration, solve
from quietdial.envs import ConfigError
from quietdial.envs.pacing.markov import Chain, MarkovWorld, evaluate
from quietdial.envs.pacing.targets import progressive

WORLD = (0.25, 180.0, 12.0)  # the study's p, handle_s, ring_s
CAPS = (0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
A1 = {  # science A1: utilisation at the caps, multiplier at 3 % [agent-seconds per silent call]
    2: ((0.7825, 0.7841, 0.7902, 0.7981, 0.8045, 0.8101, 0.8186, 0.8422), 88),
    5: ((0.7825, 0.7903, 0.8015, 0.8110, 0.8290, 0.8367, 0.8509, 0.8755), 149),
    10: ((0.7825, 0.8032, 0.8254, 0.8385, 0.8571, 0.8664, 0.8813, 0.9058), 177),
    20: ((0.7825, 0.8381, 0.8641, 0.8778, 0.8923, 0.9019, 0.9144, 0.9325), 148),
    50: ((0.7825, 0.8959, 0.9154, 0.9248, 0.9349, 0.9411, 0.9493, 0.9608), 94),
}
TARGETS = {  # science A1: in-flight targets at 3 %, for b = N - len + 1 .. N
    2: [4, 1, 0],
    5: [12, 9, 6, 3, 1, 0],
    10: [29, 25, 22, 19, 16, 12, 9, 6, 3, 1, 0],
    20: [43, 40, 36, 32, 29, 25, 22, 18, 15, 11, 7, 4, 1, 0],
    50: [52, 48, 44, 39, 35, 30, 26, 21, 16, 11, 7, 2, 0],
}


def assert_optimal(optimum: Optimum) -> None:
    """What must hold of every solution with a binding cap."""
    assert optimum.silent_rate == pytest.approx(optimum.cap, abs=1e-9)
    assert abs(optimum.gap) < 1e-8
    figures = evaluate(optimum.policy, *optimum.world)
    assert figures.utilisation == pytest.approx(optimum.utilisation, abs=1e-9)
    assert figures.silent_rate == pytest.approx(optimum.silent_rate, abs=1e-9)
    policy = optimum.policy
    extra = np.subtract(policy.high, policy.low)
    assert extra.sum() <= 1, "more than one state is randomised"
    assert sum(0 < p < 1 for p in policy.p_high) <= 1
    assert list(policy.low) == sorted(policy.low, reverse=True)
    hourly = 3600 * optimum.utilisation / optimum.world.handle_s
    assert optimum.conversations_per_agent_h == pytest.approx(hourly, rel=1e-9)


def assert_published_frontier(agents: int) -> None:
    published, multiplier = A1[agents]
    found = frontier(agents, *WORLD, CAPS)
    assert [o.utilisation for o in found] == pytest.approx(published, abs=1e-4)
    for optimum in found[1:]:
        assert_optimal(optimum)
    at_3 = found[CAPS.index(0.03)]
    assert at_3.multiplier_agent_s == pytest.approx(multiplier, abs=0.5)
    tail = TARGETS[agents]
    # the study's table is one of the two that are mixed
    assert tail in (list(at_3.policy.low[-len(tail) :]), list(at_3.policy.high[-len(tail) :]))


@pytest.mark.parametrize("agents", [2, 5, 10, 20])
def test_frontier__is_the_published_table(agents):
    assert_published_frontier(agents)


@pytest.mark.slow
def test_frontier__is_the_published_table_for_50_agents():
    assert_published_frontier(50)


@pytest.mark.slow
def test_solve__50_agents_by_both_methods():
    one = solve(50, *WORLD, 0.03)
    two = solve(50, *WORLD, 0.03, method="policy-iteration")
    assert_optimal(one)
    assert one.utilisation == pytest.approx(two.utilisation, abs=1e-6)
    assert one.objective == pytest.approx(two.objective, abs=1e-6)


@pytest.mark.parametrize(
    ("agents", "p", "published", "multiplier"),
    [
        (5, 0.1, 0.7771, 366),
        (10, 0.1, 0.8409, 265),
        (20, 0.1, 0.8912, 182),
        (5, 0.5, 0.8911, 76),
        (10, 0.5, 0.9002, 98),
        (20, 0.5, 0.9183, 126),
    ],
)
def test_frontier__has_the_published_figures_at_other_answer_rates(
    agents, p, published, multiplier
):
    (optimum,) = frontier(agents, p, 180.0, 12.0, [0.03])
    assert_optimal(optimum)
    assert optimum.utilisation == pytest.approx(published, abs=1e-4)
    assert optimum.multiplier_agent_s == pytest.approx(multiplier, abs=0.6)


@pytest.mark.parametrize(
    ("interval_s", "published"),
    [
        (0.25, 0.8686),
        (0.5, 0.8679),
        (2.0, 0.8636),
        (3.0, 0.8609),
        (5.0, 0.8557),
        (10.0, 0.8422),
        (15.0, 0.8283),
    ],
)
def test_frontier__has_the_published_figures_at_other_intervals(interval_s, published):
    (optimum,) = frontier(10, *WORLD, [0.03], decision_interval_s=interval_s)
    assert_optimal(optimum)
    assert optimum.utilisation == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize(
    ("interval_s", "published"),
    [
        (0.25, 0.7877),
        (0.5, 0.7860),
        (1.0, 0.7825),
        (2.0, 0.7756),
        (3.0, 0.7686),
        (5.0, 0.7547),
        (10.0, 0.7198),
        (15.0, 0.6855),
    ],
)
def test_progressive__has_the_published_figures_at_all_intervals(interval_s, published):
    """Science A3."""
    figures = evaluate(progressive(10), 10, *WORLD, interval_s)
    assert figures.utilisation == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize(
    ("gamma", "published"), [(0.8, 0.0054), (0.9, 0.0007), (0.95, 0.0001), (0.98, 0.0)]
)
def test_discounting__loses_what_the_study_says(gamma, published):
    """Science A3: the discounted optimum at the same multiplier, judged without discount.

    By value iteration on the sparse matrix of one interval, which shares no code with the solver.
    """
    agents, cap = 10, 0.03
    chain = Chain(MarkovWorld(agents, *WORLD), 62)
    optimum = solve(agents, *WORLD, cap, method="policy-iteration")
    multiplier = optimum.multiplier_agent_s / agents
    move = chain.transition_matrix()
    busy, silent, answered = (chain.yields[:, :, x].ravel() for x in (1, 2, 3))
    reward = busy / agents - multiplier * (silent - cap * answered)
    value = np.zeros((chain.q_max + 1, agents + 1))  # after the decision, (q, b)
    for _ in range(round(14.0 / (1.0 - gamma))):
        best = np.maximum.accumulate(value[::-1])[::-1]
        value = (reward + gamma * (move @ best.ravel())).reshape(value.shape)
    best = np.maximum.accumulate(value[::-1])[::-1]
    chosen = np.argmax(value >= best[:1] - 1e-12, axis=0)  # from no call in flight
    figures = evaluate(chosen.tolist(), agents, *WORLD)
    excess = figures.silent_per_s - cap * figures.answered_per_s
    lost = optimum.upper_bound - (figures.utilisation - multiplier * excess)
    assert lost == pytest.approx(published, abs=6e-5)


@pytest.mark.parametrize(
    ("agents", "cap", "whole"),
    [
        (2, 0.01, True),
        (5, 0.001, True),
        (5, 0.03, True),
        (5, 0.1, True),
        (10, 0.03, True),
        (20, 0.03, False),
        (20, 0.001, False),
    ],
)
def test_solve__linear_programme_and_policy_iteration_agree(agents, cap, whole):
    """Up to 10 agents the programme holds every state; beyond, a band that its dual confirms."""
    one = solve(agents, *WORLD, cap)
    two = solve(agents, *WORLD, cap, method="policy-iteration")
    assert_optimal(one)
    assert_optimal(two)
    assert one.utilisation == pytest.approx(two.utilisation, abs=1e-6)
    assert one.objective == pytest.approx(two.objective, abs=1e-6)
    assert one.objective == pytest.approx(one.utilisation, abs=1e-6)
    assert one.multiplier_agent_s == pytest.approx(two.multiplier_agent_s, rel=1e-4)
    assert one.upper_bound >= two.utilisation - 1e-10
    if whole:
        assert one.policy.low == two.policy.low


@pytest.mark.parametrize(
    "world",
    [
        (1, 1.0, 180.0, 12.0, 0.03, 1.0),
        (3, 0.3, 10.0, 60.0, 0.1, 1.0),  # calls ring longer than conversations last
        (5, 0.07, 157.0, 1.84, 0.0015, 15.0),  # nearly every call ends between two decisions
        (5, 0.33, 90.0, 3.0, 0.00015, 1.0),
        (6, 0.8, 30.0, 20.0, 0.4, 0.25),
    ],
)
def test_solve__odd_worlds(world):
    one, two = (solve(*world, method=m) for m in ("linear-programme", "policy-iteration"))
    assert_optimal(one)
    assert one.utilisation == pytest.approx(two.utilisation, abs=1e-6)


def test_solve__the_highest_number_of_calls_does_not_bind():
    usual = solve(5, *WORLD, 0.03, method="policy-iteration")
    wide = solve(5, *WORLD, 0.03, method="policy-iteration", q_max=3 * usual.policy.highest)
    assert wide.policy.low == usual.policy.low
    assert wide.utilisation == pytest.approx(usual.utilisation, abs=1e-12)
    narrow = solve(5, *WORLD, 0.03, method="policy-iteration", q_max=5)
    assert narrow.utilisation < usual.utilisation - 1e-6


@pytest.mark.parametrize("agents", [2, 5, 10])
@pytest.mark.parametrize("multiplier_agent_s", [60.0, 150.0, 400.0])
def test_policy_iteration__the_lagrangian_optimum_is_order_up_to(agents, multiplier_agent_s):
    chain = Chain(MarkovWorld(agents, *WORLD), 5 * agents + 12)
    targets = policy_iteration(chain, 0.03, multiplier_agent_s / agents).targets
    assert targets[:, 0].max() < chain.q_max
    np.testing.assert_array_equal(targets, np.maximum(targets[:, :1], np.arange(chain.q_max + 1)))


def test_upper_bound__no_policy_is_above_it():
    """Weak duality, tried on tables near the optimum, on random ones and on random targets."""
    optimum = solve(5, *WORLD, 0.03)
    multiplier = optimum.multiplier_agent_s / 5
    rng = np.random.default_rng(1)
    best = np.array(optimum.policy.low)
    policies = [np.maximum(best + rng.integers(-1, 2, 6), 0).tolist() for _ in range(40)]
    policies += [rng.integers(0, 20, 6).tolist() for _ in range(40)]
    policies += [rng.integers(np.arange(18), 18, (6, 18)) for _ in range(20)]
    for policy in policies:
        figures = evaluate(policy, *optimum.world)
        excess = figures.silent_per_s - 0.03 * figures.answered_per_s
        assert figures.utilisation - multiplier * excess <= optimum.upper_bound + 1e-10
        if figures.silent_rate <= 0.03:
            assert figures.utilisation <= optimum.utilisation + 1e-10


def test_solve__without_allowance_progressive_dialing_is_the_optimum():
    optimum = solve(5, *WORLD, 0.0)
    assert optimum.policy == progressive(5)
    assert optimum.silent_rate == 0.0
    assert optimum.multiplier_agent_s == np.inf
    nearly = solve(5, *WORLD, 1e-5)
    assert 0.0 < nearly.utilisation - optimum.utilisation < 1e-3


def test_frontier__is_concave_and_keeps_the_order_of_the_caps():
    caps = [0.05, 0.01, 0.02, 0.04, 0.03]
    found = frontier(5, *WORLD, caps)
    assert [o.cap for o in found] == caps
    ordered = sorted(found, key=lambda o: o.cap)
    assert np.all(np.diff([o.utilisation for o in ordered]) > 0)
    # concave in the silent calls per second; the multiplier itself need not fall with the cap
    silent = [o.silent_rate / (1 - o.silent_rate) * o.conversations_per_agent_h for o in ordered]
    slopes = np.diff([o.utilisation for o in ordered]) / np.diff(silent)
    assert np.all(np.diff(slopes) <= 1e-12)
    for optimum in found:
        alone = solve(5, *WORLD, optimum.cap)
        assert optimum.utilisation == pytest.approx(alone.utilisation, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_agents": 0}, "n_agents = 0"),
        ({"p_answer": float("nan")}, "p_answer = nan"),
        ({"handle_s": -3}, "handle_s = -3"),
        ({"ring_s": float("inf")}, "ring_s = inf"),
        ({"cap": -0.01}, "cap = -0.01"),
        ({"cap": 0.9}, "cap = 0.9"),
        ({"cap": 1e-9}, "cap = 1e-09"),
        ({"cap": "3 %"}, "cap = '3 %'"),
        ({"cap": float("nan")}, "cap = nan"),
        ({"decision_interval_s": 0.0}, r"decision_interval_s = 0\.0"),
        ({"method": "guess"}, "method = 'guess'"),
        ({"q_max": 4001}, "q_max = 4001"),
        ({"q_max": 1}, "q_max = 1 calls in flight are too few"),
    ],
)
def test_solve__refuses_what_is_not_allowed(change, message):
    arguments = {"n_agents": 5, "p_answer": 0.25, "handle_s": 180.0, "ring_s": 12.0, "cap": 0.03}
    with pytest.raises(ConfigError, match=message):
        solve(**(arguments | change))


def test_frontier__needs_a_cap():
    with pytest.raises(ConfigError, match="at least one cap"):
        frontier(5, *WORLD, [])
