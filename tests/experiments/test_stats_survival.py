"""Kaplan-Meier and laws with cut times, against examples by hand, by print and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quietdial.envs.errors import ConfigError
from quietdial.experiments.stats.survival import censored_fit, kaplan_meier

# Weeks in remission under 6-mercaptopurine; Freireich et al., Blood 21 (1963), printed in Cox and
# Oakes, Analysis of Survival Data (1984), section 1.1. A negative time was cut off.
LEUKAEMIA = (
    6,
    6,
    6,
    -6,
    7,
    -9,
    10,
    -10,
    -11,
    13,
    16,
    -17,
    -19,
    -20,
    22,
    23,
    -25,
    -32,
    -32,
    -34,
    -35,
)
PRINTED = {  # weeks: survival and Greenwood's standard error, as in the usual textbooks
    6: (0.857, 0.0764),
    7: (0.807, 0.0869),
    10: (0.753, 0.0963),
    13: (0.690, 0.1068),
    16: (0.627, 0.1141),
    22: (0.538, 0.1282),
    23: (0.448, 0.1346),
}


def test_kaplan_meier__printed_example() -> None:
    weeks = np.array(LEUKAEMIA, float)
    km = kaplan_meier(np.abs(weeks), weeks > 0)
    assert km.time_s.tolist() == list(PRINTED)
    np.testing.assert_allclose(km.survival, [s for s, _ in PRINTED.values()], atol=5e-4)
    np.testing.assert_allclose(km.se, [e for _, e in PRINTED.values()], atol=5e-5)
    assert km.at_risk.tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert (km.n, km.n_events, km.n_censored, km.last_s) == (21, 9, 12, 35)


def test_kaplan_meier__example_by_hand() -> None:
    # 5 callees: gone after 1 s; connected at 1 s; gone at 2 s (two of them); cut at 3 s.
    km = kaplan_meier([1, 1, 2, 2, 3], [True, False, True, True, False])
    assert km.survival.tolist() == pytest.approx([4 / 5, 4 / 5 * 1 / 3])
    s = 4 / 15
    se = s * math.sqrt(1 / (5 * 4) + 2 / (3 * 1))
    assert km.se[1] == pytest.approx(se)
    at = km.at(2.5)
    width = 1.959964 * se / (s * abs(math.log(s)))
    assert (at.value, at.lo, at.hi) == pytest.approx(
        (s, s ** math.exp(width), s ** math.exp(-width)), rel=1e-5
    )
    with pytest.raises(ConfigError, match=r"at 3\.5 s is not identified: the longest .* is 3\.0 s"):
        km.at(3.5)


def test_kaplan_meier__without_an_event_gives_a_bound() -> None:
    km = kaplan_meier(np.full(300, 3.0), np.zeros(300, bool))
    at = km.at(3.0)
    assert (at.value, at.hi) == (1.0, 1.0)
    assert at.lo == pytest.approx(1 - 3 / 300, abs=1e-4)
    assert km.steps()[0].size == 0


def test_steps__are_the_sample_when_nothing_was_cut() -> None:
    x = np.array([1.0, 2.0, 2.0, 5.0])
    times, weight = kaplan_meier(x, np.ones(4, bool)).steps()
    assert times.tolist() == [1, 2, 5]
    assert weight.tolist() == pytest.approx([1, 2, 1])


def test_exponential__closed_form_and_interval() -> None:
    fit = censored_fit([1, 2, 3, 4], [True, True, False, False])
    assert fit.mean_s.value == 5.0
    # Garwood's limits of a count of 2: .2422 and 7.2247
    assert (fit.mean_s.lo, fit.mean_s.hi) == pytest.approx((10 / 7.2247, 10 / 0.2422), rel=1e-3)
    none = censored_fit([100.0] * 10, [False] * 10)
    assert none.mean_s.value == math.inf
    assert none.mean_s.lo == pytest.approx(1000 / 2.9957, rel=1e-4)  # the rule of three


def test_intervals__cover_as_often_as_they_say() -> None:
    # 400 samples of 200 waits, exponential with mean 4 s, cut at 3 s: the share of intervals that
    # cover is within 3 points of 95 %; by chance it is not once in 170 times (the seed is fixed).
    rng = np.random.default_rng(5)
    mean = survival = 0
    for _ in range(400):
        wait = rng.exponential(4.0, 200)
        seen, event = np.minimum(wait, 3.0), wait < 3.0
        fit, km = censored_fit(seen, event).mean_s, kaplan_meier(seen, event).at(2.0)
        mean += fit.lo <= 4.0 <= fit.hi
        survival += km.lo <= math.exp(-0.5) <= km.hi
    assert abs(mean / 400 - 0.95) < 0.03
    assert abs(survival / 400 - 0.95) < 0.03


def test_weibull__recovers_its_law_and_tells_it_from_the_exponential() -> None:
    rng = np.random.default_rng(1)
    wait = 4.0 * rng.weibull(0.6, 20_000)
    fit = censored_fit(np.minimum(wait, 3.0), wait < 3.0)
    assert fit.shape == pytest.approx(0.6, abs=0.02)  # its standard error is .006
    assert fit.scale_s == pytest.approx(4.0, rel=0.05)
    assert fit.p_value < 1e-6
    wait = rng.exponential(4.0, 20_000)
    assert censored_fit(np.minimum(wait, 3.0), wait < 3.0).p_value > 1e-3


@pytest.mark.parametrize(
    ("time", "event"), [([], []), ([1.0], [True, False]), ([-1.0], [True]), ([math.nan], [True])]
)
def test_bad_times__are_refused(time: list[float], event: list[bool]) -> None:
    with pytest.raises(ConfigError, match="survival needs"):
        kaplan_meier(time, event)
