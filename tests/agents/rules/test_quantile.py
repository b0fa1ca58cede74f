"""The quantile rules: exact laws of counts, cases by hand, and every dial of a day."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quietdial.agents.policy import Policy
from quietdial.agents.rules import Marginal, Progressive, QuantileAge, QuantileBlind
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import params as of
from quietdial.envs.pacing import state as at
from quietdial.envs.pacing.controllers import quantile
from quietdial.envs.pacing.timers import AGENT
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import load_scenario


def law_of(events: Sequence[float]) -> Any:
    law = np.full(quantile.LAW, np.nan)
    quantile.no_events(law)
    for q in events:
        quantile.add_event(law, q)
    return law


def exact_law(events: Any) -> Any:
    """P(count = k), k = 0 .. n, by convolution."""
    return functools.reduce(np.convolve, [np.array([1 - q, q]) for q in events], np.ones(1))


# ------------------------------------------------------------------------------- laws of counts


def test_count__by_hand() -> None:
    # two events of .5 and .2: P(0) = .5 x .8 = .4, P(1) = .5 x .8 + .5 x .2 = .5, P(2) = .1
    law = law_of([0.5, 0.2])
    for limit, share in ((-1, 1.0), (0, 0.6), (1, 0.1), (2, 0.0)):
        assert quantile.p_above(law, limit) == pytest.approx(share, abs=1e-15)
    # E(count - .5)+ = .5 x .5 + 1.5 x .1 = .4
    assert quantile.mean_excess(law, 0.5) == pytest.approx(0.4, abs=1e-15)


def test_count__is_the_exact_law_of_random_events() -> None:
    rng = np.random.default_rng(1)
    for series in range(250):
        n = int(rng.integers(0, 60))
        events = np.clip(rng.random(n) * rng.choice([0.01, 0.3, 1.3]), 0, 1)
        law, exact = law_of(events), exact_law(events)
        for limit in range(-2, n + 2):
            above = float(exact[max(limit + 1, 0) :].sum())
            assert quantile.p_above(law, limit) == pytest.approx(above, abs=1e-13), series
        some = rng.uniform(-1, n + 1)
        excess = np.sum(np.maximum(np.arange(n + 1) - some, 0) * exact)
        assert quantile.mean_excess(law, some) == pytest.approx(excess, abs=1e-11)


@pytest.mark.parametrize("q", [0.02, 0.5, 0.999])
def test_count__of_thousands_of_events_fits_the_ring(q: float) -> None:
    n = 4532  # lines and agents of a floor of 500
    law = law_of([q] * n)
    for limit in np.quantile(stats.binom.rvs(n, q, size=200, random_state=1), [0, 0.3, 0.99, 1]):
        assert quantile.p_above(law, int(limit)) == pytest.approx(
            stats.binom.sf(int(limit), n, q), abs=2e-12
        )


def test_quantile_dials__by_hand() -> None:
    # P(Bin(n, .5) > 1) = 0, .25, .5 for n = 1, 2, 3
    assert quantile.quantile_dials(law_of([]), 1, 0.5, 0, 9, 0.3) == 2
    assert quantile.quantile_dials(law_of([]), 1, 0.5, 0, 9, 0.25) == 2
    assert quantile.quantile_dials(law_of([]), 1, 0.5, 0, 9, 0.2) == 1
    assert quantile.quantile_dials(law_of([]), 1, 0.5, 0, 1, 0.3) == 1  # lines
    assert quantile.quantile_dials(law_of([]), 1, 0.5, 3, 9, 0.2) == 3  # progressive
    assert quantile.quantile_dials(law_of([]), 1, 0.5, 3, 2, 0.2) == 2
    assert quantile.quantile_dials(law_of([0.5]), 1, 0.5, -4, 9, 0.3) == 1
    assert quantile.quantile_dials(law_of([]), -1, 0.5, 0, 9, 0.9) == 0  # P(count > -1) = 1


# ------------------------------------------------------------------------------- in a world


def played(rule: Any, name: Any, seconds: int, seed: int = 7) -> Iterator[tuple[World, Any, int]]:
    """(world after a tick, its state before the step, dials placed) for each second of a day."""
    world = World(1, name, observation="none", action="controller", **rule.world_options)
    every = np.ones(1, np.bool_)
    world.begin(every, [seed])
    knob = np.full((1, 1), rule.knob, np.float32)
    for _ in range(seconds):
        before = at.State._make(array.copy() for array in world.state)
        world.step(knob, every)
        dialed = world.state.head[0, at.DIALED] - before.head[0, at.DIALED]
        yield world, before, int(dialed)


def rate_of(world: World, before: Any) -> float:
    """The answer rate that the rule knew: the estimate is renewed after the controller's tick."""
    p = world.params
    if p.n[of.KNOWN_RATE] or p.n[of.TRUE_RATE]:
        known = world.state.head[0, at.P_ANSWER] / 2.0**32
        return float(p.x[of.PRIOR_RATE]) if p.n[of.KNOWN_RATE] else float(known)
    finished = before.est[0, at.RATE_FINISHED] + 1e-6
    rate = (before.est[0, at.RATE_ANSWERED] + 1e-6 * p.x[of.PRIOR_RATE]) / finished
    return float(np.clip(rate, 0.01, 0.99))


