"""The very numbers that the policy saw in training, from what the dialer sees.

Order, sums and rounding are those of the compiled features (`envs/pacing/features.py`): the same
bits come out for the same floor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.base_rule import LookAhead, Phi
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.tables import (
    BREAK,
    GRID,
    IDLE,
    INBOUND,
    OFF,
    TALK,
    WRAP,
    PacingTables,
)
from quietdial.agents.runtime.view import View

ObservationSet = Literal["counters", "full", "wide", "markov"]
N_FEATURES: Final[dict[str, int]] = {"counters": 22, "full": 43, "wide": 54, "markov": 2}
_DIALED_AGES_S: Final = (3, 8, 16)
_SHORTEST_MS: Final = 60_000


class Features:
    """Makes observations.

    Args:
        tables: the floor.
        observation: which set.

    Raises:
        PacerError: an observation set that the runtime does not know.
    """

    def __init__(self, tables: PacingTables, observation: str) -> None:
        if observation not in N_FEATURES:
            raise PacerError(
                f"observation {observation!r}: the runtime knows " + ", ".join(N_FEATURES)
            )
        self.observation = observation
        self.needs_ages = observation in ("full", "wide")
        self.is_wide = observation == "wide"
        self._t = tables
        self._phi = Phi(tables)
        self._weight: list[float] = tables.weight.tolist()

    def make(self, view: View, ahead: LookAhead | None, base: int) -> NDArray[np.float32]:
        """The observation, float32 (F,).

        Args:
            view: what the dialer sees.
            ahead: the look-ahead, for sets that have ages.
            base: what the base rule asks for; 0 where the action is not residual.
        """
        if self.observation == "markov":
            return np.array(self._markov(view), np.float32)
        numbers = counters_of(view, [window.cap for window in self._t.windows])
        if self.needs_ages:
            if ahead is None:
                raise PacerError(f"observation {self.observation!r} needs the look-ahead")
            numbers += self._outlook(view, ahead)
        if self.is_wide:
            numbers += self._wide(view)
        numbers.append(min(base, 8) / 4.0)
        return np.array(numbers, np.float32)

    def _markov(self, view: View) -> list[float]:
        n, agents = view.n_agents, view.agents
        return [(agents[TALK] + agents[WRAP]) / n, min(view.in_flight / n, 8.0)]

    def _outlook(self, view: View, ahead: LookAhead) -> list[float]:
        root = math.sqrt(view.present)
        spare = float(view.agents[IDLE] - view.waiting)
        releases, answers, variance = ahead.releases_list, ahead.answers_list, ahead.variance_list
        phi, weight = self._phi.of, self._weight
        risk = 0.0
        out = [0.0] * (4 * GRID + 1)
        for g in range(GRID):  # written out: this runs at every decision
            release, answer = releases[g], answers[g]
            z = (answer - release - spare + 0.5) / math.sqrt(variance[g] + 0.1)
            risk += weight[g] * phi(z)
            out[g] = min(release / root, 10.0)
            out[GRID + g] = min(answer / root, 10.0)
            out[2 * GRID + g] = (-4.0 if z < -4.0 else 4.0 if z > 4.0 else z) / 2.0
            slack = (spare + release - answer) / root
            out[3 * GRID + g] = -10.0 if slack < -10.0 else 10.0 if slack > 10.0 else slack
        out[4 * GRID] = 2.0 * _cut(risk, 0.0, 1.0)
        return out

    def _wide(self, view: View) -> list[float]:
        if view.cohorts is None:
            raise PacerError(
                "observation 'wide' needs the ages of calls; tell the pacer the events"
            )
        m = float(view.present)
        root = math.sqrt(m)
        scale = 6.0 * view.rate / m
        slots = len(view.cohorts)
        edges = [0, *(age for age in _DIALED_AGES_S if age < slots), slots]
        dialed = [
            _cut(float(view.cohorts[young:old].sum()) * scale, 0.0, 12.0)
            for young, old in pairwise(edges)
        ]
        dialed += [0.0] * (len(_DIALED_AGES_S) + 1 - len(dialed))
        return [
            _cut(view.unseen / root, 0.0, 5.0),
            _cut(view.analysed / root, 0.0, 5.0),
            min(view.going_30s / m, 1.0),
            min(view.going_2min / m, 1.0),
            min(view.agents[INBOUND] / m, 1.0),
            min(view.callers, 8) / 4.0,
            view.lines_free / self._t.n_lines,
            *dialed,
        ]


def counters_of(view: View, caps: Sequence[float]) -> list[float]:
    """The observation `counters` without the base of a residual action.

    Args:
        view: what the dialer sees.
        caps: allowed silent / answered of each of the rule's windows.
    """
    agents, waiting, n = view.agents, view.waiting, view.n_agents
    idle, m, cap = agents[IDLE], float(view.present), caps[0]
    silent, answered = view.windows[0]
    left = view.span_ms - view.spent_ms
    to_come = answered * left / max(view.spent_ms, _SHORTEST_MS)
    allowed = (cap * (answered + to_come) - silent) / (to_come + 20.0)
    over = _over_cap(silent, answered, cap)
    tightest = over
    for other, counts in zip(caps[1:], view.windows[1:], strict=True):
        tightest = max(tightest, _over_cap(*counts, other))
    return [
        min(idle, 8) / 4.0,
        3.0 * idle / m,
        float(min(waiting, 3)),
        agents[TALK] / m,
        3.0 * agents[WRAP] / m,
        3.0 * agents[BREAK] / n,
        2.0 * math.sqrt(view.rate) - 1.0,
        *(2.0 * math.sqrt(_cut(value, 0.0, 1.0)) - 1.0 for value in view.recent),
        _cut(6.0 * view.in_flight * view.rate / m, 0.0, 12.0),
        min(math.sqrt(m) / 10.0, 5.0),
        _cut((silent - cap * answered) / 3.0, -3.0, 3.0),
        over,
        1.0 if idle == 0 and waiting == 0 else 0.0,
        left / view.span_ms,
        _cut(allowed / cap, 0.0, 3.0),
        1.0 - agents[OFF] / n,
        min(view.leaving / m, 1.0),
        view.list_left,
        tightest,
    ]


def _cut(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _over_cap(silent: float, answered: float, cap: float) -> float:
    return _cut(40.0 * ((silent + 1.5) / (answered + 50.0) - cap), -2.0, 2.0)
