"""The rule's windows: what is counted in each, and what the dialer itself can count.

Nothing is added up on the way: a window remembers the totals at its begin, and what is in it is the
difference to now.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.counts import silent_calls
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import (
    AUDITED_SHARE,
    BUCKET_MS,
    CLOSES,
    COUNTS_AMD,
    COUNTS_CUT,
    COUNTS_LEFT,
    DETECT_PERFECT,
    DETECTION,
    END_MS,
    IS_FULL,
    N_RULE_WINDOWS,
    OFCOM,
    OPENS,
    SPAN_FROM,
    SPAN_UNTIL,
    WORKED,
)
from quietdial.envs.pacing.state import (
    AMD_MACHINE,
    BREACHED,
    BUCKET,
    BUCKETS,
    CLOSED,
    CONNECTED,
    COUNTED,
    MACHINE_AGENT,
    MACHINE_DROPPED,
    N_TALLY,
    NOW,
    OPEN_ANSWERED,
    OPEN_SILENT,
    PICKED_UP,
    SEEN_BREACHED,
    SEEN_DROPPED,
    SEEN_MACHINES,
    SEEN_TALKED,
    SEEN_VERDICTS,
    SESSION,
    SILENT_AMD,
    SILENT_CUT,
    SILENT_LEFT,
)


@compiled(inline="always")
def counted_silent(b, s, p):  # type: ignore[no-untyped-def]
    """Silent calls that enter the rule's numerator."""
    silent = s.head[b, SILENT_CUT] * p.n[COUNTS_CUT]
    silent += s.head[b, SILENT_LEFT] * p.n[COUNTS_LEFT]
    return silent + s.head[b, SILENT_AMD] * p.n[COUNTS_AMD]


@compiled(inline="always")
def tally(b, s, p, at):  # type: ignore[no-untyped-def]
    """The `at`-th of the totals that windows are made of (see state.COUNTED and the following)."""
    if at == COUNTED:
        return counted_silent(b, s, p)
    if at == PICKED_UP:
        return s.head[b, CONNECTED] + silent_calls(b, s)
    if at == SEEN_DROPPED:
        cut = (s.head[b, SILENT_CUT] + s.more[b, MACHINE_DROPPED]) * p.n[COUNTS_CUT]
        return cut + s.head[b, SILENT_LEFT] * p.n[COUNTS_LEFT]
    if at == SEEN_TALKED:
        return s.head[b, CONNECTED]
    if at == SEEN_MACHINES:
        return s.more[b, MACHINE_AGENT]
    return s.more[b, AMD_MACHINE]


@compiled(inline="always")
def seen_silent(p, silent, dropped, talked, machines, verdicts):  # type: ignore[no-untyped-def]
    """Silent calls by the dialer's own estimate, from differences of the totals.

    With perfect detection the dialer sees the truth. Otherwise it counts what it dropped, or, by
    Ofcom's formula, D + F: D = X L / (L + Ag) takes the machines among the dropped X out, F is q
    times the verdicts 'machine' (regulation/counting.py).
    """
    if p.n[DETECTION] == DETECT_PERFECT:
        return silent * 1.0
    if not p.n[OFCOM]:
        return dropped * 1.0
    people = talked / (talked + machines) if talked + machines > 0 else 1.0
    return dropped * people + p.x[AUDITED_SHARE] * verdicts * p.n[COUNTS_AMD]


@compiled(inline="always")
def window_counts(b, s, p, w):  # type: ignore[no-untyped-def]
    """(silent, answered) of window w as the dialer sees them, float64, since the window's begin."""
    row = s.window[b, w]
    silent = tally(b, s, p, COUNTED) - row[COUNTED]
    answered = tally(b, s, p, PICKED_UP) - row[PICKED_UP]
    dropped = tally(b, s, p, SEEN_DROPPED) - row[SEEN_DROPPED]
    talked = tally(b, s, p, SEEN_TALKED) - row[SEEN_TALKED]
    machines = tally(b, s, p, SEEN_MACHINES) - row[SEEN_MACHINES]
    verdicts = tally(b, s, p, SEEN_VERDICTS) - row[SEEN_VERDICTS]
    if p.n[DETECTION] == DETECT_PERFECT:
        return silent * 1.0, answered * 1.0
    seen = seen_silent(p, silent, dropped, talked, machines, verdicts)
    return seen, seen + talked


