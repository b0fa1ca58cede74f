"""Observations, compiled; `twin.py` is the same in plain numpy and agrees bit for bit.

The order of the numbers is that of the field table in `spec.py`. Only operations whose result IEEE
754 fixes exactly (sums in a stated order, products, quotients, square roots) and table look-ups
occur, so any platform and any implementation gets the same bits.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.book import params_of, state_of
from quietdial.envs.pacing.control import (
    agents_present,
    answer_rate,
    base_dials,
    base_theta,
    given_unseen,
    look_ahead,
    seen_count,
)
from quietdial.envs.pacing.counts import silent_calls, time_in
from quietdial.envs.pacing.full.windows import (
    counted_silent,
    first_window,
    first_window_time,
    tally,
    window_counts,
)
from quietdial.envs.pacing.insight import LEAST, LIKELIEST, NEXT, find_lead, with_odds
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import (
    CAP,
    FEED_STEPS,
    HAS_SHIFTS,
    IS_FULL,
    N_AGENTS,
    N_COHORTS,
    N_LINES,
    N_PEOPLE,
    N_RULE_WINDOWS,
    PRIOR_RATE,
    SCORES,
    WRAP_HIDDEN,
)
from quietdial.envs.pacing.shield import leaves_by
from quietdial.envs.pacing.state import (
    AMD_MACHINE,
    ANALYSED,
    ANSWERED,
    BASE,
    BREAK,
    CALLBACKS,
    CALLERS,
    CANCELS,
    CONNECTED,
    COUNTED,
    DIALED,
    FAILURES,
    FREE,
    GRID,
    HARM,
    HELD,
    IDLE,
    IN_FLIGHT,
    INBOUND_ARRIVED,
    INBOUND_IN_TIME,
    INBOUND_LOST,
    INBOUND_SERVED,
    INBOUND_TALK,
    INBOUND_WAIT_MS,
    INBOUND_WAITED,
    LATE,
    LEAD_ODDS,
    MACHINE_AGENT,
    MACHINE_DROPPED,
    MACHINE_TALK,
    MACHINES,
    MESSAGES,
    N_WINDOWS,
    NOW,
    OFF,
    OUT_AT,
    PEOPLE_DONE,
    PICKED_UP,
    RATE_ANSWERED,
    RATE_FINISHED,
    REPEATS,
    RESERVED,
    SIGHT,
    SILENT_AMD,
    SILENT_CUT,
    SILENT_LEFT,
    SPARE,
    SUCCESSES,
    TALK,
    WAIT_ACC,
    WAITING,
    WISHES,
    WRAP,
)

NONE, MARKOV, COUNTERS, FULL, WITH_LEADS, WIDE = 0, 1, 2, 3, 4, 5
N_COUNTERS = 21
LEAVING_MS = 300_000
"""Agents whose log-out is so near are leaving."""
LEAVING_SOON_MS, LEAVING_NEXT_MS = 30_000, 120_000
DIALED_AGES_S = (3, 8, 16)
"""Ages at which the groups of calls in flight begin, the first at 0."""
N_WIDE = 11
SET_CODES = {
    "none": NONE,
    "markov": MARKOV,
    "counters": COUNTERS,
    "full": FULL,
    "leads": WITH_LEADS,
    "wide": WIDE,
}


@compiled(inline="always")
def _cut(x, low, high):  # type: ignore[no-untyped-def]
    return min(max(x, low), high)


@compiled(inline="always")
def _over_cap(silent, answered, cap):  # type: ignore[no-untyped-def]
    return _cut(40.0 * ((silent + 1.5) / (answered + 50.0) - cap), -2.0, 2.0)


@compiled(inline="always")
def _counters(b, s, p, out):  # type: ignore[no-untyped-def]
    idle = seen_count(b, s, p, IDLE)
    waiting = s.head[b, WAITING]
    m = np.float64(agents_present(b, s, p))
    rate = answer_rate(b, s, p)
    out[b, 0] = min(idle, 8) / 4.0
    out[b, 1] = 3.0 * idle / m
    out[b, 2] = min(waiting, 3)
    talk, wrap = seen_count(b, s, p, TALK), seen_count(b, s, p, WRAP)
    if p.n[WRAP_HIDDEN]:
        talk, wrap = talk + wrap, wrap - wrap
    out[b, 3] = talk / m
    out[b, 4] = 3.0 * wrap / m
    out[b, 5] = 3.0 * seen_count(b, s, p, BREAK) / p.n[N_AGENTS]
    out[b, 6] = 2.0 * np.sqrt(rate) - 1.0
    for w in range(1, N_WINDOWS):
        finished = s.est[b, RATE_FINISHED + w] + 1.0
        recent = (s.est[b, RATE_ANSWERED + w] + p.x[PRIOR_RATE]) / finished
        out[b, 6 + w] = 2.0 * np.sqrt(_cut(recent, 0.0, 1.0)) - 1.0
    out[b, 10] = _cut(6.0 * s.head[b, IN_FLIGHT] * rate / m, 0.0, 12.0)
    out[b, 11] = min(np.sqrt(m) / 10.0, 5.0)
    silent, answered = first_window(b, s, p)
    spent, span = first_window_time(b, s, p)
    cap = p.x[CAP]
    out[b, 12] = _cut((silent - cap * answered) / 3.0, -3.0, 3.0)
    out[b, 13] = _over_cap(silent, answered, cap)
    out[b, 14] = 1.0 if idle == 0 and waiting == 0 else 0.0
    left = span - spent
    out[b, 15] = left / span
    to_come = answered * left / max(spent, 60000)
    allowed = (cap * (answered + to_come) - silent) / (to_come + 20.0)
    out[b, 16] = _cut(allowed / cap, 0.0, 3.0)
    out[b, 17] = 1.0
    out[b, 18] = 0.0
    out[b, 19] = 1.0
    out[b, 20] = out[b, 13]
    if p.n[IS_FULL]:
        _full_counters(b, s, p, out, m)


@compiled()
def _leaving(b, s, p, within_ms):  # type: ignore[no-untyped-def]
    """Agents whose log-out is at most so far away."""
    soon = s.head[b, NOW] + within_ms
    leaving = 0
    for i in range(p.n[N_AGENTS]):
        if s.head[b, NOW] < s.trait[b, i, OUT_AT] <= soon:
            leaving += 1
    return leaving


@compiled()
def _going(b, s, p, within_ms):  # type: ignore[no-untyped-def]
    """Agents at work who go for good or to lunch within that time, or when their call is over.

    Where the feed is late, those who are overdue are not told: the dialer cannot know them.
    """
    until = s.head[b, NOW] + within_ms
    going = 0
    for i in range(p.n[N_AGENTS]):
        overdue = s.trait[b, i, WISHES] != 0 and p.n[FEED_STEPS] == 0
        if overdue or leaves_by(b, s, p, i, until):
            going += 1
    return going


@compiled()
def _full_counters(b, s, p, out, m):  # type: ignore[no-untyped-def]
    """What differs from a plain world: agents logged in and leaving, the list, other windows."""
    out[b, 17] = 1.0 - seen_count(b, s, p, OFF) / p.n[N_AGENTS]
    if p.n[HAS_SHIFTS] or p.sessions.shape[0] > 1:
        out[b, 18] = min(_leaving(b, s, p, LEAVING_MS) / m, 1.0)
    if p.n[N_PEOPLE] > 0:
        out[b, 19] = 1.0 - s.more[b, PEOPLE_DONE] / p.n[N_PEOPLE]
    for w in range(1, p.n[N_RULE_WINDOWS]):
        silent, answered = window_counts(b, s, p, w)
        over = _over_cap(silent, answered, p.caps[w])
        if over > out[b, 20]:
            out[b, 20] = over


@compiled(inline="always")
def _outlook(b, s, p, out, at):  # type: ignore[no-untyped-def]
    m = np.float64(agents_present(b, s, p))
    root = np.sqrt(m)
    spare = np.float64(seen_count(b, s, p, IDLE) - s.head[b, WAITING])
    risk = 0.0
    for g in range(GRID):
        release = s.est[b, SIGHT + g]
        answers = s.est[b, SIGHT + GRID + g]
        spread = np.sqrt(s.est[b, SIGHT + 2 * GRID + g] + 0.1)
        z = (answers - release - spare + 0.5) / spread
        risk += p.grid_weight[g] * chance.phi(p.curves, z)
        out[b, at + g] = _cut(release / root, 0.0, 10.0)
        out[b, at + GRID + g] = _cut(answers / root, 0.0, 10.0)
        out[b, at + 2 * GRID + g] = _cut(z, -4.0, 4.0) / 2.0
        out[b, at + 3 * GRID + g] = _cut((spare + release - answers) / root, -10.0, 10.0)
    out[b, at + 4 * GRID] = 2.0 * _cut(risk, 0.0, 1.0)


@compiled()
def _leads(b, s, p, out, at):  # type: ignore[no-untyped-def]
    """What the dialer may choose from; without scores the mean."""
    rate = answer_rate(b, s, p)
    out[b, at] = out[b, at + 1] = out[b, at + 2] = 2.0 * np.sqrt(rate) - 1.0
    if p.n[SCORES]:
        for i, choice in enumerate((LIKELIEST, NEXT, LEAST)):
            factor = s.lead[b, find_lead(b, s, p, choice), LEAD_ODDS]
            out[b, at + i] = 2.0 * np.sqrt(with_odds(rate, factor)) - 1.0


@compiled()
def _wide(b, s, p, out, at):  # type: ignore[no-untyped-def]
    """What the index rule does not use; see `spec.WIDE_FIELDS`."""
    m = np.float64(agents_present(b, s, p))
    root = np.sqrt(m)
    for i in range(N_WIDE):
        out[b, at + i] = 0.0
    if p.n[IS_FULL]:
        out[b, at] = _cut(given_unseen(b, s, p) / root, 0.0, 5.0)
        out[b, at + 1] = _cut(s.more[b, ANALYSED] / root, 0.0, 5.0)
        if p.n[HAS_SHIFTS] or p.sessions.shape[0] > 1:
            out[b, at + 2] = min(_going(b, s, p, LEAVING_SOON_MS) / m, 1.0)
            out[b, at + 3] = min(_going(b, s, p, LEAVING_NEXT_MS) / m, 1.0)
        out[b, at + 4] = min(seen_count(b, s, p, INBOUND_TALK) / m, 1.0)
        out[b, at + 5] = min(s.more[b, CALLERS], 8) / 4.0
    out[b, at + 6] = s.head[b, FREE] / p.n[N_LINES]
    scale = 6.0 * answer_rate(b, s, p) / m
    slots = p.n[N_COHORTS]
    slot = (s.head[b, NOW] // 1000) % slots
    calls, group = 0, 0
    for age in range(slots):
        if group < len(DIALED_AGES_S) and age == DIALED_AGES_S[group]:
            out[b, at + 7 + group] = _cut(calls * scale, 0.0, 12.0)
            calls, group = 0, group + 1
        calls += s.cohort[b, slot]
        slot = slot - 1 if slot > 0 else slots - 1
    out[b, at + 7 + group] = _cut(calls * scale, 0.0, 12.0)


@compiled()
def observe(book, set_code, residual, out):  # type: ignore[no-untyped-def]
    """Write the observation of every campaign, and the base of residual actions into the state.

    Args:
        book: the world; `BASE` and the outlook are refreshed when they are needed.
        set_code: one of `SET_CODES`.
        residual: whether the action is residual, so that the base rule must be asked.
        out: (B, F) float32, written.
    """
    s, p = state_of(book), params_of(book)
    for b in range(s.head.shape[0]):
        base = 0
        if residual or set_code >= FULL:
            look_ahead(b, s, p)
        if residual:
            base = base_dials(b, s, p, base_theta(b, s, p))
            s.head[b, BASE] = base
        if set_code >= COUNTERS:
            _counters(b, s, p, out)
            at = N_COUNTERS
            if set_code >= FULL:
                _outlook(b, s, p, out, at)
                at += 4 * GRID + 1
            if set_code == WITH_LEADS:
                _leads(b, s, p, out, at)
                at += 3
            if set_code == WIDE:
                _wide(b, s, p, out, at)
                at += N_WIDE
            out[b, at] = min(base, 8) / 4.0
        elif set_code == MARKOV:
            busy = seen_count(b, s, p, TALK) + seen_count(b, s, p, WRAP)
            out[b, 0] = busy / p.n[N_AGENTS]
            out[b, 1] = min(s.head[b, IN_FLIGHT] / p.n[N_AGENTS], 8.0)


@compiled()
def totals(book, out):  # type: ignore[no-untyped-def]
    """Write the running totals of every campaign's episode.

    Args:
        book: the world, only read.
        out: (len(TOTALS), B) float64, written; rows in the order of `spec.TOTALS`.
    """
    s = state_of(book)
    for b in range(s.head.shape[0]):
        out[0, b] = s.head[b, DIALED]
        out[1, b] = s.head[b, ANSWERED]
        out[2, b] = s.head[b, CONNECTED]
        out[3, b] = silent_calls(b, s)
        out[4, b] = s.head[b, SILENT_CUT]
        out[5, b] = s.head[b, SILENT_LEFT]
        out[6, b] = s.head[b, SILENT_AMD]
        for i in range(4):
            out[7 + i, b] = s.head[b, MACHINES + i]
        idle_s = (time_in(b, s, IDLE) + time_in(b, s, SPARE)) / 1000.0
        talk_s = time_in(b, s, TALK) / 1000.0
        wrap_s = time_in(b, s, WRAP) / 1000.0
        other_ms = time_in(b, s, HELD) + time_in(b, s, MACHINE_TALK) + time_in(b, s, INBOUND_TALK)
        out[11, b] = idle_s
        out[12, b] = talk_s
        out[13, b] = wrap_s
        out[14, b] = time_in(b, s, BREAK) / 1000.0
        out[15, b] = idle_s + talk_s + wrap_s + other_ms / 1000.0
        out[16, b] = (s.head[b, WAIT_ACC] + s.head[b, WAITING] * s.head[b, NOW]) / 1000.0


@compiled()
def full_totals(book, out):  # type: ignore[no-untyped-def]
    """Write the further running totals of a full world.

    Args:
        book: the world, only read.
        out: (len(FULL_TOTALS), B) float64, written; rows in the order of `spec.FULL_TOTALS`.
    """
    s, p = state_of(book), params_of(book)
    for b in range(s.head.shape[0]):
        more = s.more[b]
        out[0, b] = counted_silent(b, s, p)
        out[1, b] = more[LATE]
        out[2, b] = more[MESSAGES]
        out[3, b] = s.head[b, FAILURES]
        out[4, b] = s.head[b, CANCELS]
        out[5, b] = more[MACHINE_AGENT]
        out[6, b] = more[MACHINE_DROPPED]
        out[7, b] = more[AMD_MACHINE]
        out[8, b] = more[RESERVED]
        out[9, b] = more[CALLBACKS]
        out[10, b] = more[REPEATS]
        out[11, b] = more[HARM] / 1e6
        out[12, b] = more[PEOPLE_DONE]
        out[13, b] = more[SUCCESSES]
        out[14, b] = more[INBOUND_ARRIVED]
        out[15, b] = more[INBOUND_SERVED]
        out[16, b] = more[INBOUND_LOST]
        out[17, b] = more[INBOUND_WAITED]
        out[18, b] = more[INBOUND_IN_TIME]
        wait_ms = more[INBOUND_WAIT_MS] + more[CALLERS] * s.head[b, NOW]
        for i in range(more[CALLERS]):
            wait_ms -= s.caller[b, i, 1]
        out[19, b] = wait_ms / 1000.0
        out[20, b] = time_in(b, s, OFF) / 1000.0
        out[21, b] = time_in(b, s, HELD) / 1000.0
        out[22, b] = time_in(b, s, MACHINE_TALK) / 1000.0
        out[23, b] = time_in(b, s, INBOUND_TALK) / 1000.0


@compiled()
def window_progress(book, spent_s, span_s, p_answer):  # type: ignore[no-untyped-def]
    """Write how far the rule's first window is, and the estimated answer rate.

    Args:
        book: the world, only read.
        spent_s: (B,) float64, written: open time of the window so far [s].
        span_s: (B,) float64, written: its open time in all [s].
        p_answer: (B,) float64, written: estimated probability that a dial is answered.
    """
    s, p = state_of(book), params_of(book)
    for b in range(s.head.shape[0]):
        spent, span = first_window_time(b, s, p)
        spent_s[b], span_s[b] = spent / 1000.0, span / 1000.0
        p_answer[b] = answer_rate(b, s, p)


@compiled()
def full_windows(book, silent, answered, seen, seen_answered):  # type: ignore[no-untyped-def]
    """Write the counts of the running windows of a full world, truth and estimate.

    Args:
        book: the world, only read.
        silent: (B, W) float64, written: silent calls in the rule's numerator.
        answered: (B, W) float64, written: answered calls.
        seen: (B, W) float64, written: silent calls by the dialer's estimate.
        seen_answered: (B, W) float64, written: answered calls by the dialer's estimate.
    """
    s, p = state_of(book), params_of(book)
    for b in range(s.head.shape[0]):
        for w in range(p.n[N_RULE_WINDOWS]):
            row = s.window[b, w]
            silent[b, w] = tally(b, s, p, COUNTED) - row[COUNTED]
            answered[b, w] = tally(b, s, p, PICKED_UP) - row[PICKED_UP]
            seen[b, w], seen_answered[b, w] = window_counts(b, s, p, w)
