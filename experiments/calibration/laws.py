"""One law for times that may be few, rounded, all alike, or cut off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.calibrate import MIN_CALLS, MIN_DISTINCT, fit_talk_law
from quietdial.envs.fitting import empirical_fitter, tally
from quietdial.envs.laws import ConstantLaw, Law
from quietdial.experiments.calibration.estimates import Estimate, FittedLaw, ratio_of
from quietdial.experiments.stats.survival import kaplan_meier

FloatArray = NDArray[np.float64]
FEWEST = 20
"""Fewest times that a law is made of; with fewer the field stays open."""
_SAME = 0.9
"""So many of the times on the same step of the log are one constant."""


@dataclass(frozen=True)
class Times:
    """Times of one kind.

    Attributes:
        time_s: whole times, (n,).
        day: number of the day of each, (n,).
        cut_s: times that were cut off, (m,): they lasted at least so long.
        cut_day: number of the day of each of these, (m,).
        resolution_s: what they are rounded to; 0: milliseconds.
    """

    time_s: FloatArray
    day: NDArray[np.int64]
    cut_s: FloatArray
    cut_day: NDArray[np.int64]
    resolution_s: float

    def positive(self) -> FloatArray:
        """The whole times, those rounded to 0 put into the middle of what they stand for."""
        half = 0.5 * self.resolution_s if self.resolution_s else 0.001
        return np.maximum(self.time_s, half)


def steps_of(times: Times) -> tuple[FloatArray, FloatArray]:
    """Each whole time with its weight, the cut ones shared out among the longer (n,), (n,)."""
    x = times.positive()
    if not times.cut_s.size:
        return x, np.ones(x.size)
    is_event = np.concatenate([np.ones(x.size, np.bool_), np.zeros(times.cut_s.size, np.bool_)])
    km = kaplan_meier(np.concatenate([x, times.cut_s]), is_event)
    moments, mass = km.steps()
    place = np.searchsorted(moments, x)
    return x, mass[place] / km.events[place]


def fit_law(times: Times) -> FittedLaw | None:
    """The law of some times, or None where they are too few.

    With 100 times and more, `fit_talk_law` chooses by held-out likelihood. Fewer, or fewer than ten
    different ones, give a table of their quantiles; times that are nearly all alike a constant.
    """
    if times.time_s.size < FEWEST:
        return None
    x, weight = steps_of(times)
    mean = float(np.average(x, weights=weight))
    middle = float(np.median(x))
    near = np.abs(x - middle) <= max(0.5 * times.resolution_s, 0.001)
    if float(near.mean()) >= _SAME:
        constant: Law = ConstantLaw(value_s=round(float(np.average(x[near])), 3))
        return _done(constant, "constant", times, mean)
    if x.size < MIN_CALLS or np.unique(x).size < MIN_DISTINCT:
        return _done(empirical_fitter(10)(*tally(x, weight)), "empirical quantiles", times, mean)
    chosen = fit_talk_law(x, weight=weight, resolution_s=times.resolution_s).chosen
    return _done(chosen.law, chosen.name, times, mean)


def _done(law: Law, name: str, times: Times, mean_s: float) -> FittedLaw:
    fitted = law.sampled_mean_s()
    n, cut = times.time_s.size, times.cut_s.size
    return FittedLaw(law, name, n, cut, fitted, fitted - mean_s)


def mean_estimate(
    field: str, what: str, times: Times, n_days: int, source: str, note: str = ""
) -> Estimate | None:
    """Mean of some times with its interval over days; None without any."""
    if not times.time_s.size:
        return None
    x, weight = steps_of(times)
    total, count = np.zeros(n_days), np.zeros(n_days)
    np.add.at(total, times.day, weight * x)
    np.add.at(count, times.day, weight)
    days = count > 0
    return Estimate(
        field,
        what,
        ratio_of(total[days], count[days], times.time_s.size),
        "s",
        "times",
        times.cut_s.size,
        source,
        times.resolution_s,
        note,
    )
