"""A simulated dialer that tells the runtime what happens: the kernel's log as the pacer's events.

The world is played with `records=True`; after every step the rows of its log are told, in order, as
a dialer would tell them. Only what a dialer sees is passed on: whether a machine or a person picked
up is not told before detection has decided.
"""

from __future__ import annotations

import numpy as np

from quietdial.agents.runtime.calls import Cause
from quietdial.agents.runtime.floor import Floor
from quietdial.agents.runtime.tables import STATES
from quietdial.agents.runtime.windows import Session
from quietdial.envs.pacing import log
from quietdial.envs.pacing.params import (
    AT_LIMIT,
    CLOSES,
    DETECT_PERFECT,
    DETECTION,
    DIALS_FROM,
    HAS_SHIFTS,
    HOLD,
    LOGOUT_S,
    LUNCH_S,
    N_AGENTS,
    N_PEOPLE,
    OPENS,
    SPAN_FROM,
    SPAN_UNTIL,
    SPARE_GROUP,
    STOPS,
    WALL_S,
    WORKED,
    Params,
)
from quietdial.envs.pacing.state import (
    BREAK,
    CALLERS,
    CANCELLED,
    MACHINE,
    OFF,
    PEOPLE_DONE,
    PERSON,
    SESSION,
    WISH_LUNCH,
    WISHES,
)
from quietdial.envs.pacing.world import World

_CAUSES: dict[int, Cause] = {int(log.CAUSE_CUT): "cut", int(log.CAUSE_LEFT): "left"}


class LogFeed:
    """Tells one campaign of a world to the runtime.

    Args:
        world: a world with `records=True`, whose row `row` has just begun.
        told: who is told: a floor, or a pacer, which is one.
        row: the campaign.

    Attributes:
        events: events told so far.
    """

    def __init__(self, world: World, told: Floor, row: int = 0) -> None:
        self._world, self._told, self._row = world, told, row
        self.events = 0
        self._n = world.params.n
        self._held = self._n[AT_LIMIT] == HOLD
        self._planned = has_plans(world.params)

    def after_step(self) -> None:
        """Tell what has happened since the last call, up to the clock of now."""
        rows = self._world.drain_log()[self._row]
        self.events += len(rows)
        for t, code, number, a, b, c in rows.tolist():
            self._event(t, code, number, a, b, c)
        state, told = self._world.state, self._told
        people = int(self._n[N_PEOPLE])
        if people:
            told.seen_list(1.0 - int(state.more[self._row, PEOPLE_DONE]) / people)
        told.seen_callers(int(state.more[self._row, CALLERS]))
        told.tick(round(1000 * self._world.clock_s()[self._row]))

    def session_of(self, number: int) -> Session:
        """The session of that number."""
        return session_of(self._world.params, number)

    def _event(self, t: int, code: int, number: int, a: int, b: int, c: int) -> None:
        told, call = self._told, str(number)
        if code == log.AGENT_STATE_CHANGE:
            if a == OFF:
                self._plan(number, t)
            told.agent(str(number), t, self._shown(number, t, b))
        elif code == log.DIAL:
            person = None if a < 0 else str(a)
            told.dialed(call, t, person=person, reserved=b >= 0)
        elif code == log.ENDED:
            picked = a == PERSON or (a == MACHINE and self._n[DETECTION] != DETECT_PERFECT)
            if picked:
                told.picked_up(call, t)
            else:
                told.ended(call, t, cancelled=a == CANCELLED)
        elif code == log.JUDGED:
            told.judged(call, t, machine=not a)
        elif code == log.CONNECT:
            told.connected(call, t, machine=bool(c))
        elif code == log.SILENT and a in _CAUSES:
            told.dropped(call, t, _CAUSES[a], held=self._held and c == log.HEARD_LATE)
        elif code == log.DROPPED:
            told.dropped(call, t, "cut", held=self._held)
        elif code == log.GONE:
            told.gone(call, t)
        elif code == log.SESSION_CHANGE and a:
            told.open_session(self.session_of(number), t)
            self._plan_all(number)

    def _shown(self, agent: int, t: int, state: int) -> str:
        """The state as the agent's own key says it: a break that was planned is lunch."""
        params = self._world.params
        lunch_s = int(params.shifts[agent, LUNCH_S])
        if state != BREAK or lunch_s < 0 or not self._planned:
            return STATES[state]
        row = params.sessions[self._world.state.more[self._row, SESSION]]
        due = int(row[OPENS]) + (lunch_s - int(row[WALL_S])) * 1000 <= t
        still_due = int(self._world.state.trait[self._row, agent, WISHES]) & WISH_LUNCH
        return "lunch" if due and not still_due else STATES[state]

    def _plan_all(self, session: int) -> None:
        tell_lunches(self._world.params, self._told, session)

    def _plan(self, agent: int, t: int) -> None:
        tell_log_out(self._world.params, self._told, agent, t)


def session_of(params: Params, number: int) -> Session:
    """The session of that number, in ms since the first opening."""
    row = [int(value) for value in params.sessions[number]]
    windows = tuple(int(w) for w in params.windows[number])
    begins = []
    for w, of_window in enumerate(windows):
        first = int(np.flatnonzero(params.windows[:, w] == of_window)[0])
        begins.append(int(params.sessions[first, OPENS]))
    return Session(
        opens_ms=row[OPENS],
        dial_from_ms=row[DIALS_FROM],
        dial_until_ms=row[STOPS],
        closes_ms=row[CLOSES],
        windows=windows,
        begins_ms=tuple(begins),
        spent_ms=row[WORKED] - row[SPAN_FROM],
        span_ms=row[SPAN_UNTIL] - row[SPAN_FROM],
    )


def has_plans(params: Params) -> bool:
    """Whether log-outs and lunches are planned."""
    return bool(params.n[HAS_SHIFTS]) or len(params.sessions) > 1


def lunch_due_ms(params: Params, agent: int, session: int) -> int | None:
    """When an agent's lunch is due in a session [ms since the first opening]; None: no lunch."""
    lunch_s = int(params.shifts[agent, LUNCH_S])
    if lunch_s < 0 or not has_plans(params):
        return None
    row = params.sessions[session]
    return int(row[OPENS]) + (lunch_s - int(row[WALL_S])) * 1000


def tell_lunches(params: Params, told: Floor, session: int) -> None:
    """At an opening: lunches are known, and who takes inbound calls only."""
    for agent in range(int(params.n[N_AGENTS])):
        told.plan(
            str(agent),
            lunch_ms=lunch_due_ms(params, agent, session),
            inbound_only=bool(params.shifts[agent, SPARE_GROUP]),
        )


def tell_log_out(params: Params, told: Floor, agent: int, t: int) -> None:
    """An agent logs in: the time of the log-out is known."""
    if not has_plans(params):
        return
    session = int(np.flatnonzero(params.sessions[:, OPENS] <= t)[-1])
    row = params.sessions[session]
    out = int(row[OPENS]) + (int(params.shifts[agent, LOGOUT_S]) - int(row[WALL_S])) * 1000
    told.plan(
        str(agent),
        out_ms=min(out, int(row[CLOSES])),
        lunch_ms=lunch_due_ms(params, agent, session),
        inbound_only=bool(params.shifts[agent, SPARE_GROUP]),
    )
