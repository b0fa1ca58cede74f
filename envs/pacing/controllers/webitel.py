"""Webitel's formula."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import (
    MEMO,
    idle,
    keep_books,
    lines_in_use,
    on_call,
    setting,
    today,
)
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.state import ANSWERS_SEEN, DROPS_SEEN, ENDS_SEEN

_TARGET, _AT_TARGET, _GROWTH, _MIN_BRIDGED, _MIN_CALLS = 0, 1, 2, 3, 4
_MOST_ADJUST = 1000.0


@compiled()
def webitel_adjust(abandoned, calls, target_pct, at_target, growth):  # type: ignore[no-untyped-def]
    """PredictAdjust [%], whole, 0 to 1000: at_target x growth ^ (target - abandoned %)."""
    spare = target_pct - 100.0 * abandoned / calls
    return min(max(np.floor(at_target * growth**spare + 0.5), 0.0), _MOST_ADJUST)


@compiled()
def webitel_limit(agents, busy, bridged, calls, adjust):  # type: ignore[no-untyped-def]
    """Most calls in the queue, those with an agent included."""
    over = abs(agents * calls / bridged - agents)
    return np.int64(np.ceil(agents + over * adjust / 100.0 - 1e-9)) + busy


def _webitel(address, b):  # type: ignore[no-untyped-def]
    """A limit on the calls in the queue from an exponential law; see agents/rules/webitel.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    calls, dropped = today(b, s, p, ENDS_SEEN), today(b, s, p, DROPS_SEEN)
    bridged = today(b, s, p, ANSWERS_SEEN) - dropped
    agents, busy = idle(b, s, p), on_call(b, s, p)
    limit = agents + busy
    if bridged >= setting(b, s, p, _MIN_BRIDGED) and calls >= setting(b, s, p, _MIN_CALLS):
        adjust = webitel_adjust(
            dropped,
            calls,
            setting(b, s, p, _TARGET),
            setting(b, s, p, _AT_TARGET),
            setting(b, s, p, _GROWTH),
        )
        limit = webitel_limit(agents, busy, bridged, calls, adjust)
    return max(limit - lines_in_use(b, s, p), 0)


CONTROLLERS = {
    "webitel": Controller(
        name="webitel",
        tick_s=1.0,
        knob="target_pct",
        settings=(
            Setting("target_pct", "%", 2.5, -10.0, 20.0, "abandoned of all calls at which"),
            Setting("adjust_at_target", "%", 35.0, 0.0, 1000.0, "PredictAdjust is this"),
            Setting("growth", "1", 40.0, 1.0, 1000.0, "its factor for each point below"),
            Setting("min_bridged", "calls", 10.0, 1.0, 1000.0, "progressive before so many"),
            Setting("min_calls", "calls", 200.0, 1.0, 10000.0, "progressive before so many"),
        ),
        sees=("idle and busy agents", "calls in the queue", "today's calls, bridged and abandoned"),
        tick=_webitel,
        memo=MEMO,
    ),
}
