"""Proof 1: open-loop Poisson dialing has the closed forms of queueing theory.

Poisson arrivals come exactly out of the `dials` action: every decision places a Poisson number of
calls, each answered after a uniform time within the interval. The world is then M/M/n + D with the
rule's waiting limit as D (families `fixed-timer`), M/G/n/n for a limit of 0, whose figures depend
on the mean handling time only (`erlang-b` with exponential, `insensitivity` with other laws),
M/M/n for a limit that nobody reaches (`erlang-c`), and M/M/n + M when callees leave by themselves
(`erlang-a`).

The floor starts with the expected number of conversations under way, and the figures are counted
from `Cell.warm_s` on. What remains of the clock's resolution: a callee whose limit ends in the same
millisecond in which an agent is released is served, which lowers the lost share by about half a
millisecond of releases, relatively 0.0008 at 200 agents and 120 s.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.laws import (
    BODY_CELLS,
    TAIL_CELLS,
    ConstantLaw,
    ExponentialLaw,
    Law,
    LognormalLaw,
    MixtureLaw,
    MixturePart,
    UniformLaw,
)
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
from quietdial.envs.theory import (
    erlang_b,
    erlang_c,
    exponential_patience,
    fixed_patience,
    load_at_loss,
)
from quietdial.experiments.proof.family import Comparison, judge, mean_test, ratio_test, sampled
from quietdial.experiments.proof.parts import Figure, Report

FloatArray = NDArray[np.float64]

AGENTS = (1, 2, 5, 10, 20, 50, 100, 200)
TIMERS_S = (1.0, 2.0, 3.0, 5.0)
LOSSES = (0.01, 0.03, 0.10)
HANDLE_S = {1: 10.0, 2: 20.0, 5: 30.0, 10: 60.0, 20: 60.0, 50: 90.0, 100: 120.0, 200: 120.0}

CALLS, LEAST_CALLS = 12_000_000, 400_000  # of a cell, in the whole proof and in a sample
CAMPAIGNS, FEWEST_CAMPAIGNS, MOST_CAMPAIGNS = 256, 96, 1024
SAMPLE_CELLS = 24

_LONGEST_S = 2_500_000.0
_INTERVALS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 20.0, 50.0, 100.0, 200.0)
_CALLS_PER_DECISION = 2.0
_ENDLESS_S = 60.0  # the longest limit that a rule may have
_RELAXATIONS = 12.0  # e^-12 = 6e-6 of a deviation is left after so many relaxation times


class Cell(NamedTuple):
    """One world with its exact figures."""

    family: str
    n_agents: int
    talk: Law
    per_s: float  # arrivals
    limit_s: float
    patience_s: float | None  # mean of an exponential law; None: for ever
    utilisation: float
    lost: float | None  # share of the arrivals; None: not tested
    all_busy: float | None  # probability, met by an arrival
    wait_s: float | None  # mean over all arrivals
    warm_s: float

    @property
    def name(self) -> str:
        """The world in words."""
        patience = "" if self.patience_s is None else f", patience {self.patience_s:g} s"
        load = self.per_s * played_mean_s(self.talk)
        return (
            f"{self.n_agents} agents, {self.talk.kind} {played_mean_s(self.talk):.3g} s, "
            f"load {load:.4g}, limit {self.limit_s:g} s{patience}"
        )


# --- the exact figures ----------------------------------------------------------------------------


def played_mean_s(law: Law) -> float:
    """Mean duration that the kernel draws [s].

    It interpolates in the law's table and cuts off what is below a millisecond, so a cell of w ms
    above `low` has the mean low + (w - 1) / 2. With 3 s of talk and 200 agents the half millisecond
    would be found.
    """
    knots = law.table_ms()
    body, tail = knots[:BODY_CELLS], knots[BODY_CELLS:]
    means = [(part[:-1] + np.maximum(np.diff(part) - 1, 0) / 2).sum() for part in (body, tail)]
    return float(means[0] + means[1] / TAIL_CELLS) / BODY_CELLS / 1000.0


def relaxation_s(law: Law) -> float:
    """Time after which at most 6e-6 of the conversations under way are still the same.

    By the stationary excess law, P(T > t) = integral of P(S > u) over u > t / E S, on a grid of
    times; at least 12 mean handling times, so that what was lost at the start is forgotten too.
    """
    least = _RELAXATIONS * played_mean_s(law)
    if isinstance(law, ExponentialLaw):
        return least
    longest = law.max_s()
    t = np.linspace(0.0, longest, 400_001)
    left = np.cumsum(1.0 - law.cdf(t)[::-1])[::-1]
    return max(least, float(t[np.argmax(left <= math.exp(-_RELAXATIONS) * left[0])]))


def timer_cell(family: str, n: int, talk: Law, limit_s: float, lost: float) -> Cell:
    """A world that loses the share `lost` of its callees at the rule's limit.

    For a limit of 0 the talk law may be any (Erlang B), otherwise it must be exponential.
    """
    handle_s = played_mean_s(talk)
    per_s = load_at_loss(n, handle_s, limit_s, lost)
    if limit_s:
        utilisation, share = fixed_patience(n, per_s, handle_s, limit_s)
    else:
        share = erlang_b(n, per_s * handle_s)
        utilisation = per_s * handle_s * (1.0 - share) / n
    warm_s = relaxation_s(talk) + _RELAXATIONS * limit_s
    return Cell(
        family, n, talk, per_s, limit_s, None, utilisation, share, None, None, math.ceil(warm_s)
    )


def endless_cell(n: int, handle_s: float, load: float) -> Cell:
    """M/M/n: the limit is so long that fewer than one call in a million reaches it."""
    talk = ExponentialLaw(mean_s=handle_s)
    handle_s = played_mean_s(talk)
    per_s = load / handle_s
    waits = erlang_c(n, load)
    gap_per_s = (math.sqrt(n / handle_s) - math.sqrt(per_s)) ** 2  # of the M/M/n chain, at least
    warm_s = max(relaxation_s(talk), _RELAXATIONS / gap_per_s)
    wait_s = waits / (n / handle_s - per_s)
    return Cell(
        "erlang-c",
        n,
        talk,
        per_s,
        _ENDLESS_S,
        None,
        load / n,
        None,
        waits,
        wait_s,
        math.ceil(warm_s),
    )


def impatient_cell(n: int, handle_s: float, load: float, patience_s: float) -> Cell:
    """M/M/n + M: callees leave by themselves, on average after `patience_s` (Erlang A).

    By Little's law the mean wait of all callees is lost share x mean patience.
    """
    talk, patience = ExponentialLaw(mean_s=handle_s), ExponentialLaw(mean_s=patience_s)
    handle_s, mean_s = played_mean_s(talk), played_mean_s(patience)
    utilisation, lost = exponential_patience(n, load / handle_s, handle_s, mean_s)
    warm_s = math.ceil(_RELAXATIONS * (handle_s + patience_s))
    return Cell(
        "erlang-a",
        n,
        talk,
        load / handle_s,
        _ENDLESS_S,
        patience_s,
        utilisation,
        lost,
        None,
        lost * mean_s,
        warm_s,
    )


def other_laws(mean_s: float) -> list[Law]:
    """Handling laws of the same mean: constant, narrow, wide and of two kinds of calls."""
    short, long = ExponentialLaw(mean_s=mean_s / 3), ExponentialLaw(mean_s=11 * mean_s / 3)
    return [
        ConstantLaw(value_s=mean_s),
        UniformLaw(low_s=0.0, high_s=2 * mean_s),
        LognormalLaw(mean_s=mean_s, cv=1.0),
        MixtureLaw(parts=(MixturePart(weight=0.8, law=short), MixturePart(weight=0.2, law=long))),
    ]


def cells() -> list[Cell]:
    """The whole grid."""
    made = [
        timer_cell("fixed-timer", n, ExponentialLaw(mean_s=HANDLE_S[n]), limit_s, lost)
        for n in AGENTS
        for limit_s in TIMERS_S
        for lost in LOSSES
    ]
    made += [
        timer_cell("erlang-b", n, ExponentialLaw(mean_s=HANDLE_S[n]), 0.0, lost)
        for n in AGENTS
        for lost in (*LOSSES, 0.5)
    ]
    made += [
        timer_cell("insensitivity", n, talk, 0.0, LOSSES[(at + place) % 3])
        for at, n in enumerate(AGENTS)
        for place, talk in enumerate(other_laws(HANDLE_S[n]))
    ]
    made += [
        endless_cell(n, 3.0, load)
        for n, load in zip(AGENTS, (0.2, 1.2, 4.0, 8.5, 18.0, 46.0, 95.0, 192.0), strict=True)
    ]
    made += [
        impatient_cell(n, HANDLE_S[n], share * n, patience_s)
        for n, share, patience_s in zip(
            AGENTS,
            (0.5, 0.8, 1.0, 0.9, 1.1, 1.0, 1.05, 1.0),
            (3.0, 4.0, 2.0, 4.0, 5.0, 4.0, 3.0, 5.0),
            strict=True,
        )
    ]
    return made


# --- the simulator --------------------------------------------------------------------------------


def open_loop(cell: Cell, interval_s: float, duration_s: float) -> Scenario:
    """The cell's world: every dial is answered within the decision interval."""
    patience = None if cell.patience_s is None else ExponentialLaw(mean_s=cell.patience_s)
    nobody = Unanswered(outcome="invalid", share=1.0, time=ConstantLaw(value_s=1))
    return Scenario(
        name="open-loop",
        floor=Floor(n_agents=cell.n_agents, talk=cell.talk),
        calls=Calls(
            answer_rate=ConstantAnswer(p=1.0),
            time_to_answer=UniformLaw(low_s=0.0, high_s=interval_s),
            unanswered=(nobody,),
            patience=patience,
            max_dials_per_decision=2000,
            max_lines=4000,
        ),
        rule=Rule(id="open-loop", cap=1.0, wait_limit_s=cell.limit_s),
        episode=Episode(duration_s=duration_s, close_s=0.0, decision_interval_s=interval_s),
        observation="markov",
        action="dials",
    )


