"""Tables of releases and answers that a dialer learns from the calls of its own day.

Conversations and wrap-ups are counted by the age at which they end, dials by the second in which
they are picked up or end. Every five minutes the conditional tables behind the index rule
(outlook.py) are made anew from these counts, with the believed laws as the prior. With `TRUE_LAWS`
the talk-time law is the true one with its hidden factor of now instead (privileged).
"""

from __future__ import annotations

from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.outlook import AGE_BINS, AGE_SHIFT
from quietdial.envs.pacing.params import (
    HAS_BREAK,
    HAS_WRAP,
    LAW_TALK,
    N_AGENTS,
    N_COHORTS,
    P_BREAK,
    STEP_MS,
    TRUE_LAWS,
)
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    CALL_COHORT,
    DIAL_ANSWERED,
    DIAL_ENDED,
    GRID,
    LEARN_EVERY_MS,
    N_AGENT_STATES,
    N_LESSONS,
    NOW,
    TALK,
    TALK_ENDED,
    TALK_FACTOR,
    WRAP,
    WRAP_ENDED,
)

PRIOR_CALLS = 100.0
"""The belief weighs as much as so many conversations, wrap-ups, answered and ended dials."""
_BIN_S = 2.0**AGE_SHIFT / 1000.0
_GONE = 1e-6


@compiled(inline="always")
def learn_state(b, s, agent, row, t):  # type: ignore[no-untyped-def]
    """An agent's conversation (row TALK_ENDED) or wrap-up (WRAP_ENDED) ends at time t."""
    age = min((t - s.agent[b, agent, AGENT_SINCE]) >> AGE_SHIFT, AGE_BINS - 1)
    s.lesson[b, row, age] += 1.0


