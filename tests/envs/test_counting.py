"""Counting: regulators' formulas on worked examples, windows at their boundaries, small samples."""

import datetime
import math
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietdial.envs import ConfigError
from quietdial.envs.regulation.counting import (
    AnsweredCall,
    Counts,
    OfcomEstimate,
    Outcome,
    Seen,
    WindowCounter,
    WindowReport,
    counted,
    estimated_rate,
    false_positives_from_share,
    italian_rate,
    ofcom,
    p_above_cap,
    pacing_budget,
    share_of_quotient,
    true_rate,
    windows_of,
)
from quietdial.envs.regulation.rule import Rule, load_rule

ROME, LONDON = "Europe/Rome", "Europe/London"
FIRST = datetime.date(2026, 3, 9)  # a Monday


# -------------------------------------------------------------------------------------- formulas


def rule(**changes) -> Rule:
    return Rule.model_validate({"profile": "it_2014", **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 6),
        ({"counts_cut": False}, 5),
        ({"counts_left": False}, 4),
        ({"counts_amd": False}, 3),
        ({"counts_left": False, "counts_amd": False}, 1),
    ],
)
def test_true_rate__has_the_numerator_of_the_rule(changes, expected):
    counts = Counts(answered=100, cut=1, left=2, amd=3)
    assert counted(rule(**changes), counts) == expected
    assert true_rate(rule(**changes), counts) == expected / 100


def test_true_rate__of_nothing_is_zero():
    assert true_rate(rule(), Counts(0)) == 0


@pytest.mark.parametrize("counts", [Counts(5, 6), Counts(5, 2, 2, 2), Counts(5, -1)])
def test_true_rate__refuses_impossible_counts(counts):
    with pytest.raises(ConfigError, match="no more silent than answered"):
        true_rate(rule(), counts)


def test_italian_rate__in_both_readings():
    assert italian_rate(3, 97) == 0.03
    assert italian_rate(3, 100, "quotient") == 0.03
    assert italian_rate(3, 100) == pytest.approx(3 / 103)
    assert share_of_quotient(0.03) == pytest.approx(0.02913, abs=5e-6)
    assert italian_rate(0, 0) == italian_rate(0, 0, "quotient") == 0
    assert italian_rate(1, 0, "quotient") == math.inf


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_italian_rate__one_reading_gives_the_other(silent, others):
    quotient = italian_rate(silent, others, "quotient")
    assert share_of_quotient(quotient) == pytest.approx(italian_rate(silent, others))


def test_ofcom__worked_example():
    """X = 40, L = 950, Ag = 50, F = 4: D = 38, 42 / 992 = 4.23 %."""
    found = ofcom(Seen(40, 950, 50, amd_machines=400, audited_share=0.01))
    assert (found.drops, found.false_positives) == (38, 4)
    assert 100 * found.rate == pytest.approx(4.23, abs=0.005)
    assert 100 * ofcom(Seen(40, 950, 50)).rate == pytest.approx(3.85, abs=0.005)


def test_ofcom__vicidial_example():
    """29 drops, 9 people, 7 machines: 64.44 %."""
    found = ofcom(Seen(29, 9, 7))
    assert found.drops == pytest.approx(16.3125)
    assert 100 * found.rate == pytest.approx(64.44, abs=0.005)


def test_ofcom__without_machines_is_the_plain_rate():
    assert ofcom(Seen(3, 97)) == OfcomEstimate(3, 0, 0.03)
    assert estimated_rate(load_rule("uk_2010"), Seen(3, 97)) == 0.03
    assert ofcom(Seen(2, 0)).rate == 1
    assert ofcom(Seen(0, 0)).rate == 0


def test_estimated_rate__goes_by_the_profile():
    seen = Seen(40, 950, 50, 400, 0.01)
    assert estimated_rate(load_rule("it_2014"), seen) == 40 / 990
    assert estimated_rate(load_rule("uk_2010"), seen) == 42 / 992
    assert estimated_rate(load_rule("it_2014"), Seen(0, 0)) == 0


