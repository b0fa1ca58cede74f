"""Observations, compiled; `twin.py` is the same in plain numpy and agrees bit for bit.

The order of the numbers is that of the field table in `spec.py`. Only operations whose result IEEE
754 fixes exactly (sums in a stated order, products, quotients, square roots) and table look-ups
occur, so any platform and any implementation gets the same bits.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.control import (
    agents_present,
    answer_rate,
    look_ahead,
    marginal_dials,
)
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.kernel import silent_calls, time_in
from quietdial.envs.pacing.outlook import GRID
from quietdial.envs.pacing.state import (
    ANSWERED,
    BASE,
    BASE_THETA,
    BREAK,
    CAP,
    CONNECTED,
    COUNT,
    DIALED,
    END_MS,
    IDLE,
    IN_FLIGHT,
    MACHINES,
    N_AGENTS,
    N_WINDOWS,
    NOW,
    OPEN_ANSWERED,
    OPEN_SILENT,
    PRIOR_RATE,
    RATE_ANSWERED,
    RATE_FINISHED,
    SIGHT,
    SILENT_AMD,
    SILENT_CUT,
    SILENT_LEFT,
    TALK,
    WAIT_ACC,
    WAITING,
    WRAP,
)

NONE, MARKOV, COUNTERS, FULL = 0, 1, 2, 3
SET_CODES = {"none": NONE, "markov": MARKOV, "counters": COUNTERS, "full": FULL}


@compiled(inline="always")
def _cut(x, low, high):  # type: ignore[no-untyped-def]
    return min(max(x, low), high)


@compiled(inline="always")
def _counters(b, s, p, out):  # type: ignore[no-untyped-def]
    idle = s.head[b, COUNT + IDLE]
    waiting = s.head[b, WAITING]
    m = np.float64(agents_present(b, s, p))
    rate = answer_rate(b, s, p)
    out[b, 0] = min(idle, 8) / 4.0
    out[b, 1] = 3.0 * idle / m
    out[b, 2] = min(waiting, 3)
    out[b, 3] = s.head[b, COUNT + TALK] / m
    out[b, 4] = 3.0 * s.head[b, COUNT + WRAP] / m
    out[b, 5] = 3.0 * s.head[b, COUNT + BREAK] / p.n[N_AGENTS]
    out[b, 6] = 2.0 * np.sqrt(rate) - 1.0
    for w in range(1, N_WINDOWS):
        finished = s.est[b, RATE_FINISHED + w] + 1.0
        recent = (s.est[b, RATE_ANSWERED + w] + p.x[PRIOR_RATE]) / finished
        out[b, 6 + w] = 2.0 * np.sqrt(_cut(recent, 0.0, 1.0)) - 1.0
    out[b, 10] = _cut(6.0 * s.head[b, IN_FLIGHT] * rate / m, 0.0, 12.0)
    out[b, 11] = min(np.sqrt(m) / 10.0, 5.0)
    answered = np.float64(s.head[b, ANSWERED] + s.head[b, OPEN_ANSWERED])
    silent = np.float64(silent_calls(b, s) + s.head[b, OPEN_SILENT])
    cap = p.x[CAP]
    out[b, 12] = _cut((silent - cap * answered) / 3.0, -3.0, 3.0)
    out[b, 13] = _cut(40.0 * ((silent + 1.5) / (answered + 50.0) - cap), -2.0, 2.0)
    out[b, 14] = 1.0 if idle == 0 and waiting == 0 else 0.0
    left = p.n[END_MS] - s.head[b, NOW]
    out[b, 15] = left / p.n[END_MS]
    to_come = answered * left / max(s.head[b, NOW], 60000)
    allowed = (cap * (answered + to_come) - silent) / (to_come + 20.0)
    out[b, 16] = _cut(allowed / cap, 0.0, 3.0)


@compiled(inline="always")
def _outlook(b, s, p, out, at):  # type: ignore[no-untyped-def]
    m = np.float64(agents_present(b, s, p))
    root = np.sqrt(m)
    spare = np.float64(s.head[b, COUNT + IDLE] - s.head[b, WAITING])
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
def observe(s, p, set_code, residual, out):  # type: ignore[no-untyped-def]
    """Write the observation of every campaign, and the base of residual actions into the state.

    Args:
        s: State; `BASE` and the outlook are refreshed when they are needed.
        p: Params.
        set_code: one of `SET_CODES`.
        residual: whether the action is residual, so that the base rule must be asked.
        out: (B, F) float32, written.
    """
    for b in range(s.head.shape[0]):
        base = 0
        if residual or set_code == FULL:
            look_ahead(b, s, p)
        if residual:
            base = marginal_dials(b, s, p, p.x[BASE_THETA])
            s.head[b, BASE] = base
        if set_code >= COUNTERS:
            _counters(b, s, p, out)
            at = 17
            if set_code == FULL:
                _outlook(b, s, p, out, at)
                at += 4 * GRID + 1
            out[b, at] = min(base, 8) / 4.0
        elif set_code == MARKOV:
            busy = s.head[b, COUNT + TALK] + s.head[b, COUNT + WRAP]
            out[b, 0] = busy / p.n[N_AGENTS]
            out[b, 1] = min(s.head[b, IN_FLIGHT] / p.n[N_AGENTS], 8.0)


@compiled()
def totals(s, out):  # type: ignore[no-untyped-def]
    """Write the running totals of every campaign's episode.

    Args:
        s: State of B campaigns, only read.
        out: (len(TOTALS), B) float64, written; rows in the order of `spec.TOTALS`.
    """
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
        idle_s = time_in(b, s, IDLE) / 1000.0
        talk_s = time_in(b, s, TALK) / 1000.0
        wrap_s = time_in(b, s, WRAP) / 1000.0
        out[11, b] = idle_s
        out[12, b] = talk_s
        out[13, b] = wrap_s
        out[14, b] = time_in(b, s, BREAK) / 1000.0
        out[15, b] = idle_s + talk_s + wrap_s
        out[16, b] = (s.head[b, WAIT_ACC] + s.head[b, WAITING] * s.head[b, NOW]) / 1000.0
