"""Real SIP calls against simulated ones: figures of a floor, differences, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quietdial.experiments.stats import Interval, ratio_difference, ratio_interval
from quietdial.experiments.stats.intervals import t_quantile

Floats = NDArray[np.float64]
Totals = Mapping[str, Floats]

FALSE_ALARMS: Final = 0.05
"""Chance that the test finds any difference if there is none (Holm, over all figures)."""

_SETS: Final = 9_999
_NEVER_SEEN: Final = 99.0
"""Stands for z where the simulator always has one and the same value."""


class Measure(NamedTuple):
    """A figure of a floor, a ratio of two totals.

    Attributes:
        name: of the figure.
        unit: its unit.
        above: totals that are added up above the line.
        below: the total below it.
    """

    name: str
    unit: str
    above: tuple[str, ...]
    below: str


MEASURES: Final = (
    Measure("silent rate", "1", ("silent",), "answered"),
    Measure("utilisation", "1", ("talk_s", "wrap_s"), "available_s"),
    Measure("answered share", "1", ("answered",), "dialed"),
    Measure("mean wait", "s", ("waiting_s",), "answered"),
)


class Compared(NamedTuple):
    """One figure both ways.

    Attributes:
        real: of the SIP sessions.
        simulated: of many simulated sessions.
        difference: SIP minus simulator over the very same draws, paired by session.
        z: of the SIP sessions among sets of as many simulated ones.
        p: share of those sets that lie as far from their mean, two-sided.
        paired_p: of Student's test that the paired difference is 0.
    """

    real: Interval
    simulated: Interval
    difference: Interval
    z: float
    p: float
    paired_p: float


def compare(measure: Measure, real: Totals, twins: Totals, many: Totals, seed: int) -> Compared:
    """Compare one figure.

    Args:
        measure: which.
        real: totals of SIP sessions, (S,).
        twins: the same of the simulated sessions with the same draws, (S,).
        many: the same of other simulated sessions, (M,), M far above S.
        seed: of the random sets.
    """
    y, x = _parts(measure, real)
    y_twin, x_twin = _parts(measure, twins)
    y_many, x_many = _parts(measure, many)
    sets = np.random.default_rng(seed).integers(0, len(y_many), (_SETS, len(y)))
    values = y_many[sets].sum(1) / x_many[sets].sum(1)
    value, mean, spread = y.sum() / x.sum(), float(values.mean()), float(values.std(ddof=1))
    off = abs(value - mean)
    as_far = int(np.sum(np.abs(values - mean) >= off - 1e-12))
    z = (value - mean) / spread if spread > 0 else _NEVER_SEEN * float(np.sign(value - mean))
    difference = ratio_difference(y, x, y_twin, x_twin)
    return Compared(
        ratio_interval(y, x),
        ratio_interval(y_many, x_many),
        difference,
        float(z),
        (1 + as_far) / (1 + _SETS),
        _student(difference),
    )


def _student(difference: Interval) -> float:
    """Two-sided p-value of a mean whose interval is Student's."""
    error = (difference.hi - difference.lo) / (2 * t_quantile(difference.n))
    if error == 0:
        return float(difference.value == 0)
    return float(2 * special.stdtr(difference.n - 1, -abs(difference.value) / error))


def _parts(measure: Measure, totals: Totals) -> tuple[Floats, Floats]:
    above = np.sum([totals[name] for name in measure.above], axis=0)
    return np.asarray(above, np.float64), np.asarray(totals[measure.below], np.float64)


def columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """Totals of sessions as arrays by name."""
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}
