"""Hidden truth, for critics and for the value of information; never part of an observation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.pacing.spec import PRIVILEGED
from quietdial.envs.pacing.state import (
    CALL_OUTCOME,
    HEAP,
    NOW,
    P_ANSWER,
    PERSON,
    SILENT_AMD,
    TALK_FACTOR,
    State,
)
from quietdial.envs.pacing.timers import AGENT, PICKUP, VERDICT

_HORIZONS_MS = (5000, 10_000, 20_000)


def privileged(state: State) -> NDArray[np.float64]:
    """What no dialer can know, (B, len(spec.PRIVILEGED)) float64, read from the pending events."""
    head = state.head
    out = np.zeros((len(head), len(PRIVILEGED)))
    out[:, 0] = head[:, P_ANSWER] / 2.0**32
    out[:, 1] = head[:, TALK_FACTOR] / 2.0**20
    out[:, 2] = head[:, SILENT_AMD]
    for b in range(len(head)):
        timers = state.heap[b, : head[b, HEAP]]
        kinds, entities = (timers >> 20) & 0xF, timers & 0xFFFFF
        ahead = (timers >> 24) - head[b, NOW]
        calls = (kinds == PICKUP) | (kinds == VERDICT)
        calls[calls] = state.call[b, entities[calls], CALL_OUTCOME] == PERSON
        agents = kinds == AGENT
        for i, horizon in enumerate(_HORIZONS_MS):
            out[b, 3 + i] = np.count_nonzero(calls & (ahead <= horizon))
            out[b, 7 + i] = np.count_nonzero(agents & (ahead <= horizon))
        out[b, 6] = np.count_nonzero(calls)
    return out
