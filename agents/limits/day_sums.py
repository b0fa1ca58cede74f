"""What a whole day adds to the windows: the factor of its talk times, and overtime."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from quietdial.agents.limits.durations import moments
from quietdial.envs.scenario import Scenario


def factors(sd: float) -> list[tuple[float, float, float]]:
    """Cells (low, high, weight) of the day's lognormal factor exp(sd z)."""
    if sd == 0.0:
        return [(1.0, 1.0, 1.0)]
    ends = np.linspace(-5.0, 5.0, 101)
    weights = np.diff(stats.norm.cdf(ends))
    cells = [
        (math.exp(sd * a), math.exp(sd * b), float(w))
        for a, b, w in zip(ends[:-1], ends[1:], weights, strict=True)
    ]
    return cells


class _Spread(NamedTuple):
    """Mean and variance of the talk time, and of wrap-up and break together [s, s^2]."""

    talk: tuple[float, float]
    rest: tuple[float, float]


def spread_of(world: Scenario) -> _Spread:
    """Moments of a conversation and of what follows it, from the sampled tables."""
    floor = world.floor
    talk, talk_square = moments(floor.talk)
    wrap, wrap_square = moments(floor.wrap) if floor.wrap else (0.0, 0.0)
    pause, pause_square = moments(floor.breaks.duration) if floor.breaks else (0.0, 0.0)
    share = floor.breaks.p_after_wrap if floor.breaks else 0.0
    rest = wrap_square - wrap**2 + share * pause_square - (share * pause) ** 2
    return _Spread((talk, talk_square - talk**2), (wrap + share * pause, rest))


def overtime_share(spread: _Spread, factor: float, duration_s: float) -> float:
    """Bound of the mean overtime / (N T) on a day with that factor of the talk times.

    An agent's last conversation is no longer than the root of the sum of the squares of all; with
    x the mean overtime, x^2 <= (T + x) E[T^2] / E[T] (Jensen, Wald).
    """
    mean = factor * spread.talk[0] + spread.rest[0]
    ratio = mean + (factor**2 * spread.talk[1] + spread.rest[1]) / mean
    return (0.5 * ratio + math.sqrt(0.25 * ratio**2 + duration_s * ratio)) / duration_s
