"""Issabel's prediction of agents who will soon be free."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import (
    MEMO,
    idle,
    in_flight,
    keep_books,
    lately,
    setting,
    total,
    waiting,
)
from quietdial.envs.pacing.counts import time_in
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import FEED_STEPS, N_AGENTS, STEP_MS
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    CONVERSATIONS,
    COUNT,
    ENDS_SEEN,
    NOW,
    PICKUPS_SEEN,
    RINGS_SEEN_S,
    TALK,
)

_MISS, _PERIOD, _ANSWER_S, _PAD, _FINISHED = 0, 1, 2, 3, 4
_FORCED, _MOST, _OVERCOMMIT, _ASR_WINDOW, _ASR_CALLS, _OVER_MOST = 5, 6, 7, 8, 9, 10
_TICKS = MEMO


@compiled()
def soon_free_after_s(mean_call_s, mean_answer_s, miss):  # type: ignore[no-untyped-def]
    """Talk time from which an agent counts as soon free: 1 - exp(-(t + A) / m) >= 1 - miss."""
    return -mean_call_s * np.log(miss) - mean_answer_s


@compiled()
def issabel_calls(free, soon, callers, forced, most, flying):  # type: ignore[no-untyped-def]
    """Calls to place before any over-commitment."""
    n = free + soon - callers
    if n > 0:
        n += forced
    return min(n, most) - flying


@compiled()
def overcommitted(n, asr):  # type: ignore[no-untyped-def]
    """`n` calls, divided by the share that is answered and rounded to a whole number."""
    return np.int64(np.floor(n / asr + 0.5))


@compiled()
def _talks_longer_than(b, s, p, least_s):  # type: ignore[no-untyped-def]
    """Agents in a conversation for at least so long, as the dialer sees them."""
    seen_at = s.head[b, NOW] - p.n[FEED_STEPS] * p.n[STEP_MS]
    count = 0
    for i in range(p.n[N_AGENTS]):
        if s.agent[b, i, AGENT_STATE] == TALK:
            elapsed_ms = seen_at - s.agent[b, i, AGENT_SINCE]
            if elapsed_ms >= 0 and elapsed_ms / 1000.0 >= least_s:
                count += 1
    return count


@compiled()
def _elapsed_s(b, s, p):  # type: ignore[no-untyped-def]
    """Time that the conversations under way have lasted, summed [s]."""
    elapsed = 0
    for i in range(p.n[N_AGENTS]):
        if s.agent[b, i, AGENT_STATE] == TALK:
            elapsed += s.head[b, NOW] - s.agent[b, i, AGENT_SINCE]
    return elapsed / 1000.0


@compiled()
def _soon_free(b, s, p):  # type: ignore[no-untyped-def]
    """Busy agents who are predicted to be free by the time a call is answered."""
    finished = s.head[b, CONVERSATIONS] - s.head[b, COUNT + TALK]
    if finished < setting(b, s, p, _FINISHED):
        return 0
    mean_call_s = (time_in(b, s, TALK) / 1000.0 - _elapsed_s(b, s, p)) / finished
    pad = setting(b, s, p, _PAD)
    rings_s = total(b, s, p, RINGS_SEEN_S) + pad * setting(b, s, p, _ANSWER_S)
    mean_answer_s = rings_s / max(total(b, s, p, PICKUPS_SEEN) + pad, 1.0)
    miss = setting(b, s, p, _MISS) / 100.0
    return _talks_longer_than(b, s, p, soon_free_after_s(mean_call_s, mean_answer_s, miss))


def _issabel(address, b):  # type: ignore[no-untyped-def]
    """Free and soon free agents, less callers and calls in flight; see agents/rules/issabel.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    ticks = s.memo[b, _TICKS]
    s.memo[b, _TICKS] = ticks + 1.0
    if ticks % setting(b, s, p, _PERIOD) != 0.0:
        return np.int64(0)
    n = issabel_calls(
        idle(b, s, p),
        _soon_free(b, s, p),
        waiting(b, s),
        np.int64(setting(b, s, p, _FORCED)),
        np.int64(setting(b, s, p, _MOST)),
        in_flight(b, s),
    )
    if n > 0 and setting(b, s, p, _OVERCOMMIT) > 0.5:
        window = setting(b, s, p, _ASR_WINDOW)
        ended = lately(b, s, p, ENDS_SEEN, window)
        if ended >= setting(b, s, p, _ASR_CALLS):
            asr = lately(b, s, p, PICKUPS_SEEN, window) / ended
            n = overcommitted(n, max(asr, 1.0 / setting(b, s, p, _OVER_MOST)))
    return max(n, np.int64(0))


CONTROLLERS = {
    "issabel": Controller(
        name="issabel",
        tick_s=1.0,
        knob="miss_pct",
        settings=(
            Setting("miss_pct", "%", 3.0, 1e-6, 100.0, "100 - service percent, see the rule"),
            Setting("period_s", "s", 5.0, 1.0, 60.0, "the rule acts so often, whole seconds"),
            Setting("answer_s", "s", 8.0, 0.0, 60.0, "time to answer before anything is known"),
            Setting("answer_pad", "calls", 10.0, 0.0, 1000.0, "calls that answer_s counts for"),
            Setting("min_finished", "calls", 10.0, 1.0, 1000.0, "progressive before so many"),
            Setting("forced", "calls", 0.0, 0.0, 500.0, "placed on top of a positive number"),
            Setting("max_channels", "calls", 10000.0, 1.0, 10000.0, "most calls in flight"),
            Setting("overcommit", "0 or 1", 0.0, 0.0, 1.0, "1: divide by the share answered"),
            Setting("asr_window_s", "s", 1800.0, 60.0, 3600.0, "the share is of this time"),
            Setting("asr_min_calls", "calls", 10.0, 1.0, 1000.0, "no division before so many"),
            Setting("max_overcommit", "1", 5.0, 1.0, 100.0, "most to multiply by, 1 / least share"),
        ),
        sees=(
            "idle agents",
            "how long each conversation has lasted",
            "waiting callees",
            "calls in flight",
            "finished conversations and their time",
            "pick-ups, their ringing, and ended calls",
        ),
        tick=_issabel,
        memo=MEMO + 1,
        tape=True,
    ),
}
