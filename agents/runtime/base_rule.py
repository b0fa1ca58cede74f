"""The look-ahead and the `marginal` rule: the base value of residual actions, and thresholds.

The same sums in the same order as the compiled code of the simulator (`envs/pacing/control.py`), so
the results are the same to the last bit. Formulas: science study, part B.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.tables import GRID, IDLE, Floats, PacingTables
from quietdial.agents.runtime.view import View

_ALIVE: Final = 1e-9


class LookAhead(NamedTuple):
    """What is expected within each look-ahead, GRID numbers each.

    Attributes:
        releases: agents free in time, R_g.
        answers: calls in flight answered, A_g.
        variance: variance of A_g - R_g.
        releases_list: the same numbers as plain floats, and so on.
        answers_list: see above.
        variance_list: see above.
    """

    releases: Floats
    answers: Floats
    variance: Floats
    releases_list: list[float]
    answers_list: list[float]
    variance_list: list[float]


class BaseRule:
    """The `marginal` rule on a floor.

    Args:
        tables: the floor.
    """

    def __init__(self, tables: PacingTables) -> None:
        self._t = tables
        self._release = np.ascontiguousarray(tables.release.reshape(-1, 2 * GRID))
        ring = tables.ring
        self._answered, self._others = ring[:, 0].copy(), ring[:, 1].copy()
        self._soon = np.ascontiguousarray(ring[:, 2:])
        self._fresh = ring[0, 2:].copy()
        self._fresh_list: list[float] = self._fresh.tolist()
        self._weight: list[float] = tables.weight.tolist()
        self._dials = np.arange(tables.max_dials + 1, dtype=np.float64)[:, None]
        self._phi = Phi(tables)
        self._scale = np.zeros(len(ring))
        self._terms = np.zeros((len(ring) + 1, 2 * GRID))

    def look_ahead(self, view: View) -> LookAhead:
        """Expected releases and answers, from the ages of agents' states and of calls.

        Raises:
            PacerError: the ages are not known (a dialer that hands in counters only).
        """
        if view.agent_rows is None or view.cohorts is None:
            raise PacerError(
                "ages of calls and agents are needed for the look-ahead; tell the pacer the events"
            )
        rate, terms = view.rate, self._terms
        seen = np.add.accumulate(self._release[view.agent_rows])[-1]
        alive = rate * self._answered + (1.0 - rate) * self._others
        scale = self._scale
        scale.fill(0.0)
        np.divide(rate, alive, out=scale, where=alive > _ALIVE)
        q = scale[:, None] * self._soon
        np.minimum(q, 1.0, out=q)
        n = view.cohorts[:, None]
        terms[0, GRID:] = seen[GRID:]
        np.multiply(n, q, out=terms[1:, :GRID])
        np.multiply(q, 1.0 - q, out=q)
        np.multiply(n, q, out=terms[1:, GRID:])
        sums = np.add.accumulate(terms)[-1]
        numbers: list[float] = sums.tolist()
        return LookAhead(
            seen[:GRID],
            sums[:GRID],
            sums[GRID:],
            seen[:GRID].tolist(),
            numbers[:GRID],
            numbers[GRID:],
        )

    def risks(self, view: View, ahead: LookAhead, most: int) -> Floats:
        """P(one more answered call goes silent) with 0 to `most` calls added, (most + 1,)."""
        spare = view.agents[IDLE] - view.waiting
        q = view.rate * self._fresh
        added = self._dials[: most + 1]
        mean = ahead.answers - ahead.releases + added * q - spare + 0.5
        sd = np.sqrt(ahead.variance + added * (q * (1.0 - q)) + 1e-9)
        terms = self._t.weight * self._phi(mean / sd)
        return np.asarray(np.add.accumulate(terms, axis=1)[:, -1])

    def dials(self, view: View, theta: float, ahead: LookAhead | None = None) -> int:
        """Calls that the rule places now.

        One more while the probability that it goes silent, given that it is answered, is at most
        `theta`; as many as progressive dialing are always allowed.
        """
        most = min(self._t.max_dials, view.lines_free)
        certain = min(max(view.agents[IDLE] - view.waiting - view.in_flight, 0), most)
        if certain >= most:
            return most
        if ahead is None:
            ahead = self.look_ahead(view)
        if self._risk(view, ahead, certain) > theta:  # most decisions end here, without arrays
            return certain
        risks = self.risks(view, ahead, most)
        above = np.flatnonzero(risks[certain:most] > theta)
        return certain + int(above[0]) if len(above) else most

    def _risk(self, view: View, ahead: LookAhead, dials: int) -> float:
        """`risks` of one number of calls added, the same bits."""
        spare = view.agents[IDLE] - view.waiting
        releases, answers, variance = ahead.releases_list, ahead.answers_list, ahead.variance_list
        rate, fresh, weight, phi = view.rate, self._fresh_list, self._weight, self._phi.of
        risk = 0.0
        for g in range(GRID):
            q = rate * fresh[g]
            mean = answers[g] - releases[g] + dials * q - spare + 0.5
            sd = math.sqrt(variance[g] + dials * (q * (1.0 - q)) + 1e-9)
            risk += weight[g] * phi(mean / sd)
        return risk


class Phi:
    """The standard normal distribution function from the shared table."""

    def __init__(self, tables: PacingTables) -> None:
        self._limit, self._per_unit = tables.phi_limit, float(tables.phi_per_unit)
        self._low = tables.phi[:-1].copy()
        self._step = tables.phi[1:] - tables.phi[:-1]
        self._last = len(tables.phi) - 1
        self._table: list[float] = tables.phi.tolist()

    def of(self, z: float) -> float:
        """P(standard normal <= z) of one number, the same bits."""
        position = (z + self._limit) * self._per_unit
        if position <= 0.0:
            return self._table[0]
        if position >= self._last:
            return self._table[-1]
        cell = int(position)
        low = self._table[cell]
        return low + (self._table[cell + 1] - low) * (position - cell)

    def __call__(self, z: NDArray[np.float64]) -> Floats:
        """P(standard normal <= z), elementwise; error below 8e-6."""
        position = (z + self._limit) * self._per_unit
        position = np.minimum(np.maximum(position, 0.0), float(self._last))
        cell = np.minimum(position.astype(np.int64), self._last - 1)
        return np.asarray(self._low[cell] + self._step[cell] * (position - cell))
