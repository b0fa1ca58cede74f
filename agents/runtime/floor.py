"""The floor of a campaign, put together from the events that its dialer tells.

Events come in the order of time. The clock moves with them; whenever it passes the end of a
decision interval, the answer-rate estimates and the rolling window are moved on, exactly as the
simulator does at its decisions, however irregularly the pacer is asked.
"""

from __future__ import annotations

import math
import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from quietdial.agents.runtime.calls import Calls, Cause
from quietdial.agents.runtime.crew import Crew
from quietdial.agents.runtime.ledger_protocol import Ledger, Outcome
from quietdial.agents.runtime.tables import PacingTables
from quietdial.agents.runtime.view import Estimates, View
from quietdial.agents.runtime.windows import Session, WindowCounts

GOING_SOON_MS, GOING_NEXT_MS = 30_000, 120_000
_MINUTE_MS: Final = 60_000


class Floor:
    """What happens on a campaign's floor.

    Args:
        tables: what is known of the floor.
        ledger: where outcomes are counted.
        n_agents: agents of the roster; None: as in training.
    """

    def __init__(self, tables: PacingTables, ledger: Ledger, n_agents: int | None = None) -> None:
        self.tables = tables
        self.ledger = ledger
        self.crew = Crew(tables, tables.n_agents if n_agents is None else n_agents)
        self.calls = Calls(tables)
        self.windows = WindowCounts(tables)
        self.estimates = Estimates(tables.keep, tables.prior_rate, tables.prior_weight)
        self.session: Session | None = None
        self.list_left = 1.0
        self.callers = 0
        self.now_ms = 0
        self.told_ms = -1
        self.out_of_order = 0
        self.ledger_error = ""
        self._unsaved: deque[Callable[[], object]] = deque()
        self._next_ms: int | None = None
        self._settled = (0, 0)

    # --- time -----------------------------------------------------------------------------------

    def open_session(self, session: Session, at_ms: int | None = None) -> None:
        """The floor opens (or the pacer starts within a session at `at_ms`)."""
        at_ms = session.opens_ms if at_ms is None else at_ms
        first = self.session is None
        self._move_to(at_ms)
        self.session = session
        self.windows.enter(session, at_ms, self.ledger)
        self.crew.open(at_ms)
        if first:
            self._recall(at_ms)
        else:
            self.estimates.rest()
            self._settle(at_ms)
        steps = (at_ms - session.opens_ms) // self.tables.step_ms + 1
        self._next_ms = session.opens_ms + steps * self.tables.step_ms

    def _recall(self, at_ms: int) -> None:
        """After a restart: the answer rates of the last hours, and the dials still in flight."""
        longest_ms = 1000 * len(self.tables.ring)
        for dial in self.ledger.open_dials(at_ms - longest_ms):
            self.calls.dialed(dial.call, dial.dialed_ms)
        memory_steps = 1.0 / max(1.0 - max(self.tables.keep), 1e-9)
        minutes = min(math.ceil(4 * memory_steps * self.tables.step_ms / _MINUTE_MS), 600)
        since = self.ledger.tally(at_ms - minutes * _MINUTE_MS, at_ms + 1)
        if not sum(since):
            return
        steps = max(round(_MINUTE_MS / self.tables.step_ms), 1)
        for minute in range(minutes, 0, -1):
            begin = at_ms - minute * _MINUTE_MS
            tally = self.ledger.tally(begin, begin + _MINUTE_MS)
            picked_up = tally.conversation + tally.cut + tally.left + tally.machine_agent
            finished = picked_up + tally.machine_verdict + tally.unanswered
            self.estimates.settle(picked_up, finished)
            for _ in range(steps - 1):
                self.estimates.settle(0, 0)

    def _move_to(self, at_ms: int) -> None:
        """Move the clock on; intervals that end before `at_ms` are settled."""
        if at_ms > self.now_ms:
            self._settle_until(at_ms - 1)
            self.now_ms = at_ms
            self.crew.pass_time(at_ms)

    def _settle_until(self, until_ms: int) -> None:
        """Settle the intervals that end by then; the night belongs to the next session's first."""
        closes_ms = 0 if self.session is None else self.session.closes_ms
        while self._next_ms is not None and self._next_ms <= until_ms:
            if self._next_ms >= closes_ms:
                self.windows.settle(closes_ms)
                self._next_ms = None
                return
            self._settle(self._next_ms)
            self._next_ms = min(self._next_ms + self.tables.step_ms, closes_ms)

    def _settle(self, at_ms: int) -> None:
        """End a decision interval."""
        answered, finished = self.calls.picked_up_seen, self.calls.finished
        before = self._settled
        self.estimates.settle(answered - before[0], finished - before[1])
        self._settled = (answered, finished)
        self.windows.settle(at_ms)

    def _at(self, at_ms: int) -> None:
        """An event of that time is told."""
        if at_ms < self.now_ms:
            self.out_of_order += 1
        self.told_ms = max(self.told_ms, at_ms)
        self._move_to(at_ms)

    def tick(self, at_ms: int) -> None:
        """All events up to that moment were told."""
        self._at(at_ms)
        self.crew.ticked(at_ms)

    # --- events ---------------------------------------------------------------------------------

    def agent(self, agent: str, at_ms: int, state: str) -> None:
        """An agent is in another state (`tables.STATES`)."""
        self._at(at_ms)
        self.crew.told(agent, at_ms, state, in_flight=self.calls.in_flight)

    def plan(
        self,
        agent: str,
        out_ms: int | None = None,
        lunch_ms: int | None = None,
        *,
        inbound_only: bool = False,
    ) -> None:
        """When an agent will log out and go to lunch today [ms]; see `Crew.plan`."""
        self.crew.plan(agent, out_ms, lunch_ms, inbound_only=inbound_only)

    def seen_list(self, left: float) -> None:
        """Share of the list that may still be dialed."""
        self.list_left = left

    def seen_callers(self, waiting: int) -> None:
        """Inbound callers who wait."""
        self.callers = waiting

    def dialed(
        self, call: str, at_ms: int, *, person: str | None = None, reserved: bool = False
    ) -> None:
        """A dial is placed."""
        self._at(at_ms)
        self.calls.dialed(call, at_ms, reserved=reserved)
        self._keep(partial(self.ledger.dialed, call, at_ms, person))

    def ended(self, call: str, at_ms: int, *, cancelled: bool = False) -> None:
        """A dial ended without a pick-up."""
        self._at(at_ms)
        self._settle_call(call, at_ms, self.calls.ended(call, cancelled=cancelled))

    def picked_up(self, call: str, at_ms: int) -> None:
        """A dial is picked up."""
        self._at(at_ms)
        self._settle_call(call, at_ms, self.calls.picked_up(call, at_ms))

    def judged(self, call: str, at_ms: int, *, machine: bool) -> None:
        """Detection decides."""
        self._at(at_ms)
        self._settle_call(call, at_ms, self.calls.judged(call, at_ms, machine=machine))

    def connected(self, call: str, at_ms: int, *, machine: bool = False) -> None:
        """An agent takes a call."""
        self._at(at_ms)
        self._settle_call(call, at_ms, self.calls.connected(call, at_ms, machine=machine))

    def dropped(self, call: str, at_ms: int, cause: Cause, *, held: bool = False) -> None:
        """A picked-up call has no agent in time."""
        self._at(at_ms)
        self._settle_call(call, at_ms, self.calls.dropped(call, at_ms, cause, held=held))

    def gone(self, call: str, at_ms: int) -> None:
        """A callee held on after the limit goes."""
        self._at(at_ms)
        self._settle_call(call, at_ms, self.calls.gone(call))

    def _settle_call(self, call: str, at_ms: int, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.windows.count(outcome)
            self._keep(partial(self.ledger.settled, call, at_ms, outcome))

    def _keep(self, write: Callable[[], object]) -> None:
        """Tell the ledger; what it cannot take now is told again, in order, at later events."""
        self._unsaved.append(write)
        self.save()

    def save(self) -> None:
        """Tell the ledger what it could not take before; `ledger_error` says if it still cannot."""
        while self._unsaved:
            try:
                self._unsaved[0]()
            except (OSError, ValueError, sqlite3.Error) as error:
                self.ledger_error = f"{type(error).__name__}: {error}"
                return
            self._unsaved.popleft()
        self.ledger_error = ""

    # --- what is seen ---------------------------------------------------------------------------

    def view(self, now_ms: int, *, wide: bool = False) -> View:
        """What the dialer sees at a moment: the intervals that end by then are settled."""
        self._move_to(now_ms)
        self._settle_until(now_ms)
        self.crew.look(now_ms)
        session, calls, crew = self.session, self.calls, self.crew
        rate, recent = rates(self.tables, self.estimates)
        spent_ms, span_ms = 0, 1
        if session is not None:
            worked = max(min(now_ms, session.closes_ms) - session.opens_ms, 0)
            spent_ms, span_ms = session.spent_ms + worked, session.whole_ms
        view = View(
            now_ms=now_ms,
            agents=crew.counts,
            n_agents=crew.n_agents,
            waiting=calls.waiting,
            in_flight=calls.in_flight,
            lines_free=calls.lines_free(now_ms),
            rate=rate,
            recent=recent,
            windows=self.windows.all_counts(),
            spent_ms=spent_ms,
            span_ms=span_ms,
            leaving=crew.leaving(now_ms),
            list_left=self.list_left,
            cohorts=calls.by_age(now_ms),
            agent_rows=crew.rows(now_ms),
            analysed=calls.analysed,
            callers=self.callers,
        )
        if wide:
            view.unseen = calls.unseen_since(crew.seen_ms(now_ms))
            view.going_30s = crew.going(now_ms, GOING_SOON_MS)
            view.going_2min = crew.going(now_ms, GOING_NEXT_MS)
        return view


def rates(tables: PacingTables, estimates: Estimates) -> tuple[float, tuple[float, ...]]:
    """The estimated answer rate, and those over the other memories."""
    answered, finished, prior = estimates.answered, estimates.finished, tables.prior_rate
    recent = tuple((a + prior) / (f + 1.0) for a, f in zip(answered[1:], finished[1:], strict=True))
    if tables.known_rate:
        return prior, recent
    rate = (answered[0] + 1e-6 * prior) / (finished[0] + 1e-6)
    return min(max(rate, 0.01), 0.99), recent
