"""Placing dials: the policy's, the inner controller's, and those that the world places itself."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.control import answer_rate, dials_now
from quietdial.envs.pacing.counts import key_of
from quietdial.envs.pacing.full.people import after_nobody, count_attempt, next_person, segment_of
from quietdial.envs.pacing.insight import lead_to_dial, with_odds
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.log import DIAL, ENDED, NONE, note
from quietdial.envs.pacing.params import (
    DETECT_AMD,
    DETECT_PERFECT,
    DETECTION,
    DIALS_FROM,
    ENDING_CODE,
    ENDING_P,
    HAS_SETUP,
    LAW_ANSWER,
    LAW_ENDING,
    LAW_SETUP,
    LEAD_BUFFER,
    MIN_RING_MS,
    N_COHORTS,
    N_LINES,
    N_PEOPLE,
    OPENS,
    RING_TIMEOUT_MS,
    SCORES,
    START_GAP_MS,
    STOPS,
    TRUNKS,
    WALL_S,
)
from quietdial.envs.pacing.state import (
    CALL_COHORT,
    CALL_NUMBER,
    CALL_ODDS,
    CALL_OUTCOME,
    CALL_WEIGHT,
    CANCELLED,
    CANCELS,
    COUNT,
    DIALED,
    FATE,
    FREE,
    HEAP,
    HOLDER,
    IN_FLIGHT,
    LEAD_WEIGHT,
    MACHINE,
    MACHINE_TALK,
    NEXT_START,
    NO_ANSWER,
    NOW,
    NOWHERE,
    P_ANSWER,
    PERSON,
    PLACE,
    RESERVED,
    RESERVED_FINISHED,
    RESERVED_FLYING,
    RINGING,
    RINGS_FROM,
    SESSION,
    SET_CHOICE,
    TALK,
    WHO,
    WITH_CALL,
)
from quietdial.envs.pacing.timers import ENDING, PICKUP, push, remove, timer_of

_ONE = np.float64(4294967296.0)
_HIGHEST = 0.95 * _ONE


@compiled(inline="always")
def dialing_open(b, s, p, t):  # type: ignore[no-untyped-def]
    """Whether dials may be placed at time t."""
    session = s.more[b, SESSION]
    return p.sessions[session, DIALS_FROM] <= t < p.sessions[session, STOPS]


@compiled(inline="always")
def line_free(b, s, p):  # type: ignore[no-untyped-def]
    """Whether one more call can be made."""
    if s.head[b, FREE] == 0:
        return False
    if p.n[TRUNKS] == 0:
        return True
    talks = s.head[b, COUNT + TALK] + s.head[b, COUNT + MACHINE_TALK]
    return p.n[N_LINES] - s.head[b, FREE] + talks < p.n[TRUNKS]


@compiled(inline="always")
def free_slot(b, s, slot):  # type: ignore[no-untyped-def]
    """The line of a call is free again."""
    s.story[b, slot, PLACE] = NOWHERE
    s.free[b, s.head[b, FREE]] = slot
    s.head[b, FREE] += 1


@compiled(inline="always")
def _p_answer(b, s, p, person, t):  # type: ignore[no-untyped-def]
    """Probability that a dial of time t is answered by a person, units of 2^-32."""
    rate = s.head[b, P_ANSWER]
    if person < 0:
        return rate
    session = s.more[b, SESSION]
    segment = segment_of(b, s, p, person)
    wall_s = p.sessions[session, WALL_S] + (t - p.sessions[session, OPENS]) // 1000
    hour = (wall_s + p.segments[session, segment, 2]) // 3600 % 24
    return np.int64(min(rate * p.reach[segment, hour], _HIGHEST))


@compiled()
def launch(b, s, p, person, holder, start, t):  # type: ignore[no-untyped-def]
    """Place one dial at time t that starts at `start`; a line must be free."""
    key = key_of(b, s)
    at = s.head[b, FREE] - 1
    s.head[b, FREE] = at
    slot = s.free[b, at]
    number = s.head[b, DIALED]
    s.head[b, DIALED] = number + 1
    s.more[b, NEXT_START] = start + p.n[START_GAP_MS]
    fate = number
    p_answer = _p_answer(b, s, p, person, t)
    if person >= 0:
        fate = (person << 8) | count_attempt(b, s, p, person, t)
    elif p.n[LEAD_BUFFER] > 0:
        lead, factor = lead_to_dial(b, s, p, s.head[b, SET_CHOICE])
        fate = np.int64(lead)
        p_answer = np.int64(with_odds(p_answer / _ONE, factor) * _ONE)
        rate = answer_rate(b, s, p)
        s.score[b, slot, CALL_ODDS] = factor
        s.score[b, slot, CALL_WEIGHT] = with_odds(rate, factor) / rate
    u = np.int64(chance.draw(key, chance.DIAL_OUTCOME, fate) >> np.uint64(32))
    law = LAW_ANSWER
    outcome = np.int64(PERSON)
    if u >= p_answer:
        u = np.int64(chance.draw(key, chance.DIAL_ENDING, fate) >> np.uint64(32))
        ending = 0
        while u >= p.n[ENDING_P + ending]:
            ending += 1
        outcome = p.n[ENDING_CODE + ending]
        law = LAW_ENDING + ending
    rings = chance.duration_ms(p.tables, law, chance.draw(key, chance.DIAL_TIME, fate))
    timeout = p.n[RING_TIMEOUT_MS]
    if timeout > 0 and rings > timeout and (outcome <= MACHINE or outcome == NO_ANSWER):
        outcome = np.int64(NO_ANSWER)
        rings = timeout
    s.story[b, slot, RINGS_FROM] = start
    if p.n[HAS_SETUP]:
        setup = chance.duration_ms(p.tables, LAW_SETUP, chance.draw(key, chance.SETUP_TIME, fate))
        s.story[b, slot, RINGS_FROM] = start + setup
        rings += setup
    picked = outcome == PERSON or (outcome == MACHINE and p.n[DETECTION] != DETECT_PERFECT)
    cohort = (t // 1000) % p.n[N_COHORTS]
    s.call[b, slot, CALL_NUMBER] = number
    s.call[b, slot, CALL_OUTCOME] = outcome
    s.call[b, slot, CALL_COHORT] = cohort
    s.story[b, slot, PLACE] = RINGING
    s.story[b, slot, WHO] = person
    s.story[b, slot, HOLDER] = holder
    s.story[b, slot, FATE] = fate
    push(b, s, timer_of(start + rings, PICKUP if picked else ENDING, slot))
    if holder < 0:
        s.cohort[b, cohort] += 1
        s.head[b, IN_FLIGHT] += 1
    else:
        s.more[b, RESERVED] += 1
        s.more[b, RESERVED_FLYING] += 1
        s.trait[b, holder, WITH_CALL] = number
    note(b, s, p, t, DIAL, number, person, holder, start - t)


@compiled(inline="always")
def next_start(b, s, p, t):  # type: ignore[no-untyped-def]
    """When a dial that is placed at time t can start; -1: not within one second."""
    if p.n[START_GAP_MS] == 0:
        return t
    start = max(t, s.more[b, NEXT_START])
    return start if start - t <= 1000 else np.int64(-1)


@compiled()
def place(b, s, p, dials, t):  # type: ignore[no-untyped-def]
    """Place `dials` calls at time t, as far as lines, people and the switch allow."""
    if not dialing_open(b, s, p, t):
        return
    for _ in range(dials):
        start = next_start(b, s, p, t)
        if start < 0 or not line_free(b, s, p):
            return
        person = np.int64(-1)
        if p.n[N_PEOPLE] > 0:
            person = next_person(b, s, p, t)
            if person < 0:
                return
        launch(b, s, p, person, np.int64(-1), start, t)


@compiled()
def control(b, s, p, t):  # type: ignore[no-untyped-def]
    """The inner controller acts at time t."""
    s.head[b, NOW] = t
    if dialing_open(b, s, p, t):
        place(b, s, p, dials_now(b, s, p, False), t)


@compiled(inline="always")
def leave_flight(b, s, p, slot):  # type: ignore[no-untyped-def]
    """The dial of a policy or controller in `slot` is no longer in flight."""
    s.head[b, IN_FLIGHT] -= 1
    s.cohort[b, s.call[b, slot, CALL_COHORT]] -= 1
    if p.n[SCORES]:
        s.est[b, LEAD_WEIGHT] += s.score[b, slot, CALL_WEIGHT] - 1.0


@compiled(inline="always")
def has_outcome(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """The dial in `slot` has its outcome at time t; under detection it stays in flight."""
    if s.story[b, slot, HOLDER] >= 0:
        s.more[b, RESERVED_FLYING] -= 1
        s.more[b, RESERVED_FINISHED] += 1
    elif p.n[DETECTION] != DETECT_AMD or s.call[b, slot, CALL_OUTCOME] > MACHINE:
        leave_flight(b, s, p, slot)
    number, outcome = s.call[b, slot, CALL_NUMBER], s.call[b, slot, CALL_OUTCOME]
    note(b, s, p, t, ENDED, number, outcome, NONE, NONE)


@compiled()
def cancel(b, s, p, calls, t):  # type: ignore[no-untyped-def]
    """Cancel up to `calls` ringing calls, the youngest first that have rung long enough."""
    for _ in range(calls):
        best, latest = -1, np.int64(-1)
        for slot in range(p.n[N_LINES]):
            if s.story[b, slot, PLACE] != RINGING or s.story[b, slot, HOLDER] >= 0:
                continue
            if s.story[b, slot, RINGS_FROM] + p.n[MIN_RING_MS] > t:
                continue
            if s.call[b, slot, CALL_NUMBER] > latest:
                best, latest = slot, s.call[b, slot, CALL_NUMBER]
        if best < 0:
            return
        _forget_timer(b, s, best)
        s.call[b, best, CALL_OUTCOME] = CANCELLED
        has_outcome(b, s, p, best, t)
        s.head[b, CANCELS] += 1
        person = s.story[b, best, WHO]
        free_slot(b, s, best)
        if person >= 0:
            after_nobody(b, s, p, person, np.int64(NO_ANSWER), False, False, t)


@compiled()
def _forget_timer(b, s, slot):  # type: ignore[no-untyped-def]
    """Take the timer of a ringing call out of the heap."""
    heap, size = s.heap[b], s.head[b, HEAP]
    for at in range(size):
        kind = (heap[at] >> 20) & 0xF
        if kind in (ENDING, PICKUP) and heap[at] & 0xFFFFF == slot:
            s.head[b, HEAP] = size - 1
            remove(heap, size, at)
            return
