"""Intervals of one number: means, pooled ratios, shares, and families of tests.

* **Mean of days** (utilisation, conversations per agent-hour): Student's interval,
  `mean +- t(n-1) * s / sqrt(n)`.
* **Ratio pooled over days** (silent / answered, dials / conversation): `R = sum(y) / sum(x)` with
  the delta method, `var(R) = sum((y - R x)^2) / ((n - 1) n mean(x)^2)` and the same t quantile.
  Source: Cochran, *Sampling Techniques*, 3rd edition 1977, chapter 6 (ratio estimators). The
  interval of a ratio is cut to the values that the ratio can take.
* **Share of days** (days above the cap): Clopper and Pearson, *Biometrika* 26 (1934), whose
  coverage is never below the stated one; Wilson, *JASA* 22 (1927), is offered beside it.

A count of zero gets the one-sided 95 % bound `1 - 0.05^(1/n)`, about `3/n`, and not an interval of
width zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from quietdial.envs.errors import ConfigError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
"""Confidence of every interval that is not told otherwise."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval.

    Attributes:
        value: The estimate.
        lo: Lower end of the interval, in the unit of `value`.
        hi: Upper end of the interval, in the unit of `value`.
        n: Number of days (or of runs, cells, ...) that it rests on.
    """

    value: float
    lo: float
    hi: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval, in the unit of `value`."""
        return 0.5 * (self.hi - self.lo)

    def to_dict(self) -> dict[str, float | int]:
        """The four numbers as plain Python values, ready for JSON."""
        return {"value": self.value, "lo": self.lo, "hi": self.hi, "n": self.n}

    def text(self, *, scale: float = 100.0, digits: int = 1, unit: str = "%") -> str:
        """The estimate and its interval for a table, such as ``94.6 % (94.4 to 94.8)``.

        Args:
            scale: Factor in front of every number (100 turns a fraction into percent).
            digits: Decimals.
            unit: Text after the estimate; empty for none.
        """
        value, lo, hi = (f"{scale * v:.{digits}f}" for v in (self.value, self.lo, self.hi))
        return f"{value}{' ' + unit if unit else ''} ({lo} to {hi})"


def column(values: ArrayLike, what: str) -> FloatArray:
    """`values` as float64 (D,); ConfigError that names `what` unless at least 2 finite numbers."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ConfigError(
            f"{what}: an interval needs at least 2 days in one row of numbers, "
            f"got shape {array.shape}"
        )
    if not np.all(np.isfinite(array)):
        raise ConfigError(f"{what}: every day must have a finite number")
    return array


def t_quantile(n: int, confidence: float = CONFIDENCE) -> float:
    """The factor `t` of a two-sided Student interval over `n` days (n - 1 degrees of freedom)."""
    return float(special.stdtrit(n - 1, 0.5 + 0.5 * checked(confidence)))


def checked(confidence: float) -> float:
    """`confidence` if it lies between 0 and 1, else ConfigError."""
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence is {confidence!r}, allowed is a number between 0 and 1")
    return confidence


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean of days with Student's interval.

    Args:
        values: One number per day, (D,), D >= 2.
        confidence: Two-sided confidence.
    """
    x = column(values, "mean")
    n = len(x)
    mean = float(x.mean())
    half = t_quantile(n, confidence) * float(x.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean of `a - b` by day with Student's interval; both (D,) in the same order of days."""
    x, y = column(a, "paired difference"), column(b, "paired difference")
    if x.shape != y.shape:
        raise ConfigError(
            f"a paired difference needs the same days on both sides, got {len(x)} and {len(y)} days"
        )
    return mean_interval(x - y, confidence)


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    confidence: float = CONFIDENCE,
    *,
    upper_bound: float = math.inf,
) -> Interval:
    """The ratio of two totals pooled over days, with its interval over days.

    `R = sum(y) / sum(x)`; by the delta method `var(R) = s_e^2 / (n mean(x)^2)` with the residuals
    `e = y - R x` and `s_e^2 = sum(e^2) / (n - 1)` (Cochran 1977, chapter 6); the interval is
    `R +- t(n-1) sqrt(var(R))`, cut to [0, `upper_bound`].

    Args:
        numerator: `y` of each day, (D,), never below 0.
        denominator: `x` of each day, (D,), never below 0, with a sum above 0.
        confidence: Two-sided confidence.
        upper_bound: Largest value that the ratio can take (1 for a share).

    Returns:
        The interval. If the numerator is 0 on every day the residuals say nothing, and the upper
        end is the one-sided bound `1 - (1 - confidence)^(1 / sum(x))` for independent calls.
    """
    y, x = column(numerator, "ratio"), column(denominator, "ratio")
    if y.shape != x.shape:
        raise ConfigError(f"a ratio needs the same days on both sides, got {len(y)} and {len(x)}")
    if np.any(y < 0) or np.any(x < 0) or x.sum() <= 0:
        raise ConfigError(
            "a ratio needs totals of at least 0 and a denominator whose sum is above 0"
        )
    n, total = len(x), float(x.sum())
    ratio = float(y.sum()) / total
    if ratio == 0.0:
        bound = -math.expm1(math.log1p(-checked(confidence)) / total)
        return Interval(0.0, 0.0, min(bound, upper_bound), n)
    half = t_quantile(n, confidence) * float(np.sqrt(_residual_variance(y, x, ratio)))
    return Interval(ratio, max(0.0, ratio - half), min(upper_bound, ratio + half), n)


