"""How long a callee waits in silence: Kaplan-Meier, since most waits end otherwise."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from quietdial.envs.dialer_logs import RecordedDays
from quietdial.envs.laws import ExponentialLaw, Law, WeibullLaw
from quietdial.experiments.calibration.estimates import Estimate, Findings, FittedLaw
from quietdial.experiments.stats.intervals import Interval
from quietdial.experiments.stats.survival import (
    KaplanMeier,
    censored_fit,
    kaplan_meier,
)

FEWEST: Final = 20
"""Fewest callees who hung up that a law is made of."""
FIELD: Final = "calls.patience"
_NEEDED: Final = ("waited_ms", "connected_ms", "silent")


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
    waits, lefts, n_unclear = [], [], 0
    for day in days.days:
        calls = day.calls
        person = (calls["outcome"] == "person") & (calls["waited_ms"] >= 0)
        unclear = person & (calls["connected_ms"] < 0) & (calls["silent"] == "")
        unclear &= ~calls["censored"]
        n_unclear += int(unclear.sum())
        mine = person & ~unclear & (calls["silent"] != "amd")
        waits.append(calls["waited_ms"][mine] / 1000.0)
        lefts.append(calls["silent"][mine] == "left")
    wait_s, left = np.concatenate(waits), np.concatenate(lefts)
    step = days.days[0].calls.step_ms("waited_ms") / 1000.0
    step = step if step > 0.001 else 0.0
    source = days.days[0].calls.source.get("waited_ms", "")
    if n_unclear > 0.05 * max(int(left.sum()), 1):
        found.open[FIELD] = (
            f"{n_unclear} dropped calls do not say who ended them (term_reason): a callee who left "
            "and a call that was cut look alike"
        )
        return
    if not wait_s.size or not wait_s.sum() > 0:
        found.open[FIELD] = "nobody ever waited: every call was connected at once"
        return
    fit = censored_fit(wait_s, left)
    # Whole seconds: a callee who left at "0" did so after about a third of a second, after all who
    # were connected at once, and not before them.
    km = kaplan_meier(np.where(left & (wait_s == 0), step / 3, wait_s), left)
    found.patience = km
    note = f"nothing is known beyond {km.last_s:g} s, the longest wait"
    for at_s in (1.0, 2.0, km.last_s):
        if at_s <= km.last_s and not any(e.field == _at(at_s) for e in found.estimates):
            found.estimates.append(
                Estimate(
                    _at(at_s),
                    f"callees still there after {at_s:g} s of silence",
                    _survival(km, at_s, step),
                    "1",
                    "waits",
                    km.n_censored,
                    source,
                    step,
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
            source,
            step,
            note
            if mean.n
            else f"nobody left in {fit.at_risk_s:.0f} s of waiting: a lower limit only; {note}",
        )
    )
    if km.n_events < FEWEST:
        found.open[FIELD] = (
            f"{km.n_events} callees left in {fit.at_risk_s:.0f} s of waiting, at least {FEWEST} "
            f"are needed; their mean patience is at least {mean.lo:.0f} s (95 %)"
        )
        return
    law: Law = ExponentialLaw(mean_s=round(min(mean.value, 86_400.0), 4))
    name = "exponential"
    if step:
        found.open["calls.patience, its shape"] = (
            "whole seconds hide whether callees leave at a steady rate: the law is exponential"
        )
    elif fit.p_value < 0.01 and math.isfinite(fit.shape):
        law = WeibullLaw(shape=round(fit.shape, 4), scale_s=round(min(fit.scale_s, 86_400.0), 4))
        name = "weibull"
    fitted = law.sampled_mean_s()
    found.laws[FIELD] = FittedLaw(law, name, km.n_events, km.n_censored, fitted, 0.0)
    found.open["calls.patience beyond the longest wait"] = (
        f"{100 * km.at(km.last_s).value:.1f} % were still there after {km.last_s:g} s; the law "
        f"({name}) goes on by its formula"
    )


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
