"""What calibration hands over: estimates with intervals, laws, curves, and what stays open."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from quietdial.envs.laws import Law
from quietdial.experiments.stats.intervals import (
    Interval,
    mean_interval,
    ratio_interval,
    wilson,
)
from quietdial.experiments.stats.survival import KaplanMeier


@dataclass(frozen=True)
class Estimate:
    """One number.

    Attributes:
        field: field of a scenario, or a name of its own for what no scenario holds.
        what: in words.
        interval: value and 95 % interval; `n` is what it rests on (see `of`).
        unit: unit.
        of: what is counted by n.
        n_censored: observations that were cut off.
        source: table and column of the log.
        resolution_s: what times are rounded to in the log; 0: milliseconds.
        note: what else must be known.
    """

    field: str
    what: str
    interval: Interval
    unit: str
    of: str
    n_censored: int = 0
    source: str = ""
    resolution_s: float = 0.0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain values; an end at infinity is None."""
        ends = {
            name: value if math.isfinite(value) else None
            for name, value in self.interval.to_dict().items()
        }
        return {
            "field": self.field,
            "what": self.what,
            **ends,
            "unit": self.unit,
            "of": self.of,
            "censored": self.n_censored,
            "source": self.source,
            "resolution_s": self.resolution_s,
            "note": self.note,
        }


@dataclass(frozen=True)
class FittedLaw:
    """A law for one field of the scenario.

    Attributes:
        law: as it goes into the scenario.
        name: of the family.
        n: times that it was fitted to.
        n_censored: further times that were cut off.
        mean_s: mean of the law as the world samples it.
        error_s: `mean_s` minus the mean of the times.
    """

    law: Law
    name: str
    n: int
    n_censored: int
    mean_s: float
    error_s: float


@dataclass
class Findings:
    """Everything that the recorded days say.

    Attributes:
        estimates: numbers in the order in which they were found.
        laws: laws by field of the scenario.
        values: other fields of the scenario with their new values.
        open: fields that the log cannot identify, and why.
        patience: survival of waiting callees, if there are waits.
        by_hour: figures by half-hour of the local day, for the report.
        with_laws: laws are fitted too.
    """

    estimates: list[Estimate] = field(default_factory=list)
    laws: dict[str, FittedLaw] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    patience: KaplanMeier | None = None
    by_hour: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    with_laws: bool = True

    def get(self, name: str) -> Estimate:
        """The estimate of one field; raises `KeyError`."""
        for estimate in self.estimates:
            if estimate.field == name:
                return estimate
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Whether there is an estimate of this field."""
        return any(e.field == name for e in self.estimates)


def share_of(parts: ArrayLike, wholes: ArrayLike) -> Interval:
    """A share pooled over days; its interval is over days, within a single day Wilson's.

    `n` of the interval is the whole, not the days.
    """
    part, whole = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    total = int(whole.sum())
    if len(whole) < 2:
        return wilson(int(part.sum()), total)
    found = ratio_interval(part, whole, upper_bound=1.0)
    return Interval(found.value, found.lo, found.hi, total)


def ratio_of(parts: ArrayLike, wholes: ArrayLike, n: int) -> Interval:
    """A ratio of totals over days; within a single day it has no interval (0 to infinity)."""
    part, whole = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    if len(whole) < 2:
        return Interval(float(part.sum() / whole.sum()), 0.0, math.inf, n)
    found = ratio_interval(part, whole)
    return Interval(found.value, found.lo, found.hi, n)


def mean_of(values: ArrayLike) -> Interval:
    """Mean of one number for each day; within a single day it has no interval."""
    x = np.asarray(values, np.float64)
    if len(x) < 2:
        return Interval(float(x[0]), -math.inf, math.inf, 1)
    return mean_interval(x)
