"""The exact optimum of the Markov world: the limit that every pacing policy is judged against.

The constrained problem: maximise mean busy agents / N subject to silent <= cap x answered, over all
policies that see (b busy, q in flight) and every decision interval raise q. Since both sides of the
constraint are long-run averages, it is a linear programme over occupation measures. A decision is a
chain of 'dial one more' edges (b, q) -> (b, q + 1), so that there are two variables per state:
y(b, q), how often the decision ends there, and z(b, q), how often it goes on:

    maximise   sum y x busy / (N interval)
    subject to y(s) + z(s) = z(s - 1) + sum_s' y(s') P(s' -> s),   sum y = 1,
               sum y (silent - cap x answered) <= 0.

The dual of the constraint is the multiplier. The cross-check solves the Lagrangian problem, reward
busy / N - multiplier x (silent - cap x answered), by Howard's policy iteration, and searches the
multiplier. Its value D(multiplier) is an upper bound of the constrained optimum for every
multiplier >= 0 (weak duality); at the right one the bound is met, by a mixture of two deterministic
policies that differ in one state (Altman 1999). In every case solved so far they are order-up-to
tables, and :attr:`Optimum.gap` shows for each solution that nothing was lost by taking them so.

For more than 700 states the programme is restricted to a band of targets around two
Lagrangian optima; states outside the band are eliminated, which leaves a semi-Markov programme of
the same form. The bound, computed without the restriction, proves that the band was wide enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.optimize import linprog

from quietdial.envs.errors import ConfigError, QuietDialError
from quietdial.envs.pacing.markov import (
    ANSWERED,
    BUSY,
    SILENT,
    TIME,
    Chain,
    Figures,
    MarkovWorld,
    chain_of,
)
from quietdial.envs.pacing.targets import MOST_CALLS, Decisions, OrderUpTo, progressive

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Method = Literal["linear-programme", "policy-iteration"]

CAP_RANGE: Final = (1e-5, 0.5)
"""Allowed caps beside 0 [silent / answered]."""

_FULL = 700  # up to so many states the programme has no band
_TIE = 1e-11  # values that differ by less are equal
_PROVED = 1e-8  # largest gap between the programme and its bound
_ROW_SCALE = 1e3  # lifts small probabilities over the solver's 1e-9, below which it drops them
_ATTEMPTS = ((1e-10, True), (1e-10, False), (1e-8, True))  # tolerance (1e-10: least), presolve
_MOST_ROUNDS = 100


@dataclass(frozen=True)
class Optimum:
    """The best that any policy can do in the Markov world under a cap.

    Attributes:
        world: the parameters.
        cap: allowed silent / answered.
        utilisation: busy agents / agents of `policy`, exact.
        silent_rate: silent / answered of `policy`, exact.
        conversations_per_agent_h: conversations per agent-hour.
        multiplier_agent_s: price of the constraint, agent-seconds per silent call; inf at cap 0.
        policy: the optimal order-up-to table, randomised for one number of busy agents.
        upper_bound: proven limit of the utilisation of every policy (weak duality).
        objective: the optimal utilisation as the method itself found it: the objective of the
            linear programme, or the value of the Lagrangian at its minimum over the multiplier.
    """

    world: MarkovWorld
    cap: float
    utilisation: float
    silent_rate: float
    conversations_per_agent_h: float
    multiplier_agent_s: float
    policy: OrderUpTo
    upper_bound: float
    objective: float

    @property
    def gap(self) -> float:
        """Upper bound minus utilisation: zero up to rounding."""
        return self.upper_bound - self.utilisation


class Vertex(NamedTuple):
    """A Lagrangian optimum.

    Attributes:
        targets: int64 (N + 1, Q + 1), q' of every (b, q).
        figures: its exact averages.
    """

    targets: IntArray
    figures: Figures

    @property
    def table(self) -> IntArray:
        """Targets from no call in flight, (N + 1,)."""
        return self.targets[:, 0]

    def excess(self, cap: float) -> float:
        """Silent - cap x answered [calls per second]."""
        return self.figures.silent_per_s - cap * self.figures.answered_per_s


# --- the Lagrangian problem -----------------------------------------------------------------------


def policy_iteration(
    chain: Chain, cap: float, multiplier: float, start: IntArray | None = None
) -> Vertex:
    """Howard's policy iteration for busy / N - multiplier x (silent - cap x answered).

    Args:
        chain: the world with its highest number of calls in flight.
        cap: allowed silent / answered.
        multiplier: price of an excess silent call, in seconds (agent-seconds / N).
        start: targets q'(b, q) to begin with, (N + 1, Q + 1); none: progressive dialing.

    Ties go to the policy at hand, so that the iteration ends.
    """
    world = chain.world
    price = np.zeros(4)
    price[BUSY] = 1.0 / world.n_agents
    price[SILENT], price[ANSWERED] = -multiplier, multiplier * cap
    price /= world.decision_interval_s
    calls = np.arange(chain.q_max + 1)
    targets = _order_up_to(progressive(world.n_agents).low, chain) if start is None else start
    for _ in range(_MOST_ROUNDS):
        decisions = Decisions.of_targets(targets)
        reduced = chain.eliminate(decisions, keep=True)
        values, gain = _values(reduced.move, reduced.yields, price)
        if reduced.state_move is None or reduced.state_yields is None:
            raise QuietDialError("policy iteration needs the values of all states")
        after = reduced.state_move @ values + reduced.state_yields @ price
        after -= gain * reduced.state_yields[:, :, TIME]
        after = after.T  # (N + 1, Q + 1), value of deciding to have q calls in flight
        best = np.maximum.accumulate(after[:, ::-1], axis=1)[:, ::-1]
        kept = np.take_along_axis(after, targets, axis=1)
        first_best = _first_at_least(after, best - _TIE)
        better = best > kept + _TIE
        if not better.any():
            return Vertex(targets, chain.figures_of(reduced))
        targets = np.where(better, np.maximum(first_best, calls), targets)
    raise QuietDialError(
        f"policy iteration did not end after {_MOST_ROUNDS} rounds for {world}, "
        f"multiplier = {multiplier}"
    )


def _values(move: FloatArray, yields: FloatArray, price: FloatArray) -> tuple[FloatArray, float]:
    """Relative values of the anchors (that of anchor 0 is 0) and the gain per interval."""
    system = np.eye(len(move)) - move
    system[:, 0] = yields[:, TIME]
    solution = linalg.solve(system, yields @ price, check_finite=False)
    gain = float(solution[0])
    solution[0] = 0.0
    return solution, gain


def _first_at_least(after: FloatArray, level: FloatArray) -> IntArray:
    """For every (b, q), the first q' >= q with after[b, q'] >= level[b, q]."""
    result = np.empty(after.shape, np.int64)
    last = after.shape[1] - 1
    result[:, last] = last
    for q in range(last - 1, -1, -1):
        result[:, q] = np.where(after[:, q] >= level[:, q], q, result[:, q + 1])
    return result


def _order_up_to(table: Sequence[int] | IntArray, chain: Chain) -> IntArray:
    """Targets q'(b, q) of a table, cut at the chain's highest number of calls."""
    cut = np.minimum(np.asarray(table, np.int64), chain.q_max)
    return np.maximum(cut[:, None], np.arange(chain.q_max + 1))


class _OutOfReachError(ConfigError):
    """Too few calls may be in flight for the cap to bind."""


class _Found(NamedTuple):
    """Two optima on either side of the cap, the multiplier [s], the method's own value."""

    careful: Vertex
    bold: Vertex
    multiplier: float
    objective: float


