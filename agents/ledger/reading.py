"""What is read out of a ledger without writing it: the check and the regulator's statistics."""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from quietdial.agents.ledger import chain, store
from quietdial.agents.ledger.errors import LedgerError
from quietdial.agents.ledger.events import ANSWERED, CAUSES, OUTCOMES
from quietdial.agents.ledger.tallies import WAITS_S
from quietdial.agents.ledger.terms import Terms, WindowTerm

WAIT_NAMES = (*(f"wait_{most_s}s" for most_s in WAITS_S), "wait_longer")
DAY_COLUMNS = ("dialed", *OUTCOMES, "dialed_although_refused", *WAIT_NAMES)
"""Counts of a day, in the order of the report."""


class DayCounts(NamedTuple):
    """One calendar day of a campaign.

    Attributes:
        day: YYYY-MM-DD in the campaign's time zone.
        counts: by name, all of `DAY_COLUMNS`.
        answered: calls that a person picked up.
        silent: of these, those in the rule's numerator.
        rate: silent / answered; 0 without any.
    """

    day: str
    counts: dict[str, int]
    answered: int
    silent: int
    rate: float


class WindowResult(NamedTuple):
    """One window of a campaign that was counted.

    Attributes:
        window: kind, length, cap.
        number: its number from 0.
        answered, silent: its counts.
        rate: silent / answered.
        above: whether the rate is above the cap.
    """

    window: WindowTerm
    number: int
    answered: int
    silent: int
    rate: float
    above: bool


class CampaignReport(NamedTuple):
    """The statistics of one campaign.

    Attributes:
        name: its name.
        terms: what it has to keep now.
        days: in order; days without an event are left out.
        windows: those that are counted one after the other, in the terms' order.
        changes: entries of the audit trail on its terms.
        repeats: people with two silent calls or more among those still known.
        decisions: number of decisions still kept, and how many of them were fallbacks.
    """

    name: str
    terms: Terms
    days: tuple[DayCounts, ...]
    windows: tuple[WindowResult, ...]
    changes: tuple[chain.Entry, ...]
    repeats: int
    decisions: tuple[int, int]


class Report(NamedTuple):
    """The statistics of a ledger.

    Attributes:
        campaigns: one for each, by name.
        head: last mark of the audit trail; keep it elsewhere.
        faults: what the check found; empty: nothing.
        checked: whether the key was given, so that marks were checked too.
    """

    campaigns: tuple[CampaignReport, ...]
    head: str
    faults: tuple[str, ...]
    checked: bool


def verify(path: Path, key: bytes, known_head: str = "") -> list[str]:
    """Check the whole ledger; what is wrong with it, in words.

    The file's pages, the marks of the audit trail, that terms are those last agreed on, that the
    counts of days and windows are those of the single calls, and that closed days are as sealed.

    Args:
        path: the ledger.
        key: its key.
        known_head: a head printed earlier, that must occur in the audit trail; empty: none.

    Raises:
        LedgerError: the ledger cannot be opened at all.
    """
    with store.one_line(path):
        connection = store.open_to_read(path, key)
        try:
            connection.execute("BEGIN")
            return _faults(connection, key, known_head)
        finally:
            connection.close()


def report(path: Path, key: bytes | None = None, campaign: str | None = None) -> Report:
    """The statistics of a ledger, or of one campaign in it.

    Args:
        path: the ledger.
        key: its key; without it nothing is checked.
        campaign: one campaign; None: all.

    Raises:
        LedgerError: the ledger cannot be read, or has no such campaign.
    """
    with store.one_line(path):
        connection = store.open_to_read(path, key)
        try:
            connection.execute("BEGIN")
            rows = connection.execute("SELECT id, name, terms FROM campaigns ORDER BY name")
            chosen = [row for row in rows.fetchall() if campaign in (None, row[1])]
            if campaign is not None and not chosen:
                raise LedgerError(f"ledger {str(path)!r} has no campaign {campaign!r}")
            found = tuple(_campaign(connection, *row) for row in chosen)
            faults = () if key is None else tuple(_faults(connection, key, ""))
            return Report(found, chain.head(connection), faults, key is not None)
        finally:
            connection.close()


def _faults(connection: sqlite3.Connection, key: bytes, known_head: str) -> list[str]:
    found = [
        f"damaged: {text}"
        for (text,) in connection.execute("PRAGMA integrity_check(20)")
        if text != "ok"
    ]
    found += chain.faults(connection, key, known_head)
    agreed: dict[str, str] = {}
    sealed: dict[tuple[str, str], dict[str, int]] = {}
    for entry in chain.entries(connection):
        content = json.loads(entry.content)
        if entry.what == "terms":
            agreed[entry.campaign] = content["new"]
        elif entry.what == "day":
            sealed[entry.campaign, content["day"]] = content["counts"]
    rows = connection.execute("SELECT id, name, terms FROM campaigns ORDER BY name").fetchall()
    for number, name, text in rows:
        if agreed.get(name) != text:
            found.append(f"campaign {name!r}: its terms are not those last agreed on")
        found += _count_faults(connection, number, name, Terms.from_json(text))
        days = _statistics(connection, number)
        open_days = {
            row[0].split()[-1]
            for row in connection.execute(
                "SELECT name FROM meta WHERE name LIKE ?", (f"reseal {number} %",)
            )
        }
        for (campaign, day), counts in sealed.items():
            if campaign == name and day not in open_days and days.get(day, {}) != counts:
                found.append(f"campaign {name!r}: the counts of {day} are not those sealed")
    return found


