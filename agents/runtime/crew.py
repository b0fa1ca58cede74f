"""The agents of a floor as the dialer sees them: their states, since when, and who leaves when.

Where the feed is late, agents are seen as they were `feed_delay_ms` ago: events wait until then,
whether they come late or are held back here.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.tables import BREAK, IDLE, OFF, SPARE, STATES, TALK, PacingTables

LEAVING_MS: Final = 300_000
"""Agents whose log-out is so near are leaving."""
_STATE_NUMBER: Final = {name: number for number, name in enumerate(STATES)} | {"lunch": BREAK}
_NEVER: Final = -1


class Crew:
    """The agents of one campaign.

    Args:
        tables: the floor.
        n_agents: agents of the roster, all that may ever log in.
        begin_ms: the clock now [ms].
    """

    def __init__(self, tables: PacingTables, n_agents: int, begin_ms: int = 0) -> None:
        if type(n_agents) is not int or not 1 <= n_agents <= 5000:
            raise PacerError(f"n_agents = {n_agents!r} must be a whole number from 1 to 5000")
        self.n_agents = n_agents
        self.counts = [0] * len(STATES)
        self.counts[OFF] = n_agents
        self.plans = False
        self.left_idle = 0
        self._delay_ms = tables.feed_delay_ms
        self._shift = tables.age_shift
        self._bins = tables.release.shape[1]
        self._numbers: dict[str, int] = {}
        self._inbound: set[int] = set()
        self._state = [OFF] * n_agents
        self._last_told = [OFF] * n_agents
        self._first_row = np.zeros(n_agents, np.int64)
        self._first_row[:] = OFF * self._bins
        self._since = np.full(n_agents, begin_ms, np.int64)
        self._out_ms = [_NEVER] * n_agents
        self._lunch_ms = [_NEVER] * n_agents
        self._lunch_due = [False] * n_agents
        self._lunches: list[tuple[int, int]] = []
        self._pending: deque[tuple[int, int, int, int]] = deque()
        self._ticked_ms = begin_ms - 1
        self._opened_ms = begin_ms

    def number_of(self, agent: str) -> int:
        """The number of an agent, who is put on the roster if there is room.

        Raises:
            PacerError: the roster is full.
        """
        number = self._numbers.get(agent)
        if number is None:
            number = len(self._numbers)
            if number >= self.n_agents:
                raise PacerError(
                    f"agent {agent!r}: the roster has {self.n_agents} agents and is full; make the "
                    "pacer with a larger n_agents"
                )
            self._numbers[agent] = number
        return number

    def plan(
        self,
        agent: str,
        out_ms: int | None = None,
        lunch_ms: int | None = None,
        *,
        inbound_only: bool = False,
    ) -> None:
        """When an agent will log out and go to lunch today [ms]; None: not planned."""
        number = self.number_of(agent)
        self._out_ms[number] = _NEVER if out_ms is None else out_ms
        self._lunch_ms[number] = _NEVER if lunch_ms is None else lunch_ms
        self._lunch_due[number] = False
        if lunch_ms is not None:
            heappush(self._lunches, (lunch_ms, number))
        if inbound_only:
            self._inbound.add(number)
        self.plans = self.plans or out_ms is not None or lunch_ms is not None

    def told(self, agent: str, at_ms: int, state: str, *, in_flight: int = 0) -> None:
        """An agent's state changed, while so many calls were in flight.

        "lunch" is a break, and the one that was planned.

        Raises:
            PacerError: an unknown state, or a full roster.
        """
        number, new = self.number_of(agent), _STATE_NUMBER.get(state, -1)
        if new < 0:
            raise PacerError(
                f"state {state!r} of agent {agent!r}: use one of {', '.join(STATES)}, lunch"
            )
        if new == IDLE and number in self._inbound:
            new = SPARE
        if state == "lunch":
            self._lunch_due[number] = False
        was = self._last_told[number]
        self._last_told[number] = new
        if was == IDLE and in_flight and new not in (IDLE, TALK):
            self.left_idle += 1
        if self._delay_ms:
            after_tick = at_ms == self._ticked_ms  # told after the view of that moment was taken
            self._pending.append((at_ms + after_tick, at_ms, number, new))
        else:
            self._enter(at_ms, number, new)

    def _enter(self, at_ms: int, number: int, new: int) -> None:
        old = self._state[number]
        self.counts[old] -= 1
        self.counts[new] += 1
        self._state[number] = new
        self._first_row[number] = (IDLE if number in self._inbound else new) * self._bins
        self._since[number] = at_ms
        if new == OFF:
            self._lunch_due[number] = False

    def open(self, now_ms: int) -> None:
        """At an opening the dialer sees its agents as they are."""
        self._opened_ms = now_ms
        while self._pending:
            self._enter(*self._pending.popleft()[1:])

    def ticked(self, at_ms: int) -> None:
        """All events up to that moment were told."""
        self._ticked_ms = at_ms

    def seen_ms(self, now_ms: int) -> int:
        """The moment at which the agents are seen."""
        return max(now_ms - self._delay_ms, min(self._opened_ms, now_ms))

    def look(self, now_ms: int) -> None:
        """Let what the feed shows by now come in."""
        seen_ms = self.seen_ms(now_ms)
        while self._pending and self._pending[0][0] <= seen_ms:
            self._enter(*self._pending.popleft()[1:])

    def rows(self, now_ms: int) -> NDArray[np.int64]:
        """Row of each agent in the flattened table of releases, (N,)."""
        age = (self.seen_ms(now_ms) - self._since) >> self._shift
        return np.asarray(self._first_row + np.minimum(np.maximum(age, 0), self._bins - 1))

    def leaving(self, now_ms: int, within_ms: int = LEAVING_MS) -> int:
        """Agents whose log-out is at most so far away."""
        if not self.plans:
            return 0
        until_ms = now_ms + within_ms
        return sum(now_ms < out <= until_ms for out in self._out_ms)

    def leaves_by(self, number: int, now_ms: int, until_ms: int) -> bool:
        """Whether an agent's log-out or lunch lies between now and then."""
        return (
            now_ms < self._out_ms[number] <= until_ms or now_ms < self._lunch_ms[number] <= until_ms
        )

    def idle_leaving(self, now_ms: int, until_ms: int) -> int:
        """Idle agents whose log-out or lunch lies between now and then."""
        if not self.plans:
            return 0
        return sum(
            state == IDLE and self.leaves_by(number, now_ms, until_ms)
            for number, state in enumerate(self._state)
        )

    def going(self, now_ms: int, within_ms: int) -> int:
        """Agents who go for good or to lunch within that time, or are overdue.

        Where the feed is late, those who are overdue are not told.
        """
        if not self.plans:
            return 0
        until_ms = now_ms + within_ms
        return sum(
            self.leaves_by(number, now_ms, until_ms)
            or (not self._delay_ms and self._overdue(number, now_ms))
            for number in range(self.n_agents)
        )

    def _overdue(self, number: int, now_ms: int) -> bool:
        state = self._state[number]
        if state == OFF:
            return False
        return 0 <= self._out_ms[number] <= now_ms or self._lunch_due[number]

    def pass_time(self, until_ms: int) -> None:
        """The clock moves on: agents at work whose lunch is due are overdue until they go."""
        while self._lunches and self._lunches[0][0] <= until_ms:
            _, number = heappop(self._lunches)
            if self._state[number] not in (OFF, IDLE, SPARE):
                self._lunch_due[number] = True
