"""From the pick-up to an agent, or to silence."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.counts import key_of
from quietdial.envs.pacing.full.dialing import free_slot, has_outcome, leave_flight
from quietdial.envs.pacing.full.people import after_nobody, after_silence
from quietdial.envs.pacing.full.staff import release
from quietdial.envs.pacing.full.work import (
    add_harm,
    harm_of_waiting,
    repeats_of,
    take_call,
    take_idle,
)
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.learning import age_of_dial, learn_dial
from quietdial.envs.pacing.line import next_wait, stop_waiting
from quietdial.envs.pacing.log import (
    CAUSE_AMD,
    CAUSE_CUT,
    CAUSE_LEFT,
    DROPPED,
    GONE,
    HEARD_LATE,
    HEARD_MESSAGE,
    HEARD_NOISE,
    HEARD_SILENCE,
    JUDGED,
    NONE,
    QUEUED_UP,
    SILENT,
    YES,
    note,
)
from quietdial.envs.pacing.params import (
    AT_LIMIT,
    CLOCK,
    DETECT_AMD,
    DETECTION,
    HARM_MESSAGE,
    HARM_NOISE,
    HARM_SILENCE,
    HAS_PATIENCE,
    HEARS,
    HOLD,
    HOLD_MS,
    LAW_DECISION,
    LAW_GREETING,
    LAW_GREETING_START,
    LAW_PATIENCE,
    LEARNS,
    LIMIT_MS,
    MESSAGE,
    MESSAGE_MS,
    P_FALSE_MACHINE,
    P_FALSE_PERSON,
)
from quietdial.envs.pacing.state import (
    AMD_MACHINE,
    ANALYSED,
    ANSWERED,
    CALL_DUE,
    CALL_NUMBER,
    CALL_OUTCOME,
    COUNT,
    DEADLINE,
    DIAL_ANSWERED,
    DIAL_ENDED,
    FATE,
    GONE_AT,
    HEARING,
    HOLDER,
    IDLE,
    LINGERING,
    LISTENED,
    MACHINE,
    MACHINE_DROPPED,
    MACHINES,
    MESSAGE_LINES,
    MESSAGES,
    PERSON,
    PLACE,
    QUEUED,
    QUEUEING,
    REPEATS,
    RING_S,
    SILENT_CUT,
    SILENTS,
    WAIT_ACC,
    WAIT_DUE,
    WAITING,
    WHO,
)
from quietdial.envs.pacing.timers import LINE, NEVER, SILENCE, UNHEARD, VERDICT, push, timer_of


@compiled(inline="always")
def ending_event(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """A dial ends without a pick-up."""
    has_outcome(b, s, p, slot, t)
    outcome = s.call[b, slot, CALL_OUTCOME]
    s.head[b, MACHINES + outcome - 1] += 1
    holder, person = s.story[b, slot, HOLDER], s.story[b, slot, WHO]
    if p.n[LEARNS] and holder < 0:
        learn_dial(b, s, p, slot, DIAL_ENDED, t)
    free_slot(b, s, slot)
    if person >= 0:
        after_nobody(b, s, p, person, outcome, holder >= 0, False, t)
    if holder >= 0:
        release(b, s, p, holder, t)


@compiled()
def _deadline(b, s, p, fate, t):  # type: ignore[no-untyped-def]
    """When an agent must be there for a pick-up of time t."""
    at = t + p.n[LIMIT_MS]
    if p.n[CLOCK] > 0:
        u = chance.draw(key_of(b, s), chance.GREETING_START, fate)
        at += chance.duration_ms(p.tables, LAW_GREETING_START, u)
        if p.n[CLOCK] == 2:
            u = chance.draw(key_of(b, s), chance.GREETING_TIME, fate)
            at += chance.duration_ms(p.tables, LAW_GREETING, u)
    return at


@compiled(inline="always")
def pickup_event(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """A person or a machine picks up."""
    has_outcome(b, s, p, slot, t)
    person = s.call[b, slot, CALL_OUTCOME] == PERSON
    if person:
        s.head[b, ANSWERED] += 1
    else:
        s.head[b, MACHINES] += 1
    holder = s.story[b, slot, HOLDER]
    if holder >= 0:
        take_call(b, s, p, holder, slot, t)
        return
    fate = s.story[b, slot, FATE]
    deadline = _deadline(b, s, p, fate, t)
    gone_at = NEVER
    if person and p.n[HAS_PATIENCE]:
        u = chance.draw(key_of(b, s), chance.DIAL_PATIENCE, fate)
        gone_at = t + chance.duration_ms(p.tables, LAW_PATIENCE, u)
    s.story[b, slot, DEADLINE] = deadline
    s.story[b, slot, GONE_AT] = gone_at
    if p.n[DETECTION] != DETECT_AMD:
        _queue_up(b, s, p, slot, t)
        return
    s.more[b, ANALYSED] += 1
    s.story[b, slot, PLACE] = LISTENED
    u = chance.draw(key_of(b, s), chance.VERDICT_TIME, fate)
    verdict = t + chance.duration_ms(p.tables, LAW_DECISION, u)
    first = min(deadline, gone_at)
    if first <= verdict:
        push(b, s, timer_of(first, UNHEARD, slot))
    else:
        push(b, s, timer_of(verdict, VERDICT, slot))


@compiled()
def _queue_up(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """Somebody taken for a person needs an agent at time t."""
    s.more[b, QUEUED] += 1
    s.head[b, RING_S] += age_of_dial(b, s, p, slot, t)
    if p.n[LEARNS]:
        learn_dial(b, s, p, slot, DIAL_ANSWERED, t)
    if s.head[b, COUNT + IDLE] > 0:
        agent = take_idle(b, s, p)
        take_call(b, s, p, agent, slot, t)
        return
    deadline, gone_at = s.story[b, slot, DEADLINE], s.story[b, slot, GONE_AT]
    if deadline <= t and p.n[AT_LIMIT] != HOLD:
        _reach_deadline(b, s, p, slot, t)
        return
    n = s.head[b, WAITING]
    s.waiting[b, n] = slot
    s.head[b, WAITING] = n + 1
    s.head[b, WAIT_ACC] -= t
    s.story[b, slot, PLACE] = QUEUEING
    due = min(deadline, gone_at)
    s.call[b, slot, CALL_DUE] = due
    s.head[b, WAIT_DUE] = min(s.head[b, WAIT_DUE], timer_of(due, SILENCE, slot))
    note(b, s, p, t, QUEUED_UP, s.call[b, slot, CALL_NUMBER], NONE, NONE, NONE)


@compiled()
def _silent(b, s, p, slot, cause, heard, t):  # type: ignore[no-untyped-def]
    """Count a silent call; returns the earlier ones to the same person."""
    s.head[b, SILENT_CUT + cause] += 1
    repeats = repeats_of(b, s, slot)
    person = s.story[b, slot, WHO]
    if person >= 0:
        s.person[b, person, SILENTS] += 1
        if repeats > 0:
            s.more[b, REPEATS] += 1
    note(b, s, p, t, SILENT, s.call[b, slot, CALL_NUMBER], cause, repeats, heard)
    return repeats


@compiled()
def _hang_up(b, s, p, slot, cause, t):  # type: ignore[no-untyped-def]
    """A person's call ends in silence at time t."""
    heard = HEARD_SILENCE if cause == CAUSE_AMD or p.n[HEARS] == 0 else HEARD_NOISE
    base = p.x[HARM_SILENCE] if heard == HEARD_SILENCE else p.x[HARM_NOISE]
    add_harm(b, s, p, base, _silent(b, s, p, slot, cause, heard, t))
    if cause == CAUSE_AMD:
        _forget_machine(b, s, p, slot, t)
    else:
        _part(b, s, p, slot, t)


