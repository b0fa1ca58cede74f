"""The marginal rule: what it knows, its dials, and worlds that are held instead of stepped."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import special

from quietdial.agents.rules import (
    Marginal,
    MarginalBudget,
    OccupancyQuantile,
    QuantileAge,
    QuantileBlind,
    WeightedForecast,
)
from quietdial.agents.rules.base import PRIVILEGED
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import log as events
from quietdial.envs.pacing import params as of
from quietdial.envs.pacing import state as at
from quietdial.envs.pacing.world import World

BIN_S = 2.048
BINS = 512
PRIOR = 100.0


def made(rule: Any, name: str, n: int = 1, **options: Any) -> World:
    options = {**rule.world_options, **options}
    return World(n, name, observation="none", action=rule.action, **options)


def seconds(world: World, rule: Any, n: int, seed: int = 11) -> Iterator[Any]:
    """The state before each of `n` seconds, which are played then."""
    every, knob = np.ones(1, np.bool_), np.full((1, 1), rule.knob, np.float32)
    world.begin(every, [seed])
    for _ in range(n):
        before = at.State._make(array.copy() for array in world.state)
        world.step(knob, every)
        yield before


# ------------------------------------------------------------------------------- learnt tables


class Diary:
    """What an hour's log says of talks, wrap-ups and dials; written down apart from the kernel."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.counts = np.zeros((4, BINS))
        self.dialed_at: dict[int, int] = {}
        self.since = np.zeros(int(world.params.n[of.N_AGENTS]), np.int64)
        self.changes: list[tuple[int, int, int, int]] = []  # time, agent, old, new
        self.ends: list[tuple[int, int, int]] = []  # time of the dial, of its end, outcome

    def read(self) -> None:
        for time, code, number, a, b, _ in self.world.drain_log()[0].tolist():
            if code == events.DIAL and b < 0:  # not one of the world's own
                self.dialed_at[number] = time
            elif code == events.ENDED and number in self.dialed_at:
                began = self.dialed_at[number]
                self.ends.append((began, time, a))
                row = 2 if a == at.PERSON else 3
                self.counts[row, time // 1000 - began // 1000] += 1
            elif code == events.AGENT_STATE_CHANGE:
                self.changes.append((time, number, a, b))
                if a in (at.TALK, at.WRAP):
                    age = min((time - int(self.since[number])) // 2048, BINS - 1)
                    self.counts[0 if a == at.TALK else 1, age] += 1
                self.since[number] = time


def law_learnt(world: World, state: int, counts: Any, prior: Any) -> Any:
    """Mass of a duration by bin: product of the survivals of the bins before, times the hazard."""
    ages = (world.state.head[0, at.NOW] - world.state.agent[0, :, at.AGENT_SINCE]) // 2048
    lasting = np.bincount(
        np.minimum(ages[world.state.agent[0, :, at.AGENT_STATE] == state], BINS - 1), minlength=BINS
    )
    ended = PRIOR * prior + counts
    later = np.append(np.cumsum((ended + lasting)[::-1])[::-1][1:], 0.0)
    at_risk = PRIOR * max(1 - prior.sum(), 0) + later + ended + 0.5 * lasting
    hazard = ended / np.maximum(at_risk, 1e-300)
    survivors = np.concatenate([[1.0], np.cumprod(1 - hazard)[:-1]])
    return survivors * hazard


def within(law: Any, t_s: Any) -> Any:
    """P(duration <= t), straight within bins; nothing is below 0."""
    edges = np.arange(BINS + 1) * BIN_S
    return np.interp(t_s, edges, np.concatenate([[0.0], np.cumsum(law)]))


def release_table(talk: Any, wrap: Any, within_s: Any, stay: float, ages: Any) -> Any:
    """P(the rest of the talk and the wrap-up take at most `within_s`), by a fine grid of times.

    The age is the middle of its bin.
    """
    table = np.zeros((len(ages), len(within_s)))
    for i, age in enumerate(ages):
        middle = (age + 0.5) * BIN_S
        alive = 1 - within(talk, middle)
        for g, limit in enumerate(within_s):
            grid = np.linspace(0.0, limit, 3001)
            mass = np.diff(within(talk, middle + grid))
            then = 1.0 if wrap is None else within(wrap, limit - 0.5 * (grid[1:] + grid[:-1]))
            table[i, g] = stay * np.sum(mass * then) / alive
    return table


def test_learnt__tables_are_made_of_the_calls_of_the_day() -> None:
    rule = Marginal(knowledge="learnt")
    world = made(rule, "italy-10", full=True, records=True)
    diary = Diary(world)
    for _ in seconds(world, rule, 4 * 3600):
        diary.read()
    params, state = world.params, world.state
    assert diary.counts.sum(axis=1).min() > 250
    np.testing.assert_array_equal(state.lesson[0, :4], diary.counts)

    assert state.head[0, at.NOW] % at.LEARN_EVERY_MS == 0  # the tables are fresh
    talk = law_learnt(world, at.TALK, diary.counts[0], params.prior[0])
    wrap = law_learnt(world, at.WRAP, diary.counts[1], params.prior[1])
    np.testing.assert_allclose(state.lesson[0, 4], talk, atol=1e-12)
    np.testing.assert_allclose(state.lesson[0, 5], wrap, atol=1e-12)
    ages = np.array([0, 1, 7, 30, 100, 200])
    for row, law, then in ((at.TALK, talk, wrap), (at.WRAP, wrap, None)):
        few = ages if row == at.TALK else ages[:4]
        table = release_table(law, then, params.ahead_s[:, 1], 0.96, few)
        # the kernel lets every talk of a bin end in the bin's middle
        np.testing.assert_allclose(state.release[0, row - 1, few], table, rtol=0, atol=2e-4)
        assert np.abs(table - params.release[row - 1, few]).max() > 0.005, "nothing was learnt"

    shares = [
        (PRIOR * params.prior[row] + diary.counts[row]) / (PRIOR + diary.counts[row].sum())
        for row in (2, 3)
    ]
    rows = np.arange(len(params.ring))
    for column, share in zip((0, 1), shares, strict=True):
        gone = np.concatenate([[0.0], np.cumsum(share)])[rows]
        np.testing.assert_allclose(state.ring[0, :, column], 1 - gone, atol=1e-12)
    reached = np.concatenate([[0.0], np.cumsum(shares[0])])
    for g, limit in enumerate(params.ahead_s[:, 0]):
        coming = np.interp(rows + limit, np.arange(BINS + 1), reached) - reached[rows]
        np.testing.assert_allclose(state.ring[0, :, 2 + g], coming, atol=1e-12)


def test_true_parameters__the_talk_law_of_the_day() -> None:
    rule = Marginal(knowledge="true-parameters")
    world = made(rule, "italy-10")
    for _ in seconds(world, rule, 300):
        pass
    params, state = world.params, world.state
    talk_ms = params.tables[of.LAW_TALK] * state.head[0, at.TALK_FACTOR] // 2**20
    talk = np.bincount(np.minimum(talk_ms // 2048, BINS - 1), minlength=BINS) / len(talk_ms)
    assert abs(state.head[0, at.TALK_FACTOR] / 2**20 - 1) > 0.05
    np.testing.assert_allclose(state.lesson[0, 4], talk, atol=1e-12)
    ages = np.array([0, 5, 40, 120])
    table = release_table(talk, params.prior[1], params.ahead_s[:, 1], 0.96, ages)
    np.testing.assert_allclose(state.release[0, at.TALK - 1, ages], table, rtol=0, atol=4e-4)
    np.testing.assert_array_equal(state.release[0, at.WRAP - 1], params.release[at.WRAP - 1])


# ------------------------------------------------------------------------------- hidden truth


@pytest.mark.parametrize("knowledge", ["true-releases", "true-answers", "all"])
def test_truth__is_what_happens_next(knowledge: Any) -> None:
    """Releases and answers known ahead, against the log of what came after."""
    rule = Marginal(knowledge=knowledge)
    world = made(rule, "study-real-10", full=True, records=True)
    diary, seen = Diary(world), []
    for before in seconds(world, rule, 3000):
        diary.read()
        sight = world.state.est[0, at.SIGHT : at.SIGHT + 3 * at.GRID].reshape(3, at.GRID)
        seen.append((int(before.head[0, at.NOW]), *sight.copy()))
    within_ms = np.rint(world.params.ahead_s * 1000).astype(np.int64)

    began = dict.fromkeys(range(10), 0)
    busy: list[tuple[int, int, int]] = []  # from, until, 1 if free then
    for time, agent, old, new in diary.changes:
        if old == at.IDLE:
            began[agent] = time
        elif new in (at.IDLE, at.TALK, at.BREAK):  # free, taken by a waiting callee, gone
            busy.append((began[agent], time, int(new != at.BREAK)))
            began[agent] = time
    spans, ends = np.array(busy), np.array(diary.ends)
    many = 0
    for now, releases, answers, variance in seen[:2700]:
        here = (spans[:, 0] <= now) & (spans[:, 1] > now) & (spans[:, 2] == 1)
        free = [np.sum(here & (spans[:, 1] <= now + limit)) for limit in within_ms[:, 1]]
        flying = (ends[:, 0] < now) & (ends[:, 1] > now) & (ends[:, 2] == at.PERSON)
        coming = [np.sum(flying & (ends[:, 1] <= now + limit)) for limit in within_ms[:, 0]]
        coming[-1] = np.sum(flying)  # none of them can be taken back
        if knowledge == "all":  # the worst of this look-ahead and the later ones
            over = np.subtract(coming, free)
            coming = [free[g] + over[g:].max() for g in range(at.GRID)]
        if knowledge != "true-answers":
            assert releases.tolist() == free, now
        if knowledge != "true-releases":
            assert answers.tolist() == coming, now
        if knowledge == "all":
            assert not variance.any()
        many += free[4] > 1 if knowledge == "true-releases" else coming[4] > 0
    assert many > 300


# ------------------------------------------------------------------------------- every dial


def rate_known(world: World, before: Any, knowledge: str) -> float:
    """The answer rate at the decision that follows `before`."""
    if knowledge in ("true-rate", "true-parameters", "all"):
        return float(before.head[0, at.P_ANSWER] / 2.0**32)
    prior = world.params.x[of.PRIOR_RATE]
    finished = before.est[0, at.RATE_FINISHED] + 1e-6
    return float(np.clip((before.est[0, at.RATE_ANSWERED] + 1e-6 * prior) / finished, 0.01, 0.99))


@pytest.mark.parametrize("knowledge", ["believed", "learnt", *PRIVILEGED])
def test_marginal__every_dial_of_its_formula(knowledge: Any) -> None:
    rule = Marginal(0.02, knowledge)
    world = made(rule, "study-real-10")
    params, theta = world.params, float(np.float32(0.02))
    placed = ties = 0
    for before in seconds(world, rule, 1800):
        head = before.head[0]
        dialed = int(world.state.head[0, at.DIALED] - head[at.DIALED])
        rate = rate_known(world, before, knowledge)
        spare = int(head[at.COUNT + at.IDLE] - head[at.WAITING])
        ring = before.ring[0] if params.n[of.LEARNS] else params.ring
        releases, answers, variance = world.state.est[0, at.SIGHT : at.SIGHT + 15].reshape(3, 5)
        q, dials, tie = rate * ring[0, 2:], max(spare - int(head[at.IN_FLIGHT]), 0), False
        dials = min(dials, world.scenario.max_dials)
        while dials < world.scenario.max_dials:
            spread = np.sqrt(variance + dials * q * (1 - q) + 1e-9)
            risk = special.ndtr((answers - releases + dials * q - spare + 0.5) / spread).mean()
            tie = tie or abs(risk - theta) < 2e-5  # the kernel's table of the normal law: 8e-6
            if risk > theta:
                break
            dials += 1
        assert tie or dialed == dials
        placed, ties = placed + dialed, ties + tie
    assert placed > 150
    assert ties < 20


def test_outlook__believed_expectations_by_age() -> None:
    rule = Marginal()
    world = made(rule, "study-real-10")
    for before in seconds(world, rule, 900):
        now, params = int(before.head[0, at.NOW]), world.params
        states, since = before.agent[0, :, at.AGENT_STATE], before.agent[0, :, at.AGENT_SINCE]
        busy = states != at.IDLE
        free = params.release[states[busy] - 1, np.minimum((now - since[busy]) // 2048, BINS - 1)]
        sight = world.state.est[0, at.SIGHT : at.SIGHT + 15].reshape(3, 5)
        np.testing.assert_allclose(sight[0], free.sum(axis=0), atol=1e-12)
        p, cohort = rate_known(world, before, "believed"), before.cohort[0]
        ages = (now // 1000 - np.arange(len(cohort))) % len(cohort)
        calls = cohort[ages]
        alive = p * params.ring[:, 0] + (1 - p) * params.ring[:, 1]
        q = np.minimum(p * params.ring[:, 2:] / np.maximum(alive, 1e-9)[:, None], 1)
        np.testing.assert_allclose(sight[1], calls @ q, atol=1e-12)
        spread = (free * (1 - free)).sum(axis=0) + calls @ (q * (1 - q))
        np.testing.assert_allclose(sight[2], spread, atol=1e-12)


# ------------------------------------------------------------------------------- hold and step


def same(one: World, other: World) -> bool:
    """Whether every array of both states holds the same bytes."""
    fields = at.State._fields
    a, b = one.state._asdict(), other.state._asdict()
    return all(a[field].tobytes() == b[field].tobytes() for field in fields)


@pytest.mark.parametrize(
    ("rule", "name", "options"),
    [
        (Marginal(), "study-real-10", {}),
        (Marginal(), "study-real-10", {"full": True}),
        (Marginal(knowledge="learnt"), "study-real-10", {}),
        (Marginal(knowledge="all"), "italy-10", {}),
        (MarginalBudget(), "machines-50", {}),
        (QuantileAge(), "late-feed-50", {}),
        (QuantileBlind(knowledge="true-parameters"), "study-shift-10", {"threads": 2}),
        (WeightedForecast(), "italy-month-10", {"threads": 3}),
        (OccupancyQuantile(), "us-50", {"threads": 2}),
    ],
    ids=str,
)
def test_hold__is_step_again_and_again_bit_for_bit(rule: Any, name: str, options: Any) -> None:
    """In three goes of unequal length, one row left out of the second; threads only in one."""
    rows, n = 4, (400, 1, 800)
    held = made(rule, name, rows, **options)
    stepped = made(rule, name, rows, full=options.get("full", False))
    every = np.ones(rows, np.bool_)
    knob = np.linspace(0.8, 1.2, rows, dtype=np.float32)[:, None] * np.float32(rule.knob)
    for world in (held, stepped):
        world.begin(every, [1, 2, 3, 2**63 + 1])
    for go, steps in enumerate(n):
        active = every.copy()
        active[2] = go != 1
        out = held.hold(knob, active, steps)
        total = np.zeros_like(out)
        for _ in range(steps):
            one = stepped.step(knob, active)
            total += one
            total[:, 4] = one[:, 4]
        np.testing.assert_allclose(out, total, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(out[:, 2:5], total[:, 2:5])
        assert same(held, stepped)
    assert held.state.head[:, at.DIALED].min() > 30


def test_hold__stops_at_the_end_of_the_episode() -> None:
    rule = Marginal()
    worlds = [made(rule, "study-stat-5", 1) for _ in range(2)]
    every, knob = np.ones(1, np.bool_), np.full((1, 1), 0.02, np.float32)
    for world in worlds:
        world.begin(every, [1])
    assert worlds[0].hold(knob, every, 10**6)[0, 4] == 1
    worlds[1].hold(knob, every, 28_800)
    assert worlds[0].clock_s()[0] == worlds[1].clock_s()[0] == 28_800
    assert same(*worlds)
    with pytest.raises(ConfigError, match="n_steps = 0 must be a whole number, at least 1"):
        worlds[0].hold(knob, every, 0)


# ------------------------------------------------------------------------------- the variants


def test_variants__are_named_and_knowing_more_is_worth_more() -> None:
    """At theta tuned to 3 % by hand; study, part B1, N = 10: .844, with releases .866."""
    every, use, silent = np.ones(32, np.bool_), {}, {}
    for rule in (Marginal(0.019), Marginal(0.012, "true-releases"), Marginal(0.006, "all")):
        world = made(rule, "study-real-10", 32)
        world.begin(every, list(range(32)))
        world.hold(rule.act(np.zeros((32, 0)))[0], every, 28_800)
        totals = world.totals()
        use[rule.name] = float(
            (totals["talk_s"] + totals["wrap_s"]).sum() / totals["available_s"].sum()
        )
        silent[rule.name] = float(totals["silent"].sum() / totals["answered"].sum())
    assert list(use) == ["marginal", "marginal-true-releases", "marginal-all"]
    assert silent["marginal"] == pytest.approx(0.03, abs=0.006)
    assert math.isclose(use["marginal"], 0.844, abs_tol=0.012)
    assert use["marginal"] < use["marginal-true-releases"] < use["marginal-all"]
    assert max(silent.values()) < 0.045


def test_marginal__refuses_what_is_not_knowledge() -> None:
    with pytest.raises(ConfigError, match="marginal: knowledge = 'guessed' must be one of"):
        Marginal(knowledge="guessed")  # type: ignore[arg-type]
