"""Call detail records of Asterisk: Cdr.csv without a header, or a table exported from a database.

One call may leave several rows (one for each agent that rang): rows with the same `uniqueid` are
one call. Without a `uniqueid` (`loguniqueid` is off in cdr.conf) each row is a call of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from quietdial.envs.dialer_logs.clock import FIRST_S, LAST_S, LogClock
from quietdial.envs.dialer_logs.text import TextTable, quoted_rows, read_table, refuse
from quietdial.envs.errors import CalibrationError

CSV_COLUMNS: Final = (
    "accountcode",
    "src",
    "dst",
    "dcontext",
    "clid",
    "channel",
    "dstchannel",
    "lastapp",
    "lastdata",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "amaflags",
    "uniqueid",
    "userfield",
)
"""Order of the columns of Cdr.csv; the last two are there when cdr.conf says so."""
DISPOSITIONS: Final = {
    "ANSWERED": "",
    "NO ANSWER": "no_answer",
    "BUSY": "busy",
    "FAILED": "failure",
    "CONGESTION": "failure",
}
"""Outcome of each disposition; who picked up an answered call is not in it."""
_READ: Final = (
    "dst",
    "dcontext",
    "calldate",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "uniqueid",
    "userfield",
)
_TELLING: Final = ("disposition", "billsec", "duration")


def is_header(header: Sequence[str]) -> bool:
    """Whether these are the columns of an exported table of call detail records."""
    has_time = "calldate" in header or "start" in header
    return has_time and all(name in header for name in _TELLING)


def is_csv(row: Sequence[str]) -> bool:
    """Whether a row looks like one of Cdr.csv."""
    return 16 <= len(row) <= 20 and row[14].strip().upper() in DISPOSITIONS


@dataclass(slots=True)
class CdrCall:
    """One call; times are UTC [ms since 1970], None for none."""

    start_ms: int
    answer_ms: int | None
    end_ms: int
    disposition: str
    userfield: str
    dst: str


def read_cdr(
    files: Sequence[tuple[Path, bool]], clock: LogClock, context: str | None, counted: Counter[str]
) -> dict[str, CdrCall]:
    """Read call detail records, by `uniqueid`.

    Args:
        files: path of each file, and whether it has a header.
        clock: of the local times.
        context: rows of this `dcontext` only; None: all.
        counted: what was met is counted here.

    Raises:
        CalibrationError: a file is not such a table, or its local times do not fit the time zone.
    """
    calls: dict[str, CdrCall] = {}
    off: list[int] = []
    seen: set[tuple[str, ...]] = set()
    for path, has_header in files:
        table = read_table(path, _READ, _TELLING) if has_header else _csv_table(path)
        counted["last lines that were cut off"] += table.n_cut
        counted["rows of the CDR"] += len(table)
        for row in range(len(table)):
            if context is not None and table.text("dcontext", row) != context:
                counted["rows of the CDR of another context"] += 1
                continue
            key = tuple(table.text(name, row) for name in _READ)
            if key in seen:
                counted["rows that stand twice, left out"] += 1
                continue
            seen.add(key)
            unique = table.text("uniqueid", row)
            new = _one(table, row, unique, clock, off)
            name = unique or f"row {len(calls)}"
            old = calls.get(name)
            calls[name] = new if old is None else _merged(old, new)
    if off and abs(median(off)) > 900_000:
        raise CalibrationError(
            f"{files[0][0]}: the start of the calls is {median(off) / 1000:.0f} s off the time in "
            f"their uniqueid in the time zone {clock.name}; give the time zone of the file"
        )
    return calls


def _csv_table(path: Path) -> TextTable:
    columns: dict[str, list[str]] = {name: [] for name in _READ if name != "calldate"}
    table = TextTable(path, columns)
    places = {name: CSV_COLUMNS.index(name) for name in columns}
    for number, row, is_whole in quoted_rows(path):
        if row == [""]:
            continue
        if not 16 <= len(row) <= 20:
            if not is_whole:
                table.n_cut = 1
                break
            refuse(path, number, f"{len(row)} columns; Cdr.csv has 16 to 18")
        table.lines.append(number)
        for name, place in places.items():
            columns[name].append(row[place] if place < len(row) else "")
    return table


def unique_ms(unique: str) -> int | None:
    """The time in a unique id such as `1366720340.303267` or `pbx1-1366720340.3` [ms], or None."""
    digits = unique.rpartition("-")[2].partition(".")[0]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
        return None
    seconds = int(digits)
    return 1000 * seconds if FIRST_S <= seconds < LAST_S else None


def _one(table: TextTable, row: int, unique: str, clock: LogClock, off: list[int]) -> CdrCall:
    line = table.lines[row]
    near = unique_ms(unique)
    text = table.text("start", row) or table.text("calldate", row)
    start = clock.utc_ms(text, table.path, line, near)
    if near is not None and len(off) < 5000:
        off.append(start - near)
    duration = table.count("duration", row)
    billed = table.count("billsec", row)
    disposition = table.text("disposition", row).strip().upper()
    if disposition not in DISPOSITIONS:
        allowed = ", ".join(DISPOSITIONS)
        refuse(table.path, line, f"disposition = {disposition!r:.40} is not one of: {allowed}")
    if duration is None or billed is None or billed > duration:
        refuse(table.path, line, "duration and billsec must be seconds, billsec at most duration")
    end_text, answer_text = table.text("end", row), table.text("answer", row)
    end = start + 1000 * duration
    if end_text and not end_text.startswith("0000"):
        end = clock.utc_ms(end_text, table.path, line, end)
    answer: int | None = None
    if disposition == "ANSWERED":
        answer = end - 1000 * billed
        if answer_text and not answer_text.startswith("0000"):
            answer = clock.utc_ms(answer_text, table.path, line, answer)
    if end < start or (answer is not None and not start <= answer <= end):
        refuse(table.path, line, "the call is answered before it starts, or ends before it")
    return CdrCall(
        start, answer, end, disposition, table.text("userfield", row), table.text("dst", row)
    )


def _merged(a: CdrCall, b: CdrCall) -> CdrCall:
    """Two rows of one call: the earliest start and answer, the latest end."""
    answers = [x for x in (a.answer_ms, b.answer_ms) if x is not None]
    first = a if a.start_ms <= b.start_ms else b
    disposition = "ANSWERED" if answers else first.disposition
    return CdrCall(
        min(a.start_ms, b.start_ms),
        min(answers) if answers else None,
        max(a.end_ms, b.end_ms),
        disposition,
        a.userfield or b.userfield,
        first.dst,
    )