@compiled()
def _part(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """The line of a call that no agent took is free at time t; the person gets rest."""
    person = s.story[b, slot, WHO]
    free_slot(b, s, slot)
    if person >= 0:
        after_silence(b, s, p, person, t)


@compiled()
def _drop_machine(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """A machine has waited to its deadline; nobody heard anything."""
    s.more[b, MACHINE_DROPPED] += 1
    note(b, s, p, t, DROPPED, s.call[b, slot, CALL_NUMBER], NONE, NONE, NONE)


@compiled()
def _forget_machine(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """Detection said 'machine', rightly or not: the line is free, the number is retried."""
    person = s.story[b, slot, WHO]
    free_slot(b, s, slot)
    if person >= 0:
        after_nobody(b, s, p, person, np.int64(MACHINE), False, True, t)


@compiled()
def _reach_deadline(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """The deadline of a call that no longer waits, for rules that do not hold callees."""
    machine = s.call[b, slot, CALL_OUTCOME] == MACHINE
    if machine:
        _drop_machine(b, s, p, slot, t)
    if p.n[AT_LIMIT] == MESSAGE:
        if not machine:
            s.more[b, MESSAGES] += 1
            repeats = _silent(b, s, p, slot, CAUSE_CUT, HEARD_MESSAGE, t)
            add_harm(b, s, p, p.x[HARM_MESSAGE], repeats)
        s.story[b, slot, PLACE] = HEARING
        s.more[b, MESSAGE_LINES] += 1
        push(b, s, timer_of(t + p.n[MESSAGE_MS], LINE, slot))
    elif machine:
        _part(b, s, p, slot, t)
    else:
        _hang_up(b, s, p, slot, CAUSE_CUT, t)


@compiled(inline="always")
def line_event(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """An information message is over."""
    s.more[b, MESSAGE_LINES] -= 1
    _part(b, s, p, slot, t)


@compiled(inline="always")
def silence_event(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """The wait of a callee in the queue is over: left, at the deadline, or after it."""
    place = 0
    while s.waiting[b, place] != slot:
        place += 1
    machine = s.call[b, slot, CALL_OUTCOME] == MACHINE
    lingers = s.story[b, slot, PLACE] == LINGERING
    leaves = s.story[b, slot, GONE_AT] < s.story[b, slot, DEADLINE]
    if p.n[AT_LIMIT] == HOLD and not (lingers or leaves):
        if machine:
            _drop_machine(b, s, p, slot, t)
        else:
            _silent(b, s, p, slot, CAUSE_CUT, HEARD_LATE, t)
        s.story[b, slot, PLACE] = LINGERING
        s.call[b, slot, CALL_DUE] = min(t + p.n[HOLD_MS], s.story[b, slot, GONE_AT])
        next_wait(b, s)
        return
    stop_waiting(b, s, place, t)
    if lingers:
        note(b, s, p, t, GONE, s.call[b, slot, CALL_NUMBER], NONE, NONE, NONE)
        if not machine:
            add_harm(b, s, p, harm_of_waiting(p), max(repeats_of(b, s, slot) - 1, 0))
        _part(b, s, p, slot, t)
    elif leaves:
        _hang_up(b, s, p, slot, CAUSE_LEFT, t)
    else:
        _reach_deadline(b, s, p, slot, t)


@compiled()
def unheard_event(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """A call ends while detection still listens."""
    s.more[b, ANALYSED] -= 1
    leave_flight(b, s, p, slot)
    if p.n[LEARNS]:
        learn_dial(b, s, p, slot, DIAL_ENDED, t)
    if s.call[b, slot, CALL_OUTCOME] == MACHINE:
        _drop_machine(b, s, p, slot, t)
        _part(b, s, p, slot, t)
    elif s.story[b, slot, GONE_AT] < s.story[b, slot, DEADLINE]:
        _hang_up(b, s, p, slot, CAUSE_LEFT, t)
    else:
        _hang_up(b, s, p, slot, CAUSE_CUT, t)


@compiled()
def verdict_event(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """Detection decides."""
    s.more[b, ANALYSED] -= 1
    leave_flight(b, s, p, slot)
    machine = s.call[b, slot, CALL_OUTCOME] == MACHINE
    u = np.int64(chance.draw(key_of(b, s), chance.VERDICT, s.story[b, slot, FATE]) >> np.uint64(32))
    wrong = u < (p.n[P_FALSE_PERSON] if machine else p.n[P_FALSE_MACHINE])
    said_machine = machine != wrong
    note(
        b, s, p, t, JUDGED, s.call[b, slot, CALL_NUMBER], NONE if said_machine else YES, NONE, NONE
    )
    if not said_machine:
        _queue_up(b, s, p, slot, t)
        return
    s.more[b, AMD_MACHINE] += 1
    if p.n[LEARNS]:
        learn_dial(b, s, p, slot, DIAL_ENDED, t)
    if machine:
        _forget_machine(b, s, p, slot, t)
    else:
        _hang_up(b, s, p, slot, CAUSE_AMD, t)