class _Search:
    """Lagrangian optima of one chain; each of them is a line over the multiplier for every cap."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        n = chain.world.n_agents
        targets = _order_up_to(progressive(n).low, chain)
        self.progressive = Vertex(targets, chain.figures(Decisions.of_targets(targets)))
        self.found = [self.progressive]

    def at(self, cap: float, multiplier: float) -> Vertex:
        """Lagrangian optimum, starting from the best one known."""
        known = max(self.found, key=lambda v: _lagrangian(v, cap, multiplier))
        vertex = policy_iteration(self.chain, cap, multiplier, known.targets)
        if vertex.targets is not known.targets:
            self.found.append(vertex)
        return vertex

    def bracket(self, cap: float) -> tuple[Vertex, Vertex]:
        """Two optima around the cap, whose multipliers differ by a factor of 2."""
        multiplier = 150.0 / self.chain.world.n_agents
        vertex = self.at(cap, multiplier)
        up = vertex.excess(cap) > 0.0
        for _ in range(_MOST_ROUNDS):
            multiplier *= 2.0 if up else 0.5
            other = self.at(cap, multiplier)
            if (other.excess(cap) > 0.0) != up:
                return (other, vertex) if up else (vertex, other)
            vertex = other
        raise _OutOfReachError(
            f"q_max = {self.chain.q_max} calls in flight are too few for cap = {cap} "
            f"in {self.chain.world}"
        )

    def closer(self, cap: float, careful: Vertex, bold: Vertex) -> tuple[Vertex, Vertex]:
        """Two optima closer around the cap: one step of the crossing from either side."""
        for _ in range(2):
            gained = bold.figures.utilisation - careful.figures.utilisation
            vertex = self.at(cap, gained / (bold.excess(cap) - careful.excess(cap)))
            if vertex.excess(cap) > 0.0:
                bold = vertex
            else:
                careful = vertex
        return careful, bold

    def crossing(self, cap: float) -> _Found:
        """The two optima that are mixed at the cap, and the multiplier [s] at which they tie.

        Each optimum is a line busy / N - multiplier x excess; D is their upper envelope. Where the
        lines of two optima on either side of the cap meet, either D has its minimum, or policy
        iteration finds a line above.
        """
        careful, bold = self.bracket(cap)
        for vertex in self.found:
            excess = vertex.excess(cap)
            if careful.excess(cap) < excess <= 0.0:
                careful = vertex
            elif 0.0 < excess < bold.excess(cap):
                bold = vertex
        for _ in range(_MOST_ROUNDS):
            low, high = careful.excess(cap), bold.excess(cap)
            gained = bold.figures.utilisation - careful.figures.utilisation
            multiplier = gained / (high - low)
            met = _lagrangian(careful, cap, multiplier)
            vertex = self.at(cap, multiplier)
            if _lagrangian(vertex, cap, multiplier) <= met + 1e-12:
                return _Found(careful, bold, multiplier, met)
            if vertex.excess(cap) > 0.0:
                bold = vertex
            else:
                careful = vertex
        raise QuietDialError(f"the multiplier for cap = {cap} was not found in {self.chain.world}")


def _lagrangian(vertex: Vertex, cap: float, multiplier: float) -> float:
    return vertex.figures.utilisation - multiplier * vertex.excess(cap)


# --- the linear programme -------------------------------------------------------------------------


class _Programme(NamedTuple):
    utilisation: float
    multiplier: float  # [s]


def _linear_programme(chain: Chain, cap: float, low: IntArray, high: IntArray) -> _Programme:
    """The programme over tables with `low` <= target <= `high`, each (N + 1,).

    Below the band a decision goes on, above it it ends. The states of the band are the anchors of
    the chain; with a band from 0 to q_max this is the whole programme.
    """
    calls = np.arange(chain.q_max + 1)
    inside = calls <= high[:, None]
    source = np.argwhere(inside)
    target = np.maximum(source[:, 1], low[source[:, 0]])
    decisions = Decisions.of_moves(
        (~inside).astype(np.float64), source, target, np.ones(len(source))
    )
    reduced = chain.eliminate(decisions)
    move = np.where(reduced.move * _ROW_SCALE > 2e-9, reduced.move, 0.0)
    move /= move.sum(axis=1, keepdims=True)
    nodes = decisions.anchors
    size = len(nodes)
    up = np.flatnonzero(nodes[:, 1] < high[nodes[:, 0]])  # 'one more' leads to the next node
    n_up = len(up)
    edges = np.zeros((size, n_up))
    edges[up, np.arange(n_up)] = 1.0
    edges[up + 1, np.arange(n_up)] = -1.0
    balance = np.hstack([np.eye(size) - move.T, edges])[:-1]  # the last is the sum of the others
    none = np.zeros(n_up)
    duration = np.append(reduced.yields[:, TIME], none)
    equalities = sparse.csc_array(np.vstack([balance * _ROW_SCALE, duration]))
    right = np.zeros(size)
    right[-1] = 1.0
    interval = chain.world.decision_interval_s
    busy = reduced.yields[:, BUSY] / (chain.world.n_agents * interval)
    excess = (reduced.yields[:, SILENT] - cap * reduced.yields[:, ANSWERED]) / interval
    scale = float(np.abs(excess).max())
    said = ""
    for tolerance, presolve in _ATTEMPTS:
        answer = linprog(
            -np.append(busy, none),
            A_ub=np.append(excess / scale, none)[None],
            b_ub=[0.0],
            A_eq=equalities,
            b_eq=right,
            method="highs-ds",
            options={
                "primal_feasibility_tolerance": tolerance,
                "dual_feasibility_tolerance": tolerance,
                "presolve": presolve,
            },
        )
        if answer.status == 0:
            price = -float(answer.ineqlin.marginals[0]) / scale
            return _Programme(-float(answer.fun), max(price, 0.0))
        said = answer.message
    raise QuietDialError(f"the linear programme of {chain.world} at cap = {cap} failed: {said}")


def _by_programme(search: _Search, cap: float) -> _Found:
    """Two optima on either side of the cap at the programme's multiplier, and its value."""
    chain = search.chain
    n = chain.world.n_agents
    low, high = np.zeros(n + 1, np.int64), np.full(n + 1, chain.q_max, np.int64)
    if (n + 1) * (chain.q_max + 1) > _FULL:
        careful, bold = search.closer(cap, *search.bracket(cap))
        low = np.maximum(np.minimum(careful.table, bold.table) - 1, 0)
        high = np.minimum(np.maximum(careful.table, bold.table) + 1, chain.q_max)
    for _ in range(_MOST_ROUNDS):
        programme = _linear_programme(chain, cap, low, high)
        vertex = search.at(cap, programme.multiplier)
        if vertex.excess(cap) <= 0.0 and vertex.table.max() == chain.q_max:
            raise _OutOfReachError(
                f"q_max = {chain.q_max} calls in flight are too few for cap = {cap} "
                f"in {chain.world}"
            )
        bound = _lagrangian(vertex, cap, programme.multiplier)
        if bound - programme.utilisation <= _PROVED:
            shift = 1e-6
            for _ in range(20):
                careful = search.at(cap, programme.multiplier * (1.0 + shift))
                bold = search.at(cap, programme.multiplier * (1.0 - shift))
                if careful.excess(cap) <= 0.0 < bold.excess(cap):
                    return _Found(careful, bold, programme.multiplier, programme.utilisation)
                shift *= 2.0
            break
        low = np.minimum(low, np.maximum(vertex.table - 1, 0))
        high = np.maximum(high, np.minimum(vertex.table + 1, chain.q_max))
    raise QuietDialError(
        f"the linear programme of {chain.world} at cap = {cap} could not be confirmed by its dual"
    )


