"""What a policy did on the judged days, its row of the table, and paired differences.

A day is the unit of sampling: calls of one day share its answer rate and its luck, days do not.
So every interval here is taken over days, never over calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import special

from quietdial.envs.errors import ConfigError
from quietdial.experiments.stats.intervals import (
    CONFIDENCE,
    FloatArray,
    IntArray,
    Interval,
    clopper_pearson,
    influences,
    mean_interval,
    paired_difference,
    ratio_difference,
    ratio_interval,
)

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


def exchange_rate(sweep: Sequence[tuple[float, float]], rate: float) -> float | None:
    """Utilisation for each unit of the silent rate, by least squares over the settings near `rate`.

    Args:
        sweep: silent rate and utilisation (fractions) of settings of one knob.
        rate: silent rate, fraction; settings from half to twice of it count.

    Returns:
        The slope; None if fewer than two settings, or only nearly equal ones, are near.
    """
    near = [(its, busy) for its, busy in sweep if 0.5 * rate <= its <= 2.0 * rate]
    rates, utilisations = np.array(near or [(0.0, 0.0)]).T
    if len(near) < 2 or np.ptp(rates) < 0.02 * rate:
        return None
    return float(np.polyfit(rates, utilisations, 1)[0])


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
    moved: FloatArray = days.utilisation - slope * (pooled - rate + influences(y, x, pooled))
    return moved


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
        values = values - slope * influences(y, x, rate)
    n, spread = len(values), float(values.std(ddof=1))
    mean = float(values.mean())
    if spread == 0.0:
        return 0.0 if mean > 0.0 else 1.0
    return float(special.stdtr(n - 1, -mean * math.sqrt(n) / spread))


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