@compiled(inline="always")
def age_of_dial(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    """Whole seconds since the dial in `slot`, at most the longest that a call can ring."""
    age = (t // 1000) % p.n[N_COHORTS] - s.call[b, slot, CALL_COHORT]
    return age if age >= 0 else age + p.n[N_COHORTS]


@compiled(inline="always")
def learn_dial(b, s, p, slot, row, t):  # type: ignore[no-untyped-def]
    """The dial in `slot` is picked up (row DIAL_ANSWERED) or ends otherwise (DIAL_ENDED)."""
    s.lesson[b, row, min(age_of_dial(b, s, p, slot, t), AGE_BINS - 1)] += 1.0


@compiled()
def forget(b, s, p):  # type: ignore[no-untyped-def]
    """At the begin of an episode nothing has been learnt: the believed tables stand."""
    for row in range(N_LESSONS):
        for i in range(AGE_BINS):
            s.lesson[b, row, i] = 0.0
    for state in range(N_AGENT_STATES - 1):
        for i in range(AGE_BINS):
            for g in range(GRID):
                s.release[b, state, i, g] = p.release[state, i, g]
    for i in range(p.ring.shape[0]):
        for column in range(2 + GRID):
            s.ring[b, i, column] = p.ring[i, column]


@compiled()
def relearn(b, s, p):  # type: ignore[no-untyped-def]
    """Make the tables anew if it is time."""
    now = s.head[b, NOW]
    if now // LEARN_EVERY_MS == (now - p.n[STEP_MS]) // LEARN_EVERY_MS:
        return
    stay = 1.0
    if p.n[HAS_BREAK]:
        stay -= p.n[P_BREAK] / 4294967296.0
    if p.n[TRUE_LAWS]:
        _true_talk(b, s, p)
    else:
        _learn_ring(b, s, p)
        if p.n[HAS_WRAP]:
            _learn_hazards(b, s, p, WRAP, WRAP_ENDED)
            _fill(b, s, p, WRAP, False, stay)
        _learn_hazards(b, s, p, TALK, TALK_ENDED)
    _fill(b, s, p, TALK, p.n[HAS_WRAP] > 0, stay)


@compiled()
def _learn_hazards(b, s, p, state, row):  # type: ignore[no-untyped-def]
    """Mass by age bin of the time in a state, into the row's tail of `s.lesson` (LAW row).

    Hazard of a bin = (prior ended + ended) / (prior at risk + at risk); the states that last are at
    risk up to their age, half of the bin that they are in.
    """
    law = s.lesson[b, N_LESSONS + row]
    for i in range(AGE_BINS):
        law[i] = 0.0
    now = s.head[b, NOW]
    for i in range(p.n[N_AGENTS]):
        if s.agent[b, i, AGENT_STATE] == state:
            age = min((now - s.agent[b, i, AGENT_SINCE]) >> AGE_SHIFT, AGE_BINS - 1)
            law[age] += 1.0
    beyond = 1.0
    for i in range(AGE_BINS):
        beyond -= p.prior[row, i]
    risk = PRIOR_CALLS * max(beyond, 0.0)
    for at in range(AGE_BINS):
        i = AGE_BINS - 1 - at
        lasting = law[i]
        ended = PRIOR_CALLS * p.prior[row, i] + s.lesson[b, row, i]
        here = risk + ended + 0.5 * lasting
        law[i] = ended / here if here > 0.0 else 0.0
        risk += ended + lasting
    alive = 1.0
    for i in range(AGE_BINS):
        mass = alive * law[i]
        law[i] = mass
        alive -= mass


@compiled()
def _true_talk(b, s, p):  # type: ignore[no-untyped-def]
    """Mass by age bin of the true talk time with its factor of now."""
    law = s.lesson[b, N_LESSONS + TALK_ENDED]
    for i in range(AGE_BINS):
        law[i] = 0.0
    n = p.tables.shape[1]
    for i in range(n):
        talk = (p.tables[LAW_TALK, i] * s.head[b, TALK_FACTOR]) >> 20
        law[min(talk >> AGE_SHIFT, AGE_BINS - 1)] += 1.0 / n
    law = s.lesson[b, N_LESSONS + WRAP_ENDED]
    for i in range(AGE_BINS):
        law[i] = p.prior[WRAP_ENDED, i]


@compiled(inline="always")
def _wrap_within(b, s, ahead_s):  # type: ignore[no-untyped-def]
    """P(wrap-up <= ahead_s), from its mass by bin, straight within a bin."""
    law = s.lesson[b, N_LESSONS + WRAP_ENDED]
    bins = min(ahead_s / _BIN_S, AGE_BINS - 1.0)
    whole = int(bins)
    share = 0.0
    for i in range(whole):
        share += law[i]
    return share + law[whole] * (bins - whole)


@compiled()
def _fill(b, s, p, state, then_wrap, stay):  # type: ignore[no-untyped-def]
    """Release table of a state from its mass by age bin: the middle of each bin, every look-ahead.

    P(ends within h, and the wrap-up with it | age) by summing over the bins ahead.
    """
    row = state - 1
    law = s.lesson[b, N_LESSONS + row]
    alive = 1.0
    last = 0
    for age in range(AGE_BINS):
        here = alive - 0.5 * law[age]
        alive -= law[age]
        if here < _GONE or (age + 1) * _BIN_S + p.ahead_s[GRID - 1, 1] > AGE_BINS * _BIN_S:
            break
        last = age
        for g in range(GRID):
            limit = p.ahead_s[g, 1]
            begin, end = 0.0, 0.5 * _BIN_S  # what is left of this bin, then whole ones
            share, i, mass = 0.0, age, 0.5 * law[age]
            while begin < limit:
                width = end - begin
                cut = min(end, limit)
                part = mass * (cut - begin) / width
                if then_wrap:
                    part *= _wrap_within(b, s, limit - 0.5 * (begin + cut))
                share += part
                i += 1
                mass = law[min(i, AGE_BINS - 1)]
                begin, end = end, end + _BIN_S
            s.release[b, row, age, g] = min(share / here, 1.0) * stay
    for age in range(last + 1, AGE_BINS):
        for g in range(GRID):
            s.release[b, row, age, g] = s.release[b, row, last, g]


@compiled()
def _learn_ring(b, s, p):  # type: ignore[no-untyped-def]
    """The table of calls in flight from when dials were picked up and when they ended."""
    rows = p.ring.shape[0]
    for row in (DIAL_ANSWERED, DIAL_ENDED):
        law = s.lesson[b, N_LESSONS + row]
        total = 0.0
        for i in range(AGE_BINS):
            total += s.lesson[b, row, i]
        for i in range(AGE_BINS):
            count = PRIOR_CALLS * p.prior[row, i] + s.lesson[b, row, i]
            law[i] = count / (PRIOR_CALLS + total)
    answer, ending = s.lesson[b, N_LESSONS + DIAL_ANSWERED], s.lesson[b, N_LESSONS + DIAL_ENDED]
    answered, ended = 0.0, 0.0
    for age in range(rows):
        s.ring[b, age, 0] = max(1.0 - answered, 0.0)
        s.ring[b, age, 1] = max(1.0 - ended, 0.0)
        for g in range(GRID):
            limit = p.ahead_s[g, 0]
            share, i = 0.0, 0
            while i < limit and age + i < AGE_BINS:
                share += answer[age + i] * min(limit - i, 1.0)
                i += 1
            s.ring[b, age, 2 + g] = share
        answered += answer[age]
        ended += ending[age]
