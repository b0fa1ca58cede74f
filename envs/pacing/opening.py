"""What the beginning of an episode has in common in both kernels."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.learning import forget
from quietdial.envs.pacing.params import (
    CAP,
    HAS_WRAP,
    HORIZON_MS,
    LAW_TALK,
    LAW_WRAP,
    LEARNS,
    N_AGENTS,
    N_LINES,
    P_FIXED,
    PRIOR_RATE,
    PRIOR_WEIGHT,
    RANDOM_START,
    STEP_MS,
)
from quietdial.envs.pacing.state import (
    AGENT_NUMBER,
    AGENT_STATE,
    FREE,
    IDLE,
    KEY,
    N_HEAD,
    N_TAPE,
    N_WINDOWS,
    OPEN_ANSWERED,
    OPEN_SILENT,
    P_ANSWER,
    RATE_ANSWERED,
    RATE_FINISHED,
    WAIT_DUE,
)
from quietdial.envs.pacing.timers import NEVER


@compiled()
def blank(b, s, p, key):  # type: ignore[no-untyped-def]
    """Empty row b: no calls, no timers, all agents idle in order, the prior as estimates."""
    for i in range(N_HEAD):
        s.head[b, i] = 0
    for i in range(s.est.shape[1]):
        s.est[b, i] = 0.0
    for i in range(s.cohort.shape[1]):
        s.cohort[b, i] = 0
    s.head[b, KEY] = np.int64(key)
    s.head[b, WAIT_DUE] = NEVER
    for i in range(p.n[N_LINES]):
        s.free[b, i] = p.n[N_LINES] - 1 - i
    s.head[b, FREE] = p.n[N_LINES]
    for i in range(p.n[N_AGENTS]):
        s.agent[b, i, AGENT_STATE] = IDLE
        s.agent[b, i, AGENT_NUMBER] = -1
        s.idle[b, i] = i
    for w in range(N_WINDOWS):
        s.est[b, RATE_ANSWERED + w] = p.x[PRIOR_RATE] * p.x[PRIOR_WEIGHT]
        s.est[b, RATE_FINISHED + w] = p.x[PRIOR_WEIGHT]
    s.head[b, P_ANSWER] = p.n[P_FIXED]
    for i in range(s.memo.shape[1]):
        s.memo[b, i] = 0.0
    for i in range(s.tape.shape[1]):
        for column in range(N_TAPE):
            s.tape[b, i, column] = 0
    if p.n[LEARNS]:
        forget(b, s, p)


@compiled()
def draw_span(p, key, opens, closes):  # type: ignore[no-untyped-def]
    """Begin and end of the episode within a session [ms]: all of it, or a training episode."""
    began, end = opens, closes
    if p.n[HORIZON_MS] > 0:
        share = chance.unit(chance.draw(key, chance.TRAIN_START, 1))
        steps = np.int64(p.n[HORIZON_MS] // p.n[STEP_MS] * (0.5 + 0.5 * share))
        end = min(opens + max(steps, 1) * p.n[STEP_MS], closes)
    if p.n[RANDOM_START]:
        share = chance.unit(chance.draw(key, chance.TRAIN_START, 0))
        began = np.int64((closes - end) // p.n[STEP_MS] * share) * p.n[STEP_MS]
        end += began
        began += opens
    return began, end


@compiled()
def draw_counts(b, s, p, key, agents, span_ms):  # type: ignore[no-untyped-def]
    """Training only: plausible counts of the day so far.

    They are what a floor at 90 % utilisation has when its silent rate is the cap, give or take
    noise.
    """
    handle_ms = 0.0
    for i in range(8):
        handle_ms += p.tables[LAW_TALK, 64 + 128 * i] / 8.0
        if p.n[HAS_WRAP]:
            handle_ms += p.tables[LAW_WRAP, 64 + 128 * i] / 8.0
    answered = 0.9 * agents * span_ms / handle_ms
    noise = chance.normal(p.curves, chance.draw(key, chance.TRAIN_START, 2))
    silent = answered * p.x[CAP] + noise * np.sqrt(2.0 * answered * p.x[CAP] + 1.0)
    s.head[b, OPEN_ANSWERED] = np.int64(answered)
    s.head[b, OPEN_SILENT] = np.int64(min(max(silent, 0.0), answered))
