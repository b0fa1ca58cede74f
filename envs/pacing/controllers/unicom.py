"""UNICOM Intelligence's Predict1 and Predict1PI, and an open re-implementation of the latter."""

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
    today,
    waiting,
)
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.state import (
    ANSWERS_SEEN,
    DROPS_SEEN,
    ENDS_SEEN,
    PICKUPS_SEEN,
)

_TICK_S = 0.5
_MOST_ADJUST = 1000.0
_TICKS, _INTEGRAL, _ADJUST = MEMO, MEMO + 1, MEMO + 2


@compiled()
def predict1_calls(waits, failed, answered, adjust, min_answered, min_waiting, most):  # type: ignore[no-untyped-def]
    """Calls that should be in dial: waiting interviewers and what is over-dialed, rounded down."""
    calls = float(waits)
    if waits > 0 and waits >= min_waiting and answered >= max(min_answered, 1.0):
        calls += waits * (adjust / 100.0 * failed / answered)
    return np.int64(min(np.floor(calls + 1e-9), most))


@compiled()
def above_pct(dropped, answered, limit_pct):  # type: ignore[no-untyped-def]
    """Whether more than `limit_pct` % of the answered calls were silent."""
    return 100.0 * dropped > limit_pct * answered


@compiled()
def pi_adjust(start, integral, error, gain, integral_s, step_s):  # type: ignore[no-untyped-def]
    """PredictAdjust and the new integral of the error [percent x s].

    A step is left out of the integral if it would push PredictAdjust further beyond its range.
    """
    grown = integral + error * step_s
    raw = start + gain * (error + grown / integral_s)
    if (raw > _MOST_ADJUST and error > 0.0) or (raw < 0.0 and error < 0.0):
        grown = integral
        raw = start + gain * (error + grown / integral_s)
    return min(max(raw, 0.0), _MOST_ADJUST), grown


@compiled()
def dctr_adjust(adjust, integral, error, proportional, integral_gain):  # type: ignore[no-untyped-def]
    """PredictAdjust and the sum of the errors [percent] after one step of dctr's controller."""
    summed = integral + error
    moved = adjust + proportional * error + integral_gain * summed
    return min(max(moved, 0.0), _MOST_ADJUST), summed


@compiled(inline="always")
def _dials(b, s, p, adjust, window_s, min_answered, min_waiting, most):  # type: ignore[no-untyped-def]
    """Calls missing from those that should be in dial."""
    answered = lately(b, s, p, PICKUPS_SEEN, window_s)
    failed = lately(b, s, p, ENDS_SEEN, window_s) - answered
    waits = max(idle(b, s, p) - waiting(b, s), 0)
    calls = predict1_calls(waits, failed, answered, adjust, min_answered, min_waiting, most)
    return max(calls - in_flight(b, s), 0)


# -------------------------------------------------------------------------------------- Predict1

_PREDICT_ADJUST, _MAX_PCT, _MIN_ANSWERED, _MIN_WAITING, _MAX_CALLS, _WINDOW = 0, 1, 2, 3, 4, 5


@compiled(inline="always")
def _guarded(b, s, p, adjust):  # type: ignore[no-untyped-def]
    """Dials with the guards of Predict1's settings; no over-dialing above the day's maximum."""
    dropped, answered = today(b, s, p, DROPS_SEEN), today(b, s, p, ANSWERS_SEEN)
    if above_pct(dropped, answered, setting(b, s, p, _MAX_PCT)):
        adjust = 0.0
    return _dials(
        b,
        s,
        p,
        adjust,
        setting(b, s, p, _WINDOW),
        setting(b, s, p, _MIN_ANSWERED),
        setting(b, s, p, _MIN_WAITING),
        setting(b, s, p, _MAX_CALLS),
    )


def _predict1(address, b):  # type: ignore[no-untyped-def]
    """In dial = waiting (1 + PredictAdjust failed / answered); see agents/rules/unicom.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    return _guarded(b, s, p, setting(b, s, p, _PREDICT_ADJUST))


# ------------------------------------------------------------------------------------ Predict1PI

_TARGET, _PI_GAIN, _PI_INTEGRAL_S, _PI_PERIOD = 6, 7, 8, 9


def _predict1_pi(address, b):  # type: ignore[no-untyped-def]
    """Predict1 with PredictAdjust moved by a PI controller; see agents/rules/unicom.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    memo = s.memo[b]
    period_s = setting(b, s, p, _PI_PERIOD)
    if memo[_TICKS] % np.round(period_s / _TICK_S) == 0.0:
        dropped, answered = today(b, s, p, DROPS_SEEN), today(b, s, p, ANSWERS_SEEN)
        error = setting(b, s, p, _TARGET) - 100.0 * dropped / max(answered, 1)
        memo[_ADJUST], memo[_INTEGRAL] = pi_adjust(
            setting(b, s, p, _PREDICT_ADJUST),
            memo[_INTEGRAL],
            error,
            setting(b, s, p, _PI_GAIN),
            setting(b, s, p, _PI_INTEGRAL_S),
            period_s,
        )
    memo[_TICKS] += 1.0
    return _guarded(b, s, p, memo[_ADJUST])


