"""How long a callee waits in silence: Kaplan-Meier, since most waits end otherwise."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.dialer_logs import RecordedDays
from quietdial.envs.laws import (
    MAX_DURATION_S,
    ExponentialLaw,
    Law,
    QuantileLaw,
    WeibullLaw,
)
from quietdial.experiments.calibration.estimates import Estimate, Findings, FittedLaw
from quietdial.experiments.stats.intervals import Interval
from quietdial.experiments.stats.survival import (
    CensoredFit,
    KaplanMeier,
    censored_fit,
    kaplan_meier,
)

FloatArray = NDArray[np.float64]
FEWEST: Final = 20
"""Fewest callees who hung up that a law is made of."""
FIELD: Final = "calls.patience"
CUT_FIELD: Final = "figure.cut_after_s"
MISFIT: Final = 4.0
"""A formula further from the curve than so many standard errors gives way to the curve itself."""
_KNOTS, _HALVINGS = 64, 10
_NEEDED: Final = ("waited_ms", "connected_ms", "silent")


class _Waits(NamedTuple):
    """All waits of people for an agent, as the log has them.

    Attributes:
        wait_s: their lengths, (n,).
        left: whether the callee hung up, (n,); the others hide how long they would have waited.
        cut: whether the dialer cut the call, (n,).
        n_unclear: dropped calls of which the log does not say who ended them, not among the n.
        step_s: what lengths are rounded to; 0: milliseconds.
        source: table and column of the log.
    """

    wait_s: FloatArray
    left: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    n_unclear: int
    step_s: float
    source: str


def estimate_patience(days: RecordedDays, found: Findings) -> None:
    """Add the survival of waiting callees, and a law, to what was found.

    A wait that ended with an agent, or that the dialer cut, hides how long the callee would have
    waited: it is cut off there. So beyond the longest wait nothing is known.
    """
    if not days.known("calls", *_NEEDED):
        found.open[FIELD] = next(
            day.calls.unknown[name]
            for day in days.days
            for name in _NEEDED
            if name in day.calls.unknown
        )
        return
    waits = _waits_of(days)
    _add_cut(waits, found)
    if waits.n_unclear > 0.05 * max(int(waits.left.sum()), 1):
        found.open[FIELD] = (
            f"{waits.n_unclear} dropped calls do not say who ended them (term_reason): a callee "
            "who left and a call that was cut look alike"
        )
        return
    if not waits.wait_s.size or not waits.wait_s.sum() > 0:
        found.open[FIELD] = "nobody ever waited: every call was connected at once"
        return
    fit = censored_fit(waits.wait_s, waits.left)
    # Whole seconds: a callee who left at "0" did so after about a third of a second, after all who
    # were connected at once, and not before them.
    at_once = waits.left & (waits.wait_s == 0)
    km = kaplan_meier(np.where(at_once, waits.step_s / 3, waits.wait_s), waits.left)
    found.patience = km
    _add_survival(waits, km, fit, found)
    if km.n_events < FEWEST:
        found.open[FIELD] = (
            f"{km.n_events} callees left in {fit.at_risk_s:.0f} s of waiting, at least {FEWEST} "
            f"are needed; their mean patience is at least {fit.mean_s.lo:.0f} s (95 %)"
        )
        return
    _add_law(waits, km, fit, found)


def _waits_of(days: RecordedDays) -> _Waits:
    waits, lefts, cuts, n_unclear = [], [], [], 0
    for day in days.days:
        calls = day.calls
        person = (calls["outcome"] == "person") & (calls["waited_ms"] >= 0)
        unclear = person & (calls["connected_ms"] < 0) & (calls["silent"] == "")
        unclear &= ~calls["censored"]
        n_unclear += int(unclear.sum())
        mine = person & ~unclear & (calls["silent"] != "amd")
        waits.append(calls["waited_ms"][mine] / 1000.0)
        lefts.append(calls["silent"][mine] == "left")
        cuts.append(calls["silent"][mine] == "cut")
    step = days.days[0].calls.step_ms("waited_ms") / 1000.0
    return _Waits(
        np.concatenate(waits),
        np.concatenate(lefts),
        np.concatenate(cuts),
        n_unclear,
        step if step > 0.001 else 0.0,
        days.days[0].calls.source.get("waited_ms", ""),
    )


def _add_cut(waits: _Waits, found: Findings) -> None:
    """When the dialer cuts a call."""
    cut_s = waits.wait_s[waits.cut]
    if cut_s.size < FEWEST:
        return
    lo, middle, hi = np.quantile(cut_s, (0.025, 0.5, 0.975)).tolist()
    found.estimates.append(
        Estimate(
            CUT_FIELD,
            "the dialer cuts a call after (95 % of the cuts)",
            Interval(middle, lo, hi, cut_s.size),
            "s",
            "cuts",
            0,
            waits.source,
            waits.step_s,
        )
    )


def _add_survival(waits: _Waits, km: KaplanMeier, fit: CensoredFit, found: Findings) -> None:
    """The curve at some times, and the mean if patience is exponential."""
    note = f"nothing is known beyond {km.last_s:g} s, the longest wait"
    for at_s in (1.0, 2.0, km.last_s):
        if at_s <= km.last_s and not any(e.field == _at(at_s) for e in found.estimates):
            found.estimates.append(
                Estimate(
                    _at(at_s),
                    f"callees still there after {at_s:g} s of silence",
                    _survival(km, at_s, waits.step_s),
                    "1",
                    "waits",
                    km.n_censored,
                    waits.source,
                    waits.step_s,
                    note,
                )
            )
    mean = fit.mean_s
    found.estimates.append(
        Estimate(
            "calls.patience.mean_s",
            "mean patience if it is exponential",
            Interval(mean.value if mean.n else mean.lo, mean.lo, mean.hi, km.n),
            "s",
            "waits",
            km.n_censored,
            waits.source,
            waits.step_s,
            note
            if mean.n
            else f"nobody left in {fit.at_risk_s:.0f} s of waiting: a lower limit only; {note}",
        )
    )


def _add_law(waits: _Waits, km: KaplanMeier, fit: CensoredFit, found: Findings) -> None:
    """The law that goes into the scenario: a formula, or the curve where none fits."""
    law: Law = ExponentialLaw(mean_s=round(min(fit.mean_s.value, MAX_DURATION_S), 4))
    name = "exponential"
    if waits.step_s:
        found.open["calls.patience, its shape"] = (
            "whole seconds hide whether callees leave at a steady rate: the law is exponential"
        )
    elif fit.p_value < 0.01 and math.isfinite(fit.shape):
        scale_s = min(fit.scale_s, MAX_DURATION_S)
        law, name = WeibullLaw(shape=round(fit.shape, 4), scale_s=round(scale_s, 4)), "weibull"
    if not waits.step_s and _misfit(km, law) > MISFIT:
        law, name = _from_curve(km, waits.wait_s, waits.left), "quantiles of the curve"
    fitted = law.sampled_mean_s()
    found.laws[FIELD] = FittedLaw(law, name, km.n_events, km.n_censored, fitted, 0.0)
    found.open["calls.patience beyond the longest wait"] = (
        f"{100 * km.at(km.last_s).value:.1f} % were still there after {km.last_s:g} s; the law "
        f"({name}) goes on by its formula"
    )


def _misfit(km: KaplanMeier, law: Law) -> float:
    """Largest distance of the law and the curve, in standard errors of the curve."""
    sure = km.se > 0
    gap = np.abs(1.0 - law.cdf(km.time_s[sure]) - km.survival[sure])
    return float((gap / km.se[sure]).max(initial=0.0))


def _from_curve(km: KaplanMeier, wait_s: FloatArray, left: NDArray[np.bool_]) -> QuantileLaw:
    """The curve as far as it goes; beyond, the rate at which callees left towards its end."""
    late = float(np.quantile(wait_s[left], 0.5))
    at_risk = float(np.maximum(wait_s - late, 0.0).sum())
    mean_s = at_risk / max(float((left & (wait_s > late)).sum()), 1.0)
    rest = float(km.survival[-1])
    levels = np.linspace(0.0, 1.0 - rest, min(_KNOTS, km.time_s.size + 1))
    times = np.interp(levels, np.append(0.0, 1.0 - km.survival), np.append(0.0, km.time_s))
    if rest > 0:
        tail = rest * 0.5 ** np.arange(1, _HALVINGS + 1)
        levels = np.concatenate([levels, 1.0 - tail])
        beyond = km.last_s + mean_s * np.log(rest / tail)
        times = np.concatenate([times, beyond])
        levels, times = np.append(levels, 1.0), np.append(times, times[-1])
    p = np.round(levels, 9)
    p[-1] = 1.0
    keep = np.append(np.diff(p) > 0, True)
    value_s = np.minimum(np.round(times[keep], 4), MAX_DURATION_S)
    return QuantileLaw(p=tuple(p[keep].tolist()), value_s=tuple(value_s.tolist()))


def _survival(km: KaplanMeier, at_s: float, step: float) -> Interval:
    """Survival at a time; in whole seconds half of those who left at it left before it.

    The interval then reaches from the lower end after that second to the upper end before it. At
    the longest wait, where calls are cut, nobody left later.
    """
    after = km.at(at_s)
    if not step or at_s >= km.last_s:
        return after
    before = km.at(max(at_s - step / 2, 0.0))
    middle = 0.5 * (before.value + after.value)
    return Interval(middle, after.lo, before.hi, after.n)


def _at(time_s: float) -> str:
    return f"calls.patience.survival_{time_s:g}_s"
