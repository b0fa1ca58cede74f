"""The judge's statistics: every figure with a 95 % interval, computed from one number per day.

A day is the unit of sampling: calls of one day share its answer rate and its luck, days do not.
So every interval here is taken over days, never over calls.

Three estimators are used.

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

Days may be played in rounds until an interval is narrow enough (`Stopping`). The rule looks at the
interval's width only, never at the sign or the size of the difference, so it cannot stop at a
result that pleases. Width and mean of few days are still not quite independent, and a spread
that is small by luck stops too early. So no rule stops before a fixed least number of days, and
it looks only at the ends of rounds that grow by half. What is left of the effect is measured by a
test: intervals of 95 % then cover at least 93 % if the daily differences are normal or skewed by .7
at most. With a skewness of 1 it is 92 %, of 1.4 91 %, of 2 88 %, most of it from Student's
interval itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from quietdial.envs.errors import ConfigError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
"""Confidence of every interval that is not told otherwise."""

DAY_TOTALS = (
    "dialed",
    "answered",
    "connected",
    "silent",
    "talk_s",
    "wrap_s",
    "available_s",
)
"""Totals of a day that the judge cannot do without (see `PolicyDays.days`)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval.

    Attributes:
        value: The estimate.
        lo: Lower end of the interval, in the unit of `value`.
        hi: Upper end of the interval, in the unit of `value`.
        n: Number of days that it rests on.
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


