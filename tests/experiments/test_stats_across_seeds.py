"""Statistics over training seeds, against rliable and against their own coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from quietdial.envs.errors import ConfigError
from quietdial.experiments.stats import (
    bootstrap,
    crossed_ratio,
    interquartile_mean,
    mean_interval,
    performance_profile,
    probability_of_improvement,
    profile_band,
    ratio_interval,
    seeds_and_days,
)

# Eight runs of two learners on two worlds. What rliable 1.2.0 (arch 7.2.0, numpy 2.3.5, pandas
# 2.3.3) says of them, with 50,000 (interquartile mean) and 20,000 resamples, stands in the tests.
A = [
    np.array([0.812, 0.835, 0.79, 0.841, 0.826, 0.803, 0.85, 0.818]),
    np.array([0.64, 0.71, 0.69, 0.655, 0.70, 0.662, 0.721, 0.69]),
]
B = [
    np.array([0.801, 0.829, 0.77, 0.822, 0.835, 0.79, 0.811, 0.80]),
    np.array([0.66, 0.70, 0.668, 0.64, 0.69, 0.655, 0.70, 0.671]),
]


def test_interquartile_mean__is_that_of_rliable() -> None:
    assert interquartile_mean(A) == pytest.approx(0.7555)
    assert interquartile_mean(B) == pytest.approx(0.74025)
    # Of 5 runs the smallest and the largest are left out: (.812 + .826 + .835) / 3.
    assert interquartile_mean([A[0][:5]]) == pytest.approx(0.8243333333)
    got = bootstrap([A], interquartile_mean, resamples=4000, seed=3)
    # Percentiles of 4,000 samples are known to about .0004 here.
    assert (got.lo, got.hi) == pytest.approx((0.74287, 0.76675), abs=0.002)
    assert got.n == 16


def test_probability_of_improvement__is_that_of_rliable() -> None:
    assert probability_of_improvement(A, B) == 0.65625
    assert probability_of_improvement(A, A) == 0.5
    got = bootstrap([A, B], probability_of_improvement, resamples=4000, seed=3)
    assert (got.lo, got.hi) == pytest.approx((0.453125, 0.8359375), abs=0.02)


def test_performance_profile__is_that_of_rliable() -> None:
    at = [0.65, 0.70, 0.80, 0.82]
    assert performance_profile(A, at).tolist() == [0.9375, 0.625, 0.4375, 0.25]
    share, lo, hi = profile_band(A, at, resamples=4000, seed=3)
    assert share.tolist() == [0.9375, 0.625, 0.4375, 0.25]
    assert lo == pytest.approx([0.8125, 0.5, 0.3125, 0.0625], abs=0.0625)
    assert hi == pytest.approx([1.0, 0.8125, 0.5, 0.4375], abs=0.0625)


def test_bootstrap__never_mixes_strata_and_repeats_itself() -> None:
    far = [np.array([0.0, 0.1]), np.array([10.0, 10.1])]
    got = bootstrap([far], lambda scores: float(np.mean([x.mean() for x in scores])))
    assert 5.0 <= got.lo <= got.hi <= 5.1  # across strata it would reach from 0 to 10
    assert bootstrap([A], interquartile_mean, seed=5) == bootstrap([A], interquartile_mean, seed=5)
    assert bootstrap([A], interquartile_mean, seed=5) != bootstrap([A], interquartile_mean, seed=6)


def test_bootstrap__is_too_narrow_for_few_runs_by_as_much_as_is_said() -> None:
    """Coverage of 95 % intervals of a mean of normal scores, over 2,000 experiments each.

    The docstring says about 82 % with 5 runs and about 90 % with 10; five standard errors are .043
    and .034.
    """
    rng = np.random.default_rng(11)
    for n, said in ((5, 0.82), (10, 0.90)):
        scores = rng.normal(size=(2000, n))
        drawn = rng.integers(n, size=(400, n))
        means = scores[:, drawn].mean(axis=2)
        lo, hi = np.percentile(means, [2.5, 97.5], axis=1)
        assert np.mean((lo <= 0.0) & (hi >= 0.0)) == pytest.approx(said, abs=0.04)


def test_seeds_and_days__is_over_days_alone_for_one_seed() -> None:
    days = [0.8, 0.82, 0.79, 0.85]
    assert seeds_and_days([days]) == mean_interval(days)
    both = seeds_and_days([days, [0.7, 0.72, 0.69, 0.75]])
    assert both.value == pytest.approx(0.765)
    # Mean squares: seeds A = .02, days B = .0014, rest E = 0. The scale is A + B = .0214, on
    # .0214^2 / (.02^2 + .0014^2 / 3) = 1.14 degrees of freedom.
    freedom = 0.0214**2 / (0.02**2 + 0.0014**2 / 3)
    half = float(scipy_stats.t.ppf(0.975, freedom)) * (0.0214 / 8) ** 0.5
    assert both.half_width == pytest.approx(half, rel=1e-6)


def test_crossed_ratio__counts_seeds_and_days() -> None:
    # Two seeds, two days of 100 answered: R = 10/400 = .025. Influences: -.005, .005 for seed 1,
    # -.015, .015 for seed 2. The seeds' rates are equal, and so is what is left over: mean squares
    # A = 0, B = .0004, E = .0001; A counts as E, so var = B / 4 = .0001 and with t(f):
    y, x = [[2.0, 3.0], [1.0, 4.0]], [[100.0, 100.0], [100.0, 100.0]]
    got = crossed_ratio(y, x)
    assert got.value == pytest.approx(0.025)
    freedom = 4e-4**2 / (1e-4**2 + 4e-4**2 + 1e-4**2)
    half = float(scipy_stats.t.ppf(0.975, freedom)) * 0.01
    assert got.lo == max(0.025 - half, 0.0)
    assert got.hi == pytest.approx(0.025 + half)
    assert crossed_ratio(y, x, upper_bound=0.03).hi == 0.03
    assert crossed_ratio([y[0]], [x[0]]) == ratio_interval(y[0], x[0])
    none = crossed_ratio([[0.0, 0.0], [0.0, 0.0]], x)
    assert (none.value, none.hi) == (0.0, pytest.approx(3 / 400, rel=0.01))


def test_across_seeds__refuses_what_it_cannot_answer() -> None:
    with pytest.raises(ConfigError, match="at least one stratum"):
        interquartile_mean([])
    with pytest.raises(ConfigError, match="finite"):
        interquartile_mean([np.array([np.nan])])
    with pytest.raises(ConfigError, match="same strata"):
        probability_of_improvement(A, B[:1])
    with pytest.raises(ConfigError, match="resamples = 0"):
        bootstrap([A], interquartile_mean, resamples=0)
    with pytest.raises(ConfigError, match="two"):
        crossed_ratio([[1.0]], [[1.0, 2.0]])
