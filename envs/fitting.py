"""Maximum-likelihood fits of the laws of `quietdial.envs.laws` to a sample of durations.

Every fit takes the distinct durations in seconds and how often each occurs (`tally`), and returns a
law with rounded parameters, so that what is judged is exactly what a scenario file will hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quietdial.envs.laws import (
    MAX_DURATION_S,
    ExponentialLaw,
    GammaLaw,
    Law,
    LognormalLaw,
    MixtureLaw,
    MixturePart,
    QuantileLaw,
    WeibullLaw,
)

__all__ = ["FITTERS", "N_PARAMETERS", "Fitter", "empirical_fitter", "mid_distribution", "tally"]

FloatArray = NDArray[np.float64]
Fitter = Callable[[FloatArray, FloatArray], Law]
"""Distinct durations [s] and their counts, both of shape (n,), to a law."""

_MIN_SIGMA, _MAX_SIGMA = 0.02, math.sqrt(math.log1p(10.0**2))  # the laws allow a cv of at most 10
_CALLS_PER_TAIL_CELL = 10
_EM_TOLERANCE, _EM_TRIAL_ROUNDS, _EM_ROUNDS, _EM_BINS = 1e-11, 100, 2000, 2048


def tally(x: FloatArray, weight: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
    """Distinct values, rising, and how often each occurs (or the sum of its weights)."""
    if weight is None:
        values, counts = np.unique(x, return_counts=True)
        return values, counts.astype(np.float64)
    values, place = np.unique(x, return_inverse=True)
    total = np.zeros(values.size)
    np.add.at(total, place, weight)
    return values, total


def _fit_exponential(x: FloatArray, weight: FloatArray) -> Law:
    return ExponentialLaw(mean_s=round(float(np.average(x, weights=weight)), 4))


def _lognormal(mu: float, sigma: float) -> LognormalLaw:
    sigma = min(max(sigma, _MIN_SIGMA), _MAX_SIGMA)
    mean_s = min(math.exp(mu + sigma**2 / 2), MAX_DURATION_S)
    return LognormalLaw(
        mean_s=max(round(mean_s, 4), 1e-4), cv=min(round(math.sqrt(math.expm1(sigma**2)), 6), 10.0)
    )


def _fit_lognormal(x: FloatArray, weight: FloatArray) -> Law:
    y = np.log(x)
    mu = float(np.average(y, weights=weight))
    return _lognormal(mu, math.sqrt(float(np.average((y - mu) ** 2, weights=weight))))


def _fit_gamma(x: FloatArray, weight: FloatArray) -> Law:
    mean = float(np.average(x, weights=weight))
    spread = math.log(mean) - float(np.average(np.log(x), weights=weight))

    def slope(log_shape: float) -> float:
        return log_shape - float(special.digamma(math.exp(log_shape))) - spread

    shape = math.exp(_root(slope, math.log(1e-3), math.log(1000.0)))
    return GammaLaw(
        shape=round(shape, 6), scale_s=min(max(round(mean / shape, 6), 1e-6), MAX_DURATION_S)
    )


def _fit_weibull(x: FloatArray, weight: FloatArray) -> Law:
    top = float(x.max())
    y = np.log(x / top)
    mean_log = float(np.average(y, weights=weight))

    def slope(log_shape: float) -> float:
        shape = math.exp(log_shape)
        power = weight * np.exp(shape * y)
        return 1.0 / shape + mean_log - float((power * y).sum() / power.sum())

    shape = math.exp(_root(slope, math.log(0.02), math.log(100.0)))
    scale = top * float(np.average(np.exp(shape * y), weights=weight)) ** (1.0 / shape)
    return WeibullLaw(shape=round(shape, 6), scale_s=max(round(scale, 4), 1e-4))


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Root of a falling function by bisection, or the end of the range that it lies beyond."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if falling(middle) > 0.0 else (low, middle)
    return 0.5 * (low + high)


def _fit_two_lognormals(x: FloatArray, weight: FloatArray) -> Law:
    """EM from three starts: the shortest 20 %, 50 % and 80 % of the calls apart from the rest."""
    y, weight = _binned(np.log(x), weight)
    rank = np.cumsum(weight) / weight.sum()
    starts = [np.where(rank <= share, 0.95, 0.05) for share in (0.2, 0.5, 0.8)]
    trials = [_em(y, weight, first, _EM_TRIAL_ROUNDS) for first in starts]
    _, _, _, _, best = max(trials, key=lambda trial: trial[0])
    _, share, mu, sigma, _ = _em(y, weight, best, _EM_ROUNDS)
    first, second = (0, 1) if mu[0] <= mu[1] else (1, 0)
    short = min(max(round(float(share[first]), 6), 1e-6), 1.0 - 1e-6)
    return MixtureLaw(
        parts=tuple(
            MixturePart(weight=w, law=_lognormal(float(mu[k]), float(sigma[k])))
            for w, k in ((short, first), (round(1.0 - short, 6), second))
        )
    )


def _binned(y: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """At most `_EM_BINS` values: the means of bins of equal width, where there are more."""
    if y.size <= _EM_BINS:
        return y, weight
    place = (y - y[0]) / (y[-1] - y[0]) * (_EM_BINS - 1e-6)
    cell = np.unique(place.astype(np.int64), return_inverse=True)[1]
    n_cells = int(cell.max()) + 1
    mass, total = np.zeros(n_cells), np.zeros(n_cells)
    np.add.at(mass, cell, weight)
    np.add.at(total, cell, weight * y)
    return total / mass, mass


def _em(
    y: FloatArray, weight: FloatArray, first: FloatArray, max_rounds: int
) -> tuple[float, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Mixture of two normals for `y`, from the probabilities `first` of belonging to the first.

    Returns mean log-likelihood, shares, means, standard deviations, probabilities to go on from.
    """
    last, rounds = -math.inf, 0
    while True:
        mass = np.maximum(np.stack([first, 1.0 - first]) * weight, 1e-300)
        total = mass.sum(axis=1)
        share, mu = total / total.sum(), (mass * y).sum(axis=1) / total
        variance = (mass * (y - mu[:, None]) ** 2).sum(axis=1) / total
        sigma = np.clip(np.sqrt(variance), _MIN_SIGMA, _MAX_SIGMA)
        z = (y - mu[:, None]) / sigma[:, None]
        log_joint = np.log(share / sigma)[:, None] - 0.5 * z**2 - 0.5 * math.log(2 * math.pi)
        log_total = np.logaddexp(log_joint[0], log_joint[1])
        likelihood = float(np.average(log_total, weights=weight))
        rounds += 1
        first = np.exp(log_joint[0] - log_total)
        if likelihood - last < _EM_TOLERANCE or rounds == max_rounds:
            return likelihood, share, mu, sigma, first
        last = likelihood


