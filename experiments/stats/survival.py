"""Times that are only partly seen: some end with the event, others are cut off before it.

* **Survival**: Kaplan and Meier, *JASA* 53 (1958); events come before cuts at the same time.
* **Its variance**: Greenwood, *Reports on Public Health* 33 (1926),
  `var S = S^2 sum d / (r (r - d))`; intervals by the transform log(-log S), so that they stay
  between 0 and 1 (Kalbfleisch and Prentice 1980).
* **Exponential law**: events / time at risk; the interval of a rate is that of a Poisson count
  (Garwood, *Biometrika* 28, 1936).
* **Weibull law**: maximum likelihood with cut times, the shape by bisection of its score; tested
  against the exponential law by the likelihood ratio (one degree of freedom).

Cuts must tell nothing about the event that they hide: a caller who is connected, or dropped at a
fixed time, was not about to hang up more than the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from quietdial.envs.errors import ConfigError
from quietdial.experiments.stats.intervals import CONFIDENCE, Interval, checked

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class KaplanMeier:
    """The estimate of a survival function.

    Attributes:
        time_s: distinct times of events, rising, (k,).
        at_risk: under observation just before each, (k,).
        events: events at each, (k,).
        survival: estimate just after each, (k,).
        se: Greenwood's standard error of it, (k,).
        n: times in all.
        last_s: the longest time; beyond it nothing is known.
    """

    time_s: FloatArray
    at_risk: FloatArray
    events: FloatArray
    survival: FloatArray
    se: FloatArray
    n: int
    last_s: float

    @property
    def n_events(self) -> int:
        """Times that ended with the event."""
        return int(self.events.sum())

    @property
    def n_censored(self) -> int:
        """Times that were cut off before it."""
        return self.n - self.n_events

    def at(self, time_s: float, confidence: float = CONFIDENCE) -> Interval:
        """Survival at a time with its interval; raises `ConfigError` beyond `last_s`.

        Without an event so far the lower end is `1 - 3/n` (exactly `(1 - confidence)^(1/r)` with r
        at risk at that time): a one-sided bound.
        """
        if not 0.0 <= time_s <= self.last_s:
            raise ConfigError(
                f"survival at {time_s} s is not identified: the longest observation is "
                f"{self.last_s} s"
            )
        place = int(np.searchsorted(self.time_s, time_s, side="right")) - 1
        if place < 0:
            risk = float(self.at_risk[0]) if len(self.at_risk) else float(self.n)
            return Interval(1.0, (1.0 - checked(confidence)) ** (1.0 / risk), 1.0, self.n)
        value, se = float(self.survival[place]), float(self.se[place])
        if value <= 0.0:
            return Interval(0.0, 0.0, 0.0, self.n)
        z = float(special.ndtri(0.5 + 0.5 * checked(confidence)))
        log = math.log(value)
        width = z * se / (value * abs(log))
        lo, hi = (math.exp(log * math.exp(sign * width)) for sign in (1.0, -1.0))
        return Interval(value, lo, hi, self.n)

    def steps(self) -> tuple[FloatArray, FloatArray]:
        """Times of events and their weights, as if nothing had been cut off.

        The weights are the steps of the curve times n. What is left beyond the last event is given
        to it (Efron 1967), so the tail is only as good as the observation.
        """
        before = np.concatenate([[1.0], self.survival[:-1]])
        mass = self.n * (before - self.survival)
        if len(mass):
            mass[-1] += self.n * self.survival[-1]
        return self.time_s, mass


def kaplan_meier(time_s: ArrayLike, is_event: ArrayLike) -> KaplanMeier:
    """Estimate survival from times of which some were cut off.

    Args:
        time_s: observed times, (n,), at least 0, n >= 1.
        is_event: whether each ended with the event; otherwise it was cut off then, (n,).
    """
    time, event = _times(time_s, is_event)
    moments, place = np.unique(time, return_inverse=True)
    deaths, all_ = np.zeros(moments.size), np.zeros(moments.size)
    np.add.at(deaths, place, event.astype(np.float64))
    np.add.at(all_, place, 1.0)
    risk = time.size - np.concatenate([[0.0], np.cumsum(all_)[:-1]])
    has = deaths > 0
    moments, deaths, risk = moments[has], deaths[has], risk[has]
    survival = np.asarray(np.cumprod(1.0 - deaths / risk), np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(risk > deaths, deaths / (risk * (risk - deaths)), 0.0)
    se: FloatArray = survival * np.sqrt(np.cumsum(terms))
    return KaplanMeier(moments, risk, deaths, survival, se, time.size, float(time.max()))


@dataclass(frozen=True)
class CensoredFit:
    """A law fitted to times of which some were cut off.

    Attributes:
        mean_s: mean of the exponential law with its interval (`hi` may be infinite); n: events.
        at_risk_s: time under observation in all.
        shape: of the Weibull law; 1 is the exponential law; NaN with fewer than 5 events.
        scale_s: of the Weibull law.
        p_value: of the exponential law against the Weibull law.
    """

    mean_s: Interval
    at_risk_s: float
    shape: float
    scale_s: float
    p_value: float


def censored_fit(
    time_s: ArrayLike, is_event: ArrayLike, confidence: float = CONFIDENCE
) -> CensoredFit:
    """Exponential and Weibull laws by maximum likelihood.

    Args:
        time_s: observed times, (n,), at least 0, with a sum above 0.
        is_event: whether each ended with the event, (n,).
        confidence: of the interval of the mean.
    """
    time, event = _times(time_s, is_event)
    total, d = float(time.sum()), int(event.sum())
    if total <= 0.0:
        raise ConfigError("a law of times needs time under observation; all times are 0")
    miss = 1.0 - checked(confidence)
    most = float(special.chdtri(2 * d + 2, miss / 2 if d else miss))
    least = float(special.chdtri(2 * d, 1 - miss / 2)) if d else 0.0
    mean = Interval(
        total / d if d else math.inf,
        2 * total / most,
        2 * total / least if d else math.inf,
        d,
    )
    if d < 5:
        return CensoredFit(mean, total, math.nan, math.nan, math.nan)
    positive = time > 0
    log = np.log(np.where(positive, time, 1.0))
    mean_log = float(log[event & positive].sum()) / d

    def score(shape: float) -> float:
        power = np.where(positive, np.exp(shape * log), 0.0)
        return 1.0 / shape + mean_log - float((power * log).sum() / power.sum())

    low, high = 0.02, 50.0
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if score(middle) > 0.0 else (low, middle)
    shape = math.sqrt(low * high)
    scale = float((np.where(positive, np.exp(shape * log), 0.0).sum() / d) ** (1.0 / shape))
    weibull = d * math.log(shape) - d * shape * math.log(scale) + d * (shape - 1) * mean_log - d
    exponential = -d * math.log(total / d) - d
    p_value = float(special.chdtrc(1, max(2.0 * (weibull - exponential), 0.0)))
    return CensoredFit(mean, total, shape, scale, p_value)


def _times(time_s: ArrayLike, is_event: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    time, event = np.asarray(time_s, np.float64), np.asarray(is_event, np.bool_)
    if time.ndim != 1 or time.shape != event.shape or not time.size:
        raise ConfigError(
            f"survival needs one time and one mark for each, got {time.shape}, {event.shape}"
        )
    if not bool(np.all(np.isfinite(time) & (time >= 0))):
        raise ConfigError("survival needs finite times of at least 0 s")
    return time, event