def spare_and_flying(world: World, dialed: int) -> tuple[int, int]:
    """Idle agents less waiting callees, and calls in flight before the dials of this tick."""
    head = world.state.head[0]
    return int(head[at.COUNT + at.IDLE] - head[at.WAITING]), int(head[at.IN_FLIGHT] - dialed)


def calls_by_age(world: World, dialed: int) -> Any:
    """Calls in flight by whole seconds since their dial, before the dials of this tick."""
    cohort = world.state.cohort[0]
    now = world.state.head[0, at.NOW] // 1000
    calls = cohort[(now - np.arange(len(cohort))) % len(cohort)].copy()
    calls[0] -= dialed
    return calls


def wanted(answers: Any, releases: Any, spare: int, q: float, certain: int, eps: float) -> int:
    """Most dials with P(A > spare + R) <= eps, by plain sums over both laws; at most 6 (N = 10)."""
    dials = min(max(certain, 0), 6)
    total = functools.reduce(np.convolve, [np.array([1 - q, q])] * dials, answers)
    while dials < 6:
        total = np.convolve(total, [1 - q, q])
        above = [total[max(spare + r + 1, 0) :].sum() for r in range(len(releases))]
        if np.dot(releases, above) > eps:
            break
        dials += 1
    return dials


def test_blind__every_dial_of_an_hour() -> None:
    rule = QuantileBlind(0.02, 12.0)
    scenario = load_scenario("study-real-10")
    ring_s = 12.0  # 3 s and a gamma law of mean 9 s
    handle_s = scenario.floor.talk.mean_s + 30.0  # type: ignore[union-attr]
    placed = 0
    for world, before, dialed in played(rule, "study-real-10", 3600):
        p, head = rate_of(world, before), world.state.head[0]
        spare, flying = spare_and_flying(world, dialed)
        busy = int(head[at.COUNT + at.TALK] + head[at.COUNT + at.WRAP])
        know = world.state.memo[0, quantile.LAW :]
        assert know[1] == pytest.approx(handle_s, rel=0.01)
        assert know[2] == pytest.approx(ring_s, rel=0.01)
        q, free = p * (1 - np.exp(-12.0 / know[2])), 1 - np.exp(-12.0 / know[1])
        answers = stats.binom.pmf(np.arange(flying + 1), flying, q)
        releases = stats.binom.pmf(np.arange(busy + 1), busy, free)
        assert dialed == wanted(answers, releases, spare, q, spare - flying, 0.02)
        placed += dialed
    assert placed > 300


