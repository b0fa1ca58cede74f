"""The exactly solvable world: its Markov chain, and the exact value of any policy on it.

N agents, b of them busy, q calls in flight. A conversation with its wrap-up lasts Exp(handle), a
call in flight ends after Exp(ring) and is then answered with probability p, whatever its age. An
answered call that finds no idle agent is silent and lost at once. Every decision interval a policy
raises q to some q' >= q; dials cannot be recalled. This is what the presets `markov-N` simulate.

Within an interval the chain runs in continuous time. Every call ends in it with probability
d = 1 - exp(-interval / ring), whatever else happens, so the number j of calls that end is
Binomial(q, d), and given j their times are independent of q. Therefore

    P((b, q) -> (b', q - j)) = Binomial(q, d)[j] x block[j][b, b']

with blocks that do not depend on q. They, the expected busy time and the expected silent calls of
an interval come from uniformisation, in which every term is positive, so that nothing cancels.

Because q only falls within an interval, values can be eliminated level by level in q; only the
states that a decision enters from below are left (`anchors`: N + 1 of them for an order-up-to
table). The policy's long-run averages follow from the small Markov renewal process on them. No
approximation is involved but rounding: terms below 1e-18 are left out.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse, special

from quietdial.envs.errors import ConfigError
from quietdial.envs.laws import ExponentialLaw
from quietdial.envs.pacing.targets import (
    MOST_CALLS,
    AnyPolicy,
    Decisions,
    checked_number,
    checked_whole,
    decisions_of,
)
from quietdial.envs.scenario import ConstantAnswer, Scenario

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_AGENTS = 200
"""Most agents that are worth solving by linear algebra."""

MOST_STEPS = 20_000
"""Longest interval, in expected steps of uniformisation."""

MOST_NUMBERS = 200_000_000
"""Most float64 numbers of one array of values, 1.6 GB."""

_NEGLIGIBLE = 1e-18
_LIKELY_ENOUGH = 1e-80  # far from underflow
TIME, BUSY, SILENT, ANSWERED = 0, 1, 2, 3
"""What an interval yields: itself, busy agent-seconds, silent calls, answered calls."""


class MarkovWorld(NamedTuple):
    """The parameters of the exactly solvable world."""

    n_agents: int
    p_answer: float  # probability that a call in flight ends in a person's answer
    handle_s: float  # mean conversation with wrap-up
    ring_s: float  # mean time from dial to its end
    decision_interval_s: float = 1.0

    def checked(self) -> MarkovWorld:
        """The same with plain numbers; `ConfigError` names the first one that is not allowed."""
        agents = checked_whole("n_agents", self.n_agents, 1, MOST_AGENTS)
        p = checked_number("p_answer", self.p_answer)
        if not 0.0 < p <= 1.0:
            raise ConfigError(f"p_answer = {self.p_answer!r} must lie in (0, 1]")
        times = []
        for name in ("handle_s", "ring_s", "decision_interval_s"):
            value = checked_number(name, getattr(self, name))
            if not 0.0 < value <= 1e6:
                raise ConfigError(f"{name} = {value!r} must be positive, at most 1e6 seconds")
            times.append(value)
        return MarkovWorld(agents, p, *times)

    @classmethod
    def of(cls, scenario: Scenario) -> MarkovWorld:
        """Parameters of a scenario such as `markov-10`.

        Raises `ConfigError`, with the reason, for a scenario that is not this world.
        """
        floor, calls = scenario.floor, scenario.calls
        laws = [calls.time_to_answer, *(part.time for part in calls.unanswered if part.share)]
        means = [law.mean_s for law in laws if isinstance(law, ExponentialLaw)]
        reasons = {
            "conversations are not exponential": not isinstance(floor.talk, ExponentialLaw),
            "talk times differ from day to day": floor.talk_day_sd > 0,
            "there is a separate wrap-up": floor.wrap is not None,
            "agents take breaks": floor.breaks is not None,
            "the answer rate is not constant": not isinstance(calls.answer_rate, ConstantAnswer),
            "callees wait before a call is cut": scenario.rule.wait_limit_s > 0,
            "dials do not all end after one exponential time": len(means) < len(laws)
            or len(set(means)) > 1,
        }
        found = [reason for reason, holds in reasons.items() if holds]
        if (
            found
            or not isinstance(floor.talk, ExponentialLaw)
            or not isinstance(calls.answer_rate, ConstantAnswer)
        ):
            raise ConfigError(
                f"scenario {scenario.name!r} is not an exactly solvable Markov world: "
                + "; ".join(found)
            )
        interval = scenario.episode.decision_interval_s
        return cls(
            floor.n_agents, calls.answer_rate.p, floor.talk.mean_s, means[0], interval
        ).checked()


# --- the chain ------------------------------------------------------------------------------------


class Figures(NamedTuple):
    """Long-run averages of a policy, exact.

    Attributes:
        utilisation: busy agents / agents.
        silent_rate: silent / answered; 0 if nothing is ever answered.
        silent_per_s: silent calls per second.
        answered_per_s: answered calls per second.
        conversations_per_agent_h: conversations per agent-hour.
    """

    utilisation: float
    silent_rate: float
    silent_per_s: float
    answered_per_s: float
    conversations_per_agent_h: float


class Elimination(NamedTuple):
    """What remains of the chain between anchors; X = (1, busy, silent, answered) of an interval.

    Attributes:
        move: (A, A), probability that the next anchor entered after leaving anchor i is anchor k.
        yields: (A, 4), expected X until then.
        state_move: (Q + 1, N + 1, A), the same from every post-decision state (q', b), if kept.
        state_yields: (Q + 1, N + 1, 4), the same, if kept.
    """

    move: FloatArray
    yields: FloatArray
    state_move: FloatArray | None
    state_yields: FloatArray | None


class Chain:
    """Transitions and expected yields of one decision interval, for 0..q_max calls in flight.

    Args:
        world: the parameters.
        q_max: highest number of calls in flight [calls].

    Attributes:
        ended: float64 (q_max + 1, J + 1), probability that j of q calls end in the interval.
        blocks: float64 (J + 1, N + 1, N + 1), law of busy agents at its end, given j and b.
        yields: float64 (q_max + 1, N + 1, 4), expected X from the post-decision state (b, q).
    """

    def __init__(self, world: MarkovWorld, q_max: int) -> None:
        self.world = world.checked()
        self.q_max = checked_whole("q_max", q_max, 0, MOST_CALLS)
        if self._steps(self.q_max)[1] > MOST_STEPS:
            raise ConfigError(
                f"decision_interval_s = {self.world.decision_interval_s} is too long for up to "
                f"{q_max} calls in flight with ring_s = {self.world.ring_s}"
            )
        self.ended = self._ended()
        self.blocks = self._blocks()
        self.yields = self._yields()
        self._side_by_side = np.ascontiguousarray(self.blocks[1:].transpose(1, 0, 2))

    def _ended(self) -> FloatArray:
        share = self.world.decision_interval_s / self.world.ring_s
        keep, end = math.exp(-share), -math.expm1(-share)
        ended = np.zeros((self.q_max + 1, self.q_max + 1))
        ended[0, 0] = 1.0
        for q in range(self.q_max):
            ended[q + 1] = keep * ended[q]
            ended[q + 1, 1:] += end * ended[q, :-1]
        most = int(np.flatnonzero(ended[-1] > _NEGLIGIBLE)[-1])
        return np.ascontiguousarray(ended[:, : most + 1])

    def _steps(self, calls: int) -> tuple[float, float]:
        """Rate of uniformisation [1/s] and expected number of its steps in an interval."""
        world = self.world
        rate = calls / world.ring_s + world.n_agents / world.handle_s
        return rate, rate * world.decision_interval_s

    def _blocks(self) -> FloatArray:
        """The blocks, each from a number of calls from which j ends are not too unlikely."""
        n_blocks = self.ended.shape[1]
        size = self.world.n_agents + 1
        blocks = np.empty((n_blocks, size, size))
        calls = self.q_max
        while n_blocks:
            found = self._blocks_from(calls, n_blocks)
            likely = self.ended[calls, :n_blocks] > _LIKELY_ENOUGH
            likely |= np.arange(n_blocks) == n_blocks - 1
            first = int(np.flatnonzero(~likely)[-1]) + 1 if not likely.all() else 0
            blocks[first:n_blocks] = found[first:]
            n_blocks = first
            calls = int(np.argmax(self.ended[:, first - 1])) if first else 0
        return blocks

    def _blocks_from(self, calls: int, n_blocks: int) -> FloatArray:
        """Law of the busy agents given j = 0 .. n_blocks - 1 ends among `calls`."""
        world, n = self.world, self.world.n_agents
        rate, steps = self._steps(calls)
        busy = np.arange(n + 1.0)
        finish = busy / world.handle_s / rate
        ends = (calls - np.arange(n_blocks)) / world.ring_s / rate
        # rest of a step's probability: neither a conversation nor a call ends
        rest = 1.0 - ends[:, None, None] - finish
        total = np.zeros((n_blocks, n + 1, n + 1))
        power = np.zeros_like(total)
        power[0] = np.eye(n + 1)
        for k in range(_n_terms(steps)):
            total += math.exp(k * math.log(steps) - steps - math.lgamma(k + 1)) * power
            after = rest * power
            after[:, :, :-1] += finish[1:] * power[:, :, 1:]
            ended = ends[:-1, None, None] * power[:-1]
            after[1:] += (1.0 - world.p_answer) * ended
            after[1:, :, 1:] += world.p_answer * ended[:, :, :-1]
            after[1:, :, -1] += world.p_answer * ended[:, :, -1]
            power = after
        sums = total.sum(axis=2, keepdims=True)
        return np.asarray(total / np.where(sums > 0.0, sums, 1.0))

    def _yields(self) -> FloatArray:
        world, n = self.world, self.world.n_agents
        rate, steps = self._steps(self.q_max)
        busy = np.arange(n + 1.0)
        calls = np.arange(self.q_max + 1.0)[:, None]
        finish, ends = busy / world.handle_s / rate, calls / world.ring_s / rate
        rest = 1.0 - finish - ends
        now = np.zeros((2, self.q_max + 1, n + 1))
        now[0] = busy
        now[1, :, n] = world.p_answer * calls[:, 0] / world.ring_s
        total = np.zeros_like(now)
        for k in range(_n_terms(steps)):
            total += float(special.pdtrc(k, steps)) / rate * now
            after = rest * now
            after[:, :, 1:] += finish[1:] * now[:, :, :-1]
            answered = np.concatenate([now[:, :-1, 1:], now[:, :-1, -1:]], axis=2)
            after[:, 1:] += ends[1:] * (
                world.p_answer * answered + (1.0 - world.p_answer) * now[:, :-1]
            )
            now = after
        yields = np.empty((self.q_max + 1, n + 1, 4))
        yields[:, :, TIME] = 1.0
        yields[:, :, BUSY], yields[:, :, SILENT] = total
        end = -math.expm1(-world.decision_interval_s / world.ring_s)
        yields[:, :, ANSWERED] = world.p_answer * end * calls
        return yields

    def transition_matrix(self) -> sparse.csr_array:
        """P of one interval between states numbered q (N + 1) + b, sparse, (S, S)."""
        size = self.world.n_agents + 1
        rows = []
        for q in range(self.q_max + 1):
            row: list[sparse.sparray | None] = [None] * (self.q_max + 1)
            row[0] = sparse.csr_array((size, size))
            for j in range(min(q + 1, self.ended.shape[1])):
                row[q - j] = sparse.csr_array(self.ended[q, j] * self.blocks[j])
            if q < self.q_max:
                row[self.q_max] = sparse.csr_array((size, size))
            rows.append(row)
        return sparse.csr_array(sparse.block_array(rows, format="csr"))

    def eliminate(self, decisions: Decisions, *, keep: bool = False) -> Elimination:
        """Reduce the chain under a policy to the moves between its anchors.

        W(q) = yields(q) + sum_j ended[q, j] block[j] V(q - j) is solved from q = 0 upwards, where
        V(b, q) = stay x W(b, q) + sum of weights x anchors, and anchors are left as symbols.

        Args:
            decisions: the policy on 0..q_max calls.
            keep: also return the moves from every state.
        """
        size = self.world.n_agents + 1
        n_anchors = len(decisions.anchors)
        columns = n_anchors + 4
        if (self.q_max + 1) * size * columns > MOST_NUMBERS:
            raise ConfigError(
                f"a policy that enters {n_anchors} of {(self.q_max + 1) * size} states (busy, in "
                f"flight) is too large to be evaluated exactly"
            )
        after = np.zeros((self.q_max + 1, size, columns))  # V
        here = np.zeros((self.q_max + 1, size, columns)) if keep else None  # W
        result = np.zeros((n_anchors, columns))
        first = np.searchsorted(decisions.source[:, 1], np.arange(self.q_max + 2))
        by_level = np.argsort(decisions.anchors[:, 1], kind="stable")
        bounds = np.searchsorted(decisions.anchors[by_level, 1], np.arange(self.q_max + 2))
        identity = np.eye(size)
        for q in range(self.q_max + 1):
            most = min(q, self.ended.shape[1] - 1)
            value = np.zeros((size, columns))
            value[:, n_anchors:] = self.yields[q]
            while most and self.ended[q, most] < _NEGLIGIBLE:
                most -= 1
            if most:
                past = after[q - most : q][::-1] * self.ended[q, 1 : most + 1, None, None]
                blocks = self._side_by_side[:, :most].reshape(size, most * size)
                value += blocks @ past.reshape(most * size, columns)
            moves = slice(first[q], first[q + 1])
            level = after[q]
            np.add.at(
                level,
                (decisions.source[moves, 0], decisions.anchor[moves]),
                decisions.weight[moves],
            )
            none_ends = self.ended[q, 0] * self.blocks[0]
            value += none_ends @ level
            stay = decisions.stay[:, q]
            value = linalg.solve_triangular(
                identity - none_ends * stay, value, lower=True, check_finite=False
            )
            level += stay[:, None] * value
            entered = by_level[bounds[q] : bounds[q + 1]]
            result[entered] = value[decisions.anchors[entered, 0]]
            if here is not None:
                here[q] = value
        return Elimination(
            result[:, :n_anchors],
            result[:, n_anchors:],
            None if here is None else here[:, :, :n_anchors],
            None if here is None else here[:, :, n_anchors:],
        )

    def figures(self, decisions: Decisions) -> Figures:
        """Exact long-run averages of a policy on 0..q_max calls."""
        return self.figures_of(self.eliminate(decisions))

    def figures_of(self, reduced: Elimination) -> Figures:
        """The same from the moves between the anchors."""
        per_entry = stationary(reduced.move) @ reduced.yields
        per_interval = per_entry / per_entry[TIME]
        world = self.world
        seconds = world.decision_interval_s
        busy, silent, answered = (float(x) / seconds for x in per_interval[BUSY:])
        return Figures(
            utilisation=busy / world.n_agents,
            silent_rate=silent / answered if answered > 0.0 else 0.0,
            silent_per_s=silent,
            answered_per_s=answered,
            conversations_per_agent_h=3600.0 * (answered - silent) / world.n_agents,
        )


def _n_terms(steps: float) -> int:
    """Terms after which a Poisson law with that mean has less than 1e-25 left."""
    return math.ceil(steps + 11.0 * math.sqrt(steps) + 40.0)


def stationary(move: FloatArray) -> FloatArray:
    """Long-run law of a Markov chain that starts in state 0, (A,), from its moves (A, A).

    Of a chain's anchors, number 0 is that of the empty floor. By the elimination of Grassmann,
    Taksar and Heyman (1985), which subtracts nothing and so is accurate for chains that hardly
    ever leave some of their states, too.
    """
    reached = np.zeros(len(move), np.bool_)
    reached[0] = True
    while (more := reached | (move[reached] > 0.0).any(axis=0)).sum() > reached.sum():
        reached = more
    states = np.flatnonzero(reached)
    left = move[np.ix_(states, states)]
    first = 0  # states before it lead to it for good
    for n in range(len(states) - 1, 0, -1):
        out = left[n, :n].sum()
        if out == 0.0:
            first = n
            break
        left[:n, n] /= out
        left[:n, :n] += left[:n, n, None] * left[n, :n]
    law = np.zeros(len(states))
    law[first] = 1.0
    for n in range(first + 1, len(states)):
        law[n] = law[first:n] @ left[first:n, n]
    result = np.zeros(len(move))
    result[states] = law / law.sum()
    return result


@lru_cache(maxsize=4)
def chain_of(world: MarkovWorld, q_max: int) -> Chain:
    """The chain of these parameters; the last few are kept."""
    return Chain(world, q_max)


def evaluate(
    policy: AnyPolicy,
    n_agents: int,
    p_answer: float,
    handle_s: float,
    ring_s: float,
    decision_interval_s: float = 1.0,
) -> Figures:
    """Exact utilisation and silent rate of any stationary policy on (busy, in flight).

    Args:
        policy: one of
            an `OrderUpTo` table;
            whole targets for each b = 0..N: order up to them;
            whole targets q'(b, q), (N + 1, Q + 1), q <= q' <= Q;
            probabilities of placing k = 0..K calls, float (N + 1, Q + 1, K + 1).
        n_agents: N, at most 200.
        p_answer: probability that a call in flight ends in a person's answer.
        handle_s: mean conversation with wrap-up [s].
        ring_s: mean time from dial to its end [s].
        decision_interval_s: time between decisions [s].

    Raises `ConfigError` for a policy or a parameter that is not allowed.
    """
    world = MarkovWorld(n_agents, p_answer, handle_s, ring_s, decision_interval_s).checked()
    decisions, q_max = decisions_of(policy, world.n_agents)
    return chain_of(world, q_max).figures(decisions)
