"""The calendar: known holidays, verdicts at the edges, sessions in true time, callee hours."""

import datetime
import subprocess
import sys
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quietdial.envs import ConfigError, Scenario, load_scenario
from quietdial.envs.regulation.calendar import (
    day_kind,
    hours_of,
    segment_hours,
    sessions_of,
    verdict,
    window_number,
)
from quietdial.envs.regulation.holidays import holidays
from quietdial.envs.regulation.rule import Rule, Window, load_rule

ROME, PARIS, BERLIN = "Europe/Rome", "Europe/Paris", "Europe/Berlin"
NEW_YORK, CHICAGO, DENVER = "America/New_York", "America/Chicago", "America/Denver"
LOS_ANGELES, PHOENIX, HONOLULU = "America/Los_Angeles", "America/Phoenix", "Pacific/Honolulu"
SYDNEY, PERTH, TORONTO = "Australia/Sydney", "Australia/Perth", "America/Toronto"
H = 3_600_000


def date(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


# ------------------------------------------------------------------------------------- holidays

HOLIDAYS = {
    "IT": [
        "2026-01-06",
        "2026-04-05",
        "2026-04-06",
        "2026-04-25",
        "2026-05-01",
        "2026-06-02",
        "2026-08-15",
        "2026-10-04",
        "2026-11-01",
        "2026-12-08",
        "2026-12-25",
        "2026-12-26",
    ],
    "GB": [
        "2026-01-01",
        "2026-04-03",
        "2026-04-06",
        "2026-05-04",
        "2026-05-25",
        "2026-08-31",
        "2026-12-25",
        "2026-12-26",
        "2026-12-28",
        "2022-06-03",
        "2022-09-19",
    ],
    "US": [
        "2026-01-19",
        "2026-02-16",
        "2026-05-25",
        "2026-06-19",
        "2026-07-03",
        "2026-09-07",
        "2026-10-12",
        "2026-11-11",
        "2026-11-26",
        "2026-12-25",
        "2021-12-31",
    ],
    "CA": ["2026-04-03", "2026-05-18", "2026-07-01", "2026-09-30", "2026-10-12", "2026-12-28"],
    "DE": ["2026-04-03", "2026-04-06", "2026-05-14", "2026-05-25", "2026-10-03", "2026-12-26"],
    "FR": ["2026-04-06", "2026-05-08", "2026-05-14", "2026-07-14", "2026-08-15", "2026-11-11"],
    "AU": ["2026-01-26", "2026-04-03", "2026-04-06", "2026-04-25", "2026-12-26"],
}
WORKING_DAYS = {
    "IT": ["2025-10-04", "2026-04-03", "2026-05-25", "2026-06-29", "2026-12-07", "2026-12-24"],
    "GB": ["2026-03-17", "2026-08-03", "2026-11-30", "2026-12-24"],
    "US": ["2026-04-03", "2026-11-27", "2026-12-24", "2026-12-31"],
    "CA": ["2026-02-16", "2026-08-03", "2026-06-24"],
    "DE": ["2026-01-06", "2026-06-04", "2026-10-31", "2026-11-01", "2026-12-24"],
    "FR": ["2026-04-03", "2026-12-26"],
    "AU": ["2026-06-08", "2026-03-09"],
}


@pytest.mark.parametrize("country", HOLIDAYS)
def test_holidays__are_known(country):
    for text in HOLIDAYS[country]:
        assert date(text) in holidays(country, date(text).year), text
    for text in WORKING_DAYS[country]:
        assert date(text) not in holidays(country, date(text).year), text


def test_holidays__have_english_names_in_order_within_the_year():
    days = holidays("IT", 2026)
    assert days[date("2026-04-06")] == "Easter Monday"
    assert list(days) == sorted(days)
    assert {day.year for day in days} == {2026}


def gregorian_easter(year: int) -> datetime.date:
    """Anonymous Gregorian computus (Nature, 1876)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e, f = b // 4, b % 4, (b + 8) // 25
    h = (19 * a + b - d - (b - f + 1) // 3 + 15) % 30
    k = (32 + 2 * e + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    month, day = divmod(h + k - 7 * m + 114, 31)
    return datetime.date(year, month, day + 1)


def test_holidays__hold_easter_monday_by_the_computus():
    for year in range(2000, 2101):
        monday = gregorian_easter(year) + datetime.timedelta(1)
        for country in ("IT", "GB", "DE", "FR", "AU"):
            assert monday in holidays(country, year), (country, year)


@pytest.mark.parametrize(("country", "year"), [("XX", 2026), ("IT", 1999), ("IT", 2101)])
def test_holidays__refuse_what_they_do_not_know(country, year):
    with pytest.raises(ConfigError, match="no public holidays are known"):
        holidays(country, year)


def test_holidays__are_not_loaded_with_the_package():
    code = "import sys, quietdial.envs.regulation.page; sys.exit('holidays' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------- verdicts

YES, NO = True, False
# rule, time zone, local date and time, may it ring
VERDICTS = [
    ("it_2014", ROME, "2026-03-11 08:59:59", NO),
    ("it_2014", ROME, "2026-03-11 09:00:00", YES),
    ("it_2014", ROME, "2026-03-11 20:59:50", YES),
    ("it_2014", ROME, "2026-03-11 21:00:00", NO),
    ("it_2014", ROME, "2026-03-14 09:59:59", NO),  # Saturday
    ("it_2014", ROME, "2026-03-14 10:00:00", YES),
    ("it_2014", ROME, "2026-03-14 18:59:59", YES),
    ("it_2014", ROME, "2026-03-14 19:00:00", NO),
    ("it_2014", ROME, "2026-03-15 12:00:00", NO),  # Sunday
    ("it_2014", ROME, "2026-04-03 12:00:00", YES),  # Good Friday is no holiday in Italy
    ("it_2014", ROME, "2026-04-05 12:00:00", NO),  # Easter
    ("it_2014", ROME, "2026-04-06 12:00:00", NO),  # Easter Monday
    ("it_2014", ROME, "2026-04-07 12:00:00", YES),
    ("it_2014", ROME, "2026-06-02 12:00:00", NO),  # Republic Day, a Tuesday
    ("it_2014", ROME, "2026-06-01 20:30:00", YES),  # 2014 knows no eves
    ("it_2014", ROME, "2026-08-15 12:00:00", NO),  # a holiday beats its Saturday
    ("it_2014", ROME, "2026-12-24 20:59:59", YES),
    ("it_2014", ROME, "2026-12-25 12:00:00", NO),
    ("it_2014", ROME, "2026-12-31 20:59:59", YES),
    ("it_2014", ROME, "2027-01-01 12:00:00", NO),
    ("it_2024", ROME, "2026-03-11 09:00:00", YES),
    ("it_2024", ROME, "2026-03-11 19:59:59", YES),
    ("it_2024", ROME, "2026-03-11 20:00:00", NO),
    ("it_2024", ROME, "2026-06-01 09:30:00", NO),  # eve of Republic Day
    ("it_2024", ROME, "2026-06-01 10:00:00", YES),
    ("it_2024", ROME, "2026-06-01 18:59:59", YES),
    ("it_2024", ROME, "2026-06-01 19:00:00", NO),
    ("it_2024", ROME, "2026-06-02 12:00:00", NO),
    ("it_2024", ROME, "2026-12-07 19:30:00", NO),  # eve of 8 December
    ("it_2024", ROME, "2026-12-24 19:30:00", NO),
    ("it_2024", ROME, "2026-12-31 09:30:00", NO),
    ("it_2024", ROME, "2026-12-31 18:30:00", YES),
    ("it_2024", ROME, "2026-03-13 19:30:00", YES),  # a Friday is no eve of a plain Saturday
    ("it_2024", ROME, "2026-08-14 19:30:00", NO),  # Friday before Saturday 15 August
    ("it_2024", ROME, "2026-04-04 18:30:00", YES),  # Saturday before Easter
    ("it_2014", ROME, "2026-03-29 12:00:00", NO),  # clocks go forward, a Sunday
    ("it_2014", ROME, "2026-03-30 09:00:00", YES),
    ("it_2014", ROME, "2026-03-30 08:59:59", NO),
    ("it_2014", ROME, "2026-10-25 12:00:00", NO),  # clocks go back, a Sunday
    ("it_2014", ROME, "2026-10-26 20:59:59", YES),
    ("none", ROME, "2026-03-29 03:00:00", YES),
    ("none", ROME, "2026-12-25 23:59:59", YES),
    ("fr", PARIS, "2026-03-11 09:59:59", NO),
    ("fr", PARIS, "2026-03-11 12:59:59", YES),
    ("fr", PARIS, "2026-03-11 13:00:00", NO),
    ("fr", PARIS, "2026-03-11 13:30:00", NO),
    ("fr", PARIS, "2026-03-11 14:00:00", YES),
    ("fr", PARIS, "2026-03-11 19:59:59", YES),
    ("fr", PARIS, "2026-03-14 11:00:00", NO),
    ("fr", PARIS, "2026-07-14 11:00:00", NO),
    ("fr", PARIS, "2026-05-14 11:00:00", NO),  # Ascension Day
    ("de", BERLIN, "2026-03-11 08:00:00", YES),
    ("de", BERLIN, "2026-03-11 20:00:00", NO),
    ("de", BERLIN, "2026-03-14 17:59:59", YES),
    ("de", BERLIN, "2026-10-03 12:00:00", NO),  # Unity Day, a Saturday
    ("de", BERLIN, "2026-05-14 12:00:00", NO),
    ("us_tsr", NEW_YORK, "2026-03-15 08:00:00", YES),  # every day, Sundays too
    ("us_tsr", NEW_YORK, "2026-11-26 20:59:59", YES),  # Thanksgiving
    ("us_tsr", NEW_YORK, "2026-03-11 21:00:00", NO),
    ("us_tsr", LOS_ANGELES, "2026-03-11 20:59:59", YES),
    ("ca", TORONTO, "2026-03-11 21:29:59", YES),
    ("ca", TORONTO, "2026-03-14 18:00:00", NO),
    ("ca", TORONTO, "2026-07-01 21:00:00", YES),  # Canada Day, a Wednesday like any other
    ("ca", TORONTO, "2026-03-15 09:59:59", NO),
    ("au", SYDNEY, "2026-03-11 19:59:59", YES),
    ("au", SYDNEY, "2026-03-14 17:00:00", NO),
    ("au", SYDNEY, "2026-01-26 12:00:00", NO),
    ("au", PERTH, "2026-03-15 12:00:00", NO),
    ("uk_2010", "Europe/London", "2026-12-25 03:00:00", YES),  # a policy without hours
]


def at(text: str, zone: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(("rule", "zone", "when", "expected"), VERDICTS)
def test_verdict__at_the_edges(rule, zone, when, expected):
    found = verdict(load_rule(rule), at(when, zone))
    assert found.may_ring is expected, found.reason
    assert when[:10] in found.reason


# one moment, 21:30 in New York on a Wednesday (summer time there, not in Arizona or Hawaii)
@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        (NEW_YORK, "21:30", NO),
        (CHICAGO, "20:30", YES),
        (DENVER, "19:30", YES),
        (PHOENIX, "18:30", YES),
        (LOS_ANGELES, "18:30", YES),
        (HONOLULU, "15:30", YES),
    ],
)
def test_verdict__goes_by_the_time_of_the_callee(zone, local, expected):
    when = at("2026-03-11 21:30:00", NEW_YORK).astimezone(ZoneInfo(zone))
    assert when.strftime("%H:%M") == local
    assert verdict(load_rule("us_tsr"), when).may_ring is expected


def test_verdict__early_in_new_york_is_night_in_california():
    when = at("2026-03-11 08:30:00", NEW_YORK)
    assert verdict(load_rule("us_tsr"), when).may_ring
    assert not verdict(load_rule("us_tsr"), when.astimezone(ZoneInfo(LOS_ANGELES))).may_ring


def test_verdict__names_the_holiday():
    found = verdict(load_rule("it_2014"), at("2026-06-02 12:00:00", ROME))
    assert found.kind == "holiday"
    assert "Republic Day" in found.reason


def test_verdict__needs_a_time_zone():
    with pytest.raises(ConfigError, match="time zone"):
        verdict(load_rule("it_2014"), datetime.datetime(2026, 3, 11, 12))


def test_day_kind__eve_across_the_new_year():
    assert day_kind(load_rule("it_2024"), date("2026-12-31")) == "eve"
    assert day_kind(load_rule("it_2014"), date("2026-12-31")) == "weekday"
    assert hours_of(load_rule("it_2014"), date("2027-01-01")) == ()


# ------------------------------------------------------------------------------------- sessions


def scenario(rule: object = "it_2014", segments: list[str] | None = None, **episode) -> Scenario:
    data = load_scenario("italy-50").model_dump(mode="json")
    data["rule"] = rule
    data["calls"]["greeting"] = {
        "start": {"kind": "constant", "value_s": 0.5},
        "length": {"kind": "constant", "value_s": 1},
    }
    data["calls"]["ring_timeout_s"] = 28
    data["episode"] |= {"start": "00:00", "duration_s": 86_400} | episode
    if segments:
        share = 1 / len(segments)
        parts = [{"share": share, "time_zone": zone} for zone in segments]
        data["people"] = {"n_people": 1000, "segments": parts}
    return Scenario.model_validate(data)


def test_sessions__of_an_italian_week_with_a_holiday():
    # Saturday 30 May to Friday 5 June 2026
    found = sessions_of(scenario(first_day="2026-05-30", n_days=7))
    assert [s.day for s in found] == [0, 2, 4, 5, 6]
    assert [s.week for s in found] == [0, 1, 1, 1, 1]
    assert [s.wall_s // 3600 for s in found] == [10, 9, 9, 9, 9]
    assert [(s.close_ms - s.open_ms) // H for s in found] == [9, 12, 12, 12, 12]
    assert [s.open_ms for s in found] == [0, 47 * H, 95 * H, 119 * H, 143 * H]
    assert all(s.stop_ms == s.close_ms - 70_000 and s.dial_ms == s.open_ms for s in found)
    assert found[0].date == date("2026-05-30")


def test_sessions__of_an_eve_are_short_under_the_code_of_2024():
    (eve,) = sessions_of(scenario("it_2024", first_day="2026-06-01"))
    assert (eve.wall_s, eve.close_ms) == (10 * 3600, 9 * H)


def test_sessions__france_has_two_a_day():
    first, second = sessions_of(scenario("fr", first_day="2026-03-11"))
    assert (first.wall_s, first.close_ms) == (10 * 3600, 3 * H)
    assert (second.wall_s, second.open_ms, second.close_ms) == (14 * 3600, 4 * H, 10 * H)
    assert (second.day, second.week) == (0, 0)


def test_sessions__are_cut_to_the_shift():
    (session,) = sessions_of(scenario(first_day="2026-03-11", start="18:00", duration_s=18_000))
    assert (session.wall_s, session.close_ms) == (18 * 3600, 3 * H)


def test_sessions__are_whole_intervals_and_long_enough():
    short = {"first_day": "2026-03-11", "start": "20:58", "duration_s": 7200}
    (session,) = sessions_of(scenario(**short, decision_interval_s=25))
    assert (session.close_ms, session.stop_ms) == (100_000, 30_000)
    (session,) = sessions_of(scenario(**short, close_s=119))
    assert session.stop_ms == 1000
    with pytest.raises(ConfigError, match="no time is left to dial"):
        sessions_of(scenario(**short, close_s=120))
    with pytest.raises(ConfigError, match="no time is left to dial"):  # 100 s long, 10 to dial
        sessions_of(scenario(**short, close_s=90, decision_interval_s=25))


@pytest.mark.parametrize(
    ("first_day", "hours_between"), [("2026-03-28", 47 - 1), ("2026-10-24", 47 + 1)]
)
def test_sessions__clock_change_at_night_shifts_the_days_after(first_day, hours_between):
    saturday, monday = sessions_of(scenario(first_day=first_day, n_days=3))
    assert (saturday.wall_s, monday.wall_s) == (10 * 3600, 9 * 3600)
    assert monday.open_ms - saturday.open_ms == hours_between * H


@pytest.mark.parametrize(
    ("day", "start", "duration_h", "wall_h", "length_h"),
    [
        ("2026-03-29", "00:00", 24, 0, 23),
        ("2026-03-29", "01:00", 4, 1, 3),
        ("2026-03-29", "02:00", 2, 3, 1),  # 02:00 does not exist: opens at 03:00
        ("2026-03-29", "04:00", 4, 4, 4),
        ("2026-10-25", "00:00", 24, 0, 25),
        ("2026-10-25", "01:00", 4, 1, 5),
        ("2026-10-25", "03:00", 2, 3, 2),
    ],
)
def test_sessions__contain_a_clock_change(day, start, duration_h, wall_h, length_h):
    (session,) = sessions_of(
        scenario("none", first_day=day, start=start, duration_s=3600 * duration_h)
    )
    assert (session.wall_s, session.close_ms) == (wall_h * 3600, length_h * H)


def test_sessions__hour_that_is_shown_twice_is_open_twice():
    first, second = sessions_of(
        scenario("none", first_day="2026-10-25", start="02:10", duration_s=1800)
    )
    assert (first.close_ms, second.open_ms, second.close_ms) == (H // 2, H, H + H // 2)
    assert first.wall_s == second.wall_s == 7800


@given(
    st.dates(datetime.date(2025, 1, 1), datetime.date(2030, 12, 31)),
    st.sampled_from([ROME, NEW_YORK, "Australia/Lord_Howe", "Africa/Cairo", "America/Asuncion"]),
    st.integers(0, 20),
    st.sampled_from(["it_2014", "it_2024", "fr", "none"]),
)
def test_sessions__are_what_the_verdict_says(day, zone, start_h, rule_name):
    """Open at every moment of the session and closed just outside, by independent arithmetic."""
    rule = load_rule(rule_name)
    world = scenario(
        rule_name,
        first_day=day.isoformat(),
        n_days=3,
        time_zone=zone,
        start=f"{start_h:02d}:00",
        duration_s=3600 * (24 - start_h),
    )
    try:
        found = sessions_of(world)
    except ConfigError:
        return
    first = found[0]
    assert first.date is not None
    naive = datetime.datetime.combine(first.date, datetime.time())
    naive += datetime.timedelta(seconds=first.wall_s)
    origin = naive.replace(tzinfo=ZoneInfo(zone)).timestamp()

    def may_ring(ms: int) -> bool:
        when = datetime.datetime.fromtimestamp(origin + ms / 1000, ZoneInfo(zone))
        return when.hour >= start_h and verdict(rule, when).may_ring

    for session in found:
        assert all(may_ring(t) for t in range(session.open_ms, session.close_ms, H // 4))
        assert may_ring(session.close_ms - 1000)
        assert (
            not may_ring(session.close_ms)
            or any(s.open_ms == session.close_ms for s in found)
            or session.day == 2
        )
    ends = [s.close_ms for s in found]
    assert all(a <= s.open_ms for a, s in zip(ends, found[1:], strict=False))


def test_sessions__dial_from_and_until():
    world = scenario(first_day="2026-03-11", dial_from="10:30", dial_until="12:00")
    (session,) = sessions_of(world)
    assert (session.dial_ms, session.stop_ms, session.close_ms) == (H * 3 // 2, 3 * H, 12 * H)
    # France: nothing to dial in the morning
    (session,) = sessions_of(scenario("fr", first_day="2026-03-11", dial_from="14:00"))
    assert session.wall_s == 14 * 3600
    with pytest.raises(ConfigError, match="no time is left to dial"):
        sessions_of(scenario(first_day="2026-03-11", dial_from="12:00", dial_until="12:00"))


def test_sessions__without_a_date_are_one_shift():
    (session,) = sessions_of(load_scenario("italy-50"))
    assert session.date is None
    assert session[1:] == (36_000, 0, 0, 28_730_000, 28_800_000, (0,), 0, 0)
    world = scenario(start="10:00", duration_s=7200, dial_from="10:30", dial_until="11:00")
    (session,) = sessions_of(world)
    assert (session.dial_ms, session.stop_ms) == (H // 2, H)
    with pytest.raises(ConfigError, match="no time is left to dial"):
        sessions_of(scenario(start="10:00", duration_s=7200, dial_from="12:00"))


def test_sessions__refuse_a_day_that_ends_after_midnight():
    with pytest.raises(ConfigError, match="after midnight"):
        sessions_of(scenario("none", first_day="2026-03-11", start="20:00", duration_s=18_000))


def test_sessions__say_why_none_is_left():
    with pytest.raises(ConfigError, match="holiday: never") as caught:
        sessions_of(scenario(first_day="2026-06-02"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="weekday: 09:00-21:00"):
        sessions_of(scenario(first_day="2026-03-11", start="22:00", duration_s=3600))


def test_sessions__count_every_window():
    kinds = [("campaign", 1), ("day", 1), ("days", 30), ("month", 1)]
    windows = [{"kind": kind, "length": length, "cap": 0.03} for kind, length in kinds]
    rule = {"profile": "it_2014", "windows": windows}
    found = {
        s.date: s.windows for s in sessions_of(scenario(rule, first_day="2026-01-28", n_days=61))
    }
    assert found[date("2026-01-28")] == (0, 0, 0, 0)
    assert found[date("2026-01-31")] == (0, 3, 0, 0)
    assert found[date("2026-02-26")] == (0, 29, 0, 1)
    assert found[date("2026-02-27")] == (0, 30, 1, 1)
    assert found[date("2026-03-27")] == (0, 58, 1, 2)
    assert found[date("2026-03-28")] == (0, 59, 1, 2)


def test_window_number__months_across_the_year_and_rolling_hours():
    month, hours = Window(kind="month", cap=0.05), Window(kind="hours", length=24, cap=0.03)
    assert window_number(month, date("2026-11-15"), date("2027-01-01")) == 2
    assert window_number(hours, date("2026-11-15"), date("2027-01-01")) == 0


# -------------------------------------------------------------------------------- callee's hours


def test_segment_hours__are_the_session_where_hours_are_the_campaigns():
    world = scenario(segments=[ROME, NEW_YORK], first_day="2026-03-11", n_days=2)
    sessions = sessions_of(world)
    hours = segment_hours(world, sessions)
    assert hours.shape == (2, 2, 2)
    assert hours.dtype == np.int64
    for i, session in enumerate(sessions):
        assert (hours[i] == [session.dial_ms, session.stop_ms]).all()
    assert segment_hours(
        load_scenario("italy-50"), sessions_of(load_scenario("italy-50"))
    ).shape == (
        1,
        1,
        2,
    )


def test_segment_hours__across_the_united_states():
    # 8:00 to 24:00 in New York; California is three hours behind
    world = scenario(
        "us_tsr",
        segments=[NEW_YORK, CHICAGO, LOS_ANGELES, HONOLULU],
        first_day="2026-03-11",
        time_zone=NEW_YORK,
        start="08:00",
        duration_s=16 * 3600,
    )
    (session,) = sessions_of(world)
    assert session.close_ms == 16 * H
    (hours,) = segment_hours(world, (session,))
    assert hours.tolist() == [
        [0, 13 * H - 70_000],
        [H, 14 * H - 70_000],
        [3 * H, 16 * H - 70_000],
        [6 * H, 16 * H - 70_000],
    ]


def test_segment_hours__go_by_the_callees_own_date():
    # Sunday 18:00 in Los Angeles is Monday noon in Sydney; Sunday has no calls there
    world = scenario(
        "au",
        segments=[SYDNEY, LOS_ANGELES],
        first_day="2026-03-15",
        time_zone=LOS_ANGELES,
        start="16:00",
        duration_s=4 * 3600,
    )
    (hours,) = segment_hours(world, sessions_of(world))
    assert hours.tolist() == [[0, 4 * H - 70_000], [0, 0]]


def test_segment_hours__follow_clock_changes_of_the_callee():
    # Phoenix has no summer time: 8:00 there is 10:00 in New York before 8 March 2026, 11:00 after
    world = scenario(
        "us_tsr",
        segments=[PHOENIX],
        first_day="2026-03-07",
        n_days=2,
        time_zone=NEW_YORK,
        start="09:00",
        duration_s=8 * 3600,
    )
    sessions = sessions_of(world)
    hours = segment_hours(world, sessions)
    assert sessions[1].open_ms == 23 * H
    assert [int(hours[i, 0, 0]) - s.open_ms for i, s in enumerate(sessions)] == [H, 2 * H]


def test_segment_hours__refuse_two_parts_and_none():
    split = {"profile": "fr", "hours": {"weekday": [["10:00", "13:00"], ["14:00", "20:00"]]}}
    split["hours"]["callee_time"] = True
    world = scenario(split, segments=[PARIS], first_day="2026-03-11", time_zone=PARIS)
    with pytest.raises(ConfigError, match="2 parts"):
        segment_hours(world, sessions_of(world))
    night = {"first_day": "2026-03-11", "time_zone": NEW_YORK, "start": "22:00", "duration_s": 7200}
    world = scenario("us_tsr", segments=[NEW_YORK], **night)
    with pytest.raises(ConfigError, match="no segment may be dialed"):
        segment_hours(world, sessions_of(world))


def test_rule__hours_that_end_at_midnight_join_the_next_day():
    always = Rule(id="x", cap=1, wait_limit_s=3, hours={"callee_time": True})  # type: ignore[arg-type]
    world = scenario(
        always.model_dump(mode="json"), segments=[HONOLULU], first_day="2026-03-11", time_zone=ROME
    )
    (session,) = sessions_of(world)
    assert segment_hours(world, (session,)).tolist() == [[[0, 24 * H - 70_000]]]


# ------------------------------------------------------------------------------------- refusals


def test_sessions__refuse_calls_that_could_ring_after_the_hours():
    with pytest.raises(ConfigError, match="close_s = 20 is too short: a dial may ring for 28 s"):
        sessions_of(scenario(first_day="2026-06-01", close_s=20))


def test_sessions__refuse_a_shift_without_a_date_outside_the_hours():
    with pytest.raises(ConfigError, match="weekday hours 09:00-21:00 of rule it_2014"):
        sessions_of(scenario(start="18:00", duration_s=14_400))


def test_scenario__with_a_limited_ring_needs_a_timeout():
    data = load_scenario("italy-50").model_dump(mode="json") | {"rule": "de"}
    with pytest.raises(ValidationError, match="rule de allows 40"):
        Scenario.model_validate(data)
