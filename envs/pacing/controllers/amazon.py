"""A target-rate controller in the style of Amazon Connect; the law is this project's own."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import (
    MEMO,
    idle,
    in_flight,
    in_wrap_up,
    keep_books,
    lately,
    mean_ring_s,
    now_s,
    on_call,
    setting,
    total,
    waiting,
)
from quietdial.envs.pacing.counts import time_in
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import LIMIT_MS
from quietdial.envs.pacing.state import (
    ANSWERS_SEEN,
    CONVERSATIONS,
    DIALS_SEEN,
    DROPS_SEEN,
    ENDS_SEEN,
    PICKUPS_SEEN,
    TALK,
    WRAP,
)

_TARGET, _WINDOW_H, _GAIN, _START = 0, 1, 2, 3
_SLOTS = 24
"""The evaluation window moves on in steps of 1/24 of its length."""
_FIRST, _SECOND, _DIALED_AT, _SLOT, _COUNTS = MEMO, MEMO + 1, MEMO + 2, MEMO + 3, MEMO + 4
_MEMORY_S = 900.0
_LEAST_MARGIN, _MOST_MARGIN = -2.0, 6.0
_MOST_DIALS = 500
_LEAST_TALKS = 10
"""Progressive before so many conversations."""


@compiled()
def margin(start, gain, target, abandoned, answered):  # type: ignore[no-untyped-def]
    """Standard deviations to stay below the capacity: more after each abandoned call."""
    raw = start + gain * (abandoned - target * answered)
    return min(max(raw, _LEAST_MARGIN), _MOST_MARGIN)


@compiled()
def expected_releases(busy, horizon_s, mean_handle_s):  # type: ignore[no-untyped-def]
    """Agents free within the horizon, if handling times are exponential: mean and variance."""
    share = 1.0 - np.exp(-horizon_s / max(mean_handle_s, 1.0))
    return busy * share, busy * share * (1.0 - share)


@compiled()
def dials_within(spare, flying, pending, p_new, releases, variance, margin_sd):  # type: ignore[no-untyped-def]
    """Calls to place so that the answers expected stay below the agents expected.

    One more call is placed while answers + 1/2 + margin x standard deviation <= spare + releases;
    one call for each spare agent is always allowed.
    """
    answers = pending
    variance += pending * (1.0 - p_new)
    certain = spare - flying
    dials = 0
    while dials < _MOST_DIALS:
        fits = answers + 0.5 + margin_sd * np.sqrt(variance) <= spare + releases
        if not fits and dials >= certain:
            break
        answers += p_new
        variance += p_new * (1.0 - p_new)
        dials += 1
    return dials


@compiled()
def _keep_window(b, s, p):  # type: ignore[no-untyped-def]
    """Note the totals at the begin of slots; answered and abandoned calls of the window."""
    memo = s.memo[b]
    slot = np.int64(now_s(b, s) * _SLOTS / (setting(b, s, p, _WINDOW_H) * 3600.0))
    answered, dropped = total(b, s, p, ANSWERS_SEEN), total(b, s, p, DROPS_SEEN)
    last = np.int64(memo[_SLOT])
    for passed in range(max(last + 1, slot - _SLOTS + 1), slot + 1):
        memo[_COUNTS + 2 * (passed % _SLOTS)] = answered
        memo[_COUNTS + 2 * (passed % _SLOTS) + 1] = dropped
    memo[_SLOT] = slot
    begin = _COUNTS + 2 * ((slot + 1) % _SLOTS)
    return answered - memo[begin], dropped - memo[begin + 1]


@compiled()
def still_ringing(first, second, fresh, ring_s):  # type: ignore[no-untyped-def]
    """Expected answers still to come, in two stages of ringing, one second later.

    `fresh` answers are expected of the calls just placed. Each stage lasts half of the mean time to
    answer.
    """
    leaving = min(2.0 / max(ring_s, 2.0), 1.0)
    return first * (1.0 - leaving) + fresh, second * (1.0 - leaving) + first * leaving


@compiled()
def _pending(b, s, p, p_new, ring_s):  # type: ignore[no-untyped-def]
    """Expected answers of the calls in flight."""
    memo = s.memo[b]
    dialed = total(b, s, p, DIALS_SEEN)
    fresh = p_new * (dialed - memo[_DIALED_AT])
    memo[_DIALED_AT] = dialed
    memo[_FIRST], memo[_SECOND] = still_ringing(memo[_FIRST], memo[_SECOND], fresh, ring_s)
    return min(memo[_FIRST] + memo[_SECOND], float(in_flight(b, s)))


def _amazon(address, b):  # type: ignore[no-untyped-def]
    """Expected answers below expected agents, with a fed back margin; agents/rules/amazon.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    answered, abandoned = _keep_window(b, s, p)
    picked = lately(b, s, p, PICKUPS_SEEN, _MEMORY_S)
    ended = lately(b, s, p, ENDS_SEEN, _MEMORY_S)
    p_new = (picked + 1.0) / (ended + 4.0)
    ring_s = mean_ring_s(b, s, p)
    pending = _pending(b, s, p, p_new, ring_s)
    spare = idle(b, s, p) - waiting(b, s)
    talks = s.head[b, CONVERSATIONS]
    if talks < _LEAST_TALKS:
        return max(spare - in_flight(b, s), 0)
    handle_s = (time_in(b, s, TALK) + time_in(b, s, WRAP)) / 1000.0 / talks
    busy = on_call(b, s, p) + in_wrap_up(b, s, p)
    releases, variance = expected_releases(busy, ring_s + p.n[LIMIT_MS] / 1000.0, handle_s)
    safe = margin(
        setting(b, s, p, _START),
        setting(b, s, p, _GAIN),
        setting(b, s, p, _TARGET),
        abandoned,
        answered,
    )
    return dials_within(spare, in_flight(b, s), pending, p_new, releases, variance, safe)


CONTROLLERS = {
    "amazon": Controller(
        name="amazon",
        tick_s=1.0,
        knob="target_rate",
        settings=(
            Setting("target_rate", "1", 0.03, 0.0, 1.0, "abandonment rate to be held"),
            Setting("window_h", "h", 24.0, 1.0, 24.0, "evaluation window"),
            Setting("gain", "sd per call", 0.05, 0.0, 10.0, "margin per call above the target"),
            Setting("start_margin", "sd", 2.0, -2.0, 6.0, "margin when the rate is on target"),
        ),
        sees=(
            "idle and busy agents",
            "waiting callees",
            "calls in flight",
            "calls placed, pick-ups, their ringing, ended calls, time of talk and wrap-up",
            "answered and abandoned calls of the evaluation window",
        ),
        tick=_amazon,
        memo=_COUNTS + 2 * _SLOTS,
        tape=True,
    ),
}
