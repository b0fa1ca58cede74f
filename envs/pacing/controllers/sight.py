"""What a controller may see: counts of the floor, and statistics of its own calls.

Everything here is in a dialer's own tables; hidden truth is not. A controller that keeps statistics
calls :func:`keep_books` at the begin of every tick; the first `MEMO` numbers of `State.memo` are
its, a controller's own begin behind them.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.control import seen_count
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import IS_FULL, KNOB_AT, N_AGENTS
from quietdial.envs.pacing.state import (
    ANSWERED,
    BREAK,
    CONNECTED,
    DIALED,
    DIALS_SEEN,
    DROPS_SEEN,
    ENDS_SEEN,
    IDLE,
    IN_FLIGHT,
    MACHINE_DROPPED,
    MACHINE_TALK,
    MACHINES,
    N_TAPE,
    NOW,
    OFF,
    PICKUPS_SEEN,
    QUEUED,
    RESERVED,
    RESERVED_FINISHED,
    RING_S,
    RINGS_SEEN_S,
    SESSION,
    SET_VALUE,
    SILENT_CUT,
    SILENT_LEFT,
    TALK,
    TAPE_MS,
    TAPE_ROWS,
    WAITING,
    WRAP,
)

_SESSION, _SLOT, _TODAY = 0, 1, 2
MEMO = _TODAY + N_TAPE
"""Numbers of `State.memo` that the statistics take; a controller's own memory begins here."""


@compiled(inline="always")
def setting(b, s, p, at):  # type: ignore[no-untyped-def]
    """The value of the controller's setting number `at`: the action's if it is the knob."""
    return s.est[b, SET_VALUE] if at == p.n[KNOB_AT] else p.settings[at]


@compiled(inline="always")
def now_s(b, s):  # type: ignore[no-untyped-def]
    """Time since the first opening [s]."""
    return s.head[b, NOW] / 1000.0


@compiled(inline="always")
def idle(b, s, p):  # type: ignore[no-untyped-def]
    """Agents who are ready for a call."""
    return seen_count(b, s, p, IDLE)


@compiled(inline="always")
def on_call(b, s, p):  # type: ignore[no-untyped-def]
    """Agents with a callee or a machine on the line."""
    return seen_count(b, s, p, TALK) + seen_count(b, s, p, MACHINE_TALK)


@compiled(inline="always")
def in_wrap_up(b, s, p):  # type: ignore[no-untyped-def]
    """Agents in wrap-up."""
    return seen_count(b, s, p, WRAP)


@compiled(inline="always")
def logged_in(b, s, p):  # type: ignore[no-untyped-def]
    """Agents logged in, those on break included."""
    return p.n[N_AGENTS] - seen_count(b, s, p, OFF)


@compiled(inline="always")
def present(b, s, p):  # type: ignore[no-untyped-def]
    """Agents logged in and not on break."""
    return logged_in(b, s, p) - seen_count(b, s, p, BREAK)


@compiled(inline="always")
def waiting(b, s):  # type: ignore[no-untyped-def]
    """Callees who have answered and wait for an agent."""
    return s.head[b, WAITING]


@compiled(inline="always")
def in_flight(b, s):  # type: ignore[no-untyped-def]
    """Dials without an outcome."""
    return s.head[b, IN_FLIGHT]


@compiled(inline="always")
def lines_in_use(b, s, p):  # type: ignore[no-untyped-def]
    """Calls in flight, waiting, and with an agent."""
    return in_flight(b, s) + waiting(b, s) + on_call(b, s, p)


@compiled(inline="always")
def total(b, s, p, at):  # type: ignore[no-untyped-def]
    """A total of the episode as the dialer's own statistics have it; `at`: see state.N_TAPE."""
    full = p.n[IS_FULL]
    if at == DIALS_SEEN:
        return s.head[b, DIALED] - (s.more[b, RESERVED] if full else 0)
    if at == ENDS_SEEN:
        ended = s.head[b, ANSWERED]
        for i in range(5):
            ended += s.head[b, MACHINES + i]
        return ended - (s.more[b, RESERVED_FINISHED] if full else 0)
    if at == PICKUPS_SEEN:
        return s.more[b, QUEUED] if full else s.head[b, ANSWERED]
    if at == RINGS_SEEN_S:
        return s.head[b, RING_S]
    dropped = s.head[b, SILENT_CUT] + s.head[b, SILENT_LEFT]
    if full:
        dropped += s.more[b, MACHINE_DROPPED]
    return dropped if at == DROPS_SEEN else dropped + s.head[b, CONNECTED]


@compiled()
def keep_books(b, s, p):  # type: ignore[no-untyped-def]
    """At the begin of a tick: note the totals at the begin of a day and of every 15 s."""
    memo = s.memo[b]
    session = (s.more[b, SESSION] if p.n[IS_FULL] else 0) + 1
    new_day = memo[_SESSION] != session
    if new_day:
        first = memo[_SESSION] == 0
        memo[_SESSION] = session
        for i in range(N_TAPE):
            memo[_TODAY + i] = 0 if first else total(b, s, p, i)
    if s.tape.shape[1] == 0:
        return
    slot = s.head[b, NOW] // TAPE_MS
    if new_day:  # yesterday's calls are in no window
        for row in range(TAPE_ROWS):
            for i in range(N_TAPE):
                s.tape[b, row, i] = np.int64(memo[_TODAY + i])
    if slot != memo[_SLOT] or new_day:
        memo[_SLOT] = slot
        for i in range(N_TAPE):
            s.tape[b, slot % TAPE_ROWS, i] = total(b, s, p, i)


@compiled(inline="always")
def mean_ring_s(b, s, p):  # type: ignore[no-untyped-def]
    """Mean time from dial to pick-up over the episode [s]; 0 before the first."""
    return total(b, s, p, RINGS_SEEN_S) / max(total(b, s, p, PICKUPS_SEEN), 1)


@compiled(inline="always")
def today(b, s, p, at):  # type: ignore[no-untyped-def]
    """A total since the begin of the day."""
    return total(b, s, p, at) - np.int64(s.memo[b, _TODAY + at])


@compiled(inline="always")
def lately(b, s, p, at, window_s):  # type: ignore[no-untyped-def]
    """A total over the last `window_s` seconds, at most an hour, in steps of 15 s.

    The window is up to 15 s shorter than asked for, and begins with the day at the earliest.
    """
    begins = s.head[b, NOW] - np.int64(window_s * 1000.0)
    slot = (begins + TAPE_MS - 1) // TAPE_MS
    if slot <= 0 or slot > s.memo[b, _SLOT]:
        return today(b, s, p, at)
    return total(b, s, p, at) - s.tape[b, slot % TAPE_ROWS, at]
