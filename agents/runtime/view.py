"""What a dialer sees at one moment: the numbers that features, base rule and shield are made of.

Two things make a `View`: the `Floor`, from the events of calls and agents, and a dialer that keeps
its own counters and hands them in (`counters.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.tables import BREAK, HELD, IDLE, N_MEMORIES, OFF, SPARE


class Estimates:
    """The exponentially weighted estimates of the answer rate.

    Attributes:
        answered: pick-ups seen, a weighted count for each memory.
        finished: dials with an outcome, the same.
    """

    def __init__(self, keep: tuple[float, ...], prior_rate: float, prior_weight: float) -> None:
        self._keep = keep
        self._prior_weight = prior_weight
        self.answered = [prior_rate * prior_weight] * N_MEMORIES
        self.finished = [prior_weight] * N_MEMORIES

    def settle(self, answered: int, finished: int) -> None:
        """End a decision interval in which so many dials were picked up and so many ended."""
        for w, keep in enumerate(self._keep):
            self.answered[w] = keep * self.answered[w] + answered
            self.finished[w] = keep * self.finished[w] + finished

    def rest(self) -> None:
        """After a night the last answer rates weigh no more than the prior."""
        for w, finished in enumerate(self.finished):
            if finished > self._prior_weight:
                self.answered[w] *= self._prior_weight / finished
                self.finished[w] = self._prior_weight


@dataclass(slots=True)
class View:
    """One moment, as the dialer sees it.

    Attributes:
        now_ms: the moment [ms].
        agents: agents in each of `tables.STATES`, late if the feed is late.
        n_agents: all agents of the roster.
        waiting: answered callees who wait for an agent.
        in_flight: dials without an outcome, those with an agent set aside not counted.
        lines_free: calls that may still be placed.
        rate: estimated probability that a dial is answered, in [0.01, 0.99].
        recent: estimates over shorter and longer memories, N_MEMORIES - 1.
        windows: (silent, answered) of each of the rule's windows.
        spent_ms: open time of the first window so far [ms].
        span_ms: open time of the first window in all [ms].
        leaving: agents whose log-out is at most five minutes away.
        list_left: share of the list that may still be dialed.
        cohorts: calls in flight by whole seconds since their dial, (R,) float64; None: not known.
        agent_rows: row of the flattened table of releases of each agent, (N,); None: not known.
        unseen: calls given to agents since the moment that the feed shows.
        analysed: picked-up calls that detection has not judged.
        going_30s: agents at work who leave within 30 s or are overdue.
        going_2min: the same within two minutes.
        callers: inbound callers who wait.
    """

    now_ms: int
    agents: list[int]
    n_agents: int
    waiting: int
    in_flight: int
    lines_free: int
    rate: float
    recent: tuple[float, ...]
    windows: list[tuple[float, float]]
    spent_ms: int
    span_ms: int
    leaving: int
    list_left: float
    cohorts: NDArray[np.float64] | None
    agent_rows: NDArray[np.int64] | None
    unseen: float = 0.0
    analysed: int = 0
    going_30s: int = 0
    going_2min: int = 0
    callers: int = 0

    @property
    def present(self) -> int:
        """Agents logged in and not on break, at least 1."""
        return max(self.there, 1)

    @property
    def there(self) -> int:
        """Agents logged in and not on break."""
        return self.n_agents - self.agents[BREAK] - self.agents[OFF]

    @property
    def at_work(self) -> int:
        """Those of them who are neither set aside nor for inbound calls only."""
        return max(self.there - self.agents[HELD] - self.agents[SPARE], 0)

    def dials_at(self, ratio: float) -> int:
        """New calls for so many lines per idle agent; 1: progressive dialing."""
        return max(int(ratio * self.agents[IDLE]) - self.in_flight - self.waiting, 0)