def _count_faults(
    connection: sqlite3.Connection, number: int, name: str, terms: Terms
) -> list[str]:
    """Days and windows that do not agree with the single calls."""
    found = []
    days: Counter[tuple[str, str]] = Counter()
    windows: Counter[tuple[str, int, int, str]] = Counter()
    rows = connection.execute(
        "SELECT day, outcome, count(*) FROM calls WHERE campaign = ? GROUP BY day, outcome",
        (number,),
    ).fetchall()
    for day, outcome, n in rows:
        days[day, outcome] += n
        if outcome not in ANSWERED:
            continue
        for window in terms.windows:
            if window.kind != "hours":
                place = (
                    window.kind,
                    window.length,
                    terms.number_of(window, datetime.date.fromisoformat(day)),
                )
                windows[*place, "answered"] += n
                if outcome in CAUSES:
                    windows[*place, CAUSES[outcome]] += n
    kept = {
        (day, outcome): n
        for day, counts in _statistics(connection, number).items()
        for outcome, n in counts.items()
        if outcome == "dialed" or outcome in OUTCOMES
    }
    if dict(days) != kept:
        found.append(f"campaign {name!r}: the counts of days are not those of its calls")
    counted: dict[tuple[str, int, int, str], int] = {}
    for kind, length, place, *values in connection.execute(
        'SELECT kind, length, number, answered, cut, "left", amd FROM windows WHERE campaign = ?',
        (number,),
    ):
        if any((w.kind, w.length) == (kind, length) for w in terms.windows):
            for cause, n in zip(("answered", "cut", "left", "amd"), values, strict=True):
                if n:
                    counted[kind, length, place, cause] = n
    if dict(windows) != counted:
        found.append(f"campaign {name!r}: the counts of windows are not those of its calls")
    return found


def _statistics(connection: sqlite3.Connection, number: int) -> dict[str, dict[str, int]]:
    days: dict[str, dict[str, int]] = {}
    for day, name, count in connection.execute(
        "SELECT day, name, count FROM statistics WHERE campaign = ? ORDER BY day", (number,)
    ):
        days.setdefault(day, {})[name] = count
    return days


def _campaign(connection: sqlite3.Connection, number: int, name: str, text: str) -> CampaignReport:
    terms = Terms.from_json(text)
    days = tuple(
        _day(terms, day, counts) for day, counts in _statistics(connection, number).items()
    )
    windows = []
    for window in terms.windows:
        for place, answered, cut, left, amd in connection.execute(
            'SELECT number, answered, cut, "left", amd FROM windows '
            "WHERE campaign = ? AND kind = ? AND length = ? ORDER BY number",
            (number, window.kind, window.length),
        ):
            silent = _counted(terms, cut, left, amd)
            rate = silent / answered if answered else 0.0
            above = silent > window.cap * answered + 1e-9
            windows.append(WindowResult(window, place, answered, silent, rate, above))
    repeats = connection.execute(
        "SELECT count(*) FROM (SELECT person FROM calls WHERE campaign = ? AND ended = 1 "
        "AND person IS NOT NULL AND outcome IN ('cut', 'late', 'left', 'amd') "
        "GROUP BY person HAVING count(*) > 1)",
        (number,),
    ).fetchone()[0]
    decisions = connection.execute(
        "SELECT count(*), total(json_extract(content, '$.fallback')) FROM decisions "
        "WHERE campaign = ?",
        (number,),
    ).fetchone()
    changes = tuple(
        entry
        for entry in chain.entries(connection)
        if entry.what == "terms" and entry.campaign == name
    )
    return CampaignReport(
        name,
        terms,
        days,
        tuple(windows),
        changes,
        int(repeats),
        (int(decisions[0]), int(decisions[1])),
    )


def _day(terms: Terms, day: str, counts: dict[str, int]) -> DayCounts:
    full = {name: counts.get(name, 0) for name in DAY_COLUMNS}
    answered = sum(full[name] for name in ANSWERED)
    silent = _counted(terms, full["cut"] + full["late"], full["left"], full["amd"])
    return DayCounts(day, full, answered, silent, silent / answered if answered else 0.0)


def _counted(terms: Terms, cut: int, left: int, amd: int) -> int:
    return cut * terms.counts_cut + left * terms.counts_left + amd * terms.counts_amd