def test_blind__first_ticks_by_hand() -> None:
    # markov-10: ten idle agents, nothing in flight, p = .25. Horizon 12 ln 4 s: a call is answered
    # in time with q = .25 (1 - 1/4) = .1875. P(Bin(n, .1875) > 10) <= .01: n = 24 gives .0022,
    # 28: .0092, 29: .0123; so 28 calls in flight, with at most 40 a second here.
    below = stats.binom.sf(10, [28, 29], 0.1875)
    assert below[0] < 0.01 < below[1]
    scenario = load_scenario("markov-10")
    calls = scenario.calls.model_copy(update={"max_dials_per_decision": 40})
    scenario = scenario.model_copy(update={"calls": calls})
    rule = QuantileBlind(0.01, 12 * np.log(4))
    _, _, dialed = next(played(rule, scenario, 1))
    assert dialed == 28
    assert [dialed for _, _, dialed in played(rule, "markov-10", 2)] == [6, 6]


@pytest.mark.parametrize("knowledge", ["believed", "learnt"])
def test_age__every_dial_of_an_hour(knowledge: Any) -> None:
    rule = QuantileAge(0.01, 20.0, knowledge=knowledge)
    placed = 0
    for world, before, dialed in played(rule, "study-real-10", 3000):
        params, state = world.params, world.state
        g = int(np.abs(params.ahead_s[:, 0] - 20.0).argmin())
        assert g == 4
        learns = knowledge == "learnt"
        ring = before.ring[0] if learns else params.ring
        p, now = rate_of(world, before), int(state.head[0, at.NOW])
        spare, flying = spare_and_flying(world, dialed)
        answers = []
        for age, calls in enumerate(calls_by_age(world, dialed)):
            alive = p * ring[age, 0] + (1 - p) * ring[age, 1]
            answers += [min(p * ring[age, 2 + g] / max(alive, 1e-9), 1.0)] * int(calls)
        releases = []
        for agent_state, since, _ in state.agent[0]:
            age = min((now - since) // 2048, 511)
            if learns and agent_state in (at.TALK, at.WRAP):
                releases.append(before.release[0, agent_state - at.TALK, age, g])
            elif agent_state != at.IDLE:
                releases.append(params.release[agent_state - 1, age, g])
        assert len(answers) == flying
        law_a, law_r = exact_law(answers), exact_law(releases)
        q = p * ring[0, 2 + g]
        assert dialed == wanted(law_a, law_r, spare, q, spare - flying, 0.01)
        placed += dialed
    assert placed > 250


@pytest.mark.parametrize("knowledge", ["true-releases", "true-answers", "all"])
def test_age__known_releases_and_answers(knowledge: Any) -> None:
    """In markov-10 an agent is free when its talk ends, and a callee does not wait."""
    rule = QuantileAge(0.02, 14.5, knowledge=knowledge)
    dials = 0
    for world, _, dialed in played(rule, "markov-10", 1500):
        params, head = world.params, world.state.head[0]
        horizon_s, within_s = params.ahead_s[3]
        assert horizon_s == within_s == 14.5
        timers = world.state.heap[0, : head[at.HEAP]]
        ahead_s = (((timers >> 24) - head[at.NOW]) / 1000.0).tolist()
        kinds, entities = (timers >> 20) & 0xF, timers & 0xFFFFF
        spare, flying = spare_and_flying(world, dialed)
        q = 0.25 * params.ring[0, 5]
        answers, releases = np.ones(1), np.ones(1)
        if knowledge == "true-answers":
            left = int((kinds == AGENT).sum())
            stays = 1 - params.release[at.TALK - 1, :, 3]
            ages = (head[at.NOW] - world.state.agent[0, :, at.AGENT_SINCE]) // 2048
            busy = world.state.agent[0, :, at.AGENT_STATE] == at.TALK
            assert busy.sum() == left
            releases = exact_law([1 - stays[a] for a in ages[busy]])
        else:
            free = sum(k == AGENT and a <= 14.5 for k, a in zip(kinds, ahead_s, strict=True))
            releases = np.eye(free + 1)[free]
        if knowledge == "true-releases":
            shares = [0.25 * params.ring[a, 5] / params.ring[a, 0] for a in range(len(params.ring))]
            ages_of_calls = calls_by_age(world, dialed)
            answers = exact_law(np.repeat(shares, ages_of_calls))
        else:
            numbers = world.state.call[0, entities, at.CALL_NUMBER]
            people = world.state.call[0, entities, at.CALL_OUTCOME] == at.PERSON
            old = numbers < head[at.DIALED] - dialed
            coming = int(np.sum((kinds != AGENT) & people & old & (np.array(ahead_s) <= 14.5)))
            answers = np.eye(coming + 1)[coming]
        assert dialed == wanted(answers, releases, spare, q, spare - flying, 0.02)
        dials += dialed
    assert dials > 150


# ------------------------------------------------------------------------------- as policies


@pytest.mark.parametrize("rule", [QuantileBlind(), QuantileAge(), QuantileAge(knowledge="all")])
def test_rules__are_policies_with_a_knob(rule: Any) -> None:
    assert rule.with_knob(0.3).knob == 0.3
    assert rule.with_knob(0.3).knowledge == rule.knowledge
    assert type(rule)(horizon_s=5.0, knob_name="horizon_s").knob == 5.0
    with pytest.raises(ConfigError, match=r"eps = 1 must be a number between 1e-09 and 0\.99"):
        rule.with_knob(1)
    with pytest.raises(ConfigError, match="horizon_s"):
        type(rule)(horizon_s=0)
    assert isinstance(rule, Policy)


def test_knowledge__is_named_and_checked() -> None:
    assert QuantileAge().name == "quantile-age"
    assert "knowledge" not in QuantileAge().world_options
    assert QuantileAge(knowledge="learnt").name == "quantile-age-learnt"
    assert QuantileAge(knowledge="learnt").world_options["knowledge"] == "learnt"
    with pytest.raises(ConfigError, match="quantile-blind: knowledge = 'guessed' must be one of"):
        QuantileBlind(knowledge="guessed")  # type: ignore[arg-type]


def day(rule: Any, name: str, n: int = 8, seconds: int = 14_400) -> dict[str, Any]:
    world = World(n, name, observation="none", action=rule.action, **rule.world_options)
    every = np.ones(n, np.bool_)
    world.begin(every, list(range(n)))
    action = rule.act(np.zeros((n, 0)))[0]
    world.hold(action, every, seconds)
    totals = world.totals()
    totals["use"] = (totals["talk_s"] + totals["wrap_s"]) / totals["available_s"]
    return totals


def silent(totals: dict[str, Any]) -> float:
    return float(totals["silent"].sum() / totals["answered"].sum())


def test_rules__beat_progressive_and_order_by_eps() -> None:
    calm = day(Progressive(), "study-real-10")["use"].mean()
    for careful, bold in (
        (QuantileBlind(0.003), QuantileBlind(0.03)),
        (QuantileAge(0.002), QuantileAge(0.02)),
    ):
        low, high = day(careful, "study-real-10"), day(bold, "study-real-10")
        assert 0 < silent(low) < 0.02 < silent(high)
        assert calm + 0.05 < low["use"].mean() < high["use"].mean()


def test_age__is_as_good_as_the_study_found() -> None:
    """Study, part B: as good as `marginal` at 3 %, paired by day; here within .008."""
    age = day(QuantileAge(0.0065, 14.0), "study-real-10", 32, 28_800)
    index = day(Marginal(0.019), "study-real-10", 32, 28_800)
    assert silent(age) == pytest.approx(0.03, abs=0.006)
    assert silent(index) == pytest.approx(0.03, abs=0.006)
    assert age["use"].mean() == pytest.approx(index["use"].mean(), abs=0.008)


@pytest.mark.parametrize("name", ["late-feed-50", "italy-month-10", "contactcenters-blend"])
@pytest.mark.parametrize("rule", [QuantileBlind(), QuantileAge()])
def test_rules__keep_their_head_in_full_worlds(rule: Any, name: str) -> None:
    totals = day(rule, name, 1, 28_800)
    assert 0 < totals["answered"].sum() < totals["dialed"].sum() < 40_000
    assert silent(totals) < 0.15
