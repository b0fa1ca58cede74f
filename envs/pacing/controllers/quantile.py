"""Rules that dial while the probability of more answers than free agents is small.

The law of a number of independent events (a Poisson-binomial count) is built event by event in the
memo of the row, as a ring of masses by count. Masses below 1e-16 at either end are left out, which
after n events is less than 2e-16 n of the whole. By Hoeffding's inequality the counts that are kept
span less than `SPREAD` up to 13,000 events.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.control import answer_rate, look_ahead
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import (
    idle,
    in_flight,
    in_wrap_up,
    on_call,
    present,
    setting,
    waiting,
)
from quietdial.envs.pacing.foresight import answers_ahead
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.outlook import AGE_BINS, AGE_SHIFT
from quietdial.envs.pacing.params import (
    FEED_STEPS,
    HAS_INBOUND,
    HAS_WRAP,
    LEARNS,
    MAX_DIALS,
    N_AGENTS,
    N_COHORTS,
    SPARE_GROUP,
    TRUE_ANSWERS,
    TRUE_LAWS,
    TRUE_RELEASES,
)
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    BEGAN,
    DIAL_ANSWERED,
    FREE,
    GRID,
    IDLE,
    IN_FLIGHT,
    LEARN_EVERY_MS,
    N_LESSONS,
    NOW,
    SIGHT,
    TALK_ENDED,
    WRAP_ENDED,
)

_BIN_S = 2.0**AGE_SHIFT / 1000.0
_GONE = 1e-16
SPREAD = 1024
"""Counts that a law of a count may span at most."""
_FIRST, _LAST, _MASS = 0, 1, 2
LAW = _MASS + SPREAD
"""Numbers of the memo that the law of a count takes."""
_MINUTE, _HANDLE_S, _RING_S = LAW, LAW + 1, LAW + 2


@compiled(inline="always")
def no_events(law):  # type: ignore[no-untyped-def]
    """Make `law` (LAW,) that of the count of no events."""
    law[_FIRST] = law[_LAST] = 0.0
    law[_MASS] = 1.0


@compiled()
def add_event(law, q):  # type: ignore[no-untyped-def]
    """Add an independent event of probability q to the count of `law`."""
    first, last = np.int64(law[_FIRST]), np.int64(law[_LAST])
    below = 0.0
    for count in range(first, last + 1):
        at = _MASS + (count & (SPREAD - 1))
        here = law[at]
        law[at] = (1.0 - q) * here + q * below
        below = here
    if q * below >= _GONE and last - first < SPREAD - 1:
        last += 1
        law[_MASS + (last & (SPREAD - 1))] = q * below
    while first < last and law[_MASS + (first & (SPREAD - 1))] < _GONE:
        first += 1
    while first < last and law[_MASS + (last & (SPREAD - 1))] < _GONE:
        last -= 1
    law[_FIRST], law[_LAST] = first, last


@compiled()
def p_above(law, count):  # type: ignore[no-untyped-def]
    """P(more than `count` events)."""
    share = 0.0
    for k in range(max(np.int64(law[_FIRST]), count + 1), np.int64(law[_LAST]) + 1):
        share += law[_MASS + (k & (SPREAD - 1))]
    return share


@compiled()
def mean_excess(law, limit):  # type: ignore[no-untyped-def]
    """E(count - limit)+ for any real `limit`."""
    excess = 0.0
    for k in range(np.int64(law[_FIRST]), np.int64(law[_LAST]) + 1):
        excess += max(k - limit, 0.0) * law[_MASS + (k & (SPREAD - 1))]
    return excess


@compiled()
def quantile_dials(law, limit, q, certain, most, eps):  # type: ignore[no-untyped-def]
    """Most dials with P(count > limit) <= eps, of events of probability q each.

    `certain` dials are always allowed, and never more than `most`. `law` is changed.
    """
    dials = min(max(certain, 0), most)
    for _ in range(dials):
        add_event(law, q)
    while dials < most:
        add_event(law, q)
        if p_above(law, limit) > eps:
            break
        dials += 1
    return dials


@compiled(inline="always")
def nearest_look_ahead(p, horizon_s):  # type: ignore[no-untyped-def]
    """The look-ahead time of the tables that is nearest to `horizon_s`, as their column."""
    best = 0
    for g in range(1, GRID):
        if abs(p.ahead_s[g, 0] - horizon_s) < abs(p.ahead_s[best, 0] - horizon_s):
            best = g
    return best


@compiled(inline="always")
def fresh_answer(b, s, p, g):  # type: ignore[no-untyped-def]
    """Probability that a new dial is answered within look-ahead g."""
    ring = s.ring[b, 0] if p.n[LEARNS] else p.ring[0]
    return answer_rate(b, s, p) * ring[2 + g]


@compiled(inline="always")
def most_dials(b, s, p):  # type: ignore[no-untyped-def]
    """Most calls of one tick: free lines, and the dials that the world lets a decision place.

    So a rule that believes in a wrong answer rate at the opening learns better before all lines
    ring.
    """
    return min(s.head[b, FREE], p.n[MAX_DIALS])


# ------------------------------------------------------------------------------- pooled means


@compiled(inline="always")
def _mean_s(law, width_s):  # type: ignore[no-untyped-def]
    """Mean of a law given as mass by bins of `width_s`; what is beyond the last is at its end."""
    mean, rest = 0.0, 1.0
    for i in range(AGE_BINS):
        mean += law[i] * (i + 0.5) * width_s
        rest -= law[i]
    return mean + max(rest, 0.0) * AGE_BINS * width_s


@compiled()
def know_means(b, s, p, memo, minute_at):  # type: ignore[no-untyped-def]
    """With fresh tables: mean handling time and time to answer, into memo[minute_at + 1], [.. + 2].

    From the believed laws, or from those that the world's `knowledge` has learnt or been given.
    """
    minute = (s.head[b, NOW] - 1) // LEARN_EVERY_MS
    if memo[minute_at] == minute + 1:
        return
    memo[minute_at] = minute + 1
    handle_s = ring_s = 0.0
    if p.n[LEARNS] and minute > s.head[b, BEGAN] // LEARN_EVERY_MS:
        handle_s = _mean_s(s.lesson[b, N_LESSONS + TALK_ENDED], _BIN_S)
        if p.n[HAS_WRAP]:
            handle_s += _mean_s(s.lesson[b, N_LESSONS + WRAP_ENDED], _BIN_S)
        if not p.n[TRUE_LAWS]:
            ring_s = _mean_s(s.lesson[b, N_LESSONS + DIAL_ANSWERED], 1.0)
    else:
        handle_s = _mean_s(p.prior[TALK_ENDED], _BIN_S)
        if p.n[HAS_WRAP]:
            handle_s += _mean_s(p.prior[WRAP_ENDED], _BIN_S)
    if ring_s == 0.0:
        ring_s = _mean_s(p.prior[DIAL_ANSWERED], 1.0)
    memo[minute_at + 1], memo[minute_at + 2] = handle_s, ring_s


def _quantile_blind(address, b):  # type: ignore[no-untyped-def]
    """Dial while P(A > I + R) <= eps with pooled means; see agents/rules/quantile.py."""
    s, p = state_at(address), params_at(address)
    memo = s.memo[b]
    know_means(b, s, p, memo, _MINUTE)
    eps, horizon_s = setting(b, s, p, 0), setting(b, s, p, 1)
    q = answer_rate(b, s, p) * (1.0 - chance.exp(p.curves, -horizon_s / memo[_RING_S]))
    stays = chance.exp(p.curves, -horizon_s / memo[_HANDLE_S])
    busy = on_call(b, s, p) + in_wrap_up(b, s, p)
    flying = in_flight(b, s)
    no_events(memo)
    for _ in range(busy):
        add_event(memo, stays)
    for _ in range(flying):
        add_event(memo, q)
    spare = idle(b, s, p) - waiting(b, s)
    return quantile_dials(memo, spare + busy, q, spare - flying, most_dials(b, s, p), eps)


# ------------------------------------------------------------------------------- by age


@compiled()
def _add_releases(b, s, p, law, g):  # type: ignore[no-untyped-def]
    """Add the busy agents who are *not* free in time; returns what the limit rises by."""
    if p.n[TRUE_RELEASES]:
        return np.int64(s.est[b, SIGHT + g])
    if p.n[FEED_STEPS] > 0:  # only the expected number of releases is seen, late
        others = present(b, s, p) - idle(b, s, p)
        for _ in range(others):
            add_event(law, 1.0 - min(s.est[b, SIGHT + g] / others, 1.0))
        return others
    may_come = 0
    table = s.release[b] if p.n[LEARNS] else p.release
    for i in range(p.n[N_AGENTS]):
        state = s.agent[b, i, AGENT_STATE]
        if state == IDLE or (p.n[HAS_INBOUND] and p.shifts[i, SPARE_GROUP]):
            continue
        age = min((s.head[b, NOW] - s.agent[b, i, AGENT_SINCE]) >> AGE_SHIFT, AGE_BINS - 1)
        comes = table[state - 1, age, g]
        if comes > 0.0:
            add_event(law, 1.0 - comes)
            may_come += 1
    return may_come


@compiled(inline="always")
def pick_up_odds(rate, ring, column):  # type: ignore[no-untyped-def]
    """Probability that a call in flight is answered, from its row of the ring table.

    `column`: 2 + g, answered within look-ahead g; 0, answered at all.
    """
    alive = rate * ring[0] + (1.0 - rate) * ring[1]
    return rate / alive * ring[column] if alive > 1e-9 else 0.0


@compiled()
def add_answers(b, s, p, law, column):  # type: ignore[no-untyped-def]
    """Add the calls in flight, each answered with its probability at its age (pick_up_odds)."""
    rate = answer_rate(b, s, p)
    slots = p.n[N_COHORTS]
    second = s.head[b, NOW] // 1000
    left = s.head[b, IN_FLIGHT]
    table = s.ring[b] if p.n[LEARNS] else p.ring
    for age in range(slots):
        if left == 0:
            break
        calls = s.cohort[b, (second - age + slots) % slots]
        if calls == 0:
            continue
        q = min(pick_up_odds(rate, table[age], column), 1.0)
        for _ in range(calls):
            add_event(law, q)
        left -= calls


def _quantile_age(address, b):  # type: ignore[no-untyped-def]
    """Dial while P(A > I + R) <= eps by ages; see agents/rules/quantile.py."""
    s, p = state_at(address), params_at(address)
    law = s.memo[b]
    eps, g = setting(b, s, p, 0), nearest_look_ahead(p, setting(b, s, p, 1))
    if p.n[TRUE_RELEASES] or p.n[FEED_STEPS] > 0:
        look_ahead(b, s, p)
    no_events(law)
    spare = idle(b, s, p) - waiting(b, s)
    limit = spare + _add_releases(b, s, p, law, g)
    if p.n[TRUE_ANSWERS]:
        limit -= np.int64(answers_ahead(b, s, p)[g])
    else:
        add_answers(b, s, p, law, 2 + g)
    q, certain = fresh_answer(b, s, p, g), spare - in_flight(b, s)
    return quantile_dials(law, limit, q, certain, most_dials(b, s, p), eps)


def _settings(eps: float, horizon_s: float) -> tuple[Setting, ...]:
    return (
        Setting("eps", "probability", eps, 1e-9, 0.99, "allowed P(more answers than free agents)"),
        Setting("horizon_s", "s", horizon_s, 1.0, 120.0, "how far ahead answers are counted"),
    )


CONTROLLERS = {
    "quantile-blind": Controller(
        name="quantile-blind",
        tick_s=1.0,
        knob="eps",
        settings=_settings(0.012, 14.0),
        sees=(
            "idle and busy agents",
            "waiting callees",
            "calls in flight",
            "its answer rate",
            "mean handling time and time to answer",
        ),
        tick=_quantile_blind,
        memo=LAW + 3,
    ),
    "quantile-age": Controller(
        name="quantile-age",
        tick_s=1.0,
        knob="eps",
        settings=_settings(0.006, 20.0),
        sees=(
            "ages of calls in flight",
            "ages of the agents' states",
            "waiting callees",
            "its answer rate",
        ),
        tick=_quantile_age,
        memo=LAW,
    ),
}
