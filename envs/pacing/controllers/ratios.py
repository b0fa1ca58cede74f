"""Controllers that multiply agents by a ratio: Genesys, Sinch, Cisco UCCX."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import (
    MEMO,
    idle,
    in_flight,
    keep_books,
    on_call,
    setting,
    today,
    total,
    waiting,
)
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.state import ANSWERS_SEEN, DROPS_SEEN

_TINY = 1e-9
"""Added before rounding down, so that 3 x 1.1 / 1.1 is 3."""


@compiled()
def whole_dials(wanted, rest):  # type: ignore[no-untyped-def]
    """Whole calls to place and the rest to carry to the next calls; see `carry_rest`."""
    dials = max(np.floor(wanted + rest + _TINY), 0.0)
    return np.int64(dials), wanted + rest - dials if dials > 0.0 else rest


@compiled(inline="always")
def _placed(b, s, wanted, carries, at):  # type: ignore[no-untyped-def]
    """Whole calls of `wanted`; the rest is carried in memo `at` if `carries`, else dropped."""
    dials, rest = whole_dials(wanted, s.memo[b, at])
    s.memo[b, at] = rest if carries else 0.0
    return dials


# --------------------------------------------------------------------------------------- Genesys

_OVER_DIAL, _CARRY = 0, 1


def _genesys(address, b):  # type: ignore[no-untyped-def]
    """New calls = floor(k (ready - queued - dialed / k)); see agents/rules/genesys.py."""
    s, p = state_at(address), params_at(address)
    ready = setting(b, s, p, _OVER_DIAL) * (idle(b, s, p) - waiting(b, s))
    return _placed(b, s, ready - in_flight(b, s), setting(b, s, p, _CARRY) > 0.5, MEMO)


# ----------------------------------------------------------------------------------------- Sinch

_INCREASE, _ABANDON, _STEP, _SINCH_PERIOD = 0, 1, 2, 3
_RATIO, _SINCH_TICKS = MEMO, MEMO + 1


@compiled()
def scaled_ratio(ratio, most, step, dropped, answered, limit_pct):  # type: ignore[no-untyped-def]
    """The increase ratio after one adjustment, all in percent."""
    met = answered > 0 and 100.0 * dropped >= limit_pct * answered
    return max(ratio - step, 0.0) if met else min(ratio + step, most)


@compiled()
def sinch_calls(free, busy, ratio):  # type: ignore[no-untyped-def]
    """Calls to have in progress: free agents and a share of the busy ones, in whole calls."""
    return free + np.int64(np.floor(ratio * busy / 100.0 + _TINY))


def _sinch(address, b):  # type: ignore[no-untyped-def]
    """Calls = free agents + ratio x busy agents; see agents/rules/sinch.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    memo = s.memo[b]
    most = setting(b, s, p, _INCREASE)
    if memo[_SINCH_TICKS] % setting(b, s, p, _SINCH_PERIOD) == 0.0:
        answered, dropped = today(b, s, p, ANSWERS_SEEN), today(b, s, p, DROPS_SEEN)
        before = memo[_RATIO] if memo[_SINCH_TICKS] > 0.0 else most
        limit = setting(b, s, p, _ABANDON)
        memo[_RATIO] = scaled_ratio(before, most, setting(b, s, p, _STEP), dropped, answered, limit)
    memo[_SINCH_TICKS] += 1.0
    free = idle(b, s, p) - waiting(b, s)
    return max(sinch_calls(free, on_call(b, s, p), memo[_RATIO]) - in_flight(b, s), 0)


# ------------------------------------------------------------------------------------ Cisco UCCX

_LINES, _MOST_LINES, _CORRECTION, _GAIN, _LIMIT, _LINE_STEP = 0, 1, 2, 3, 4, 5
_NOW_LINES, _ANSWERED_AT, _DROPPED_AT, _REST = MEMO, MEMO + 1, MEMO + 2, MEMO + 3


@compiled()
def corrected_lines(lines, most, answered, dropped, limit_pct, gain, step):  # type: ignore[no-untyped-def]
    """Lines per agent after `answered` live answers, `dropped` of them without an agent."""
    below_pct = limit_pct - 100.0 * dropped / answered
    return min(max(lines + gain * step * below_pct, 1.0), most)


def _uccx(address, b):  # type: ignore[no-untyped-def]
    """Lines per agent, corrected every so many live answers; see agents/rules/uccx.py."""
    s, p = state_at(address), params_at(address)
    memo = s.memo[b]
    most = setting(b, s, p, _MOST_LINES)
    if memo[_NOW_LINES] == 0.0:
        memo[_NOW_LINES] = min(setting(b, s, p, _LINES), most)
    answered = total(b, s, p, ANSWERS_SEEN) - np.int64(memo[_ANSWERED_AT])
    if answered >= setting(b, s, p, _CORRECTION):
        dropped = total(b, s, p, DROPS_SEEN) - np.int64(memo[_DROPPED_AT])
        limit, gain = setting(b, s, p, _LIMIT), setting(b, s, p, _GAIN)
        memo[_NOW_LINES] = corrected_lines(
            memo[_NOW_LINES], most, answered, dropped, limit, gain, setting(b, s, p, _LINE_STEP)
        )
        memo[_ANSWERED_AT] += answered
        memo[_DROPPED_AT] += dropped
    wanted = memo[_NOW_LINES] * (idle(b, s, p) - waiting(b, s)) - in_flight(b, s)
    return _placed(b, s, wanted, True, _REST)


CONTROLLERS = {
    "genesys": Controller(
        name="genesys",
        tick_s=1.0,
        knob="over_dial",
        settings=(
            Setting("over_dial", "calls per agent", 1.0, 0.2, 20.0, "k, calls per agent"),
            Setting("carry_rest", "0 or 1", 0.0, 0.0, 1.0, "1: fractions of calls are carried"),
        ),
        sees=("ready agents", "waiting callees", "calls in flight"),
        tick=_genesys,
        memo=MEMO + 1,
    ),
    "sinch": Controller(
        name="sinch",
        tick_s=1.0,
        knob="increase_pct",
        settings=(
            Setting("increase_pct", "%", 0.0, 0.0, 2000.0, "calls per 100 busy agents"),
            Setting("abandon_pct", "%", 1.0, 0.0, 100.0, "ratio falls at this abandon ratio"),
            Setting("step_pct", "%", 5.0, 0.0, 2000.0, "change of the ratio at an adjustment"),
            Setting("period_s", "s", 15.0, 1.0, 3600.0, "time between adjustments, whole"),
        ),
        sees=("idle and busy agents", "waiting callees", "calls in flight", "today's drops"),
        tick=_sinch,
        memo=MEMO + 2,
    ),
    "uccx": Controller(
        name="uccx",
        tick_s=1.0,
        knob="abandon_limit_pct",
        settings=(
            Setting("lines_per_agent", "lines", 1.0, 1.0, 3.0, "lines per agent at first"),
            Setting("max_lines_per_agent", "lines", 3.0, 1.0, 3.0, "most lines per agent"),
            Setting("correction", "answers", 100.0, 10.0, 1000.0, "live answers per correction"),
            Setting("gain", "1", 1.0, 0.0, 1.0, "size of the corrections"),
            Setting("abandon_limit_pct", "%", 3.0, 0.0, 100.0, "most abandoned live answers"),
            Setting("step_lines", "lines per %", 0.05, 0.0, 2.0, "correction per % at gain 1"),
        ),
        sees=("idle agents", "waiting callees", "calls in flight", "live answers and drops"),
        tick=_uccx,
        memo=MEMO + 4,
    ),
}