# ------------------------------------------------------------------------------------------ dctr

_D_TARGET, _D_MAX, _D_MIN_IDLE, _D_UPTIME, _D_ANSWERS = 0, 1, 2, 3, 4
_D_START, _D_GAIN, _D_INTEGRAL_GAIN, _D_PERIOD, _D_WINDOW = 5, 6, 7, 8, 9


def _dctr(address, b):  # type: ignore[no-untyped-def]
    """The open re-implementation of Predict1PI; see agents/rules/unicom.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    memo = s.memo[b]
    ticks = memo[_TICKS]
    if ticks == 0.0:
        memo[_ADJUST] = setting(b, s, p, _D_START)
    memo[_TICKS] = ticks + 1.0
    free = idle(b, s, p) - waiting(b, s)
    dropped, answered = today(b, s, p, DROPS_SEEN), today(b, s, p, ANSWERS_SEEN)
    ready = ticks * _TICK_S >= setting(b, s, p, _D_UPTIME)
    ready = ready and answered >= setting(b, s, p, _D_ANSWERS)
    ready = ready and not above_pct(dropped, answered, setting(b, s, p, _D_MAX))
    if ready and ticks % np.round(setting(b, s, p, _D_PERIOD) / _TICK_S) == 0.0:
        error = setting(b, s, p, _D_TARGET) - 100.0 * dropped / max(answered, 1)
        memo[_ADJUST], memo[_INTEGRAL] = dctr_adjust(
            memo[_ADJUST],
            memo[_INTEGRAL],
            error,
            setting(b, s, p, _D_GAIN),
            setting(b, s, p, _D_INTEGRAL_GAIN),
        )
    if free < setting(b, s, p, _D_MIN_IDLE):
        return np.int64(0)
    adjust = memo[_ADJUST] if ready else 0.0
    return _dials(b, s, p, adjust, setting(b, s, p, _D_WINDOW), 1.0, 1.0, 10000.0)


_SEES = (
    "idle agents",
    "waiting callees",
    "calls in flight",
    "answered and failed calls of the last 15 minutes",
    "today's silent and answered calls",
)
_PREDICT1_SETTINGS = (
    Setting("predict_adjust", "%", 150.0, 0.0, 1000.0, "weight of the failed calls"),
    Setting("max_silent_pct", "%", 3.0, 0.0, 100.0, "no over-dialing above it today"),
    Setting("min_answered", "calls", 5.0, 0.0, 1000.0, "no over-dialing before so many"),
    Setting("min_waiting", "agents", 1.0, 0.0, 1000.0, "no over-dialing below so many"),
    Setting("max_calls", "calls", 10000.0, 1.0, 10000.0, "most calls in dial"),
    Setting("window_s", "s", 900.0, 60.0, 3600.0, "statistics are of this time"),
)
CONTROLLERS = {
    "predict1": Controller(
        name="predict1",
        tick_s=_TICK_S,
        knob="predict_adjust",
        settings=_PREDICT1_SETTINGS,
        sees=_SEES,
        tick=_predict1,
        memo=MEMO,
        tape=True,
    ),
    "predict1-pi": Controller(
        name="predict1-pi",
        tick_s=_TICK_S,
        knob="target_silent_pct",
        settings=(
            *_PREDICT1_SETTINGS,
            Setting("target_silent_pct", "%", 2.5, 0.01, 50.0, "silent calls to be held"),
            Setting("gain", "% per %", 10.0, 0.0, 10000.0, "PredictAdjust per error"),
            Setting("integral_s", "s", 1800.0, 1.0, 1e6, "integral time"),
            Setting("pi_period_s", "s", 15.0, 0.5, 600.0, "the PI controller acts so often"),
        ),
        sees=_SEES,
        tick=_predict1_pi,
        memo=MEMO + 3,
        tape=True,
    ),
    "dctr": Controller(
        name="dctr",
        tick_s=_TICK_S,
        knob="target_abandon_pct",
        settings=(
            Setting("target_abandon_pct", "%", 2.5, 0.01, 50.0, "abandoned calls to be held"),
            Setting("max_abandon_pct", "%", 3.0, 0.0, 100.0, "progressive above it"),
            Setting("min_idle", "agents", 3.0, 0.0, 1000.0, "no dialing below so many"),
            Setting("progressive_s", "s", 300.0, 0.0, 3600.0, "progressive at first"),
            Setting("min_answered", "calls", 10.0, 0.0, 1000.0, "progressive before so many"),
            Setting("predict_adjust", "%", 150.0, 0.0, 1000.0, "weight of failed calls at first"),
            Setting("gain", "% per %", 2.0, 0.0, 1000.0, "PredictAdjust per error and step"),
            Setting("integral_gain", "% per %", 0.05, 0.0, 100.0, "per sum of errors and step"),
            Setting("pi_period_s", "s", 15.0, 0.5, 600.0, "time of a step"),
            Setting("window_s", "s", 900.0, 60.0, 3600.0, "the answer rate is of this time"),
        ),
        sees=_SEES,
        tick=_dctr,
        memo=MEMO + 3,
        tape=True,
    ),
}
