"""The heuristic of the open dialer Shiwa45."""

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
    mean_ring_s,
    on_call,
    setting,
    today,
    waiting,
)
from quietdial.envs.pacing.counts import time_in
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.state import (
    ANSWERS_SEEN,
    CONVERSATIONS,
    DROPS_SEEN,
    ENDS_SEEN,
    PICKUPS_SEEN,
    TALK,
)

_AIM, _MIN_CALLS, _LEAST_RATIO, _MOST_RATIO = 0, 1, 2, 3
_MOST_BOOST = 1.3


@compiled()
def abandon_factor(dropped, answered):  # type: ignore[no-untyped-def]
    """Factor of the ratio by the abandoned share of the answered calls."""
    share_pct = 100.0 * dropped / max(answered, 1)
    if share_pct >= 5.0:
        return 0.5
    if share_pct > 3.0:
        return 1.0 - 0.4 * (share_pct - 3.0) / 2.0
    return 1.15 if share_pct < 1.5 else 1.0


@compiled()
def availability_boost(free, busy, ring_s, talk_s):  # type: ignore[no-untyped-def]
    """Factor of the ratio by the agents who will be free when a call is answered."""
    freed = busy * (1.0 - np.exp(-ring_s / max(talk_s, 1.0)))
    return min(1.0 + freed / max(free, 1), _MOST_BOOST)


@compiled()
def calls_per_agent(aim, p_human, factor, boost, least, most):  # type: ignore[no-untyped-def]
    """The ratio of calls to agents."""
    return min(max(aim / p_human * factor * boost, least), most)


@compiled()
def shiwa_dials(free, wraps, ratio, flying):  # type: ignore[no-untyped-def]
    """New calls: for the free agents and half of those in wrap-up, at most two for each free."""
    wanted = np.int64(np.floor((free + 0.5 * wraps) * ratio + 1e-9)) - flying
    return max(min(wanted, 2 * free), 0)


def _shiwa45(address, b):  # type: ignore[no-untyped-def]
    """A product of heuristic factors; see agents/rules/shiwa45.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    free = max(idle(b, s, p) - waiting(b, s), 0)
    answered, ended = today(b, s, p, PICKUPS_SEEN), today(b, s, p, ENDS_SEEN)
    ratio = setting(b, s, p, _LEAST_RATIO)
    if answered > 0 and ended >= setting(b, s, p, _MIN_CALLS):
        ring_s = mean_ring_s(b, s, p)
        talk_s = time_in(b, s, TALK) / 1000.0 / max(s.head[b, CONVERSATIONS], 1)
        ratio = calls_per_agent(
            setting(b, s, p, _AIM),
            answered / ended,
            abandon_factor(today(b, s, p, DROPS_SEEN), today(b, s, p, ANSWERS_SEEN)),
            availability_boost(free, on_call(b, s, p), ring_s, talk_s),
            ratio,
            setting(b, s, p, _MOST_RATIO),
        )
    return shiwa_dials(free, in_wrap_up(b, s, p), ratio, in_flight(b, s))


CONTROLLERS = {
    "shiwa45": Controller(
        name="shiwa45",
        tick_s=1.0,
        knob="aim",
        settings=(
            Setting("aim", "answers per agent", 0.85, 0.01, 5.0, "answers to expect per agent"),
            Setting("min_calls", "calls", 50.0, 1.0, 1000.0, "least ratio before so many"),
            Setting("min_ratio", "calls per agent", 1.0, 0.1, 20.0, "least ratio"),
            Setting("max_ratio", "calls per agent", 3.0, 0.1, 20.0, "most ratio"),
        ),
        sees=(
            "idle agents, agents with a call and in wrap-up",
            "waiting callees",
            "calls in flight",
            "today's ended, answered and dropped calls",
            "ringing and time of conversations",
        ),
        tick=_shiwa45,
        memo=MEMO,
    ),
}
