"""The list of people: who is dialed next, when somebody may be dialed again."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.counts import key_of
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import (
    CAP_30_DAYS,
    CAP_DAY,
    CAP_WEEK,
    DAY,
    LAW_CALLBACK,
    MACHINE_PAUSE_MS,
    MAX_ATTEMPTS,
    N_PEOPLE,
    P_CALLBACK,
    PAUSE_BUSY,
    PAUSE_FAILURE,
    PAUSE_MACHINE,
    PAUSE_NO_ANSWER,
    QUARANTINE_MS,
    REFUSAL_PAUSE_MS,
    RESERVED_AFTER,
    WEEK,
)
from quietdial.envs.pacing.state import (
    ATTEMPTS,
    BUSY,
    CALLBACKS,
    DAY_DIALS,
    DAY_OF,
    DUE,
    FAILURE,
    FIRST_TIME,
    FRESH,
    INVALID,
    MACHINE,
    PEOPLE_DONE,
    RETRIES,
    SESSION,
    WEEK_DIALS,
    WEEK_OF,
)
from quietdial.envs.pacing.timers import NEVER, rise, take_first

_30_DAYS_S = 2_592_000


@compiled(inline="always")
def segment_of(b, s, p, person):  # type: ignore[no-untyped-def]
    """The segment that a person belongs to."""
    u = np.int64(chance.draw(key_of(b, s), chance.SEGMENT, person) >> np.uint64(32))
    segment = 0
    while u >= p.shares[segment]:
        segment += 1
    return segment


@compiled(inline="always")
def retire(b, s):  # type: ignore[no-untyped-def]
    """Somebody will not be dialed again."""
    s.more[b, PEOPLE_DONE] += 1


@compiled()
def earliest(b, s, p, person, t):  # type: ignore[no-untyped-def]
    """First time from t on when the rule lets a person be dialed [ms]; NEVER if none is left."""
    attempts = np.int64(s.person[b, person, ATTEMPTS])
    if attempts >= p.n[MAX_ATTEMPTS]:
        return NEVER
    ring = p.n[CAP_30_DAYS]
    if ring > 0 and attempts >= ring:
        oldest = np.int64(s.person[b, person, FIRST_TIME + attempts % ring])
        t = max(t, (oldest + _30_DAYS_S) * 1000)
    segment = segment_of(b, s, p, person)
    for k in range(s.more[b, SESSION], p.sessions.shape[0]):
        at = max(t, p.segments[k, segment, 0])
        if at >= p.segments[k, segment, 1]:
            continue
        today = s.person[b, person, DAY_OF] == p.sessions[k, DAY] + 1
        if today and s.person[b, person, DAY_DIALS] >= p.n[CAP_DAY]:
            continue
        this_week = s.person[b, person, WEEK_OF] == p.sessions[k, WEEK] + 1
        if this_week and s.person[b, person, WEEK_DIALS] >= p.n[CAP_WEEK]:
            continue
        return at
    return NEVER


@compiled(inline="always")
def put_again(b, s, p, person, at):  # type: ignore[no-untyped-def]
    """Dial a person again from time `at` on, while attempts last."""
    if s.person[b, person, ATTEMPTS] >= p.n[MAX_ATTEMPTS]:
        retire(b, s)
        return
    size = s.more[b, RETRIES]
    s.more[b, RETRIES] = size + 1
    rise(s.again[b], size, (at << 20) | person)


@compiled(inline="always")
def put_due(b, s, p, person, at):  # type: ignore[no-untyped-def]
    """Let the world call a person from time `at` on, while attempts last."""
    if s.person[b, person, ATTEMPTS] >= p.n[MAX_ATTEMPTS]:
        retire(b, s)
        return
    size = s.more[b, DUE]
    s.more[b, DUE] = size + 1
    rise(s.due[b], size, (at << 20) | person)


@compiled()
def next_person(b, s, p, t):  # type: ignore[no-untyped-def]
    """The next person whom an action may dial at time t; -1 if there is nobody."""
    while True:
        if s.more[b, RETRIES] > 0 and s.again[b, 0] >> 20 <= t:
            person = s.again[b, 0] & 0xFFFFF
            take_first(s.again[b], s.more[b, RETRIES])
            s.more[b, RETRIES] -= 1
        elif s.more[b, FRESH] < p.n[N_PEOPLE]:
            person = s.more[b, FRESH]
            s.more[b, FRESH] += 1
        else:
            return np.int64(-1)
        at = earliest(b, s, p, person, t)
        if at == t:
            return person
        if at == NEVER:
            retire(b, s)
        else:
            put_again(b, s, p, person, at)


@compiled()
def due_person(b, s, p, t):  # type: ignore[no-untyped-def]
    """The next person whom the world itself may call at time t; -1 if there is nobody."""
    while s.more[b, DUE] > 0 and s.due[b, 0] >> 20 <= t:
        person = s.due[b, 0] & 0xFFFFF
        take_first(s.due[b], s.more[b, DUE])
        s.more[b, DUE] -= 1
        at = earliest(b, s, p, person, t)
        if at == t:
            return person
        if at == NEVER:
            retire(b, s)
        else:
            put_due(b, s, p, person, at)
    return np.int64(-1)


@compiled(inline="always")
def count_attempt(b, s, p, person, t):  # type: ignore[no-untyped-def]
    """A person is dialed at time t; returns how often before."""
    row = s.person[b, person]
    attempts = np.int64(row[ATTEMPTS])
    session = s.more[b, SESSION]
    day, week = p.sessions[session, DAY] + 1, p.sessions[session, WEEK] + 1
    row[DAY_DIALS] = row[DAY_DIALS] + 1 if row[DAY_OF] == day else 1
    row[DAY_OF] = day
    row[WEEK_DIALS] = row[WEEK_DIALS] + 1 if row[WEEK_OF] == week else 1
    row[WEEK_OF] = week
    ring = p.n[CAP_30_DAYS]
    if ring > 0:
        row[FIRST_TIME + attempts % ring] = (t + 999) // 1000
    row[ATTEMPTS] = attempts + 1
    return attempts


@compiled()
def after_nobody(b, s, p, person, outcome, by_world, said_machine, t):  # type: ignore[no-untyped-def]
    """A dial to a person ended at time t without a conversation and without silence."""
    if outcome == INVALID:
        retire(b, s)
        return
    pause = p.n[PAUSE_NO_ANSWER]
    if outcome == BUSY:
        pause = p.n[PAUSE_BUSY]
    elif outcome == FAILURE:
        pause = p.n[PAUSE_FAILURE]
    elif outcome == MACHINE:
        pause = p.n[PAUSE_MACHINE]
        if said_machine:
            pause = max(pause, p.n[MACHINE_PAUSE_MS])
    if by_world:
        put_due(b, s, p, person, t + pause)
    else:
        put_again(b, s, p, person, t + pause)


@compiled()
def after_silence(b, s, p, person, t):  # type: ignore[no-untyped-def]
    """A silent call to a person ended at time t."""
    if p.n[RESERVED_AFTER]:
        put_due(b, s, p, person, t + p.n[QUARANTINE_MS])
    else:
        pause = max(p.n[QUARANTINE_MS], p.n[PAUSE_NO_ANSWER])
        put_again(b, s, p, person, t + pause)


@compiled(inline="always")
def asks_back(b, s, p, number):  # type: ignore[no-untyped-def]
    """Whether the person of a conversation asks to be called again."""
    u = np.int64(chance.draw(key_of(b, s), chance.CALLBACK, number) >> np.uint64(32))
    return u < p.n[P_CALLBACK]


@compiled()
def after_conversation(b, s, p, person, number, t):  # type: ignore[no-untyped-def]
    """A conversation with a person began at time t."""
    if asks_back(b, s, p, number):
        s.more[b, CALLBACKS] += 1
        u = chance.draw(key_of(b, s), chance.CALLBACK_TIME, number)
        put_due(b, s, p, person, t + chance.duration_ms(p.tables, LAW_CALLBACK, u))
    elif p.n[REFUSAL_PAUSE_MS] > 0:
        put_again(b, s, p, person, t + p.n[REFUSAL_PAUSE_MS])
    else:
        retire(b, s)
