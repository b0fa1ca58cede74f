"""The one form that the logs of every dialer are read into: recorded days.

A day has two tables with the columns of our own records (`quietdial.envs.records.CALLS` and
`AGENTS`). A column that a log cannot know is not there: asking for it raises `CalibrationError`
with the reason, so that nothing can be taken for known that is not. Within a column that is known,
-1 (times, numbers) and "" (labels) mean none, as in `record_files.read_columns`.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quietdial.envs.errors import CalibrationError
from quietdial.envs.records import AGENTS, CALLS

LogFormat = Literal["records", "vicidial", "asterisk"]
FORMATS: Final[tuple[LogFormat, ...]] = ("records", "vicidial", "asterisk")
DAY_S: Final = 86_400
CALL_COLUMNS: Final = tuple(column.name for column in CALLS if column.name != "campaign")
AGENT_COLUMNS: Final = tuple(column.name for column in AGENTS if column.name != "campaign")
"""Columns of our own records that recorded days have: they are of one campaign."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length, those that the log knows; and why the others are not there.

    Attributes:
        name: what the rows are, for messages.
        columns: known columns by name, each (rows,): int64 with -1 for none, bool, or text.
        unknown: columns of our own records that this log does not tell, and why.
        source: table and column of the log that each known column is from.
        resolution_ms: smallest step of the times in each known column, where it is not 1 ms.
    """

    name: str
    columns: Mapping[str, NDArray[Any]]
    unknown: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    resolution_ms: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, name: object) -> bool:
        """Whether the log knows a column."""
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A known column, (rows,); raises `CalibrationError` with the reason for another."""
        if name in self.columns:
            return self.columns[name]
        reason = self.unknown.get(name, "the format has no such column")
        raise CalibrationError(f"{self.name}: {name} is not known: {reason}")

    def has(self, *names: str) -> bool:
        """Whether all of these columns are known."""
        return all(name in self.columns for name in names)

    def step_ms(self, *names: str) -> int:
        """The coarsest resolution of some columns [ms]."""
        return max((self.resolution_ms.get(name, 1) for name in names), default=1)

    def where(self, rows: NDArray[Any]) -> Table:
        """Some of the rows: a mask, or numbers of rows in a new order."""
        kept = {name: values[rows] for name, values in self.columns.items()}
        return self.having(kept)

    def having(self, columns: Mapping[str, NDArray[Any]]) -> Table:
        """The same table with other values."""
        return Table(self.name, columns, self.unknown, self.source, self.resolution_ms)


@dataclass(frozen=True)
class RecordedDay:
    """One campaign on one day. All times are whole milliseconds since `begin`, true elapsed time.

    Attributes:
        label: the date, or the number of the episode and session.
        date: local calendar day; None: records of a scenario without a date.
        wall_s: local time of day at time 0 [s since midnight].
        utc_ms: time 0 in UTC [ms since 1970-01-01]; None without a date.
        length_ms: the recorded span is from 0 to here; what happened later is not in the log.
        calls: one row for each dial (or, where the log has no dials, each queued call), by time.
        agents: one row for each stretch of time that an agent spends in one state, by time.
        time_zone: of the local time, IANA name.
    """

    label: str
    date: datetime.date | None
    wall_s: float
    utc_ms: int | None
    length_ms: int
    calls: Table
    agents: Table
    time_zone: str = "UTC"

    def local_s(self, time_ms: ArrayLike) -> NDArray[np.float64]:
        """Local time of day [s since midnight of `date`], shape of `time_ms` [ms since time 0].

        Clocks that are put forward or back on that day are followed.
        """
        time = np.asarray(time_ms, np.float64)
        if self.utc_ms is None or self.date is None:
            return self.wall_s + time / 1000.0
        zone = zoneinfo.ZoneInfo(self.time_zone)
        midnight = datetime.datetime.combine(self.date, datetime.time(), datetime.UTC)
        utc = self.utc_ms + time
        hours = np.unique(utc // 3_600_000) if utc.size else np.zeros(0)
        shift = np.zeros(utc.shape)
        for hour in hours.tolist():  # offsets change on the quarter of an hour at the finest
            for quarter in range(4):
                start = hour * 3_600_000 + quarter * 900_000
                moment = datetime.datetime.fromtimestamp(start / 1000.0, zone)
                offset = moment.utcoffset() or datetime.timedelta()
                inside = (utc >= start) & (utc < start + 900_000)
                shift[inside] = offset.total_seconds()
        result: NDArray[np.float64] = utc / 1000.0 + shift - midnight.timestamp()
        return result


@dataclass(frozen=True)
class RecordedDays:
    """What was read.

    Attributes:
        format: of the log.
        campaign: the campaign or queue, if the log names one.
        days: the days in order, at least one.
        counted: what was met and how often: rows read, doubles left out, calls cut off by the end
            of the log, and so on; keys are plain words.
        files: the files that were read.
    """

    format: LogFormat
    campaign: str
    days: tuple[RecordedDay, ...]
    counted: Mapping[str, int]
    files: tuple[str, ...]

    def known(self, table: Literal["calls", "agents"], *names: str) -> bool:
        """Whether every day knows all of these columns."""
        return all(getattr(day, table).has(*names) for day in self.days)

    def joined(self, table: Literal["calls", "agents"], name: str) -> NDArray[Any]:
        """One column of all days one after the other; raises `CalibrationError` if not known."""
        return np.concatenate([getattr(day, table)[name] for day in self.days])


def split_at(
    table: Table, begin: str, end: str, cuts_ms: Iterable[int]
) -> tuple[Table, NDArray[np.int64], int]:
    """Cut the stretches of a table where a new day begins.

    Args:
        table: stretches with the columns `begin` and `end` [ms], and `censored`.
        begin: name of the column with their begin.
        end: name of the column with their end.
        cuts_ms: times at which each day begins, rising.

    Returns:
        The table with the parts, the number of each part's day, and how many stretches were cut.
        A part that goes on in the next day is `censored`.
    """
    cuts = np.asarray(list(cuts_ms), np.int64)
    columns = dict(table.columns)
    day = np.maximum(np.searchsorted(cuts, columns[begin], side="right") - 1, 0)
    n_cut = 0
    pieces, days = [columns], [day]
    head = columns
    while True:
        nxt = np.where(
            day + 1 < len(cuts), cuts[np.minimum(day + 1, len(cuts) - 1)], np.int64(2**62)
        )
        over = head[end] > nxt
        if not over.any():
            break
        n_cut += int(over.sum())
        tail = {name: values[over].copy() for name, values in head.items()}
        tail[begin] = nxt[over]
        head[end] = np.where(over, nxt, head[end])
        head["censored"] = head["censored"] | over
        head, day = tail, day[over] + 1
        pieces.append(head)
        days.append(day)
    whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in columns}
    number = np.concatenate(days).astype(np.int64)
    return table.having(whole), number, n_cut