# --- the answer -----------------------------------------------------------------------------------


def _mixture(
    chain: Chain, cap: float, careful: IntArray, bold: IntArray
) -> tuple[OrderUpTo, Figures]:
    """Randomise between two tables in one state so that the silent rate is the cap.

    The first table is changed into the second one call at a time; all tables on the way are
    optimal at the multiplier. Two neighbours on either side of the cap are mixed. The probability
    of the second one follows from the excess rates at 0, 1/2 and 1: between two visits of the
    state, time and excess are linear in it, so that the excess rate is linear-fractional.
    """

    def excess(table: OrderUpTo) -> float:
        figures = chain.figures(Decisions.of_table(table, chain.q_max))
        return figures.silent_per_s - cap * figures.answered_per_s

    answer = OrderUpTo.fixed(careful.tolist())
    one, e_one = answer, excess(answer)
    for b in np.flatnonzero(careful != bold)[::-1].tolist():
        for target in _between(int(careful[b]), int(bold[b])):
            two = OrderUpTo.fixed((*one.low[:b], target, *one.low[b + 1 :]))
            e_two = excess(two)
            if e_one <= 0.0 < e_two:
                e_half = excess(_mixed(one, two, b, 0.5))
                longer = (e_one - e_half) / (e_half - e_two)  # time between visits, two / one
                answer = _mixed(one, two, b, e_one / (e_one - longer * e_two))
                return answer, chain.figures(Decisions.of_table(answer, chain.q_max))
            one, e_one = two, e_two
    return answer, chain.figures(Decisions.of_table(answer, chain.q_max))


