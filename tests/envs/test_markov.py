"""The exact chain against brute force, and its exact evaluator against the published figures."""

import numpy as np
import pytest
from scipy.linalg import expm

from quietdial.envs import ConfigError, load_scenario
from quietdial.envs.pacing.markov import (
    ANSWERED,
    BUSY,
    SILENT,
    TIME,
    Chain,
    MarkovWorld,
    evaluate,
    stationary,
)
from quietdial.envs.pacing.targets import OrderUpTo, progressive

WORLD = (0.25, 180.0, 12.0)  # the study's p, handle_s, ring_s


def generator(world, q_max):
    """Rates between states q (N + 1) + b, written out state by state."""
    n, size = world.n_agents, (world.n_agents + 1) * (q_max + 1)
    rates = np.zeros((size, size))
    for b in range(n + 1):
        for q in range(q_max + 1):
            here = q * (n + 1) + b
            if q:
                below = (q - 1) * (n + 1)
                rates[here, below + b] += (1 - world.p_answer) * q / world.ring_s
                rates[here, below + min(b + 1, n)] += world.p_answer * q / world.ring_s
            if b:
                rates[here, here - 1] += b / world.handle_s
            rates[here, here] -= rates[here].sum()
    return rates


@pytest.fixture(
    scope="module",
    params=[
        (MarkovWorld(5, *WORLD), 14),
        (MarkovWorld(3, 0.6, 20.0, 30.0, 5.0), 9),
        (MarkovWorld(2, 0.1, 157.0, 1.8, 15.0), 40),  # nearly every call ends in the interval
        (MarkovWorld(1, 1.0, 30.0, 4.0, 0.25), 6),
    ],
    ids=lambda pair: f"N={pair[0].n_agents}",
)
def brute(request):
    """A chain, and P and the time spent in every state by the exponential of the generator."""
    world, q_max = request.param
    rates = generator(world, q_max)
    size = len(rates)
    block = np.block([[rates, np.eye(size)], [np.zeros((size, 2 * size))]])
    both = expm(block * world.decision_interval_s)
    return Chain(world, q_max), both[:size, :size], both[:size, size:]


def test_chain__transitions_are_the_exponential_of_the_generator(brute):
    chain, move, _ = brute
    got = chain.transition_matrix().toarray()
    np.testing.assert_allclose(got, move, rtol=0, atol=5e-14)
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=0, atol=1e-13)


def test_chain__yields_are_the_integrals_over_the_interval(brute):
    chain, _, spent = brute
    world, q_max = chain.world, chain.q_max
    q, b = np.divmod(np.arange(len(spent)), world.n_agents + 1)
    answered = world.p_answer * q / world.ring_s
    yields = chain.yields.reshape(-1, 4)
    assert q[-1] == q_max
    np.testing.assert_array_equal(yields[:, TIME], 1.0)
    np.testing.assert_allclose(yields[:, BUSY], spent @ b, atol=1e-12)
    np.testing.assert_allclose(yields[:, SILENT], spent @ (answered * (b == b[-1])), atol=1e-13)
    np.testing.assert_allclose(yields[:, ANSWERED], spent @ answered, atol=1e-13)


def by_brute_force(chain, p_dials):
    """Long-run (utilisation, silent rate) of dial probabilities (N + 1, Q + 1, K + 1)."""
    n, size = chain.world.n_agents, chain.world.n_agents + 1
    states = size * (chain.q_max + 1)
    decide = np.zeros((states, states))
    for b in range(size):
        for q in range(chain.q_max + 1):
            for k, p in enumerate(p_dials[b, q]):
                if p:
                    decide[q * size + b, (q + k) * size + b] = p
    move = decide @ chain.transition_matrix().toarray()
    system = np.vstack([move.T - np.eye(states), np.ones(states)])
    law = np.linalg.lstsq(system, np.append(np.zeros(states), 1.0), rcond=None)[0]
    mean = (law @ decide) @ chain.yields.reshape(-1, 4)
    return mean[BUSY] / n / chain.world.decision_interval_s, mean[SILENT] / mean[ANSWERED]