@dataclass(frozen=True, eq=False)
class PolicyDays:
    """What one policy did on each held-out day.

    Attributes:
        name: Name of the policy.
        knob_name: Name of its tuning knob, None if it has none.
        knob: Value of the knob on these days, None if it has none.
        seeds: Seed of each day, int64 (D,), no seed twice.
        days: Totals of each day by name, float64 (D,) each: calls for `dialed`, `answered`,
            `connected` and `silent`, agent-seconds for `talk_s`, `wrap_s` and `available_s`;
            more totals may stand beside these.
        hours: Calls `silent` and `answered` of each day by the hour since the opening (the hours
            of all sessions of an episode together), float64 (D, H) each; empty if not counted.
        windows: The rule's first window on each day, float64 (D,) each: windows that are over
            (`closed`) and those of them above the cap (`breached`); empty if not counted.
    """

    name: str
    knob_name: str | None
    knob: float | None
    seeds: IntArray
    days: Mapping[str, FloatArray]
    hours: Mapping[str, FloatArray] = field(default_factory=dict)
    windows: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse days that do not fit together."""
        n = len(self.seeds)
        if np.ndim(self.seeds) != 1 or len(np.unique(self.seeds)) != n:
            raise ConfigError(
                f"policy {self.name!r}: the seeds of the days must be a list of distinct numbers"
            )
        for key in DAY_TOTALS:
            if key not in self.days:
                raise ConfigError(f"policy {self.name!r}: the total {key!r} of the days is missing")
        for key, values in self.days.items():
            array = np.asarray(values)
            if array.shape != (n,):
                raise ConfigError(
                    f"policy {self.name!r}: the total {key!r} has shape {array.shape}, "
                    f"allowed is ({n},), one number per day"
                )
            if not np.all(np.isfinite(array)) or np.any(array < 0):
                raise ConfigError(
                    f"policy {self.name!r}: the total {key!r} holds a value that is not finite "
                    "or below 0"
                )
        if np.any(self.days["available_s"] <= 0):
            raise ConfigError(
                f"policy {self.name!r}: a day has no available agent-second; "
                "available_s must be > 0"
            )
        if np.any(self.days["silent"] > self.days["answered"]):
            raise ConfigError(f"policy {self.name!r}: a day has more silent than answered calls")
        for key, values in (*self.hours.items(), *self.windows.items()):
            if len(values) != n:
                raise ConfigError(
                    f"policy {self.name!r}: {key!r} by hour or window has {len(values)} days, "
                    f"not {n}"
                )

    def first(self, n_days: int) -> PolicyDays:
        """The first days only."""
        return replace(
            self,
            seeds=self.seeds[:n_days],
            days={key: values[:n_days] for key, values in self.days.items()},
            hours={key: values[:n_days] for key, values in self.hours.items()},
            windows={key: values[:n_days] for key, values in self.windows.items()},
        )

    def followed_by(self, other: PolicyDays) -> PolicyDays:
        """These days and then those of `other`, which holds the same totals."""

        def joined(a: Mapping[str, FloatArray], b: Mapping[str, FloatArray]) -> dict[str, Any]:
            return {key: np.concatenate([a[key], b[key]]) for key in a}

        return replace(
            self,
            seeds=np.concatenate([self.seeds, other.seeds]),
            days=joined(self.days, other.days),
            hours=joined(self.hours, other.hours),
            windows=joined(self.windows, other.windows),
        )

    @property
    def utilisation(self) -> FloatArray:
        """Utilisation of each day, fraction, float64 (D,)."""
        return (self.days["talk_s"] + self.days["wrap_s"]) / self.days["available_s"]

    @property
    def conversations_per_agent_h(self) -> FloatArray:
        """Connected conversations per available agent-hour of each day, float64 (D,)."""
        return self.days["connected"] * 3600.0 / self.days["available_s"]

    @property
    def silent_rate(self) -> FloatArray:
        """Silent calls per answered call of each day, float64 (D,); 0 where nobody answered."""
        answered = self.days["answered"]
        return np.divide(
            self.days["silent"], answered, out=np.zeros_like(answered), where=answered > 0
        )


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """One row of the judge's table.

    Attributes:
        name: Name of the policy.
        knob_name: Name of its tuning knob, None if it has none.
        knob: Value of the knob, None if it has none.
        cap: The allowed silent rate, fraction.
        utilisation: Mean of the daily utilisation, fraction.
        conversations_per_agent_h: Mean of the days, conversations per agent-hour.
        silent_rate: Silent / answered, pooled over the days, fraction.
        p_day_breaks_cap: Share of days whose own silent rate is above the cap, fraction.
        worst_day_rate: Silent rate of the worst day, fraction. It is what was seen, so both ends
            of its interval are the value itself.
        worst_day_seed: Seed of that day.
        dials_per_conversation: Dials / connected, pooled over the days; None without conversations.
    """

    name: str
    knob_name: str | None
    knob: float | None
    cap: float
    utilisation: Interval
    conversations_per_agent_h: Interval
    silent_rate: Interval
    p_day_breaks_cap: Interval
    worst_day_rate: Interval
    worst_day_seed: int
    dials_per_conversation: Interval | None

    @property
    def silent_rate_upper(self) -> float:
        """Upper end of the two-sided 95 % interval of the silent rate, fraction."""
        return self.silent_rate.hi

    @property
    def meets_cap(self) -> bool:
        """True if the upper end of the silent rate, and not only its mean, is within the cap."""
        return self.silent_rate.hi <= self.cap

    def figures(self) -> list[dict[str, Any]]:
        """The rows ``{name, value, unit, lo, hi, n, note}`` for a result file."""
        rows = [
            ("utilisation", self.utilisation, "1", "mean of days, t interval"),
            (
                "conversations_per_agent_h",
                self.conversations_per_agent_h,
                "1/h",
                "mean of days, t interval",
            ),
            ("silent_rate", self.silent_rate, "1", "pooled over days, delta method"),
            (
                "p_day_breaks_cap",
                self.p_day_breaks_cap,
                "1",
                f"days above {self.cap:g}, Clopper-Pearson; 0 of n: one-sided 95 % bound",
            ),
            ("worst_day_rate", self.worst_day_rate, "1", f"seed {self.worst_day_seed}, as seen"),
        ]
        if self.dials_per_conversation is not None:
            rows.append(
                (
                    "dials_per_conversation",
                    self.dials_per_conversation,
                    "1",
                    "pooled over days, delta method",
                )
            )
        return [_figure(f"{self.name}/{key}", value, unit, note) for key, value, unit, note in rows]


@dataclass(frozen=True, slots=True)
class Difference:
    """What policy `a` does more than policy `b`, paired by day on the same seeds.

    Attributes:
        a: Name of the first policy.
        b: Name of the second policy.
        utilisation: Mean of the daily differences, fraction (0.01 is one point).
        conversations_per_agent_h: Mean of the daily differences, per agent-hour.
        silent_rate: Difference of the pooled silent rates, fraction.
    """

    a: str
    b: str
    utilisation: Interval
    conversations_per_agent_h: Interval
    silent_rate: Interval

    def figures(self) -> list[dict[str, Any]]:
        """The rows ``{name, value, unit, lo, hi, n, note}`` for a result file."""
        rows = (
            ("utilisation", self.utilisation, "1"),
            ("conversations_per_agent_h", self.conversations_per_agent_h, "1/h"),
            ("silent_rate", self.silent_rate, "1"),
        )
        prefix = f"{self.a} minus {self.b}"
        return [_figure(f"{prefix}/{key}", v, unit, "paired by day") for key, v, unit in rows]


def _figure(name: str, value: Interval, unit: str, note: str) -> dict[str, Any]:
    return {"name": name, "unit": unit, "note": note, **value.to_dict()}


def _column(values: ArrayLike, what: str) -> FloatArray:
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
    return float(special.stdtrit(n - 1, 0.5 + 0.5 * _checked(confidence)))


def _checked(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence is {confidence!r}, allowed is a number between 0 and 1")
    return confidence


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean of days with Student's interval.

    Args:
        values: One number per day, (D,), D >= 2.
        confidence: Two-sided confidence.
    """
    x = _column(values, "mean")
    n = len(x)
    mean = float(x.mean())
    half = t_quantile(n, confidence) * float(x.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean of `a - b` by day with Student's interval; both (D,) in the same order of days."""
    x, y = _column(a, "paired difference"), _column(b, "paired difference")
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
    y, x = _column(numerator, "ratio"), _column(denominator, "ratio")
    if y.shape != x.shape:
        raise ConfigError(f"a ratio needs the same days on both sides, got {len(y)} and {len(x)}")
    if np.any(y < 0) or np.any(x < 0) or x.sum() <= 0:
        raise ConfigError(
            "a ratio needs totals of at least 0 and a denominator whose sum is above 0"
        )
    n, total = len(x), float(x.sum())
    ratio = float(y.sum()) / total
    if ratio == 0.0:
        bound = -math.expm1(math.log1p(-_checked(confidence)) / total)
        return Interval(0.0, 0.0, min(bound, upper_bound), n)
    half = t_quantile(n, confidence) * float(np.sqrt(_residual_variance(y, x, ratio)))
    return Interval(ratio, max(0.0, ratio - half), min(upper_bound, ratio + half), n)


def _residuals(y: FloatArray, x: FloatArray, ratio: float) -> FloatArray:
    """Influence of each day on the ratio: `(y - R x) / mean(x)`, (D,)."""
    residuals: FloatArray = (y - ratio * x) / x.mean()
    return residuals


def _residual_variance(y: FloatArray, x: FloatArray, ratio: float) -> float:
    e = _residuals(y, x, ratio)
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
    ya, xa, yb, xb = (_column(v, "difference of ratios") for v in (y_a, x_a, y_b, x_b))
    if not len(ya) == len(xa) == len(yb) == len(xb):
        raise ConfigError("a difference of ratios needs the same days on both sides")
    if xa.sum() <= 0 or xb.sum() <= 0:
        raise ConfigError("a difference of ratios needs denominators whose sums are above 0")
    n = len(ya)
    r_a, r_b = float(ya.sum() / xa.sum()), float(yb.sum() / xb.sum())
    e = _residuals(ya, xa, r_a) - _residuals(yb, xb, r_b)
    half = t_quantile(n, confidence) * math.sqrt(float(np.sum(e * e)) / ((n - 1) * n))
    return Interval(r_a - r_b, r_a - r_b - half, r_a - r_b + half, n)


def equal_rate_difference(
    a: PolicyDays, b: PolicyDays, slope: float, confidence: float = CONFIDENCE
) -> Interval:
    """Utilisation of `a` minus `b`, with `b` moved along its slope to the silent rate of `a`.

    Knobs are tuned on other days, so on the judged days the rates differ by chance. With
    utilisation growing by `slope` for each unit of the silent rate along b's knob, the difference
    at a's rate is mean(u_a - u_b) - slope (R_a - R_b). Its interval is Student's over the daily
    values u_a - u_b - slope (e_a - e_b), e being each day's influence on the pooled rate (delta
    method as in `ratio_difference`). The slope itself is taken as known.

    Args:
        a: The first policy's days.
        b: The second policy's days, same seeds.
        slope: Utilisation (fraction) for each unit of the silent rate (fraction), along b's knob.
        confidence: Two-sided confidence.
    """
    if not np.array_equal(a.seeds, b.seeds):
        raise ConfigError(f"{a.name!r} and {b.name!r} were not judged on the same days")
    values = utilisation_at(a, 0.0, slope) - utilisation_at(b, 0.0, slope)
    return mean_interval(values, confidence)


def utilisation_at(days: PolicyDays, rate: float, slope: float) -> FloatArray:
    """Utilisation of each day, moved along a slope to one pooled silent rate, (D,).

    The daily values are u_d - slope (R + e_d - rate), R being the pooled rate of the days and e_d
    the day's influence on it (delta method as in `ratio_difference`): their mean is the utilisation
    at `rate`, and their spread counts that R is itself uncertain. The slope is taken as known.

    Args:
        days: One policy's days, with answered calls.
        rate: Silent rate to move to, fraction.
        slope: Utilisation (fraction) for each unit of the silent rate (fraction).
    """
    y, x = days.days["silent"], days.days["answered"]
    if x.sum() <= 0:
        raise ConfigError(f"{days.name!r}: nobody answered, so there is no silent rate")
    pooled = float(y.sum() / x.sum())
    moved: FloatArray = days.utilisation - slope * (pooled - rate + _residuals(y, x, pooled))
    return moved


def crossed_interval(matrix: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Grand mean of a (seeds, days) table with both seeds and days drawn at random.

    Two-way crossed random effects, one number in each cell: y_sd = m + a_s + b_d + e_sd. With the
    mean squares A of the S rows, B of the D columns and E of the rest,

        var(mean) = var_seed/S + var_day/D + var_rest/(S D) = (A + B - E) / (S D),

    where A and B count as at least E (variances are not below 0). The interval is Student's with
    Satterthwaite's degrees of freedom (A + B - E)^2 / (A^2/(S-1) + B^2/(D-1) + E^2/((S-1)(D-1))).
    Source: Satterthwaite, *Biometrics Bulletin* 2 (1946); Searle, Casella and McCulloch, *Variance
    Components* (1992), chapter 4. By simulation over many ratios of the variances the truth is
    missed at most 8 % of the time at 95 % with 3 seeds (worst where seeds and days weigh alike),
    at most 6 % with 5 seeds, and less than 5 % where seeds do not differ.

    Args:
        matrix: one number for each training seed and day, (S, D), S and D >= 2.
        confidence: Two-sided confidence.

    Returns:
        The interval; `n` is the number of cells.
    """
    y = np.asarray(matrix, dtype=np.float64)
    if y.ndim != 2 or min(y.shape) < 2 or not np.all(np.isfinite(y)):
        raise ConfigError(
            f"a crossed interval needs finite numbers of at least 2 seeds x 2 days, got {y.shape}"
        )
    n_rows, n_columns = y.shape
    mean = float(y.mean())
    rows, columns = y.mean(axis=1) - mean, y.mean(axis=0) - mean
    rest = y - mean - rows[:, None] - columns[None, :]
    free = (n_rows - 1, n_columns - 1, (n_rows - 1) * (n_columns - 1))
    e = float(np.sum(rest * rest)) / free[2]
    a = max(n_columns * float(np.sum(rows * rows)) / free[0], e)
    b = max(n_rows * float(np.sum(columns * columns)) / free[1], e)
    scale = a + b - e
    if scale <= 0.0:
        return Interval(mean, mean, mean, y.size)
    freedom = scale**2 / (a**2 / free[0] + b**2 / free[1] + e**2 / free[2])
    t = float(special.stdtrit(freedom, 0.5 + 0.5 * _checked(confidence)))
    half = t * math.sqrt(scale / y.size)
    return Interval(mean, mean - half, mean + half, y.size)


@dataclass(frozen=True, slots=True)
class Stopping:
    """When enough days are played: the interval is narrow enough, or the days are used up.

    It looks at the width only, and only after rounds that grow by half, from `least` on.

    Attributes:
        half_width: Wanted half-width of the interval, in the unit of what is estimated.
        least: Days of the first round, at least 2.
        most: Days after which it is enough in any case.
    """

    half_width: float
    least: int
    most: int

    def __post_init__(self) -> None:
        """Refuse rounds that cannot be."""
        if not self.half_width >= 0.0:
            raise ConfigError(f"half_width is {self.half_width!r}, allowed is a number >= 0")
        if not 2 <= self.least <= self.most:
            raise ConfigError(
                f"least = {self.least} and most = {self.most} days: 2 <= least <= most is allowed"
            )

    def rounds(self) -> Iterator[int]:
        """Days played in all after each round: `least`, half as many more, ..., `most`."""
        n = self.least
        while n < self.most:
            yield n
            n += n // 2
        yield self.most

    def enough(self, interval: Interval) -> bool:
        """Whether an interval is narrow enough."""
        return interval.half_width <= self.half_width


@dataclass(frozen=True, slots=True)
class WorstHour:
    """The hour since the opening with the highest silent rate.

    Attributes:
        hour: Its number; 0 is the first hour.
        rate: Silent / answered in it, pooled over the days. It is the largest of several, so the
            interval says how well that hour is known, and not that no other could be worse.
    """

    hour: int
    rate: Interval


def worst_hour(silent: FloatArray, answered: FloatArray, least_share: float = 0.02) -> WorstHour:
    """The worst hour of days; both (D, H), calls by day and by hour since the opening.

    Hours with fewer than `least_share` of all answered calls are left out: the last one may be a
    few minutes long.

    Raises:
        ConfigError: nobody answered, or the arrays do not fit.
    """
    if silent.shape != answered.shape or silent.ndim != 2:
        raise ConfigError(f"hours need two (D, H) arrays, got {silent.shape}, {answered.shape}")
    calls = answered.sum(axis=0)
    counted = calls >= max(least_share * calls.sum(), 1.0)
    if not counted.any():
        raise ConfigError("a worst hour needs answered calls")
    rates = np.where(counted, silent.sum(axis=0) / np.maximum(calls, 1.0), -1.0)
    hour = int(np.argmax(rates))
    return WorstHour(hour, ratio_interval(silent[:, hour], answered[:, hour], upper_bound=1.0))


def p_value_above(days: PolicyDays, limit: float, slope: float) -> float:
    """One-sided p-value of 'the policy is above a frontier', small if it is above.

    The frontier has the utilisation `limit` at the policy's pooled silent rate R and the slope
    `slope` there. The daily values u_d - limit - slope e_d, e_d being the day's influence on R
    (delta method), have a mean of at most 0 for every policy that is not above; the value is
    Student's upper tail at their mean.

    Args:
        days: the policy's days.
        limit: highest utilisation possible at the pooled silent rate of `days`, fraction.
        slope: its growth for each unit of the silent rate.
    """
    y, x = days.days["silent"], days.days["answered"]
    rate = float(y.sum() / x.sum()) if x.sum() > 0 else 0.0
    values = days.utilisation - limit
    if x.sum() > 0:
        values = values - slope * _residuals(y, x, rate)
    n, spread = len(values), float(values.std(ddof=1))
    mean = float(values.mean())
    if spread == 0.0:
        return 0.0 if mean > 0.0 else 1.0
    return float(special.stdtr(n - 1, -mean * math.sqrt(n) / spread))


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
    z = float(special.ndtri(0.5 + 0.5 * _checked(confidence)))
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
    miss = 1.0 - _checked(confidence)
    p = k / n
    if k == 0:
        return Interval(p, 0.0, -math.expm1(math.log(miss) / n), n)
    if k == n:
        return Interval(p, math.exp(math.log(miss) / n), 1.0, n)
    lo = float(special.betaincinv(k, n - k + 1, miss / 2))
    hi = float(special.betaincinv(k + 1, n - k, 1 - miss / 2))
    return Interval(p, lo, hi, n)


def summarise(days: PolicyDays, cap: float) -> PolicySummary:
    """One row of the judge's table from the days of one policy.

    Args:
        days: Totals of each day.
        cap: The allowed silent rate, fraction in (0, 1]; a day breaks it if its own silent rate
            is above it.
    """
    if not 0.0 < cap <= 1.0:
        raise ConfigError(f"cap is {cap!r}, allowed is a fraction above 0 and at most 1")
    totals, rates = days.days, days.silent_rate
    n = len(days.seeds)
    if totals["answered"].sum() > 0:
        silent_rate = ratio_interval(totals["silent"], totals["answered"], upper_bound=1.0)
    else:
        silent_rate = Interval(0.0, 0.0, 1.0, n)
    dials: Interval | None = None
    if totals["connected"].sum() > 0:
        dials = ratio_interval(totals["dialed"], totals["connected"])
    worst = int(np.argmax(rates))
    worst_rate = float(rates[worst])
    return PolicySummary(
        name=days.name,
        knob_name=days.knob_name,
        knob=days.knob,
        cap=cap,
        utilisation=mean_interval(days.utilisation),
        conversations_per_agent_h=mean_interval(days.conversations_per_agent_h),
        silent_rate=silent_rate,
        p_day_breaks_cap=clopper_pearson(int(np.count_nonzero(rates > cap)), n),
        worst_day_rate=Interval(worst_rate, worst_rate, worst_rate, n),
        worst_day_seed=int(days.seeds[worst]),
        dials_per_conversation=dials,
    )


def compare(a: PolicyDays, b: PolicyDays) -> Difference:
    """What `a` does more than `b`, paired by day; both hold the same seeds in the same order."""
    if not np.array_equal(a.seeds, b.seeds):
        raise ConfigError(
            f"policies {a.name!r} and {b.name!r} were judged on different days; "
            "a paired difference needs the same seeds in the same order"
        )
    ta, tb = a.days, b.days
    n = len(a.seeds)
    if ta["answered"].sum() > 0 and tb["answered"].sum() > 0:
        silent = ratio_difference(ta["silent"], ta["answered"], tb["silent"], tb["answered"])
    else:
        silent = Interval(0.0, -1.0, 1.0, n)
    return Difference(
        a=a.name,
        b=b.name,
        utilisation=paired_difference(a.utilisation, b.utilisation),
        conversations_per_agent_h=paired_difference(
            a.conversations_per_agent_h, b.conversations_per_agent_h
        ),
        silent_rate=silent,
    )