def _between(start: int, end: int) -> range:
    """From the neighbour of `start` to `end`."""
    step = 1 if end > start else -1
    return range(start + step, end + step, step)


def _mixed(one: OrderUpTo, two: OrderUpTo, b: int, p_two: float) -> OrderUpTo:
    """The second of two tables, which differ at b only, with probability `p_two`."""
    rising = two.low[b] > one.low[b]
    low, high = (one, two) if rising else (two, one)
    p_high = [0.0] * len(one.low)
    p_high[b] = p_two if rising else 1.0 - p_two
    return OrderUpTo(low.low, high.low, tuple(p_high))


def _checked_cap(cap: object) -> float:
    low, high = CAP_RANGE
    if isinstance(cap, bool) or not isinstance(cap, int | float | np.number):
        raise ConfigError(f"cap = {cap!r} must be a number, not {type(cap).__name__}")
    value = float(cap)
    if value != 0.0 and not low <= value <= high:
        raise ConfigError(f"cap = {cap!r} must be 0 or between {low:g} and {high:g}")
    return value


def _solve_with(search: _Search, cap: float, method: Method) -> Optimum:
    chain = search.chain
    if cap == 0.0:
        table = progressive(chain.world.n_agents)
        figures, bound = search.progressive.figures, search.progressive.figures.utilisation
        multiplier, objective = math.inf, figures.utilisation
    else:
        solver = _by_programme if method == "linear-programme" else _Search.crossing
        careful, bold, multiplier, objective = solver(search, cap)
        bound = max(_lagrangian(vertex, cap, multiplier) for vertex in search.found)
        table, figures = _mixture(chain, cap, careful.table, bold.table)
    return Optimum(
        world=chain.world,
        cap=cap,
        utilisation=figures.utilisation,
        silent_rate=figures.silent_rate,
        conversations_per_agent_h=figures.conversations_per_agent_h,
        multiplier_agent_s=multiplier * chain.world.n_agents,
        policy=table,
        upper_bound=bound,
        objective=objective,
    )


