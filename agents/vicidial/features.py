"""The observation `counters` from what VICIdial's tables tell.

What is exact and what is approximate stands in docs/vicidial.md.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.features import counters_of
from quietdial.agents.runtime.tables import BREAK, IDLE, OFF, STATES, TALK, WRAP
from quietdial.agents.runtime.view import View
from quietdial.agents.vicidial.errors import DialerError
from quietdial.agents.vicidial.tables import Snapshot


@dataclass(frozen=True)
class Floor:
    """What the tables do not say.

    Attributes:
        n_agents: agents of the roster.
        cap: allowed silent / answered.
        window_from: first moment of the compliance window (the database's local time).
        window_s: open time of the window in all [s].
        prior_rate: answer rate before anything is known, in (0, 1).
        prior_finished: dials that the prior weighs.
        memories_s: memory of the answer rate, and of its three shorter and longer views [s].
    """

    n_agents: int
    cap: float
    window_from: datetime.datetime
    window_s: float
    prior_rate: float = 0.25
    prior_finished: float = 8.0
    memories_s: tuple[float, float, float, float] = (600.0, 60.0, 300.0, 1200.0)

    def __post_init__(self) -> None:
        """Refuse what makes no floor."""
        if self.n_agents < 1 or not 0 < self.cap <= 1 or not self.window_s > 0:
            raise DialerError(
                f"floor: n_agents = {self.n_agents}, cap = {self.cap}, window_s = {self.window_s}; "
                "give at least one agent, a cap in (0, 1] and a window longer than 0 s"
            )
        if not (0 < self.prior_rate < 1 and self.prior_finished > 0):
            raise DialerError("floor: prior_rate must lie in (0, 1), prior_finished above 0")


def counters(seen: Snapshot, floor: Floor) -> NDArray[np.float32]:
    """The 22 numbers of `counters`, float32, in the order of `spec.OBSERVATIONS`.

    Args:
        seen: what the tables said.
        floor: what they do not say.
    """
    rate, *recent = rates(seen, floor)
    agents = [0] * len(STATES)
    agents[IDLE], agents[TALK] = seen.ready, seen.on_call
    agents[WRAP], agents[BREAK] = seen.wrapping, seen.paused
    agents[OFF] = max(floor.n_agents - sum(agents), 0)
    spent_s = min(max((seen.now - floor.window_from).total_seconds(), 0.0), floor.window_s)
    view = View(
        now_ms=round(1000 * spent_s),
        agents=agents,
        n_agents=max(floor.n_agents, sum(agents)),
        waiting=seen.waiting,
        in_flight=seen.in_flight,
        lines_free=0,
        rate=rate,
        recent=tuple(recent),
        windows=[(float(seen.window.drops), float(seen.window.answered))],
        spent_ms=round(1000 * spent_s),
        span_ms=round(1000 * floor.window_s),
        leaving=0,
        list_left=1.0,
        cohorts=None,
        agent_rows=None,
    )
    return np.array([*counters_of(view, [floor.cap]), 0.0], np.float32)


def rates(seen: Snapshot, floor: Floor) -> list[float]:
    """Estimated answer rate over each memory: weighted answered / finished dials and the prior."""
    found = []
    spent_s = max((seen.now - floor.window_from).total_seconds(), 0.0)
    for which, memory_s in enumerate(floor.memories_s):
        prior = floor.prior_finished * math.exp(-spent_s / memory_s)
        answered, finished = prior * floor.prior_rate, prior
        for recent in seen.recent:
            weight = math.exp(-recent.age_s / memory_s)
            answered += weight * recent.answered
            finished += weight * recent.finished
        if which == 0:
            rate = (answered + 1e-6 * floor.prior_rate) / (finished + 1e-6)
            found.append(_cut(rate, 0.01, 0.99))
        else:
            found.append((answered + floor.prior_rate) / (finished + 1.0))
    return found


def _cut(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)
