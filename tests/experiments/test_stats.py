"""The judge's statistics against numbers worked out by hand and against their own coverage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import special

from quietdial.envs.errors import ConfigError
from quietdial.experiments.stats import (
    Interval,
    PolicyDays,
    Stopping,
    clopper_pearson,
    compare,
    crossed_interval,
    equal_rate_difference,
    holm,
    mean_interval,
    p_value_above,
    paired_difference,
    ratio_difference,
    ratio_interval,
    summarise,
    t_quantile,
    utilisation_at,
    wilson,
    worst_hour,
)


def make_days(name: str = "rule", /, **changes: list[float]) -> PolicyDays:
    """Three small days: 100 answered each, with 1, 2 and 3 silent."""
    totals: dict[str, list[float]] = {
        "dialed": [400.0, 400.0, 400.0],
        "answered": [100.0, 100.0, 100.0],
        "connected": [99.0, 98.0, 97.0],
        "silent": [1.0, 2.0, 3.0],
        "talk_s": [6_000.0, 7_000.0, 8_000.0],
        "wrap_s": [1_000.0, 1_000.0, 1_000.0],
        "available_s": [10_000.0, 10_000.0, 10_000.0],
    }
    seeds = np.array(changes.get("seeds", [7, 8, 9]), dtype=np.int64)
    totals.update({key: value for key, value in changes.items() if key != "seeds"})
    days = {key: np.array(value, dtype=np.float64) for key, value in totals.items()}
    return PolicyDays(name, "theta", 0.02, seeds, days)


def test_t_quantile__is_that_of_the_printed_tables() -> None:
    # Student's t, 97.5 %: 12.706 (1 df), 4.3027 (2 df), 3.1824 (3 df), 1.9983 (63 df).
    for n, expected in ((2, 12.7062), (3, 4.3027), (4, 3.1824), (64, 1.9983)):
        assert t_quantile(n) == pytest.approx(expected, abs=1e-4)


def test_mean_interval__matches_the_hand_computation() -> None:
    # Days 1, 2, 3, 4: mean 2.5; s^2 = (2.25+.25+.25+2.25)/3 = 5/3; s/sqrt(4) = .645497;
    # t(3) = 3.182446; half width 2.054260.
    got = mean_interval([1.0, 2.0, 3.0, 4.0])
    assert (got.value, got.n) == (2.5, 4)
    assert (got.lo, got.hi) == pytest.approx((0.445740, 4.554260), abs=1e-6)
    assert got.half_width == pytest.approx(2.054260, abs=1e-6)


def test_paired_difference__uses_only_the_spread_of_the_differences() -> None:
    # Differences .01, .02, .03: mean .02, s = .01, half = 4.302653 * .01 / sqrt(3) = .024841.
    got = paired_difference([0.51, 0.92, 0.73], [0.50, 0.90, 0.70])
    assert got.value == pytest.approx(0.02)
    assert got.half_width == pytest.approx(0.024841, abs=1e-6)


def test_ratio_interval__matches_the_hand_computation() -> None:
    # y = 1, 2, 3 of x = 100 each: R = 6/300 = .02; residuals y - Rx = -1, 0, 1; mean x = 100;
    # var = (1+0+1) / (2 * 3 * 100^2) = 3.3333e-5, root .0057735; t(2) = 4.302653; half = .024841.
    got = ratio_interval([1.0, 2.0, 3.0], [100.0, 100.0, 100.0])
    assert got.value == pytest.approx(0.02)
    assert got.lo == 0.0  # .02 - .0248 is cut at zero
    assert got.hi == pytest.approx(0.044841, abs=1e-6)
    # y = 1, 3 of x = 50, 150: the same rate on both days, so no spread at all, although the plain
    # mean of days would not weigh the days by their calls.
    same = ratio_interval([1.0, 3.0], [50.0, 150.0])
    assert (same.value, same.lo, same.hi) == pytest.approx((0.02, 0.02, 0.02))
    # y = 0, 6 of x = 100, 200: R = 6/300 = .02; residuals -2, 2; mean x = 150;
    # var = 8 / (1 * 2 * 150^2) = 1.7778e-4, root .0133333; t(1) = 12.706205; half = .169416.
    uneven = ratio_interval([0.0, 6.0], [100.0, 200.0], upper_bound=0.15)
    assert uneven.hi == 0.15  # .1894 is cut at the largest possible value
    assert ratio_interval([0.0, 6.0], [100.0, 200.0]).hi == pytest.approx(0.189416, abs=1e-6)


def test_ratio_interval__of_no_event_is_the_rule_of_three() -> None:
    got = ratio_interval([0.0, 0.0], [400.0, 600.0])
    assert (got.value, got.lo) == (0.0, 0.0)
    assert got.hi == pytest.approx(1 - 0.05 ** (1 / 1000))
    assert got.hi == pytest.approx(3 / 1000, rel=0.01)


def test_ratio_difference__cancels_what_a_day_does_to_both() -> None:
    # a: y = 2, 4; b: y = 1, 3; x = 100 on both days. R = .03 and .02; influences (-.01, .01) on
    # both sides cancel: the difference is exactly .01.
    got = ratio_difference([2.0, 4.0], [100.0, 100.0], [1.0, 3.0], [100.0, 100.0])
    assert (got.value, got.lo, got.hi) == pytest.approx((0.01, 0.01, 0.01))
    # Against b: y = 2, 2 the influences (-.01, .01) stay: var = 2e-4 / 2 = 1e-4, root .01,
    # half = 12.706205 * .01.
    other = ratio_difference([2.0, 4.0], [100.0, 100.0], [2.0, 2.0], [100.0, 100.0])
    assert other.value == pytest.approx(0.01)
    assert other.half_width == pytest.approx(0.12706205)


@pytest.mark.parametrize(
    ("k", "n", "score", "exact"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, methods 3 and 5.
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_shares__match_the_published_examples(
    k: int, n: int, score: tuple[float, float], exact: tuple[float, float]
) -> None:
    by_score, by_tail = wilson(k, n), clopper_pearson(k, n)
    assert by_score.value == by_tail.value == k / n
    assert (by_score.lo, by_score.hi) == pytest.approx(score, abs=6e-5)
    assert (by_tail.lo, by_tail.hi) == pytest.approx(exact, abs=6e-5)


def test_shares__of_zero_and_of_all_have_a_one_sided_bound() -> None:
    # 0 of 64: 1 - .05^(1/64) = .045730, about 3/64 = .046875; all of 64 is its mirror image.
    none, every = clopper_pearson(0, 64), clopper_pearson(64, 64)
    assert (none.lo, none.hi) == pytest.approx((0.0, 0.045730), abs=1e-6)
    assert (every.lo, every.hi) == pytest.approx((1 - 0.045730, 1.0), abs=1e-6)
    # Wilson at 0 of 20: z^2 / (n + z^2) = 3.8415 / 23.8415 = .161125.
    assert (wilson(0, 20).lo, wilson(0, 20).hi) == pytest.approx((0.0, 0.161125), abs=1e-6)
    assert wilson(20, 20).hi == 1.0


def test_clopper_pearson__covers_as_it_says_for_every_share() -> None:
    """Exact coverage over a grid of true shares, summed over all outcomes of 64 days."""
    n = 64
    k = np.arange(n + 1)
    ends = [clopper_pearson(int(i), n) for i in k]
    lo, hi = np.array([e.lo for e in ends]), np.array([e.hi for e in ends])
    log_choose = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    for p in np.linspace(0.002, 0.998, 499):
        mass = np.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p))
        covered = float(mass[(lo <= p) & (p <= hi)].sum())
        # The one-sided ends at 0 and n cost at most another 2.5 % next to them.
        one_sided_end_in_play = min(p, 1 - p) > hi[0] - 1e-12 and min(p, 1 - p) < 0.06
        assert covered >= (0.925 if one_sided_end_in_play else 0.95) - 1e-9


def test_intervals__cover_the_truth_as_often_as_they_say() -> None:
    """2,000 judged runs of 64 days with rates, loads and luck that differ from day to day.

    False-alarm rate of this test, if the intervals are right: the exact t interval covers 95 %, so
    a share outside .95 +- 5 standard errors (.0049 each) happens with probability below 1e-6. The
    delta method is approximate; the test asks for at least 92 %, which an interval that covers
    93.5 % misses with probability below 0.4 % and one that covers 95 % with below 1e-8. An
    interval over calls instead of days (the usual mistake) covers about half and always fails.
    """
    rng = np.random.default_rng(20_240_611)
    runs, n = 2_000, 64
    answered = np.floor(rng.lognormal(mean=8.0, sigma=0.3, size=(runs, n)))
    # A day's silent rate is Gamma with mean .02 and standard deviation .01, whatever its load.
    silent = rng.poisson(rng.gamma(4.0, 0.005, size=(runs, n)) * answered).astype(np.float64)
    utilisation = rng.normal(0.9, 0.02, size=(runs, n))
    ratio_hits = mean_hits = call_hits = 0
    for y, x, u in zip(silent, answered, utilisation, strict=True):
        ratio = ratio_interval(y, x)
        ratio_hits += ratio.lo <= 0.02 <= ratio.hi
        mean = mean_interval(u)
        mean_hits += mean.lo <= 0.9 <= mean.hi
        naive = 1.96 * math.sqrt(ratio.value * (1 - ratio.value) / x.sum())
        call_hits += abs(ratio.value - 0.02) <= naive
    assert abs(mean_hits / runs - 0.95) <= 5 * math.sqrt(0.95 * 0.05 / runs)
    assert 0.92 <= ratio_hits / runs <= 0.975
    assert call_hits / runs < 0.6


def test_summarise__matches_the_hand_computation() -> None:
    got = summarise(make_days(), cap=0.025)
    # Utilisation .7, .8, .9: mean .8, s = .1, half = 4.302653 * .1 / sqrt(3) = .248414.
    assert got.utilisation.value == pytest.approx(0.8)
    assert got.utilisation.half_width == pytest.approx(0.248414, abs=1e-6)
    # 99, 98, 97 conversations in 10,000 s = 2.777778 h: 35.64, 35.28, 34.92 an hour.
    assert got.conversations_per_agent_h.value == pytest.approx(35.28)
    assert got.silent_rate.value == pytest.approx(0.02)
    assert got.silent_rate_upper == pytest.approx(0.044841, abs=1e-6)
    # Only the day with 3 of 100 breaks 2.5 %: 1 of 3, exact interval .0084 to .9057.
    assert got.p_day_breaks_cap.value == pytest.approx(1 / 3)
    assert (got.p_day_breaks_cap.lo, got.p_day_breaks_cap.hi) == pytest.approx(
        (0.0084, 0.9057), abs=1e-4
    )
    assert (got.worst_day_rate.value, got.worst_day_seed) == (0.03, 9)
    # 1,200 dials for 294 conversations.
    assert got.dials_per_conversation is not None
    assert got.dials_per_conversation.value == pytest.approx(1200 / 294)
    assert (got.name, got.knob_name, got.knob, got.cap) == ("rule", "theta", 0.02, 0.025)
    assert json.loads(json.dumps(got.figures(), allow_nan=False))[0]["name"] == "rule/utilisation"


def test_summarise__meets_the_cap_only_with_the_upper_end() -> None:
    assert not summarise(make_days(), cap=0.03).meets_cap  # mean 2 %, upper end 4.5 %
    assert summarise(make_days(), cap=0.05).meets_cap


def test_summarise__of_a_floor_that_reached_nobody_claims_nothing() -> None:
    empty = make_days(answered=[0.0] * 3, connected=[0.0] * 3, silent=[0.0] * 3)
    got = summarise(empty, cap=0.03)
    assert got.silent_rate == Interval(0.0, 0.0, 1.0, 3)
    assert not got.meets_cap
    assert got.dials_per_conversation is None
    assert compare(empty, make_days()).silent_rate == Interval(0.0, -1.0, 1.0, 3)
    json.dumps(got.figures(), allow_nan=False)


def test_compare__is_paired_and_antisymmetric() -> None:
    # b works 100, 200, 300 s less on the three days: difference .01, .02, .03 of 10,000 s.
    a, b = make_days("a"), make_days("b", talk_s=[5_900.0, 6_800.0, 7_700.0])
    got, back = compare(a, b), compare(b, a)
    assert (got.a, got.b) == ("a", "b")
    assert got.utilisation.value == pytest.approx(0.02)
    assert got.utilisation.half_width == pytest.approx(0.024841, abs=1e-6)
    assert back.utilisation.value == pytest.approx(-got.utilisation.value)
    assert got.silent_rate.value == got.silent_rate.half_width == 0.0
    assert [row["unit"] for row in got.figures()] == ["1", "1/h", "1"]


def test_compare__refuses_other_days() -> None:
    with pytest.raises(ConfigError, match="different days"):
        compare(make_days(), make_days(seeds=[7, 9, 8]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [7, 7, 8]}, "distinct"),
        ({"silent": [1.0, 2.0]}, r"shape \(2,\), allowed is \(3,\)"),
        ({"silent": [1.0, math.nan, 3.0]}, "not finite"),
        ({"silent": [1.0, -2.0, 3.0]}, "below 0"),
        ({"silent": [101.0, 0.0, 0.0]}, "more silent than answered"),
        ({"available_s": [10_000.0, 0.0, 10_000.0]}, "available_s must be > 0"),
    ],
)
def test_policy_days__refuses_days_that_do_not_fit(
    changes: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_days(**changes)


def test_policy_days__names_a_missing_total() -> None:
    with pytest.raises(ConfigError, match="'dialed'"):
        PolicyDays("rule", None, None, np.arange(2), {})


def test_estimators__refuse_what_has_no_interval() -> None:
    with pytest.raises(ConfigError, match="at least 2 days"):
        mean_interval([1.0])
    with pytest.raises(ConfigError, match="finite"):
        mean_interval([1.0, math.inf])
    with pytest.raises(ConfigError, match="between 0 and 1"):
        mean_interval([1.0, 2.0], confidence=1.0)
    with pytest.raises(ConfigError, match="same days"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match="same days"):
        ratio_interval([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match="sum is above 0"):
        ratio_interval([0.0, 0.0], [0.0, 0.0])
    with pytest.raises(ConfigError, match="same days"):
        ratio_difference([1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match="sums are above 0"):
        ratio_difference([0.0, 0.0], [0.0, 0.0], [1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ConfigError, match="0 <= k <= n"):
        clopper_pearson(3, 2)
    with pytest.raises(ConfigError, match=r"cap is 0\.0"):
        summarise(make_days(), cap=0.0)


def test_interval__prints_for_a_table() -> None:
    assert Interval(0.946, 0.944, 0.9481, 64).text() == "94.6 % (94.4 to 94.8)"
    assert Interval(12.34, 12.0, 12.68, 64).text(scale=1, unit="") == "12.3 (12.0 to 12.7)"


def test_equal_rate_difference__moves_the_other_policy_along_its_slope() -> None:
    """Worked by hand: u differs by .05 on every day, the pooled rates by .01, slope 2.

    At the first one's rate the second would be at u_b + 2 x .01, so the difference is .03; with
    all days alike the interval has no width.
    """

    def days(name: str, silent: float, talk: float) -> PolicyDays:
        ones = np.ones(4)
        totals = {"dialed": 400, "answered": 100, "connected": 90, "silent": silent}
        totals |= {"talk_s": talk, "wrap_s": 0, "available_s": 100}
        return PolicyDays(name, None, None, np.arange(4), {k: v * ones for k, v in totals.items()})

    gap = equal_rate_difference(days("a", 3, 95), days("b", 2, 90), slope=2.0)
    assert gap.value == pytest.approx(0.03)
    assert gap.half_width == pytest.approx(0.0, abs=1e-12)
    same = equal_rate_difference(days("a", 3, 95), days("b", 3, 90), slope=2.0)
    assert same.value == pytest.approx(0.05)


def test_utilisation_at__moves_the_mean_and_keeps_the_influence_of_each_day() -> None:
    # R = 6/300 = .02; influences (-1, 0, 1) / 100; u = .7, .8, .9; slope 2, moved to .03.
    # u - 2 (.02 - .03 + e) = .7 + .02 + .02, .8 + .02, .9 + .02 - .02.
    moved = utilisation_at(make_days(), 0.03, 2.0)
    assert moved == pytest.approx([0.74, 0.82, 0.90])
    with pytest.raises(ConfigError, match="nobody answered"):
        utilisation_at(make_days(answered=[0.0] * 3, silent=[0.0] * 3), 0.03, 2.0)


# --- seeds x days ---------------------------------------------------------------------------------


def test_crossed_interval__matches_the_hand_computation() -> None:
    # [[1, 3], [5, 9]]: mean 4.5; rows 2, 7; columns 3, 6; rest +-.5. A = 2 x 12.5 = 25,
    # B = 2 x 4.5 = 9, E = 1: var = 33/4; freedom = 33^2 / (25^2 + 9^2 + 1) = 1.540311.
    got = crossed_interval([[1.0, 3.0], [5.0, 9.0]])
    assert (got.value, got.n) == (4.5, 4)
    t = float(special.stdtrit(33**2 / 707, 0.975))
    assert got.half_width == pytest.approx(t * math.sqrt(33 / 4))


def test_crossed_interval__counts_variances_as_at_least_zero() -> None:
    # Rows alike and columns alike: A = B = 0 and E = 4 count as A = B = E.
    got = crossed_interval([[1.0, -1.0], [-1.0, 1.0]])
    t = float(special.stdtrit(16 / (16 + 16 + 16), 0.975))
    assert (got.value, got.half_width) == (0.0, pytest.approx(t * math.sqrt(4 / 4)))
    assert crossed_interval(np.full((3, 4), 0.25)).half_width == 0.0


@pytest.mark.parametrize("bad", [[1.0, 2.0], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, math.nan]] * 2])
def test_crossed_interval__refuses_what_is_no_table(bad: list[float]) -> None:
    with pytest.raises(ConfigError, match="at least 2 seeds x 2 days"):
        crossed_interval(bad)


@pytest.mark.parametrize(
    ("seed_sd", "day_sd"), [(0.0, 0.0), (0.0, 1.0), (0.1, 1.0), (0.4, 1.0), (2.0, 0.5)]
)
def test_crossed_interval__covers_as_it_says(seed_sd: float, day_sd: float) -> None:
    """3 seeds x 64 days, rest of sd 1: misses at most 8 % of the time.

    2,000 tables: the share of misses has a standard error of at most .6 points, so a true share of
    8 % shows as more than 10 % less than once in 1,000 times; the five cases together fail by
    chance less than once in 200 seeds, and this seed is fixed.
    """
    rng = np.random.default_rng(7)
    n, shape = 2_000, (3, 64)
    misses = 0
    table = np.zeros(shape)
    got = crossed_interval(table)
    for _ in range(n):
        table = rng.normal(size=shape) + seed_sd * rng.normal(size=(3, 1))
        got = crossed_interval(table + day_sd * rng.normal(size=(1, 64)))
        misses += not got.lo <= 0.0 <= got.hi
    assert misses / n < 0.10
    plain = mean_interval(table.ravel())  # the cells as if they were independent days
    assert got.half_width > plain.half_width


# --- days in rounds -------------------------------------------------------------------------------


def test_stopping__rounds_grow_by_half_up_to_the_most() -> None:
    # 16, 16 + 8, 24 + 12, 36 + 18, 54 + 27, then the last one.
    assert list(Stopping(0.002, 16, 96).rounds()) == [16, 24, 36, 54, 81, 96]
    assert list(Stopping(0.002, 8, 8).rounds()) == [8]
    assert list(Stopping(0.002, 2, 4).rounds()) == [2, 3, 4]


def test_stopping__looks_at_the_width_only() -> None:
    rule = Stopping(0.002, 16, 96)
    for value in (-0.5, 0.0, 0.001, 0.5):
        assert rule.enough(Interval(value, value - 0.0019, value + 0.0019, 16))
        assert not rule.enough(Interval(value, value - 0.0021, value + 0.0021, 16))


@pytest.mark.parametrize(("least", "most"), [(1, 5), (6, 5)])
def test_stopping__refuses_rounds_that_cannot_be(least: int, most: int) -> None:
    with pytest.raises(ConfigError, match="2 <= least <= most"):
        Stopping(0.002, least, most)


def _coverage(skewness: float, half_width: float, n_runs: int) -> float:
    """Share of runs whose interval, when the rule stops, holds the true mean 0.

    Days have variance 1 and come from a shifted gamma law of that skewness (0: normal).
    """
    rng = np.random.default_rng(3)
    rule = Stopping(half_width, 16, 96)
    if skewness == 0.0:
        days = rng.standard_normal((n_runs, 96))
    else:
        shape = 4.0 / skewness**2  # the skewness of a gamma law is 2 / sqrt(shape)
        days = (rng.gamma(shape, 1.0, (n_runs, 96)) - shape) / math.sqrt(shape)
    playing = np.ones(n_runs, np.bool_)
    covered = np.zeros(n_runs, np.bool_)
    for n in rule.rounds():
        mean = days[:, :n].mean(axis=1)
        half = t_quantile(n) * days[:, :n].std(axis=1, ddof=1) / math.sqrt(n)
        stops = playing & ((half <= half_width) | (n == 96))
        covered[stops] = np.abs(mean[stops]) <= half[stops]
        playing &= ~stops
    assert not playing.any()
    return float(covered.mean())


@pytest.mark.parametrize("skewness", [0.0, 0.7])
@pytest.mark.parametrize("half_width", [0.2, 0.3, 0.4, 0.5, 0.6])
def test_stopping__leaves_intervals_of_95_percent_at_least_93(
    skewness: float, half_width: float
) -> None:
    """From half-widths that need all 96 days to some that 16 days nearly always reach.

    85 % of the differences on italy-50 and markov-10 were skewed by .7 or less. 20,000 runs have a
    standard error of .0017 at 94 %; the least coverage found is .934 (skewed) and .941 (normal), so
    a right rule fails here about once in a hundred, and the seed is fixed.
    """
    assert _coverage(skewness, half_width, 20_000) >= 0.93


def test_policy_days__first_and_followed_by_put_days_together_again() -> None:
    hours = {"silent": np.arange(6.0).reshape(3, 2)}
    days = make_days()
    days = PolicyDays("rule", "theta", 0.02, days.seeds, days.days, hours, {"closed": np.ones(3)})
    later = PolicyDays(
        "rule", "theta", 0.02, days.seeds + 10, days.days, hours, {"closed": np.zeros(3)}
    )
    both = days.first(2).followed_by(later)
    assert both.seeds.tolist() == [7, 8, 17, 18, 19]
    assert both.days["silent"].tolist() == [1.0, 2.0, 1.0, 2.0, 3.0]
    assert both.hours["silent"].tolist() == [[0, 1], [2, 3], [0, 1], [2, 3], [4, 5]]
    assert both.windows["closed"].tolist() == [1, 1, 0, 0, 0]


def test_worst_hour__is_pooled_over_days_and_leaves_short_hours_out() -> None:
    # Hour 1: (2 + 0) / (100 + 100) = 1 %; hour 2: (1 + 5) / (100 + 100) = 3 %; hour 3: 1 of 4, but
    # 4 is less than 2 % of the 404 answered calls.
    silent = np.array([[2.0, 1.0, 1.0], [0.0, 5.0, 0.0]])
    answered = np.array([[100.0, 100.0, 4.0], [100.0, 100.0, 0.0]])
    worst = worst_hour(silent, answered)
    assert worst.hour == 1
    assert worst.rate.value == pytest.approx(0.03)
    assert worst_hour(silent, answered, least_share=0.001).hour == 2
    with pytest.raises(ConfigError, match="answered calls"):
        worst_hour(np.zeros((2, 2)), np.zeros((2, 2)))


def test_p_value_above__matches_the_hand_computation() -> None:
    # Utilisation .7, .8, .9; R = 6/300 = .02; influences e = -.01, 0, .01. With the limit .75 and
    # the slope 2: values -.05 + .02, .05, .15 - .02 = -.03, .05, .13; mean .05, s = .08,
    # t = .05 sqrt(3) / .08 = 1.0825 with 2 degrees of freedom: upper tail
    # 1/2 - t / (2 sqrt(2 + t^2)) = .5 - 1.0825 / (2 * 1.78098) = .19609.
    assert p_value_above(make_days(), 0.75, 2.0) == pytest.approx(0.19609, abs=1e-5)
    assert p_value_above(make_days(), 0.99, 2.0) > 0.9
    assert p_value_above(make_days(), 0.10, 2.0) < 0.01


def test_holm__steps_down() -> None:
    # Level .05 and four hypotheses: .01 <= .05/4, .013 <= .05/3, .03 > .05/2, so .03 and .04 stay
    # although .04 <= .05/1.
    assert holm([0.03, 0.01, 0.04, 0.013], 0.05).tolist() == [False, True, False, True]
    assert not holm([0.02, 0.6], 0.03).any()


def test_p_value_above__and_holm_rarely_accuse_the_innocent() -> None:
    """400 families of 20 policies exactly on the frontier, at the level 5 %.

    False-alarm rate of this test: families with a rejection are at most 5 % of 400, 20 of them with
    a standard deviation of 4.4; 35 is 3.4 of these above.
    """
    rng = np.random.default_rng(11)
    n_days, families, alarms = 24, 400, 0
    for _ in range(families):
        p_values = []
        for _ in range(20):
            answered = rng.poisson(600.0, n_days).astype(float)
            silent = rng.binomial(answered.astype(int), 0.03).astype(float)
            busy = 0.9 + 2.0 * (silent / answered - 0.03) + rng.normal(0.0, 0.01, n_days)
            days = PolicyDays(
                "rule",
                None,
                None,
                np.arange(n_days),
                {
                    "dialed": answered,
                    "answered": answered,
                    "connected": answered,
                    "silent": silent,
                    "talk_s": busy,
                    "wrap_s": np.zeros(n_days),
                    "available_s": np.ones(n_days),
                },
            )
            rate = silent.sum() / answered.sum()
            p_values.append(p_value_above(days, 0.9 + 2.0 * (rate - 0.03), 2.0))
        alarms += bool(holm(p_values, 0.05).any())
    assert alarms <= 35