def simulate(cell: Cell, calls: int, seed: int, campaigns: int = CAMPAIGNS) -> list[Comparison]:
    """Play a cell and compare it with its exact figures.

    Args:
        cell: the world.
        calls: arrivals that are counted, in all campaigns together, about.
        seed: of the arrivals; the campaigns have the seeds seed, seed + 1, ...
        campaigns: independent campaigns; more are taken if they would have to last too long.

    Returns:
        Tests of utilisation, and of lost share, waiting probability and mean wait where known.
    """
    interval_s = max(
        s for s in _INTERVALS_S if s * cell.per_s <= _CALLS_PER_DECISION or s == _INTERVALS_S[0]
    )
    longest_s = _LONGEST_S - cell.warm_s
    campaigns = min(max(campaigns, math.ceil(calls / (cell.per_s * longest_s))), MOST_CAMPAIGNS)
    warm = math.ceil(cell.warm_s / interval_s)
    counted = math.ceil(min(calls / (cell.per_s * campaigns), longest_s) / interval_s)
    scenario = open_loop(cell, interval_s, (warm + counted) * interval_s)
    world = World(campaigns, scenario)
    every = np.ones(campaigns, np.bool_)
    world.begin(every, list(range(seed, seed + campaigns)))
    rng = np.random.default_rng(seed)
    filled = round(cell.utilisation * cell.n_agents)
    before: dict[str, FloatArray] = {}
    all_busy = np.zeros(campaigns)
    for step in range(warm + counted):
        if step == warm:
            before = world.totals()
        dials = rng.poisson(cell.per_s * interval_s, campaigns)
        world.step(dials + filled if step == 0 else dials, every)
        if cell.all_busy is not None and step >= warm:
            all_busy += world.observe()[:, 0] > 1.0 - 0.5 / cell.n_agents
    after = world.totals()
    grown = {name: after[name] - before[name] for name in after}

    answered = grown["answered"]
    family, name = cell.family, cell.name
    busy = grown["talk_s"] / grown["available_s"]
    tests = [mean_test(f"{family}/utilisation", name, busy, cell.utilisation)]
    if cell.lost is not None:
        tests.append(ratio_test(f"{family}/lost", name, grown["silent"], answered, cell.lost))
    if cell.all_busy is not None:
        seen = all_busy / counted
        tests.append(mean_test(f"{family}/waiting_probability", name, seen, cell.all_busy))
    if cell.wait_s is not None:
        waited = grown["waiting_s"]
        tests.append(ratio_test(f"{family}/wait", name, waited, answered, cell.wait_s))
    return tests


def run(scale: float, report: Report) -> list[Figure]:
    """Play the grid, or `SAMPLE_CELLS` cells of it with fewer calls if `scale` is below 1."""
    grid = [(number, cell) for number, cell in enumerate(cells())]
    played = sampled(grid, scale, SAMPLE_CELLS)
    calls = max(round(CALLS * scale), LEAST_CALLS)
    campaigns = CAMPAIGNS if scale >= 1.0 else FEWEST_CAMPAIGNS
    tests: list[Comparison] = []
    for done, (number, cell) in enumerate(played):
        report(cell.name, done / len(played))
        tests += simulate(cell, calls, 1_000_000 * (number + 1), campaigns)
    return judge("erlang", tests)