@compiled(inline="always")
def first_window(b, s, p):  # type: ignore[no-untyped-def]
    """(silent, answered) of the rule's first window as the dialer sees them, float64.

    Of a plain world: of the episode. Those of the day before a training episode are added.
    """
    silent = np.float64(silent_calls(b, s))
    answered = silent + s.head[b, CONNECTED]
    if p.n[IS_FULL]:
        silent, answered = window_counts(b, s, p, 0)
    return silent + s.head[b, OPEN_SILENT], answered + s.head[b, OPEN_ANSWERED]


@compiled(inline="always")
def first_window_time(b, s, p):  # type: ignore[no-untyped-def]
    """Open time of the rule's first window: spent and in all [ms]."""
    spent, span = s.head[b, NOW], p.n[END_MS]
    if p.n[IS_FULL]:
        row = p.sessions[s.more[b, SESSION]]
        worked = row[WORKED] + max(min(s.head[b, NOW], row[CLOSES]) - row[OPENS], 0)
        spent, span = worked - row[SPAN_FROM], row[SPAN_UNTIL] - row[SPAN_FROM]
    return spent, span


@compiled()
def _close(b, s, p, w):  # type: ignore[no-untyped-def]
    """Window w is over: record it."""
    row = s.window[b, w]
    silent = tally(b, s, p, COUNTED) - row[COUNTED]
    answered = tally(b, s, p, PICKED_UP) - row[PICKED_UP]
    seen, seen_answered = window_counts(b, s, p, w)
    row[CLOSED] += 1
    row[BREACHED] += 1 if silent > p.caps[w] * answered else 0
    row[SEEN_BREACHED] += 1 if seen > p.caps[w] * seen_answered else 0


@compiled()
def end_windows(b, s, p, session):  # type: ignore[no-untyped-def]
    """Close the windows that do not go on in `session` (-1: the episode is over)."""
    last = s.more[b, SESSION]
    for w in range(p.n[N_RULE_WINDOWS]):
        if p.rolling[w]:
            continue
        if session >= 0 and p.windows[last, w] == p.windows[session, w]:
            continue
        _close(b, s, p, w)
        if session >= 0:  # the last one stays to be seen
            for i in range(N_TALLY):
                s.window[b, w, i] = tally(b, s, p, i)


@compiled()
def roll(b, s, p):  # type: ignore[no-untyped-def]
    """Move the rolling window on to now by 1/60 of its length and judge steps within a session.

    The rolling window's begin is the end of the bucket 60 steps ago.
    """
    now_in = s.head[b, NOW] // p.n[BUCKET_MS]
    session = p.sessions[s.more[b, SESSION]]
    while s.more[b, BUCKET] < now_in:
        s.more[b, BUCKET] += 1
        ends = s.bucket[b, s.more[b, BUCKET] % (BUCKETS + 1)]
        begins = s.bucket[b, (s.more[b, BUCKET] + 1) % (BUCKETS + 1)]
        for i in range(N_TALLY):
            ends[i] = tally(b, s, p, i)
        for w in range(p.n[N_RULE_WINDOWS]):
            if not p.rolling[w]:
                continue
            row = s.window[b, w]
            for i in range(N_TALLY):
                row[i] = begins[i]
            if not session[OPENS] < s.more[b, BUCKET] * p.n[BUCKET_MS] <= session[CLOSES]:
                continue
            seen, seen_answered = window_counts(b, s, p, w)
            row[CLOSED] += 1
            silent, answered = ends[COUNTED] - begins[COUNTED], ends[PICKED_UP] - begins[PICKED_UP]
            row[BREACHED] += 1 if silent > p.caps[w] * answered else 0
            row[SEEN_BREACHED] += 1 if seen > p.caps[w] * seen_answered else 0