def mid_distribution(values: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Probabilities and durations of the sample's distribution function, linear between them."""
    total = counts.sum()
    levels = (np.cumsum(counts) - 0.5 * counts) / total
    half_gap = 0.5 * (values[1] - values[0]) if values.size > 1 else 0.0
    start = max(0.0, float(values[0] - half_gap))
    return np.concatenate([[0.0], levels, [1.0]]), np.concatenate([[start], values, values[-1:]])


FITTERS: dict[str, Fitter] = {
    "exponential": _fit_exponential,
    "lognormal": _fit_lognormal,
    "gamma": _fit_gamma,
    "weibull": _fit_weibull,
    "two lognormals": _fit_two_lognormals,
}
"""The laws that are formulas, by name."""
N_PARAMETERS = {"exponential": 1, "lognormal": 2, "gamma": 2, "weibull": 2, "two lognormals": 5}
"""Free numbers of each of them."""


def empirical_fitter(cells: int) -> Fitter:
    """Quantile table of `cells` equal cells whose last one is halved while ten calls remain."""

    def fit(values: FloatArray, counts: FloatArray) -> Law:
        p = [k / cells for k in range(cells)]
        rest = 0.5 / cells
        while rest * counts.sum() >= _CALLS_PER_TAIL_CELL:
            p.append(1.0 - rest)
            rest /= 2
        p.append(1.0)
        levels, knots = mid_distribution(values, counts)
        value_s = np.round(np.interp(p, levels, knots), 3)
        return QuantileLaw(p=tuple(round(level, 9) for level in p), value_s=tuple(value_s.tolist()))

    return fit
