"""The hidden levels that drift: the answer rate and the factor of talk times."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.counts import key_of
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import (
    DRIFT_MS,
    HAS_TALK_DRIFT,
    JUMP_SD,
    LOG_P_LOW,
    LOG_P_SPAN,
    OU_KEEP,
    OU_NOISE,
    OU_SD,
    P_JUMP,
    P_TALK_JUMP,
    SEASON,
    SEASON_TURNS_PER_MS,
    TALK_DRIFT_MS,
    TALK_JUMP_SD,
    TALK_KEEP,
    TALK_NOISE,
    TALK_OU_SD,
    TALK_SD,
    TALK_SEASON,
    TALK_TURNS_PER_MS,
)
from quietdial.envs.pacing.state import (
    DAY_P0,
    DAY_TURN,
    DRIFT_X,
    P_ANSWER,
    TALK_DAY,
    TALK_FACTOR,
    TALK_TURN,
    TALK_X,
)

_P32 = 4294967296.0


@compiled()
def set_answer_rate(b, s, p, t):  # type: ignore[no-untyped-def]
    """Hidden answer probability at time t of the session [ms]: level, season and drift."""
    turns = t * p.x[SEASON_TURNS_PER_MS] + s.est[b, DAY_TURN]
    season = 1.0 + p.x[SEASON] * chance.sine(p.curves, turns)
    rate = s.est[b, DAY_P0] * season * chance.exp(p.curves, s.est[b, DRIFT_X])
    s.head[b, P_ANSWER] = np.int64(min(max(rate, 0.001), 0.95) * _P32)


@compiled()
def draw_answer_rate(b, s, p, key, day, session, t):  # type: ignore[no-untyped-def]
    """Begin a session's answer rate: the day's level and phase, and the drift's first value."""
    level = chance.unit(chance.draw(key, chance.DAY_LEVEL, day))
    s.est[b, DAY_P0] = chance.exp(p.curves, p.x[LOG_P_LOW] + p.x[LOG_P_SPAN] * level)
    s.est[b, DAY_TURN] = chance.unit(chance.draw(key, chance.DAY_PHASE, day))
    noise = chance.normal(p.curves, chance.draw(key, chance.DRIFT_NOISE, session << 24))
    s.est[b, DRIFT_X] = p.x[OU_SD] * noise
    set_answer_rate(b, s, p, t)


@compiled()
def move_answer_rate(b, s, p, session, t):  # type: ignore[no-untyped-def]
    """The next step of the answer rate at time t of the session; returns when the next is due."""
    key = key_of(b, s)
    step = t // p.n[DRIFT_MS]
    number = (session << 24) + step
    noise = chance.normal(p.curves, chance.draw(key, chance.DRIFT_NOISE, number))
    s.est[b, DRIFT_X] = p.x[OU_KEEP] * s.est[b, DRIFT_X] + p.x[OU_NOISE] * noise
    if p.n[P_JUMP] > 0:
        u = np.int64(chance.draw(key, chance.JUMP, number) >> np.uint64(32))
        if u < p.n[P_JUMP]:
            size = chance.normal(p.curves, chance.draw(key, chance.JUMP_SIZE, number))
            s.est[b, DRIFT_X] += p.x[JUMP_SD] * size
    set_answer_rate(b, s, p, t)
    return (step + 1) * p.n[DRIFT_MS]


@compiled()
def draw_talk_factor(b, s, p, key, day, session):  # type: ignore[no-untyped-def]
    """Begin a session's factor of talk times: the day's level and phase, the first drift."""
    noise = chance.normal(p.curves, chance.draw(key, chance.DAY_TALK, day))
    s.est[b, TALK_DAY] = chance.exp(p.curves, p.x[TALK_SD] * noise)
    s.head[b, TALK_FACTOR] = np.int64(s.est[b, TALK_DAY] * 1048576.0 + 0.5)
    if p.n[HAS_TALK_DRIFT]:
        s.est[b, TALK_TURN] = chance.unit(chance.draw(key, chance.TALK_PHASE, day))
        noise = chance.normal(p.curves, chance.draw(key, chance.TALK_NOISE, session << 24))
        s.est[b, TALK_X] = p.x[TALK_OU_SD] * noise


@compiled()
def set_talk_factor(b, s, p, t):  # type: ignore[no-untyped-def]
    """Hidden factor of talk times at time t of the session [ms], within [1/20, 20]."""
    turns = t * p.x[TALK_TURNS_PER_MS] + s.est[b, TALK_TURN]
    season = 1.0 + p.x[TALK_SEASON] * chance.sine(p.curves, turns)
    factor = s.est[b, TALK_DAY] * season * chance.exp(p.curves, s.est[b, TALK_X])
    s.head[b, TALK_FACTOR] = np.int64(min(max(factor, 0.05), 20.0) * 1048576.0 + 0.5)


@compiled()
def move_talk_factor(b, s, p, session, t):  # type: ignore[no-untyped-def]
    """The next step of the talk factor at time t of the session; returns when the next is due."""
    key = key_of(b, s)
    step = t // p.n[TALK_DRIFT_MS]
    number = (session << 24) + step
    noise = chance.normal(p.curves, chance.draw(key, chance.TALK_NOISE, number))
    s.est[b, TALK_X] = p.x[TALK_KEEP] * s.est[b, TALK_X] + p.x[TALK_NOISE] * noise
    if p.n[P_TALK_JUMP] > 0:
        u = np.int64(chance.draw(key, chance.TALK_JUMP, number) >> np.uint64(32))
        if u < p.n[P_TALK_JUMP]:
            size = chance.normal(p.curves, chance.draw(key, chance.TALK_JUMP_SIZE, number))
            s.est[b, TALK_X] += p.x[TALK_JUMP_SD] * size
    set_talk_factor(b, s, p, t)
    return (step + 1) * p.n[TALK_DRIFT_MS]
