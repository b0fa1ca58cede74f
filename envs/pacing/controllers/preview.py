"""Preview dialing: an agent looks at the record for a while, then it is dialed for that agent."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import idle, in_flight, setting, waiting
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.state import DIALED

_TICKS, _SUMS = 0, 1
_LONGEST_S = 300
_SLOTS = _LONGEST_S + 1
_TICK_S = 1.0


@compiled()
def preview_dials(memo, preview_ticks, free, dialed):  # type: ignore[no-untyped-def]
    """Free agents whose preview is over: those free in each of the last `preview_ticks` ticks.

    min over these ticks and now of (free + dials until then) - dials until now, at least 0: dials
    take the agent free for longest. None before so many ticks have passed. The ring in `memo` keeps
    the sums of the last `_SLOTS` ticks.

    Args:
        memo: float64 (1 + `_SLOTS`,).
        preview_ticks: length of the preview.
        free: agents without a call, an assigned dial or a waiting callee.
        dialed: dials placed in the episode so far.
    """
    now = np.int64(memo[_TICKS])
    memo[_TICKS] = now + 1
    memo[_SUMS + now % _SLOTS] = free + dialed
    if now < preview_ticks:
        return np.int64(0)
    least = free + dialed
    for tick in range(now - preview_ticks, now):
        least = min(least, np.int64(memo[_SUMS + tick % _SLOTS]))
    return max(least - dialed, 0)


def _preview(address, b):  # type: ignore[no-untyped-def]
    """One dial for each agent whose preview is over; see agents/rules/preview.py."""
    s, p = state_at(address), params_at(address)
    free = idle(b, s, p) - waiting(b, s) - in_flight(b, s)
    ticks = np.int64(np.ceil(setting(b, s, p, 0) / _TICK_S))
    return preview_dials(s.memo[b], ticks, free, s.head[b, DIALED])


CONTROLLERS = {
    "preview": Controller(
        name="preview",
        tick_s=_TICK_S,
        knob="preview_s",
        settings=(
            Setting("preview_s", "s", 10.0, 0.0, _LONGEST_S, "time to look at a record, each dial"),
        ),
        sees=("idle agents", "waiting callees", "calls in flight", "its own dials"),
        tick=_preview,
        memo=1 + _SLOTS,
    ),
}