def test_ofcom__refuses_impossible_counts():
    for seen in (Seen(-1, 5), Seen(1, 5, audited_share=1.5)):
        with pytest.raises(ConfigError, match="at least 0"):
            ofcom(seen)


@given(st.floats(0, 0.9), st.integers(1, 10_000))
def test_false_positives__recover_the_share_of_live_answers(misjudged, live_answers):
    passed = (1 - misjudged) * live_answers
    found = false_positives_from_share(misjudged, passed, 0)
    assert found == pytest.approx(misjudged * live_answers)


def test_false_positives__refuse_what_is_no_share():
    with pytest.raises(ConfigError, match="misjudged"):
        false_positives_from_share(1, 10, 0)


def test_pacing_budget__detection_eats_it_first():
    """1,000 dials, 400 machines, 200 live: right in 99 % leaves 1 %, in 98 % less than nothing."""
    machines, live = 400, 200
    at_99 = ofcom(Seen(0, live, amd_machines=machines, audited_share=0.01)).false_positives
    at_98 = ofcom(Seen(0, live, amd_machines=machines, audited_share=0.02)).false_positives
    assert (at_99, at_98) == (4, 8)
    assert pacing_budget(0.03, live, at_99) == pytest.approx(0.01)
    assert pacing_budget(0.03, live, at_98) == pytest.approx(-0.01)
    with pytest.raises(ConfigError, match="answered"):
        pacing_budget(0.03, 0, 1)


@pytest.mark.parametrize(
    ("rate", "answered", "percent", "half_unit"),
    [
        (0.02, 100, 14, 0.5),
        (0.02, 300, 8, 0.5),
        (0.02, 1000, 1.3, 0.05),
        (0.02, 3000, 0.01, 0.005),
        (0.025, 100, 24, 0.5),
        (0.025, 300, 22, 0.5),
        (0.025, 1000, 13, 0.5),
        (0.025, 3000, 4, 0.5),
    ],
)
def test_p_above_cap__gives_the_table_of_small_samples(rate, answered, percent, half_unit):
    assert 100 * p_above_cap(0.03, rate, answered) == pytest.approx(percent, abs=half_unit)


@given(st.integers(0, 60), st.floats(0, 1), st.sampled_from([0.0, 0.03, 0.05, 0.5, 1.0]))
def test_p_above_cap__is_the_sum_of_the_binomial_tail(answered, rate, cap):
    tail = sum(
        math.comb(answered, k) * rate**k * (1 - rate) ** (answered - k)
        for k in range(answered + 1)
        if 100 * k > round(100 * cap) * answered
    )
    assert p_above_cap(cap, rate, answered) == pytest.approx(tail, abs=1e-12)


def test_p_above_cap__refuses_what_is_no_share():
    with pytest.raises(ConfigError, match="shares"):
        p_above_cap(3, 0.02, 100)


# --------------------------------------------------------------------------------------- windows


def call(text: str, outcome: Outcome = "connected", zone: str = ROME) -> AnsweredCall:
    return AnsweredCall(
        datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)), outcome
    )


def report(profile: object, calls: list[AnsweredCall], zone: str = ROME) -> WindowReport:
    (found,) = windows_of(Rule.model_validate(profile), FIRST, zone, calls)
    return found


def windows(*kinds: dict) -> dict:
    return {"profile": "it_2014", "cap": kinds[0]["cap"], "windows": list(kinds)}


def test_windows__midnight_parts_the_days_of_uk_2010():
    before = call("2026-03-09 23:59:59", "cut", LONDON)
    after = call("2026-03-10 00:00:01", "cut", LONDON)
    found = report("uk_2010", [after, before], LONDON)
    assert [(r.number, r.silent, r.answered) for r in found.rates] == [(0, 1, 1), (1, 1, 1)]
    assert len(found.breaches) == 2
    midnight = call("2026-03-10 00:00:00", "cut", LONDON)
    assert [r.number for r in report("uk_2010", [midnight], LONDON).rates] == [1]
    assert report("uk_2010", [before], LONDON).rates[0].end == midnight.at


