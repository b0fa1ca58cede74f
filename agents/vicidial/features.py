"""The observation `counters` from what VICIdial's tables tell.

What is exact and what is approximate stands in docs/vicidial.md. The formulas are those of
`envs/pacing/features.py`.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.vicidial.errors import DialerError
from quietdial.agents.vicidial.tables import Snapshot

N_COUNTERS: Final = 22
_SHORTEST_S: Final = 60.0


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
    m = float(max(seen.working, 1))
    rate, *recent = rates(seen, floor)
    silent, answered, cap = seen.window.drops, seen.window.answered, floor.cap
    spent = min(max((seen.now - floor.window_from).total_seconds(), 0.0), floor.window_s)
    left = floor.window_s - spent
    to_come = answered * left / max(spent, _SHORTEST_S)
    allowed = (cap * (answered + to_come) - silent) / (to_come + 20.0)
    over = _cut(40.0 * ((silent + 1.5) / (answered + 50.0) - cap), -2.0, 2.0)
    logged_in = seen.working + seen.paused
    return np.array(
        [
            min(seen.ready, 8) / 4.0,
            3.0 * seen.ready / m,
            min(seen.waiting, 3),
            min(seen.on_call / m, 1.0),
            3.0 * seen.wrapping / m,
            min(3.0 * seen.paused / floor.n_agents, 3.0),
            2.0 * math.sqrt(rate) - 1.0,
            *(2.0 * math.sqrt(_cut(value, 0.0, 1.0)) - 1.0 for value in recent),
            _cut(6.0 * seen.in_flight * rate / m, 0.0, 12.0),
            min(math.sqrt(m) / 10.0, 5.0),
            _cut((silent - cap * answered) / 3.0, -3.0, 3.0),
            over,
            1.0 if seen.ready == 0 and seen.waiting == 0 else 0.0,
            left / floor.window_s,
            _cut(allowed / cap, 0.0, 3.0),
            min(logged_in / floor.n_agents, 1.0),
            0.0,
            1.0,
            over,
            0.0,
        ],
        np.float32,
    )


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