@pytest.mark.parametrize("seed", range(4))
def test_evaluate__any_randomised_policy_is_as_brute_force_says(seed):
    rng = np.random.default_rng(seed)
    world = MarkovWorld(4, 0.3, 90.0, 10.0, 2.0)
    q_max, most = 15, 3
    p_dials = rng.dirichlet(np.full(most + 1, 0.3), size=(5, q_max + 1))
    for k in range(1, most + 1):  # dials beyond Q are not placed
        p_dials[:, q_max - k + 1 :, 0] += p_dials[:, q_max - k + 1 :, k]
        p_dials[:, q_max - k + 1 :, k] = 0.0
    got = evaluate(p_dials, *world)
    expected = by_brute_force(Chain(world, q_max), p_dials)
    assert (got.utilisation, got.silent_rate) == pytest.approx(expected, rel=1e-9)
    # flow balance: conversations = busy time / handle time
    busy = got.utilisation * world.n_agents
    assert got.answered_per_s - got.silent_per_s == pytest.approx(busy / world.handle_s, rel=1e-9)
    hourly = 3600 * got.utilisation / world.handle_s
    assert got.conversations_per_agent_h == pytest.approx(hourly, rel=1e-9)


def test_evaluate__the_forms_of_a_policy_agree():
    targets = [12, 9, 6, 3, 1, 0]
    calls = np.arange(13)
    until = np.maximum(np.array(targets)[:, None], calls)
    p_dials = np.zeros((6, 13, 13))
    p_dials[np.arange(6)[:, None], calls, until - calls] = 1.0
    table = OrderUpTo.fixed(targets)
    one = evaluate(targets, 5, *WORLD)
    for other in (table, np.array(targets), until, p_dials):
        assert evaluate(other, 5, *WORLD) == pytest.approx(one, rel=1e-10)
    # a randomised table: with probability .3 one call more when three agents are busy
    mixed = OrderUpTo(table.low, (12, 9, 6, 4, 1, 0), (0, 0, 0, 0.3, 0, 0))
    p_dials[3, :4] = 0.0
    p_dials[3, calls[:4], 3 - calls[:4]] = 0.7
    p_dials[3, calls[:4], 4 - calls[:4]] = 0.3
    assert evaluate(mixed, 5, *WORLD) == pytest.approx(evaluate(p_dials, 5, *WORLD), rel=1e-10)


def test_evaluate__what_is_never_reached_does_not_matter():
    targets = np.maximum(np.array([3, 2, 1, 0])[:, None], np.arange(9))
    wild = targets.copy()
    wild[:, 4:8] = 8  # from four calls in flight on, but progressive dialing never has so many
    assert evaluate(wild, 3, *WORLD) == pytest.approx(evaluate(progressive(3), 3, *WORLD))


@pytest.mark.parametrize("agents", [2, 5, 10, 20, 50])
def test_progressive__has_the_published_figure_and_is_never_silent(agents):
    figures = evaluate(progressive(agents), agents, *WORLD)
    assert figures.utilisation == pytest.approx(0.7825, abs=5e-5)
    assert figures.silent_rate == 0.0


@pytest.mark.parametrize(("p", "published"), [(0.1, 0.5900), (0.5, 0.8780)])
def test_progressive__has_the_published_figures_at_other_answer_rates(p, published):
    figures = evaluate(progressive(10), 10, p, 180.0, 12.0)
    assert figures.utilisation == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize(
    ("interval_s", "published"),
    [
        (0.25, 0.7877),
        (0.5, 0.7860),
        (2, 0.7756),
        (3, 0.7686),
        (5, 0.7547),
        (10, 0.7198),
        (15, 0.6855),
    ],
)
def test_progressive__has_the_published_figures_at_other_intervals(interval_s, published):
    figures = evaluate(progressive(10), 10, *WORLD, decision_interval_s=interval_s)
    assert figures.utilisation == pytest.approx(published, abs=1e-4)


