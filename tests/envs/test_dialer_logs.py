"""Logs of dialers are read into one form: our own records, VICIdial's tables, Asterisk's files."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from quietdial.envs import record_files
from quietdial.envs.dialer_logs import RecordedDay, RecordedDays, Table, read_logs
from quietdial.envs.dialer_logs.days import split_at
from quietdial.envs.errors import CalibrationError
from quietdial.envs.scenario import changed, load_scenario
from quietdial.experiments.simulate import find_policy, simulate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of three days of ten agents."""
    path = tmp_path_factory.mktemp("records")
    scenario = changed(load_scenario("study-real-10"), episode={"duration_s": 7200})
    simulate(find_policy("marginal"), scenario, n_days=3, records=path)
    return path


@pytest.fixture(scope="module")
def days(folder: Path) -> RecordedDays:
    return read_logs(folder)


def test_records__become_days_with_every_row(folder: Path, days: RecordedDays) -> None:
    rows = record_files.read_columns(folder / "calls.parquet", ("campaign", "dialed_ms", "outcome"))
    assert days.format == "records"
    assert [day.label for day in days.days] == ["episode 0", "episode 1", "episode 2"]
    for number, day in enumerate(days.days):
        mine = rows["campaign"] == number
        assert len(day.calls) == mine.sum()
        assert np.all(np.diff(day.calls["dialed_ms"]) >= 0)
        assert (day.calls["outcome"] == "person").sum() == (rows["outcome"][mine] == "person").sum()
        assert day.length_ms == 7_200_000
        spent = (day.agents["to_ms"] - day.agents["from_ms"]).sum()
        assert spent == 10 * day.length_ms
    assert days.counted["calls"] == len(rows["campaign"])


def test_table__says_why_a_column_is_not_there() -> None:
    table = Table("calls", {"call": np.arange(3)}, {"agent": "the file has no agents"})
    assert len(table) == 3
    assert "call" in table
    assert not table.has("call", "agent")
    with pytest.raises(CalibrationError, match="agent is not known: the file has no agents"):
        table["agent"]


def test_split_at__cuts_stretches_where_a_day_begins() -> None:
    table = Table(
        "agents",
        {
            "agent": np.array([0, 1, 2]),
            "from_ms": np.array([0, 50, 120]),
            "to_ms": np.array([90, 250, 130]),
            "censored": np.zeros(3, np.bool_),
        },
    )
    parts, day, n_cut = split_at(table, "from_ms", "to_ms", [0, 100, 200])
    rows = sorted(
        zip(parts["agent"], day, parts["from_ms"], parts["to_ms"], parts["censored"], strict=True)
    )
    assert rows == [
        (0, 0, 0, 90, False),
        (1, 0, 50, 100, True),
        (1, 1, 100, 200, True),
        (1, 2, 200, 250, False),
        (2, 1, 120, 130, False),
    ]
    assert n_cut == 2


@pytest.mark.parametrize(
    ("date", "hours"), [((2026, 3, 29), (0, 1, 3, 4)), ((2026, 10, 25), (0, 1, 2, 2))]
)
def test_local_time__follows_clocks_put_forward_and_back(
    date: tuple[int, int, int], hours: tuple[int, ...]
) -> None:
    day = datetime.date(*date)
    zero = datetime.datetime(*date, tzinfo=datetime.UTC) - datetime.timedelta(
        hours=1 if day.month == 3 else 2
    )
    empty = Table("calls", {})
    recorded = RecordedDay(
        str(day), day, 0.0, round(zero.timestamp() * 1000), 10**7, empty, empty, "Europe/Rome"
    )
    assert recorded.local_s(np.arange(4) * 3_600_000).tolist() == [3600 * h for h in hours]


def test_read_logs__without_records_says_so(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"calls\.parquet: there is no such file"):
        read_logs(tmp_path, "records")
    with pytest.raises(CalibrationError, match=r"holds no log that is known; allowed are a folder"):
        read_logs(tmp_path)
