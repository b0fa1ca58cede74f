"""Pacing policies on (busy, in flight) as tables, in the forms that the exact chain takes.

A stationary policy raises the calls in flight q to some q' >= q, depending on the busy agents b and
on q. It is given as an order-up-to table, as targets q'(b, q), or as probabilities of dials;
:class:`Decisions` is the one form that they are all turned into.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quietdial.envs.errors import ConfigError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_CALLS = 4000
"""Most calls in flight in a table."""


def checked_number(name: str, value: object) -> float:
    """`value` as a float; `ConfigError` names it if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ConfigError(f"{name} = {value!r} must be a number, not {type(value).__name__}")
    if not math.isfinite(float(value)):
        raise ConfigError(f"{name} = {value!r} must be finite")
    return float(value)


def checked_whole(name: str, value: object, low: int, high: int) -> int:
    """`value` as an int; `ConfigError` names it if it is no whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ConfigError(f"{name} = {value!r} must be a whole number")
    if not low <= value <= high:
        raise ConfigError(f"{name} = {value!r} must lie between {low} and {high}")
    return int(value)


@dataclass(frozen=True)
class OrderUpTo:
    """A randomised order-up-to table: raise the calls in flight to a target that depends on b.

    Attributes:
        low: target for every b = 0..N [calls].
        high: second target for every b, at least `low` [calls].
        p_high: probability, drawn anew at every decision, that the second target holds.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    p_high: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check lengths, order and probabilities."""
        if not len(self.low) == len(self.high) == len(self.p_high) >= 2:
            raise ConfigError("an order-up-to table needs one entry for each b = 0..N, N >= 1")
        for low, high, p in zip(self.low, self.high, self.p_high, strict=True):
            checked_whole("target", low, 0, MOST_CALLS)
            checked_whole("target", high, low, MOST_CALLS)
            if not 0.0 <= checked_number("p_high", p) <= 1.0:
                raise ConfigError(f"p_high = {p!r} must lie in [0, 1]")

    @classmethod
    def fixed(cls, targets: Sequence[int]) -> OrderUpTo:
        """The table without randomisation; `targets` has one entry for each b = 0..N."""
        whole = tuple(checked_whole("target", target, 0, MOST_CALLS) for target in targets)
        return cls(whole, whole, (0.0,) * len(whole))

    @property
    def n_agents(self) -> int:
        """N, one less than the number of entries."""
        return len(self.low) - 1

    @property
    def highest(self) -> int:
        """The highest target [calls]."""
        return max(self.high)


def progressive(n_agents: int) -> OrderUpTo:
    """Progressive dialing, one call in flight for each idle agent, as an order-up-to table."""
    return OrderUpTo.fixed([n_agents - b for b in range(n_agents + 1)])


AnyPolicy = OrderUpTo | Sequence[int] | NDArray[np.integer] | FloatArray
"""What `markov.evaluate` takes; see there."""


class Decisions(NamedTuple):
    """A stationary policy as probabilities, in the form in which the chain eliminates it.

    Attributes:
        stay: float64 (N + 1, Q + 1), probability of placing no call at (b, q).
        source: int64 (M, 2), states (b, q) at which a move starts, sorted by q.
        anchor: int64 (M,), the anchor that the move enters.
        weight: float64 (M,), the probability of the move.
        anchors: int64 (A, 2), states (b, q') that are entered by placing calls.
    """

    stay: FloatArray
    source: IntArray
    anchor: IntArray
    weight: FloatArray
    anchors: IntArray

    @classmethod
    def of_moves(
        cls, stay: FloatArray, source: IntArray, target: IntArray, weight: FloatArray
    ) -> Decisions:
        """From moves (b, q) -> (b, target); state (0, 0) is made an anchor if it stays itself.

        With (0, 0) among them, every path meets an anchor: without dials the floor runs empty.
        """
        if stay[0, 0] > 0.0:
            source = np.vstack([[[0, 0]], source])
            target, weight = np.append(0, target), np.append(stay[0, 0], weight)
            stay = stay.copy()
            stay[0, 0] = 0.0
        order = np.argsort(source[:, 1], kind="stable")
        source, target, weight = source[order], target[order], weight[order]
        anchors, anchor = np.unique(
            np.column_stack([source[:, 0], target]), axis=0, return_inverse=True
        )
        return cls(stay, source, anchor.reshape(-1), weight, anchors)

    @classmethod
    def of_targets(cls, targets: IntArray) -> Decisions:
        """Deterministic: raise q to `targets[b, q]`, int64 (N + 1, Q + 1)."""
        here = np.arange(targets.shape[1])
        source = np.argwhere(targets > here)
        goal = targets[source[:, 0], source[:, 1]]
        return cls.of_moves(
            (targets == here).astype(np.float64), source, goal, np.ones(len(source))
        )

    @classmethod
    def of_table(cls, table: OrderUpTo, q_max: int) -> Decisions:
        """A randomised order-up-to table on calls in flight 0..q_max."""
        stay = np.zeros((table.n_agents + 1, q_max + 1))
        moves: list[tuple[int, int, int, float]] = []
        for b, (low, high, p_high) in enumerate(
            zip(table.low, table.high, table.p_high, strict=True)
        ):
            for target, weight in ((low, 1.0 - p_high), (high, p_high)):
                if weight > 0.0:
                    stay[b, target:] += weight
                    moves += [(b, q, target, weight) for q in range(target)]
        columns = np.array(moves, dtype=np.float64).reshape(-1, 4)
        whole = columns[:, :3].astype(np.int64)
        return cls.of_moves(stay, whole[:, :2], whole[:, 2], columns[:, 3])

    @classmethod
    def of_dials(cls, p_dials: FloatArray) -> Decisions:
        """Randomised: place k calls with probability `p_dials[b, q, k]`, (N + 1, Q + 1, K + 1)."""
        source = np.argwhere(p_dials[:, :, 1:] > 0.0)
        weight = p_dials[source[:, 0], source[:, 1], source[:, 2] + 1]
        target = source[:, 1] + source[:, 2] + 1
        return cls.of_moves(p_dials[:, :, 0].copy(), source[:, :2], target, weight)


def decisions_of(policy: AnyPolicy, n_agents: int) -> tuple[Decisions, int]:
    """Read a policy as `markov.evaluate` takes it; also its highest number of calls in flight."""
    if isinstance(policy, OrderUpTo):
        table = policy
    else:
        given: ArrayLike = policy
        array = np.asarray(given)
        if array.ndim == 3:
            return _of_probabilities(array, n_agents)
        if array.dtype.kind not in "iu":
            raise ConfigError(
                f"a policy of type {array.dtype} and shape {array.shape} is neither whole targets "
                f"nor probabilities of dials (N + 1, Q + 1, K + 1)"
            )
        if array.ndim == 2:
            return _of_targets(array.astype(np.int64), n_agents)
        table = OrderUpTo.fixed(array.reshape(-1).tolist())
    if table.n_agents != n_agents:
        raise ConfigError(f"a table of {table.n_agents + 1} entries does not fit {n_agents} agents")
    return Decisions.of_table(table, table.highest), table.highest


def _of_targets(targets: IntArray, n_agents: int) -> tuple[Decisions, int]:
    here = np.arange(targets.shape[1])
    if targets.shape[0] != n_agents + 1 or targets.shape[1] < 2:
        raise ConfigError(f"targets of shape {targets.shape} must be ({n_agents + 1}, Q + 1)")
    if (targets < here).any() or (targets > here[-1]).any():
        raise ConfigError(f"a target q' of q calls in flight must lie between q and Q = {here[-1]}")
    top = _reachable(lambda q: int(targets[:, : q + 1].max()))
    return Decisions.of_targets(targets[:, : top + 1]), top


def _of_probabilities(p_dials: FloatArray, n_agents: int) -> tuple[Decisions, int]:
    n, width, most = p_dials.shape
    if n != n_agents + 1 or width < 2:
        raise ConfigError(
            f"probabilities of shape {p_dials.shape} must be ({n_agents + 1}, Q + 1, K + 1)"
        )
    p_dials = p_dials.astype(np.float64)
    sums = p_dials.sum(axis=2)
    if not (np.isfinite(p_dials).all() and (p_dials >= 0.0).all() and np.allclose(sums, 1.0)):
        raise ConfigError("probabilities of dials must be at least 0 and sum to 1 at every (b, q)")
    p_dials = p_dials / sums[:, :, None]
    goal = np.arange(width)[:, None] + np.arange(most)
    if (p_dials[:, goal >= width] > 0.0).any():
        raise ConfigError(f"dials may not lead beyond Q = {width - 1} calls in flight")
    used = np.where(p_dials.max(axis=0) > 0.0, goal, 0)
    top = _reachable(lambda q: int(used[: q + 1].max()))
    return Decisions.of_dials(p_dials[:, : top + 1]), top


def _reachable(highest: Callable[[int], int]) -> int:
    """Most calls ever in flight, from `highest(q)`: the highest target from at most q calls."""
    top = 0
    while (higher := highest(top)) > top:
        top = higher
    return top