def test_windows__day_is_the_campaigns_not_utc():
    # 23:30 in Rome and 00:30 in Rome are both before midnight UTC
    late, early = call("2026-03-10 23:30:00"), call("2026-03-11 00:30:00")
    rule_ = windows({"kind": "day", "cap": 0.03})
    assert [r.number for r in report(rule_, [late, early]).rates] == [1, 2]
    assert [r.number for r in report(rule_, [late, early], LONDON).rates] == [1]


def test_windows__day_of_a_clock_change_has_25_hours():
    (found,) = windows_of(
        load_rule("uk_2010"),
        datetime.date(2026, 10, 25),
        LONDON,
        [call("2026-10-25 00:00:00", "connected", LONDON)],
    )
    (day,) = found.rates
    assert day.end.timestamp() - day.begin.timestamp() == 25 * 3600


def test_windows__exactly_three_in_a_hundred_is_allowed():
    calls = [call("2026-03-09 12:00:00", "cut")] * 3 + [call("2026-03-09 12:00:01")] * 97
    found = report("it_2014", calls)
    assert (found.rates[0].rate, found.breaches) == (0.03, ())
    assert found.worst == found.rates[0]
    (breach,) = report("it_2014", calls[:-1]).breaches
    assert (breach.silent, breach.answered) == (3, 99)


def test_caps__are_exact_where_the_product_is_rounded():
    assert 0.29 * 100 < 29
    assert p_above_cap(0.29, 0.5, 100) == pytest.approx(p_above_cap(0.295, 0.5, 100))
    calls = [call("2026-03-09 12:00:00", "cut")] * 29 + [call("2026-03-09 12:00:01")] * 71
    assert report({"profile": "it_2014", "cap": 0.29}, calls).breaches == ()
    assert report({"profile": "it_2014", "cap": 0.29}, calls[:-1]).breaches


def test_windows__days_are_blocks_from_the_first_day():
    calls = [call("2026-04-07 20:00:00", "cut"), call("2026-04-08 09:00:00")]
    found = report("us_tsr", calls)
    assert [(r.number, r.rate) for r in found.rates] == [(0, 1.0), (1, 0.0)]
    assert found.rates[1].begin.date() == datetime.date(2026, 4, 8)
    assert found.rates[1].end.date() == datetime.date(2026, 5, 8)


def test_windows__months_are_those_of_the_calendar():
    calls = [
        call("2026-03-31 23:59:59", "cut"),
        call("2026-04-01 00:00:00"),
        call("2027-01-02 09:00"),
    ]
    found = report("ca", calls)
    assert [(r.number, r.rate) for r in found.rates] == [(0, 1.0), (1, 0.0), (10, 0.0)]
    assert found.rates[0].begin.date() == FIRST
    assert found.rates[2].end.date() == datetime.date(2027, 2, 1)


def test_windows__several_at_once_and_a_daily_breach_that_the_average_hides():
    good = [call(f"2026-03-09 12:{m:02d}:00") for m in range(60)] * 4
    bad = [call("2026-03-10 12:00:00", "cut")] * 4 + [call("2026-03-10 12:01:00")] * 56
    rule_ = Rule.model_validate(
        windows({"kind": "campaign", "cap": 0.03}, {"kind": "day", "cap": 0.04, "verified": False})
    )
    campaign, day = windows_of(rule_, FIRST, ROME, good + bad)
    assert campaign.breaches == ()
    assert campaign.rates[0].rate == 4 / 300
    assert [r.number for r in day.breaches] == [1]
    assert day.worst == day.breaches[0]
    assert campaign.rates[0].begin.date() == FIRST
    assert campaign.rates[0].end.date() == datetime.date(2026, 3, 11)


def test_windows__cause_that_the_rule_does_not_count_is_only_answered():
    calls = [call("2026-03-09 12:00:00", cause) for cause in ("cut", "left", "amd", "connected")]
    found = report({"profile": "it_2014", "counts_left": False}, calls)
    assert (found.rates[0].silent, found.rates[0].answered) == (2, 4)


