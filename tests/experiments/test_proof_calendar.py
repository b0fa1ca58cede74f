"""The table of dates and times, whole, and that it finds what is wrong."""

import pytest

from quietdial.experiments.proof import calendar, calendar_windows
from quietdial.experiments.proof.calendar_windows import differences, play_windows, window_world
from quietdial.experiments.proof.parts import failed


@pytest.fixture(scope="module")
def figures():
    return {row["name"]: row for row in calendar.run(0.02, lambda what, share: None)}


def test_calendar__every_row_has_its_verdict(figures):
    assert [row["note"] for row in failed(list(figures.values()))] == []


def test_calendar__has_many_rows(figures):
    table = ("moments", "sessions", "pauses", "attempts", "midnight")
    assert sum(figures[f"calendar/{name}"]["n"] for name in table) >= 100
    assert figures["calendar/windows"]["n"] > 1000


def test_calendar__a_wrong_verdict_is_told(monkeypatch):
    rows = (
        ("open", "it_2014", calendar.ROME, "2026-05-04 12:00:00", False),
        ("closed", "us_tsr", calendar.PACIFIC, "2026-05-04 07:59:50", True),
    )
    monkeypatch.setattr(calendar, "MOMENTS", rows)
    off = [row for row in calendar.moment_rows() if row.expected != row.found]
    assert len(off) == 2
    assert "found yes by the calendar, yes by the kernel" in off[0].line


@pytest.fixture(scope="module")
def counted():
    scenario = window_world(calendar_windows._FAMILIES[0], "counted")
    return scenario, play_windows(scenario, 1)[0]


def test_windows__agree_and_some_are_above_the_cap_and_some_not(counted):
    scenario, episode = counted
    assert differences(scenario, episode).lines == []
    breached, closed = episode.windows["breached"], episode.windows["closed"]
    assert 0 < breached[3] < closed[3]
    assert closed[:3].tolist() == [5, 1, 3]


@pytest.mark.parametrize("name", ["closed", "breached", "seen_breached"])
@pytest.mark.parametrize("window", range(4))
def test_windows__a_wrong_count_is_found(counted, name, window):
    scenario, episode = counted
    windows = {key: values.copy() for key, values in episode.windows.items()}
    windows[name][window] += 1
    lines = differences(scenario, episode._replace(windows=windows)).lines
    assert len(lines) == 1
    assert name in lines[0]


def test_windows__a_lost_record_is_found(counted):
    """Without the silent calls of the records, the kernel's breaches have no reason."""
    scenario, episode = counted
    calls = [call for call in episode.calls if call.silent is None]
    lines = differences(scenario, episode._replace(calls=calls)).lines
    assert sum("breached" in line for line in lines) >= 4
