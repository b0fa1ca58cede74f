"""What a ledger answers: the counts of the windows, and who may be called."""

from __future__ import annotations

import datetime
import math
import sqlite3
from typing import NamedTuple

from quietdial.agents.ledger.events import CAUSES
from quietdial.agents.ledger.terms import Terms, WindowTerm

_DAY_MS = 86_400_000


class WindowCounts(NamedTuple):
    """The counts of one window as it stands.

    Attributes:
        window: kind, length and cap.
        number: its number from 0.
        answered: calls that a person picked up.
        silent: of these, silent ones in the rule's numerator.
        cut, left, amd: silent calls by cause, whether or not they count.
    """

    window: WindowTerm
    number: int
    answered: int
    silent: int
    cut: int
    left: int
    amd: int


class Permission(NamedTuple):
    """Whether a person may be dialed.

    Attributes:
        allowed: true: yes.
        reason: why not; empty if allowed.
        until_ms: when a pause ends [ms since 1970]; 0: not known or allowed.
        had_silent: whether the person ever had a silent call that is still known: then only with an
            agent set aside, where the rule says so.
    """

    allowed: bool
    reason: str = ""
    until_ms: int = 0
    had_silent: bool = False


def permission(
    connection: sqlite3.Connection, number: int, terms: Terms, person: bytes, at_ms: int
) -> Permission:
    """Whether a person may be dialed for campaign `number` at a moment [ms]."""
    last = dict(
        connection.execute(
            "SELECT outcome, max(at_ms) FROM calls WHERE person = ? AND at_ms <= ? "
            "AND ended = 1 GROUP BY outcome",
            (person, at_ms),
        )
    )
    silent = max((last[name] for name in CAUSES if name in last), default=None)
    verdicts = [last[name] for name in ("machine", "amd") if name in last]
    for pause_s, since, reason in (
        (terms.quarantine_s, silent, "quarantine after a silent call"),
        (terms.machine_pause_s, max(verdicts, default=None), "pause after a machine"),
        (terms.refusal_pause_s, last.get("connected"), "pause after a conversation"),
    ):
        until = -1 if since is None else since + math.ceil(1000 * pause_s)
        if at_ms < until:
            return Permission(False, reason, until, silent is not None)
    return _under_caps(connection, number, terms, person, at_ms, silent is not None)


def _under_caps(
    connection: sqlite3.Connection,
    number: int,
    terms: Terms,
    person: bytes,
    at_ms: int,
    had_silent: bool,
) -> Permission:
    today = terms.day_of(at_ms)
    monday = today - datetime.timedelta(today.weekday())
    for cap, first_day, after_ms, reason in (
        (terms.per_day, today.isoformat(), -1, "most dials of a day"),
        (terms.per_week, monday.isoformat(), -1, "most dials of a week"),
        (terms.per_30_days, "", at_ms - 30 * _DAY_MS, "most dials of 30 days"),
        (terms.per_campaign, "", -1, "most dials of the campaign"),
    ):
        if cap is None:
            continue
        dials = connection.execute(
            "SELECT count(*) FROM calls WHERE person = ? AND campaign = ? AND ended = 0 "
            "AND at_ms <= ? AND day >= ? AND at_ms > ?",
            (person, number, at_ms, first_day, after_ms),
        ).fetchone()[0]
        if dials >= cap:
            return Permission(False, reason, 0, had_silent)
    return Permission(True, had_silent=had_silent)


def window_counts(
    connection: sqlite3.Connection, number: int, terms: Terms, at_ms: int
) -> tuple[WindowCounts, ...]:
    """The counts of the windows of campaign `number` that the moment lies in."""
    day = terms.day_of(at_ms)
    found = []
    for window in terms.windows:
        place = terms.number_of(window, day)
        if window.kind == "hours":
            row = connection.execute(
                "SELECT count(*), total(outcome IN ('cut', 'late')), total(outcome = 'left'), "
                "total(outcome = 'amd') FROM calls WHERE campaign = ? AND ended = 1 "
                "AND at_ms > ? AND at_ms <= ? "
                "AND outcome IN ('connected', 'cut', 'late', 'left', 'amd')",
                (number, at_ms - window.length * 3_600_000, at_ms),
            ).fetchone()
        else:
            row = connection.execute(
                'SELECT answered, cut, "left", amd FROM windows '
                "WHERE campaign = ? AND kind = ? AND length = ? AND number = ?",
                (number, window.kind, window.length, place),
            ).fetchone() or (0, 0, 0, 0)
        answered, cut, left, amd = (int(value) for value in row)
        silent = cut * terms.counts_cut + left * terms.counts_left + amd * terms.counts_amd
        found.append(WindowCounts(window, place, answered, silent, cut, left, amd))
    return tuple(found)