def solve(
    n_agents: int,
    p_answer: float,
    handle_s: float,
    ring_s: float,
    cap: float,
    decision_interval_s: float = 1.0,
    *,
    method: Method = "linear-programme",
    q_max: int | None = None,
) -> Optimum:
    """The exact optimum of the Markov world under a cap on silent / answered.

    Args:
        n_agents: N, at most 200 (50 agents take about half a minute).
        p_answer: probability that a call in flight ends in a person's answer.
        handle_s: mean conversation with wrap-up [s].
        ring_s: mean time from dial to its end [s].
        cap: allowed silent / answered, in :data:`CAP_RANGE`, or 0: then the optimum is progressive
            dialing, since any other target can leave more calls in flight than idle agents.
        decision_interval_s: time between decisions [s].
        method: how; both answers agree (tested to 1e-6).
        q_max: highest number of calls in flight that a policy may choose; none: as many as are
            needed, which is made sure of by solving again with more until no target touches it.

    Raises `ConfigError` for a parameter that is not allowed.
    """
    world = MarkovWorld(n_agents, p_answer, handle_s, ring_s, decision_interval_s).checked()
    if method not in ("linear-programme", "policy-iteration"):
        raise ConfigError(f"method = {method!r} must be 'linear-programme' or 'policy-iteration'")
    return _solve(world, _checked_cap(cap), method, q_max)


@lru_cache(maxsize=64)
def _solve(world: MarkovWorld, cap: float, method: Method, q_max: int | None) -> Optimum:
    if q_max is not None:
        return _solve_with(_Search(chain_of(world, q_max)), cap, method)
    return _solve_wide(world, cap, method)[1]


def _solve_wide(world: MarkovWorld, cap: float, method: Method) -> tuple[_Search, Optimum]:
    """Solve on so many calls in flight that no target touches the highest."""
    pipeline = max(1.15, 1.2 * world.ring_s / (world.handle_s * (1.0 - cap)))
    q_max = min(math.ceil(pipeline * world.n_agents / world.p_answer) + 10, MOST_CALLS)
    while True:
        search = _Search(chain_of(world, q_max))
        try:
            optimum = _solve_with(search, cap, method)
        except _OutOfReachError:
            pass
        else:
            if optimum.policy.highest < q_max:
                return search, optimum
        if q_max >= MOST_CALLS:
            raise ConfigError(
                f"cap = {cap} in {world} asks for more than {MOST_CALLS} calls in flight"
            )
        q_max = min(math.ceil(1.5 * q_max), MOST_CALLS)


def frontier(
    n_agents: int,
    p_answer: float,
    handle_s: float,
    ring_s: float,
    caps: Sequence[float],
    decision_interval_s: float = 1.0,
) -> tuple[Optimum, ...]:
    """The Pareto frontier: the optimum at every cap, in the order given.

    The Lagrangian optima that one cap has found serve the others as well, so that many caps cost
    little more than a few. Arguments as in :func:`solve`.
    """
    world = MarkovWorld(n_agents, p_answer, handle_s, ring_s, decision_interval_s).checked()
    checked = [_checked_cap(cap) for cap in caps]
    if not checked:
        raise ConfigError("a frontier needs at least one cap")
    search, _ = _solve_wide(world, max(checked), "policy-iteration")
    return tuple(_solve_with(search, cap, "policy-iteration") for cap in checked)
