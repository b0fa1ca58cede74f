"""The simulator against results that are known exactly.

Seeds are fixed, so the tests are deterministic; for other seeds each statistic would leave its
interval with probability 0.001 (two-sided normal interval over 200 or more independent campaigns).
The half-widths, which are the smallest biases that would be found: 0.0013 for the utilisation of
markov-10, 0.001 for that of markov-5 and 0.09 percentage points for its silent rate.
"""

import numpy as np
from scipy import stats

from quietdial.envs import load_scenario
from quietdial.envs.pacing.markov import evaluate
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import ConstantAnswer

Z = float(stats.norm.ppf(1 - 0.0005))


# --- the exactly solvable world (science A) -------------------------------------------------------


def markov(agents, campaigns, choose, hours=3, warm_s=1800):
    """Simulate; totals of every campaign after the warm-up."""
    scenario = load_scenario(f"markov-{agents}")
    calls = scenario.calls.model_copy(update={"max_dials_per_decision": 40})
    episode = scenario.episode.model_copy(update={"close_s": 0.0})
    scenario = scenario.model_copy(update={"calls": calls, "episode": episode})
    world = World(campaigns, scenario, observation="markov", action="dials")
    every = np.ones(campaigns, np.bool_)
    world.begin(every, list(range(campaigns)))
    start = {}
    for step in range(hours * 3600):
        if step == warm_s:
            start = world.totals()
        state = np.rint(world.observe() * agents).astype(int)
        world.step(choose(state[:, 0], state[:, 1]), every)
    end = world.totals()
    return {name: end[name] - start[name] for name in end}


def assert_mean(values, expected):
    """The mean of independent values is `expected` within the 99.9 % interval."""
    z = (np.mean(values) - expected) / (np.std(values, ddof=1) / np.sqrt(len(values)))
    assert abs(z) < Z, f"mean {np.mean(values)} against {expected}: z = {z:.2f}"


def test_markov_10__progressive_has_the_exact_utilisation():
    got = markov(10, 1000, lambda busy, flying: np.maximum(10 - busy - flying, 0))
    assert_mean(got["talk_s"] / got["available_s"], 0.7825)
    assert got["silent"].sum() == 0


def test_markov_10__the_progressive_action_is_the_progressive_rule():
    world = World(2, "markov-10", observation="markov", action="progressive")
    hand = World(2, "markov-10", observation="markov", action="dials")
    every = np.ones(2, np.bool_)
    for one in (world, hand):
        one.begin(every, [1, 2])
    for _ in range(600):
        busy, flying = np.rint(hand.observe() * 10).astype(int).T
        world.step(np.zeros(2, np.int64), every)
        hand.step(np.clip(10 - busy - flying, 0, 6), every)
        for name, value in world.totals().items():
            np.testing.assert_array_equal(value, hand.totals()[name])


def test_markov_5__order_up_to_rule_has_the_exact_utilisation_and_silent_rate():
    """The table that science A1 gives for 3 %; alone it is at 2.2 %."""
    target = np.array([12, 9, 6, 3, 1, 0])
    exact = evaluate(target, 5, 0.25, 180.0, 12.0)
    got = markov(5, 1500, lambda busy, flying: np.maximum(target[busy] - flying, 0))
    assert_mean(got["talk_s"] / got["available_s"], exact.utilisation)
    assert_mean(got["silent"] - exact.silent_rate * got["answered"], 0.0)
    # flow balance: conversations = busy time / 180 s, up to the two ends of the window
    assert_mean(got["connected"] * 180.0 - got["talk_s"], 0.0)
    assert_mean(got["answered"] - 0.25 * got["dialed"], 0.0)


# --- laws that hold in any world ------------------------------------------------------------------


def test_little__calls_in_flight():
    """One dial per second: mean calls in flight = sum over whole seconds of P(still in flight)."""
    scenario = load_scenario("study-stat-10")
    calls = scenario.calls
    world = World(200, scenario, observation="markov", action="dials")
    every = np.ones(200, np.bool_)
    world.begin(every, list(range(200)))
    seen = np.zeros(200)
    for step in range(1860):
        world.step(np.ones(200, np.int64), every)
        if step >= 60:
            seen += world.observe()[:, 1].astype(np.float64) * 10
    t = np.arange(1.0, 60.0) + 0.0005  # a call that ends in this very millisecond is over
    p = 0.25
    assert calls.answer_rate == ConstantAnswer(p=p)
    alive = p * (1 - calls.time_to_answer.cdf(t))
    alive += (1 - p) * (1 - np.sum([u.share * u.time.cdf(t) for u in calls.unanswered], axis=0))
    assert_mean(seen / 1800, alive.sum())


def test_wald__agents_work_as_long_as_their_conversations_take():
    """A day that drains: talk time = conversations x mean talk, wrap-up time likewise."""
    scenario = load_scenario("study-stat-10")
    episode = scenario.episode.model_copy(update={"duration_s": 7200.0, "close_s": 3600.0})
    world = World(
        300, scenario.model_copy(update={"episode": episode}), observation="none", action="ratio"
    )
    every = np.ones(300, np.bool_)
    world.begin(every, list(range(300)))
    for _ in range(7200):
        world.step(np.full(300, 2.0), every)
    totals = world.totals()
    floor = scenario.floor
    assert floor.wrap is not None
    n = totals["connected"]
    assert n.min() > 50
    assert_mean(totals["talk_s"] - n * floor.talk.sampled_mean_s(), 0.0)
    assert_mean(totals["wrap_s"] - n * floor.wrap.sampled_mean_s(), 0.0)
    assert_mean(totals["answered"] - 0.25 * totals["dialed"], 0.0)
    waited = totals["waiting_s"][totals["silent"] > 0]
    assert np.all(waited >= 3.0 * totals["silent"][totals["silent"] > 0])