def test_evaluate__without_dials_nothing_happens():
    for policy in ([0, 0, 0], np.tile(np.arange(4), (3, 1)), np.ones((3, 4, 1))):
        assert evaluate(policy, 2, *WORLD) == (0.0, 0.0, 0.0, 0.0, 0.0)


def test_evaluate__a_floor_begins_empty():
    """This table would keep a busy floor going for ages, but never dials the first call."""
    assert evaluate([0, 12, 9, 6, 1, 0], 5, *WORLD).utilisation == 0.0


def test_stationary__nearly_decomposable_chains_are_exact():
    rare = 1e-30
    move = np.array([[1 - rare, rare, 0.0], [2 * rare, 0.5, 0.5], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(stationary(move), [0.5, 0.25, 0.25], rtol=1e-14)
    absorbing = np.array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.0, 0.8, 0.2]])
    np.testing.assert_allclose(stationary(absorbing), [0.0, 0.5, 0.5], rtol=1e-14)
    apart = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(stationary(apart), [1.0, 0.0])


def test_world__is_read_from_the_presets():
    assert MarkovWorld.of(load_scenario("markov-20")) == (20, 0.25, 180.0, 12.0, 1.0)


@pytest.mark.parametrize(
    ("preset", "reason"), [("study-stat-10", "wrap-up"), ("italy-50", "answer rate")]
)
def test_world__other_scenarios_are_refused_with_the_reason(preset, reason):
    with pytest.raises(ConfigError, match=f"{preset}.*{reason}"):
        MarkovWorld.of(load_scenario(preset))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_agents": 0}, "n_agents = 0"),
        ({"n_agents": 2.5}, "n_agents = 2.5"),
        ({"n_agents": 1000}, "n_agents = 1000"),
        ({"p_answer": 0.0}, "p_answer = 0.0"),
        ({"p_answer": 1.5}, "p_answer = 1.5"),
        ({"p_answer": float("nan")}, "p_answer = nan"),
        ({"p_answer": "high"}, "p_answer = 'high'"),
        ({"handle_s": 0}, "handle_s = 0"),
        ({"ring_s": -1.0}, r"ring_s = -1\.0"),
        ({"decision_interval_s": 0}, "decision_interval_s = 0"),
        ({"decision_interval_s": 1e6}, "decision_interval_s = 1000000.0 is too long"),
        ({"policy": [1, 0]}, "2 entries"),
        ({"policy": [3, 1, -1]}, "target = -1"),
        ({"policy": [2.0, 1.0, 0.0]}, "float64"),
        ({"policy": np.zeros((3, 5), int)}, "between q and Q = 4"),
        ({"policy": np.zeros((4, 5), int)}, r"shape \(4, 5\)"),
        ({"policy": np.full((3, 5, 2), 0.4)}, "sum to 1"),
        ({"policy": np.full((3, 5, 2), 0.5)}, "beyond Q = 4"),
        ({"policy": np.ones((2, 5, 1))}, r"shape \(2, 5, 1\)"),
    ],
)
def test_evaluate__refuses_what_is_not_allowed(change, message):
    arguments = {"policy": [2, 1, 0], "n_agents": 2, "p_answer": 0.25}
    arguments |= {"handle_s": 180.0, "ring_s": 12.0, "decision_interval_s": 1.0}
    with pytest.raises(ConfigError, match=message):
        evaluate(**(arguments | change))


def test_evaluate__refuses_what_does_not_fit_in_memory():
    one_more = np.minimum(np.tile(np.arange(400) + 1, (51, 1)), 399)
    with pytest.raises(ConfigError, match="too large"):
        evaluate(one_more, 50, *WORLD)


@pytest.mark.parametrize(
    ("low", "high", "p_high"),
    [
        ((1, 0), (1, 0), (0.0,)),
        ((2, 0), (1, 0), (0.0, 0.0)),
        ((1, 0), (2, 0), (1.5, 0.0)),
        ((1, 0), (2, 0), (float("nan"), 0.0)),
    ],
)
def test_order_up_to__refuses_what_is_not_allowed(low, high, p_high):
    with pytest.raises(ConfigError):
        OrderUpTo(low, high, p_high)