def test_windows__no_limit_is_never_broken_and_nothing_is_no_rate():
    assert report("none", [call("2026-03-09 12:00:00", "cut")]).breaches == ()
    empty = report("it_2014", [])
    assert (empty.rates, empty.worst, empty.breaches) == ((), None, ())
    assert report(windows({"kind": "hours", "cap": 0.03}), []).rates == ()


def test_windows__refuse_bad_calls():
    with pytest.raises(ConfigError, match="before first_day"):
        report("it_2014", [call("2026-03-08 12:00:00")])
    with pytest.raises(ConfigError, match="with a time zone"):
        report("it_2014", [AnsweredCall(datetime.datetime(2026, 3, 9, 12), "cut")])
    with pytest.raises(ConfigError, match="outcome 'busy'"):
        report("it_2014", [call("2026-03-09 12:00:00", "busy")])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Mars"):
        report("it_2014", [call("2026-03-09 12:00:00")], "Mars/Olympus")


def test_windows__rolling_hour_finds_what_fixed_hours_hide():
    calls = [call("2026-03-09 10:00:00")] + [call(f"2026-03-09 10:{m}:00") for m in range(10, 50)]
    calls += [call("2026-03-09 10:59:00", "cut"), call("2026-03-09 11:01:00", "cut")]
    calls += [call(f"2026-03-09 11:{m}:00") for m in range(10, 60)] + [call("2026-03-09 12:30:00")]
    found = report(windows({"kind": "hours", "length": 1, "cap": 0.03}), calls)
    assert found.worst is not None
    assert found.worst.silent == 2
    assert found.worst.begin <= calls[41].at <= calls[42].at < found.worst.end
    assert found.worst in found.breaches


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 2),
)
def test_windows__rolling_is_exact(points, length):
    """Against every position of the window, tried by brute force; a unit is ten minutes."""
    unit = datetime.timedelta(minutes=10)
    origin = datetime.datetime(2026, 3, 9, 8, tzinfo=ZoneInfo(ROME))
    calls = [AnsweredCall(origin + unit * t, "cut" if s else "connected") for t, s in points]
    found = report(windows({"kind": "hours", "length": length, "cap": 0.3}), calls)
    first, last = min(t for t, _ in points), max(t for t, _ in points)
    contents: list[tuple[int, int]] = []
    position, span = 2 * first, 12 * length  # half units: just after a call there is a position
    while position <= max(2 * first, 2 * last - span + 1):
        inside = [s for t, s in points if position <= 2 * t < position + span]
        contents.append((sum(inside), len(inside)))
        position += 1
    expected = {pair for pair in contents if pair[1]}
    assert {(r.silent, r.answered) for r in found.rates} == expected
    assert found.worst is not None
    assert found.worst.rate == max(s / a for s, a in expected)
    assert bool(found.breaches) == any(10 * s > 3 * a for s, a in expected)
    assert all(r.end - r.begin == datetime.timedelta(hours=length) for r in found.rates)
    assert all(a.begin < b.begin for a, b in pairwise(found.rates))


def test_window_counter__adds_sessions_by_window():
    rule_ = Rule.model_validate(
        windows({"kind": "campaign", "cap": 0.03}, {"kind": "day", "cap": 0.04})
    )
    counter = WindowCounter(rule_)
    counter.add((0, 0), Counts(100, cut=1))
    counter.add((0, 0), Counts(100, left=1))
    counter.add((0, 2), Counts(100, amd=5))
    assert counter.rates() == ({0: 7 / 300}, {0: 0.01, 2: 0.05})
    assert counter.breaches() == ((), (2,))
    with pytest.raises(ConfigError, match="give 2"):
        counter.add((0,), Counts(1))


def test_window_counter__leaves_rolling_hours_to_the_calls():
    counter = WindowCounter(Rule.model_validate(windows({"kind": "hours", "cap": 0.03})))
    counter.add((0,), Counts(10, cut=5))
    assert counter.rates() == ({0: 0.5},)
    assert counter.breaches() == ((),)
