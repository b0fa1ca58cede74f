"""Proof 2: policies in the simulator have the exact figures and the exact law of the Markov model.

Worlds like the presets `markov-N`, with other parameters, are played under given policies on
(busy, in flight): order-up-to tables that are cautious, bold, randomised, progressive, or poor on
purpose, and one whose target depends on the calls in flight. What `envs.pacing.markov` says by
linear algebra is compared with the simulator: utilisation, silent rate, the stationary law of busy
agents and of calls in flight at decision instants (in a few classes each), and the mean of their
product. Campaigns are the independent units.

The stationary law comes from the full transition matrix, `markov.evaluate` from an elimination that
never forms it; that both give the same figures is checked, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from quietdial.envs.laws import ExponentialLaw
from quietdial.envs.pacing.markov import BUSY, SILENT, Figures, MarkovWorld, chain_of, evaluate
from quietdial.envs.pacing.targets import OrderUpTo, decisions_of, progressive
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import (
    Calls,
    ConstantAnswer,
    Episode,
    Floor,
    Rule,
    Scenario,
    Unanswered,
)
from quietdial.experiments.bench.results import figure
from quietdial.experiments.proof.family import Comparison, judge, mean_test, ratio_test, sampled
from quietdial.experiments.proof.parts import Figure, Report, failures
from quietdial.experiments.stats import clopper_pearson

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Policy = OrderUpTo | IntArray

STEPS, LEAST_STEPS = 80_000, 2_000  # decisions that are counted, of a pair and campaign
CAMPAIGNS, FEWEST_CAMPAIGNS = 256, 128
SAMPLE_PAIRS, SAMPLE_AGENTS = 8, 10  # pairs of a sample, and the most agents in it
CLASSES = 5  # of each stationary law
AGREE = 1e-9  # relative gap between two ways of the same linear algebra

_RELAXATIONS = 14.0
_MOST_STATES = 3000
_SHOWN_PER_AGENT = 8  # calls in flight that the observation 'markov' shows, at most
_RARE = 0.005  # a class that is less likely is not tested alone
_ENOUGH_SILENT = 400.0  # silent calls, for the normal law to hold far out


class Pair(NamedTuple):
    """A world with a kind of policy."""

    kind: str
    world: MarkovWorld

    @property
    def policy(self) -> Policy:
        """The policy, made for this world."""
        return KINDS[self.kind](self.world)

    @property
    def name(self) -> str:
        """The pair in words."""
        n, p, handle_s, ring_s, interval_s = self.world
        return (
            f"{self.kind}, {n} agents, p {p:g}, handle {handle_s:g} s, ring {ring_s:g} s, "
            f"interval {interval_s:g} s"
        )


class Exact(NamedTuple):
    """What linear algebra says of a pair.

    Attributes:
        policy: what is played.
        figures: its long-run averages, by `markov.evaluate`.
        law: float64 (Q + 1, N + 1), stationary law of (in flight, busy) before a decision.
        gap: largest relative gap between `figures` and the same from `law`.
    """

    policy: Policy
    figures: Figures
    law: FloatArray
    gap: float


# --- the policies ---------------------------------------------------------------------------------


def _most_calls(n: int) -> int:
    """Highest target for `n` agents: shown by the observation, and solved in seconds."""
    return min(_SHOWN_PER_AGENT * n, _MOST_STATES // (n + 1) - 1)


def _table(n: int, target: Callable[[int], float]) -> tuple[int, ...]:
    most = _most_calls(n)
    return tuple(min(max(math.ceil(target(n - busy)), 0), most) for busy in range(n + 1))


def _ratio(world: MarkovWorld, ratio: float) -> OrderUpTo:
    """`ratio` calls for each idle agent; a fraction of a call is drawn."""
    n, most = world.n_agents, _most_calls(world.n_agents)
    wanted = [min(ratio * (n - busy), most) for busy in range(n + 1)]
    low = tuple(math.floor(calls) for calls in wanted)
    high = tuple(math.ceil(calls) for calls in wanted)
    return OrderUpTo(low, high, tuple(c - below for c, below in zip(wanted, low, strict=True)))


def _capped(world: MarkovWorld, cap: float) -> Policy:
    """The ratio of calls to idle agents, at most 2 / p, that comes nearest to the silent rate."""
    low, high = 1.0, 2.0 / world.p_answer
    for _ in range(12):
        middle = 0.5 * (low + high)
        if evaluate(_ratio(world, middle), *world).silent_rate < cap:
            low = middle
        else:
            high = middle
    return _ratio(world, low)


def _three_percent(world: MarkovWorld) -> Policy:
    """About 3 % silent calls."""
    return _capped(world, 0.03)


def _half_percent(world: MarkovWorld) -> Policy:
    """About half a percent of silent calls."""
    return _capped(world, 0.005)


def _bold(world: MarkovWorld) -> Policy:
    """As many calls as fill the idle agents, and those who will be idle when the calls end."""
    soon = world.n_agents * world.ring_s / world.handle_s
    return OrderUpTo.fixed(
        _table(world.n_agents, lambda idle: (idle + 0.8 * soon) / world.p_answer)
    )


def _randomised(world: MarkovWorld) -> Policy:
    """Between two tables, with another probability for each number of busy agents."""
    n = world.n_agents
    low = _table(n, lambda idle: 0.5 * idle / world.p_answer)
    high = _table(n, lambda idle: (idle + 1) / world.p_answer)
    return OrderUpTo(low, high, tuple(0.1 + 0.8 * busy / n for busy in range(n + 1)))


def _progressive(world: MarkovWorld) -> Policy:
    """One call for each idle agent: never a silent call."""
    return progressive(world.n_agents)


def _blind(world: MarkovWorld) -> Policy:
    """The same number of calls whoever is busy: poor, many silent calls."""
    load = 1.1 * world.n_agents * world.ring_s / world.handle_s / world.p_answer
    return OrderUpTo.fixed(_table(world.n_agents, lambda idle: load + 1.0))


def _upside_down(world: MarkovWorld) -> Policy:
    """More calls the fewer agents are idle: poor."""
    n = world.n_agents
    load = n * world.ring_s / world.handle_s / world.p_answer
    return OrderUpTo.fixed(_table(n, lambda idle: 1 + load * (1.2 - 0.8 * idle / n)))


def _batches(world: MarkovWorld) -> Policy:
    """Waits until few calls are in flight, then places many: depends on both numbers."""
    n = world.n_agents
    full = np.array(_table(n, lambda idle: (idle + 0.5) / world.p_answer + 1.0))
    calls = np.arange(_most_calls(n) + 1)
    return np.where(calls <= full[:, None] // 3, np.maximum(full[:, None], calls), calls)


KINDS: dict[str, Callable[[MarkovWorld], Policy]] = {
    "3 %": _three_percent,
    "0.5 %": _half_percent,
    "bold": _bold,
    "randomised": _randomised,
    "progressive": _progressive,
    "blind": _blind,
    "upside-down": _upside_down,
    "batches": _batches,
}

AGENTS = (2, 5, 10, 20, 50)
_P = (0.1, 0.2, 0.3, 0.5)
_HANDLE_S = (60.0, 120.0, 180.0, 300.0)
_RING_S = (5.0, 8.0, 12.0, 20.0)
_INTERVAL_S = (0.5, 1.0, 2.0, 5.0)


def pairs() -> list[Pair]:
    """Every kind of policy with every number of agents, over all values of the parameters."""
    made = []
    for row, n in enumerate(AGENTS):
        for column, kind in enumerate(KINDS):
            world = MarkovWorld(
                n,
                _P[(row + column) % 4],
                _HANDLE_S[(row + 3 * column + column // 4) % 4],
                _RING_S[(2 * row + column + row // 2) % 4],
                _INTERVAL_S[(row + 2 * column + column // 2) % 4],
            )
            made.append(Pair(kind, world))
    return made


# --- the exact figures ----------------------------------------------------------------------------


def exact_of(pair: Pair) -> Exact:
    """Long-run averages, and the stationary law before a decision: pi D P = pi."""
    world, policy = pair.world, pair.policy
    n = world.n_agents
    figures = evaluate(policy, *world)
    decisions, q_max = decisions_of(policy, n)
    chain = chain_of(world, q_max)
    size = (q_max + 1) * (n + 1)
    decide = np.zeros((size, size))
    states = np.arange(size)
    decide[states, states] = decisions.stay.T.reshape(-1)
    source = decisions.source[:, 1] * (n + 1) + decisions.source[:, 0]
    target = decisions.anchors[:, 1] * (n + 1) + decisions.anchors[:, 0]
    np.add.at(decide, (source, target[decisions.anchor]), decisions.weight)
    move = np.asarray((chain.transition_matrix().T @ decide.T).T)
    equations = move.T - np.eye(size)
    equations[-1] = 1.0
    law = linalg.solve(equations, np.eye(1, size, size - 1)[0], overwrite_a=True)
    per_interval = (law @ decide) @ chain.yields.reshape(size, -1)
    seconds = world.decision_interval_s
    mine = per_interval[BUSY] / seconds / n, per_interval[SILENT] / seconds
    theirs = figures.utilisation, figures.silent_per_s
    scale = figures.utilisation, figures.answered_per_s
    gap = max(abs(a - b) / c for a, b, c in zip(mine, theirs, scale, strict=True))
    return Exact(policy, figures, law.reshape(q_max + 1, n + 1), gap)


def classes(law: FloatArray, most: int = CLASSES) -> IntArray:
    """The class of every value of a law, int64 (K,): about `most` of about equal probability."""
    middle = np.cumsum(law) - 0.5 * law
    found = np.minimum(np.floor(most * middle), most - 1).astype(np.int64)
    return np.asarray(np.unique(found, return_inverse=True)[1], np.int64)


# --- the simulator --------------------------------------------------------------------------------


def scenario_of(world: MarkovWorld, duration_s: float) -> Scenario:
    """The Markov world as a scenario, without a limit on the dials of a decision."""
    ring = ExponentialLaw(mean_s=world.ring_s)
    return Scenario(
        name="markov",
        floor=Floor(n_agents=world.n_agents, talk=ExponentialLaw(mean_s=world.handle_s)),
        calls=Calls(
            answer_rate=ConstantAnswer(p=world.p_answer),
            time_to_answer=ring,
            unanswered=(Unanswered(outcome="no_answer", share=1.0, time=ring),),
            max_dials_per_decision=2000,
            max_lines=4000,
        ),
        rule=Rule(id="markov", cap=1.0, wait_limit_s=0.0),
        episode=Episode(
            duration_s=duration_s, close_s=0.0, decision_interval_s=world.decision_interval_s
        ),
        observation="markov",
        action="dials",
    )


class Played(NamedTuple):
    """What campaigns showed after the warm-up.

    Attributes:
        totals: growth of the running totals by name, (C,) each.
        busy: decisions at which b agents were busy, (C, N + 1).
        calls: decisions at which q calls were in flight, (C, Q + 1).
        product: mean of busy x in flight, (C,).
    """

    totals: dict[str, FloatArray]
    busy: FloatArray
    calls: FloatArray
    product: FloatArray


def play(world: MarkovWorld, exact: Exact, steps: int, seed: int, campaigns: int) -> Played:
    """Play a pair for `steps` decisions after a warm-up.

    The floor starts with as many calls in flight as bring it to about its utilisation; the
    policy's own draws are made with the generator of `seed`.
    """
    policy = exact.policy
    n = world.n_agents
    warm = math.ceil(_RELAXATIONS * (world.handle_s + world.ring_s) / world.decision_interval_s)
    simulator = World(campaigns, scenario_of(world, (warm + steps) * world.decision_interval_s))
    every = np.ones(campaigns, np.bool_)
    rows = np.arange(campaigns)
    simulator.begin(every, list(range(seed, seed + campaigns)))
    rng = np.random.default_rng(seed)
    if isinstance(policy, OrderUpTo):
        low, high = np.array(policy.low), np.array(policy.high)
        p_high = np.array(policy.p_high)
        most = policy.highest
    else:
        low = high = p_high = np.zeros(0)
        most = policy.shape[1] - 1
    seen_busy = np.zeros((campaigns, n + 1))
    seen_calls = np.zeros((campaigns, most + 1))
    product = np.zeros(campaigns)
    before: dict[str, FloatArray] = {}
    for step in range(warm + steps):
        shown = np.rint(simulator.observe().astype(np.float64) * n).astype(np.int64)
        busy, calls = shown[:, 0], np.minimum(shown[:, 1], most)
        if step == warm:
            before = simulator.totals()
        if step >= warm:
            seen_busy[rows, busy] += 1.0
            seen_calls[rows, calls] += 1.0
            product += busy * calls
        if isinstance(policy, OrderUpTo):
            bold = rng.random(campaigns) < p_high[busy]
            dials = np.where(bold, high[busy], low[busy]) - calls
        else:
            dials = policy[busy, calls] - calls
        if step == 0:
            dials = np.full(campaigns, round(exact.figures.utilisation * n / world.p_answer))
        simulator.step(np.clip(dials, 0, 2000), every)
    after = simulator.totals()
    grown = {name: after[name] - before[name] for name in after}
    return Played(grown, seen_busy, seen_calls, product / steps)


def compare(pair: Pair, exact: Exact, played: Played) -> list[Comparison]:
    """Tests of a pair: utilisation, silent rate if there is one, both laws, mean product.

    The silent rate is left out where fewer than 400 silent calls are expected, and a class where
    less than half a percent is: too little for a normal law. That depends on the exact figures
    only, not on what was played.
    """
    name, figures = pair.name, exact.figures
    totals = played.totals
    steps = played.busy[0].sum()
    seconds = steps * pair.world.decision_interval_s * len(played.busy)
    tests = [
        mean_test(
            "utilisation", name, totals["talk_s"] / totals["available_s"], figures.utilisation
        )
    ]
    if figures.silent_per_s * seconds >= _ENOUGH_SILENT:
        tests.append(
            ratio_test(
                "silent_rate", name, totals["silent"], totals["answered"], figures.silent_rate
            )
        )
    for what, seen, law in (
        ("busy", played.busy, exact.law.sum(axis=0)),
        ("in_flight", played.calls, exact.law.sum(axis=1)),
    ):
        place = classes(law)
        for number in range(place.max() + 1):
            chosen = np.flatnonzero(place == number)
            likely = float(law[chosen].sum())
            if likely < _RARE:
                continue
            share = seen[:, chosen].sum(axis=1) / steps
            at = f"{what} {chosen[0]} to {chosen[-1]}"
            tests.append(mean_test(f"law_of_{what}", name, share, likely, at))
    calls, busy = np.indices(exact.law.shape)
    both = float((exact.law * calls * busy).sum())
    tests.append(mean_test("mean_of_product", name, played.product, both))
    return tests


def never_silent(policy: Policy, n_agents: int) -> bool:
    """Whether the policy never has more calls in flight than idle agents."""
    return isinstance(policy, OrderUpTo) and all(
        most <= n_agents - busy for busy, most in enumerate(policy.high)
    )


def run(scale: float, report: Report) -> list[Figure]:
    """Play all pairs, or `SAMPLE_PAIRS` small ones for fewer decisions if `scale` is below 1."""
    numbered = [*enumerate(pairs())]
    if scale < 1.0:
        numbered = [row for row in numbered if row[1].world.n_agents <= SAMPLE_AGENTS]
    chosen = sampled(numbered, scale, SAMPLE_PAIRS)
    steps = max(round(STEPS * scale), LEAST_STEPS)
    campaigns = CAMPAIGNS if scale >= 1.0 else FEWEST_CAMPAIGNS
    tests: list[Comparison] = []
    apart: list[str] = []
    loud: list[str] = []
    quiet = np.zeros(3, np.int64)  # pairs, silent calls, answered calls
    for done, (number, pair) in enumerate(chosen):
        report(pair.name, done / len(chosen))
        exact = exact_of(pair)
        if exact.gap > AGREE:
            apart.append(f"{pair.name}: relative gap {exact.gap:.1e}")
        played = play(pair.world, exact, steps, 1_000_000 * (number + 1), campaigns)
        tests += compare(pair, exact, played)
        if never_silent(exact.policy, pair.world.n_agents):
            silent = int(played.totals["silent"].sum())
            quiet += [1, silent, int(played.totals["answered"].sum())]
            loud += [f"{pair.name}: {silent} silent calls"] * bool(silent)
    figures = [
        figure("chain/pairs", len(chosen), "1", len(chosen), len(chosen), len(chosen), "played"),
        failures(
            "chain/two_ways_differ",
            apart,
            len(chosen),
            f"elimination and full transition matrix agree to {AGREE:g}",
        ),
    ]
    if quiet[2]:
        what = "policies that never have more calls in flight than idle agents"
        share = clopper_pearson(int(quiet[1]), int(quiet[2]))
        figures += [
            failures("chain/silent_when_impossible", loud, int(quiet[0]), what),
            figure(
                "chain/silent_when_impossible/rate",
                share.value,
                "silent / answered",
                share.lo,
                share.hi,
                share.n,
                "lo to hi: 95 %, one-sided for 0",
            ),
        ]
    return figures + judge("chain", tests)