def influences(y: FloatArray, x: FloatArray, ratio: float) -> FloatArray:
    """Influence of each day on the ratio: `(y - R x) / mean(x)`, (D,)."""
    residuals: FloatArray = (y - ratio * x) / x.mean()
    return residuals


def _residual_variance(y: FloatArray, x: FloatArray, ratio: float) -> float:
    e = influences(y, x, ratio)
    return float(np.sum(e * e)) / ((len(e) - 1) * len(e))


def ratio_difference(
    y_a: ArrayLike,
    x_a: ArrayLike,
    y_b: ArrayLike,
    x_b: ArrayLike,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Difference of two pooled ratios on the same days, `sum(y_a)/sum(x_a) - sum(y_b)/sum(x_b)`.

    The delta method on the difference: the daily influences of both ratios are subtracted day by
    day before their spread is taken, so that what a day does to both sides cancels.
    """
    ya, xa, yb, xb = (column(v, "difference of ratios") for v in (y_a, x_a, y_b, x_b))
    if not len(ya) == len(xa) == len(yb) == len(xb):
        raise ConfigError("a difference of ratios needs the same days on both sides")
    if xa.sum() <= 0 or xb.sum() <= 0:
        raise ConfigError("a difference of ratios needs denominators whose sums are above 0")
    n = len(ya)
    r_a, r_b = float(ya.sum() / xa.sum()), float(yb.sum() / xb.sum())
    e = influences(ya, xa, r_a) - influences(yb, xb, r_b)
    half = t_quantile(n, confidence) * math.sqrt(float(np.sum(e * e)) / ((n - 1) * n))
    return Interval(r_a - r_b, r_a - r_b - half, r_a - r_b + half, n)


def holm(p_values: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Which hypotheses are rejected at the family-wise `level` by Holm's step-down method.

    Source: Holm, *Scandinavian Journal of Statistics* 6 (1979). It holds for any dependence.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    rejected = np.zeros(len(p), np.bool_)
    for place, index in enumerate(order.tolist()):
        if p[index] > level / (len(p) - place):
            break
        rejected[index] = True
    return rejected


def _counts(k: int, n: int) -> None:
    if n < 1 or not 0 <= k <= n:
        raise ConfigError(f"a share needs 0 <= k <= n and n >= 1, got k={k}, n={n}")


def wilson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of the share k/n: near the stated coverage on average."""
    _counts(k, n)
    z = float(special.ndtri(0.5 + 0.5 * checked(confidence)))
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    lo = 0.0 if k == 0 else centre - half
    hi = 1.0 if k == n else centre + half
    return Interval(p, lo, hi, n)


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Clopper and Pearson's interval of the share k/n: two-sided, and one-sided at 0 and at n.

    For 0 < k < n the coverage of the two-sided interval is never below `confidence`. For k = 0
    the interval is [0, 1 - (1 - confidence)^(1/n)], the one-sided bound (about 3/n at 95 %), and
    likewise at the other end for k = n.
    """
    _counts(k, n)
    miss = 1.0 - checked(confidence)
    p = k / n
    if k == 0:
        return Interval(p, 0.0, -math.expm1(math.log(miss) / n), n)
    if k == n:
        return Interval(p, math.exp(math.log(miss) / n), 1.0, n)
    lo = float(special.betaincinv(k, n - k + 1, miss / 2))
    hi = float(special.betaincinv(k + 1, n - k, 1 - miss / 2))
    return Interval(p, lo, hi, n)
