"""The marginal rule with its threshold under budget feedback."""

from __future__ import annotations

import math

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.control import answer_rate, look_ahead, marginal_dials
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import MEMO, keep_books, setting, today
from quietdial.envs.pacing.full.windows import first_window_time, window_counts
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import IS_FULL
from quietdial.envs.pacing.state import ANSWERS_SEEN, DROPS_SEEN

_TICKS, _THETA = MEMO, MEMO + 1
_EVERY_TICKS = 15
_CALLS = 50.0
_NEAR_SHARE = 0.1
_SHORTEST_MS = 60000
_LEAST_SHARE, _MOST_SHARE = 0.05, 0.6
_MOST, _MOST_PLANNED = 2.5, 1.0


@compiled(inline="always")
def budget_threshold(  # type: ignore[no-untyped-def]
    curves, theta, kappa, target, margin, silent, answered, spent_ms, span_ms, p_answer
):
    """The threshold theta exp(clip(kappa (r (A + n) - S - n r) / n, -4, h)).

    S and A are the silent and answered calls of the window, `spent_ms` and `span_ms` its open time
    so far and in all, A' = A (span - spent) / max(spent, 60 s) the answered calls still to come at
    the pace so far, `p_answer` the dialer's estimate p of the answer probability of a dial. Without
    a margin r = target, n = 50 and h = 2.5. With one r = target - m / max(A + A', 50), where
    m = margin sqrt((1 - q) / (3 q)) with q = clip(p, .05, .6), so that m calls are left below the
    target at the end; n = min(max(A' / 10, 1), 50), so that the loop grows stronger as the end
    comes near; and h = 1, since what is left then is not to be spent at once.

    Where few dials are answered many must be in flight, and a burst of answers cannot be called
    back: of d dials the answered ones have the relative spread sqrt((1 - p) / (p d)). So m follows
    it, and is the margin at p = .25.
    """
    rate, calls, most = target, _CALLS, _MOST
    if margin > 0.0:
        to_come = answered * max(span_ms - spent_ms, 0) / max(spent_ms, _SHORTEST_MS)
        share = min(max(p_answer, _LEAST_SHARE), _MOST_SHARE)
        kept = margin * math.sqrt((1.0 - share) / (3.0 * share))
        rate = target - kept / max(answered + to_come, _CALLS)
        calls = min(max(_NEAR_SHARE * to_come, 1.0), _CALLS)
        most = _MOST_PLANNED
    left = rate * (answered + calls) - silent - calls * rate
    return theta * chance.exp(curves, min(max(kappa * left / calls, -4.0), most))


@compiled(inline="always")
def _budget_counts(b, s, p):  # type: ignore[no-untyped-def]
    """(silent, answered) as the dialer sees them: of the rule's first window, else of the day."""
    if p.n[IS_FULL]:
        return window_counts(b, s, p, 0)
    return np.float64(today(b, s, p, DROPS_SEEN)), np.float64(today(b, s, p, ANSWERS_SEEN))


def _marginal_budget(address, b):  # type: ignore[no-untyped-def]
    """The marginal rule with a fed-back threshold; see agents/rules/feedback.py."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    memo = s.memo[b]
    if np.int64(memo[_TICKS]) % _EVERY_TICKS == 0:
        silent, answered = _budget_counts(b, s, p)
        theta, kappa, target = setting(b, s, p, 0), setting(b, s, p, 1), setting(b, s, p, 2)
        spent, span = first_window_time(b, s, p)
        margin, rate = setting(b, s, p, 3), answer_rate(b, s, p)
        memo[_THETA] = budget_threshold(
            p.curves, theta, kappa, target, margin, silent, answered, spent, span, rate
        )
    memo[_TICKS] += 1.0
    look_ahead(b, s, p)
    return marginal_dials(b, s, p, memo[_THETA])


CONTROLLERS = {
    "marginal-budget": Controller(
        name="marginal-budget",
        tick_s=1.0,
        knob="target",
        settings=(
            Setting("theta", "probability", 0.02, 1e-4, 0.5, "threshold while on target"),
            Setting("kappa", "1", 10.0, 0.0, 200.0, "strength of the feedback"),
            Setting("target", "share", 0.027, 1e-4, 0.2, "silent rate to keep"),
            Setting("margin", "calls", 0.0, 0.0, 1000.0, "left at the end at p = .25; 0: no plan"),
        ),
        sees=(
            "ages of calls in flight",
            "ages of the agents' states",
            "waiting callees",
            "its answer rate",
            "its silent rate",
            "the time that is left",
        ),
        tick=_marginal_budget,
        memo=MEMO + 2,
    ),
}
