"""Hidden truth, for critics and for the value of information; never part of an observation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.pacing.jit import compiled
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
    out = np.zeros((len(state.head), len(PRIVILEGED)))
    _look(state.head, state.heap, state.call, out)
    return out


@compiled()
def _look(head, heap, call, out):  # type: ignore[no-untyped-def]
    for b in range(len(head)):
        out[b, 0] = head[b, P_ANSWER] / 2.0**32
        out[b, 1] = head[b, TALK_FACTOR] / 2.0**20
        out[b, 2] = head[b, SILENT_AMD]
        for i in range(head[b, HEAP]):
            timer = heap[b, i]
            kind, entity = (timer >> 20) & 0xF, timer & 0xFFFFF
            ahead = (timer >> 24) - head[b, NOW]
            if kind == AGENT:
                first = 7
            elif kind in (PICKUP, VERDICT) and call[b, entity, CALL_OUTCOME] == PERSON:
                first = 3
                out[b, 6] += 1.0
            else:
                continue
            for j in range(len(_HORIZONS_MS)):
                if ahead <= _HORIZONS_MS[j]:
                    out[b, first + j] += 1.0
