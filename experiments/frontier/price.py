"""What fewer silent calls cost: agent-hours of work lost for each call that is not silent.

A policy is played at two settings of its knob on the same days. With more silent calls its
utilisation is u2 at the silent rate r2, with fewer u1 at r1; a is the number of answered calls per
available agent-hour, the mean of both. Then

* price of a percentage point = (u2 - u1) / (r2 - r1): points of utilisation, or agent-hours of
  every 100, that are lost for one percentage point fewer silent calls;
* price of a silent call = (u2 - u1) / ((r2 - r1) a): agent-hours of work (conversation and wrap-up)
  lost for each silent call avoided, at the same number of answered calls.

The price of a silent call at the rate of the exact optimum is its Lagrange multiplier: the envelope
theorem, d u / d cap = multiplier x answered per agent-second. Intervals: bootstrap over days, both
settings on the same drawn days, percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.optimal import Optimum
from quietdial.experiments.stats import Interval, PolicyDays

RESAMPLES: Final = 2000
_SEED: Final = 20_261
_TAILS: Final = (2.5, 97.5)
_FEWEST_CALLS: Final = 1e-9


class Price(NamedTuple):
    """What fewer silent calls cost between two settings of a policy.

    Attributes:
        low_rate: silent / answered with fewer silent calls.
        high_rate: silent / answered with more of them.
        per_point: points of utilisation for one percentage point.
        per_call_agent_h: agent-hours of work for each silent call avoided.
    """

    low_rate: float
    high_rate: float
    per_point: Interval
    per_call_agent_h: Interval

    @property
    def rate(self) -> float:
        """The middle of both rates."""
        return 0.5 * (self.low_rate + self.high_rate)


def price_between(fewer: PolicyDays, more: PolicyDays) -> Price | None:
    """The price between two settings on the same days.

    Args:
        fewer: the setting with fewer silent calls.
        more: the one with more.

    Returns:
        None if the rates cannot be told apart: in more than 2.5 % of the resamples the order of
        the rates is the other way round, and a price has no interval.
    """
    n = len(fewer.seeds)
    columns = [_columns(days) for days in (fewer, more)]
    rng = np.random.Generator(np.random.PCG64(_SEED))
    weights = rng.multinomial(n, np.full(n, 1.0 / n), size=RESAMPLES).astype(np.float64)
    value = _prices(columns, np.ones((1, n)))
    drawn = _prices(columns, weights)
    if value.gap[0] <= 0.0 or np.mean(drawn.gap <= 0.0) > 0.025:
        return None
    whole = drawn.gap > 0.0
    rates = value.rates
    return Price(
        float(rates[0][0]),
        float(rates[1][0]),
        _interval(value.per_point[0], drawn.per_point[whole], n),
        _interval(value.per_call[0], drawn.per_call[whole], n),
    )


def prices_of(days: Sequence[PolicyDays]) -> list[Price]:
    """The prices between neighbouring settings of one policy, by rising silent rate."""
    ordered = sorted(days, key=_pooled_rate)
    found = [price_between(*pair) for pair in pairwise(ordered)]
    return [price for price in found if price is not None]


def exact_price_agent_h(optimum: Optimum) -> float:
    """The price of a silent call at the exact optimum: its multiplier, in agent-hours."""
    return optimum.multiplier_agent_s / 3600.0


class _Prices(NamedTuple):
    rates: tuple[NDArray[np.float64], NDArray[np.float64]]
    gap: NDArray[np.float64]
    per_point: NDArray[np.float64]
    per_call: NDArray[np.float64]


def _columns(days: PolicyDays) -> NDArray[np.float64]:
    """Work, available agent-hours, silent and answered calls of each day, (4, D)."""
    totals = days.days
    work_h = (totals["talk_s"] + totals["wrap_s"]) / 3600.0
    return np.stack([work_h, totals["available_s"] / 3600.0, totals["silent"], totals["answered"]])


def _prices(columns: Sequence[NDArray[np.float64]], weights: NDArray[np.float64]) -> _Prices:
    """Prices with each row of weights of the days, (R, D)."""
    (w1, h1, s1, a1), (w2, h2, s2, a2) = ((weights @ one.T).T for one in columns)
    r1, r2 = s1 / np.maximum(a1, _FEWEST_CALLS), s2 / np.maximum(a2, _FEWEST_CALLS)
    gain, gap = w2 / h2 - w1 / h1, r2 - r1
    with np.errstate(divide="ignore", invalid="ignore"):
        per_point = gain / gap
        per_call = per_point / (0.5 * (a1 / h1 + a2 / h2))
    return _Prices((r1, r2), gap, per_point, per_call)


def _interval(value: float, drawn: NDArray[np.float64], n: int) -> Interval:
    low, high = np.percentile(drawn, _TAILS)
    return Interval(float(value), float(low), float(high), n)


def _pooled_rate(days: PolicyDays) -> float:
    return float(days.days["silent"].sum() / max(days.days["answered"].sum(), _FEWEST_CALLS))
