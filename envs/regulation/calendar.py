"""Permitted hours as sessions: when the floor is open, when dialing stops, which windows run.

A rule gives hours by kind of day. A public holiday beats the day of the week; the eve of a holiday
is a kind of its own from Monday to Friday. A call counts when it rings: it may ring from the
opening time on, and no longer at the closing time, so dialing stops `close_s` before.

Elapsed times are true ones. A session on a day on which the clocks change is an hour shorter or
longer where the change lies inside it, and all later days are shifted by that hour.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.part import seconds_of
from quietdial.envs.regulation.holidays import holidays
from quietdial.envs.regulation.rule import Rule, Spans, Window
from quietdial.envs.scenario.world import Scenario

DayKind = Literal["weekday", "saturday", "sunday", "holiday", "eve"]
Interval = tuple[int, int]
"""Begin and end, half open."""

_DAY_MS = 86_400_000
_UTC = datetime.UTC


class Session(NamedTuple):
    """One stretch of time in which the floor is open.

    Attributes:
        date: calendar day; None outside any calendar.
        wall_s: local time of day at the opening [s since midnight].
        open_ms: opening [ms since the first opening], true elapsed time.
        dial_ms: dialing begins [ms].
        stop_ms: dialing stops [ms].
        close_ms: the floor closes [ms].
        windows: number of the window that this session belongs to, for each of the rule's windows.
        day: number of the calendar day, from 0.
        week: number of the Monday-to-Sunday week, from 0.
    """

    date: datetime.date | None
    wall_s: int
    open_ms: int
    dial_ms: int
    stop_ms: int
    close_ms: int
    windows: tuple[int, ...]
    day: int
    week: int


class Verdict(NamedTuple):
    """Whether a call may ring at one moment.

    Attributes:
        may_ring: true if it may.
        kind: the kind of day that the rule's hours know it by.
        reason: the day and its hours, in words.
    """

    may_ring: bool
    kind: DayKind
    reason: str


def day_kind(rule: Rule, day: datetime.date) -> DayKind:
    """The kind of a calendar day under a rule's hours and its country's holidays."""
    if _holiday(rule, day) is not None:
        return "holiday"
    if day.weekday() >= 5:
        return "sunday" if day.weekday() == 6 else "saturday"
    if rule.hours.eve is not None and _holiday(rule, day + datetime.timedelta(1)) is not None:
        return "eve"
    return "weekday"


def hours_of(rule: Rule, day: datetime.date) -> Spans:
    """The hours in which calls may ring on a calendar day; empty: never."""
    spans: Spans | None = getattr(rule.hours, day_kind(rule, day))
    return spans or ()


def verdict(rule: Rule, when: datetime.datetime) -> Verdict:
    """Whether a call may ring at one moment, by the calendar of the rule's country.

    Args:
        rule: the rule; its attempt caps and pauses are no matter of the calendar.
        when: the moment, with a time zone: the callee's if `hours.callee_time`, else the
            campaign's. Its date and time of day in that zone decide.

    Returns:
        The verdict with its reason.

    Raises:
        ConfigError: `when` has no time zone.
    """
    if when.utcoffset() is None:
        raise ConfigError(f"when = {when.isoformat()} has no time zone; give one (zoneinfo)")
    day, time = when.date(), when.time()
    second = 3600 * time.hour + 60 * time.minute + time.second
    kind, spans = day_kind(rule, day), hours_of(rule, day)
    may_ring = any(seconds_of(a) <= second < seconds_of(b) for a, b in spans)
    name = _holiday(rule, day) if kind == "holiday" else None
    shown = f"holiday ({name})" if name else kind
    permitted = " and ".join(f"{a}-{b}" for a, b in spans) or "no calls"
    reason = f"{day:%a} {day.isoformat()}, {shown}: {permitted}; asked for {time:%H:%M:%S}"
    return Verdict(may_ring, kind, reason)


def window_number(window: Window, first_day: datetime.date, day: datetime.date) -> int:
    """The number, from 0, of the window that a calendar day lies in (0 for rolling hours)."""
    elapsed = (day - first_day).days
    if window.kind == "day":
        return elapsed
    if window.kind == "days":
        return elapsed // window.length
    if window.kind == "month":
        return 12 * (day.year - first_day.year) + day.month - first_day.month
    return 0


def sessions_of(scenario: Scenario) -> tuple[Session, ...]:
    """The sessions of a scenario's episode, in order, at least one.

    Without `episode.first_day` there is one, outside any calendar. With it, each calendar day has
    the hours that the rule permits on that kind of day, cut to `start` and `start` + `duration_s`
    of local time. A session is a whole number of decision intervals long; one that is too short
    for `close_s` and one interval is left out, and so is one without any dialing (`dial_from`,
    `dial_until`) unless there are inbound calls. With `hours.callee_time` the floor is open from
    `start` to `start` + `duration_s` on every day and `segment_hours` does the rest.

    Raises:
        ConfigError: no session is left, the episode's day ends after midnight, calls could ring
            after the permitted hours, or a shift without a date does not lie within them.
    """
    episode = scenario.episode
    if not scenario.rule.hours.callee_time or episode.first_day is not None:
        _check_hours(scenario)
    if episode.first_day is None:
        return (_undated(scenario),)
    if seconds_of(episode.start) + episode.duration_s > 86_400:
        raise ConfigError(
            f"episode: start {episode.start} + duration_s = {episode.duration_s:g} ends after "
            "midnight; with first_day, sessions lie within a calendar day: shorten duration_s"
        )
    _, found = _dated(scenario, episode.first_day)
    if not found:
        raise ConfigError(_nothing_left(scenario))
    return tuple(found)


def _check_hours(scenario: Scenario) -> None:
    """Refuse an episode in which a dial could ring outside the rule's hours."""
    episode, calls, hours = scenario.episode, scenario.calls, scenario.rule.hours
    always = ((0, 86_400),)
    weekday = tuple((seconds_of(opens), seconds_of(closes)) for opens, closes in hours.weekday)
    if weekday == always:
        return
    begins = seconds_of(episode.start)
    ends = begins + episode.duration_s
    if episode.first_day is None and not any(a <= begins and ends <= b for a, b in weekday):
        shown = ", ".join(f"{opens}-{closes}" for opens, closes in hours.weekday)
        raise ConfigError(
            f"episode: start {episode.start} and duration_s = {episode.duration_s:g} do not lie "
            f"within the weekday hours {shown} of rule {scenario.rule.id}"
        )
    laws = [calls.time_to_answer, *(part.time for part in calls.unanswered)]
    rings_s = calls.ring_timeout_s or max(law.max_s() for law in laws)
    longest_s = rings_s + (calls.setup.max_s() if calls.setup else 0.0)
    if episode.first_day is not None and episode.close_s < longest_s:
        raise ConfigError(
            f"episode.close_s = {episode.close_s:g} is too short: a dial may ring for "
            f"{longest_s:.0f} s, and none may after the hours of rule {scenario.rule.id}; "
            f"give at least {math.ceil(longest_s)}"
        )


def segment_hours(scenario: Scenario, sessions: tuple[Session, ...]) -> NDArray[np.int64]:
    """When each segment of the list may be dialed in each session.

    All of the session's dialing time, unless the hours are the callee's: then also only within the
    rule's hours in the segment's time zone (by the date and weekday there), less `close_s` at the
    end, because a call counts when it rings. Without a calendar the hours do not apply.

    Args:
        scenario: the scenario.
        sessions: its sessions.

    Returns:
        int64 (sessions, segments, 2): from and until [ms since the first opening], until excluded;
        equal where the segment may not be dialed. One segment if there are no people.

    Raises:
        ConfigError: a segment's hours within one session are not one interval, or no segment may
            be dialed in any session.
    """
    segments = scenario.people.segments if scenario.people else None
    home = scenario.episode.time_zone
    zones = [s.time_zone or home for s in segments] if segments else [home]
    hours = np.array([[s.dial_ms, max(s.dial_ms, s.stop_ms)] for s in sessions], np.int64)
    hours = np.repeat(hours[:, None, :], len(zones), axis=1)
    rule, episode = scenario.rule, scenario.episode
    if not rule.hours.callee_time or episode.first_day is None:
        return hours
    close_ms = round(episode.close_s * 1000)
    origin, _ = _dated(scenario, episode.first_day)
    for i, session in enumerate(sessions):
        for j, name in enumerate(zones):
            zone = zone_of(name)
            around = (session.open_ms + origin, session.close_ms + origin)
            spans = [
                (begin, min(session.stop_ms, end - close_ms))
                for a, b in _permitted(rule, zone, around)
                for begin, end in [(max(session.dial_ms, a - origin), b - origin)]
            ]
            spans = [(a, b) for a, b in spans if a < b]
            if len(spans) > 1:
                raise ConfigError(
                    f"segment {j} ({name}): the hours of rule {rule.id} cut its session on "
                    f"{session.date} in {len(spans)} parts; choose start and duration_s so that "
                    "one part is left"
                )
            hours[i, j] = spans[0] if spans else (session.dial_ms, session.dial_ms)
    if not (hours[..., 0] < hours[..., 1]).any():
        raise ConfigError(
            f"episode: no segment may be dialed in any session: rule {rule.id} permits no call "
            f"between {episode.start} and {episode.duration_s:g} s later, {episode.time_zone} "
            "time, in the segments' time zones; change start, duration_s or first_day"
        )
    return hours


def _undated(scenario: Scenario) -> Session:
    episode = scenario.episode
    end = round(episode.duration_s * 1000)
    stop = end - round(episode.close_s * 1000)
    wall = seconds_of(episode.start)
    dial = 0
    if episode.dial_from is not None:
        dial = max(0, seconds_of(episode.dial_from) - wall) * 1000
    if episode.dial_until is not None:
        stop = min(stop, (seconds_of(episode.dial_until) - wall) * 1000)
    if dial >= stop and scenario.inbound is None:
        raise ConfigError(_nothing_left(scenario))
    windows = (0,) * len(scenario.rule.all_windows)
    return Session(None, wall, 0, min(dial, max(stop, 0)), max(stop, 0), end, windows, 0, 0)


def _dated(scenario: Scenario, first: datetime.date) -> tuple[int, list[Session]]:
    """True time of the first opening [ms since 1970], and the sessions."""
    episode, rule = scenario.episode, scenario.rule
    zone = zone_of(episode.time_zone)
    begin = seconds_of(episode.start) * 1000
    played = [(begin, begin + round(episode.duration_s * 1000))]
    found: list[Session] = []
    origin = 0
    for number in range(episode.n_days):
        day = first + datetime.timedelta(number)
        callee = rule.hours.callee_time
        spans = played if callee else _cut(played, _spans_ms(hours_of(rule, day)))
        for span in _moments(day, spans, zone):
            origin = origin if found else span[0]
            session = _session(scenario, day, zone, span, origin)
            if session is not None:
                found.append(session)
    return origin, found


def _session(
    scenario: Scenario, day: datetime.date, zone: ZoneInfo, span: Interval, origin: int
) -> Session | None:
    """The session in a span of true time [ms since 1970]; None if it is too short to be played."""
    episode = scenario.episode
    step, close = round(episode.decision_interval_s * 1000), round(episode.close_s * 1000)
    opens, closes = span
    closes -= (closes - opens) % step
    if closes - opens < close + step:
        return None
    dial, stop = opens, closes - close
    if episode.dial_from is not None:
        from_ms = seconds_of(episode.dial_from) * 1000
        later = _moments(day, [(from_ms, _DAY_MS)], zone)
        dial = max(dial, later[0][0]) if later else stop
    if episode.dial_until is not None:
        until_ms = seconds_of(episode.dial_until) * 1000
        earlier = _moments(day, [(0, until_ms)], zone)
        stop = min(stop, max(opens, earlier[-1][1] if earlier else opens))
    if dial >= stop:
        if scenario.inbound is None:
            return None
        dial = stop
    first = episode.first_day or day
    local = _local(opens, zone)
    return Session(
        date=day,
        wall_s=3600 * local.hour + 60 * local.minute + local.second,
        open_ms=opens - origin,
        dial_ms=dial - origin,
        stop_ms=stop - origin,
        close_ms=closes - origin,
        windows=tuple(window_number(w, first, day) for w in scenario.rule.all_windows),
        day=(day - first).days,
        week=((day - first).days + first.weekday()) // 7,
    )


def _nothing_left(scenario: Scenario) -> str:
    episode, rule = scenario.episode, scenario.rule
    what = f"episode: no time is left to dial between {episode.start} and "
    what += f"{episode.duration_s:g} s later"
    if episode.first_day is None:
        return (
            f"{what}: dialing is from {episode.dial_from or 'the opening'} until "
            f"{episode.dial_until or 'the close'}, less close_s = {episode.close_s:g}; widen one"
        )
    days = [episode.first_day + datetime.timedelta(i) for i in range(episode.n_days)]
    kinds = {
        kind: " and ".join(f"{a}-{b}" for a, b in hours_of(rule, day)) or "never"
        for day in days
        for kind in [day_kind(rule, day)]
    }
    permitted = ", ".join(f"{kind}: {text}" for kind, text in kinds.items())
    return (
        f"{what} in the {episode.n_days} day(s) from {episode.first_day}: rule {rule.id} permits "
        f"{permitted}; each session needs close_s = {episode.close_s:g} and one decision interval, "
        "within dial_from and dial_until; change the day, start or duration_s"
    )


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises `ConfigError` for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ConfigError(
            f"time_zone = {name!r} is not an IANA time zone; use a name like 'Europe/Rome'"
        ) from None


def _holiday(rule: Rule, day: datetime.date) -> str | None:
    """Name of the holiday that the rule's hours know this day by, if any."""
    if rule.country is None or rule.hours.holiday is None:
        return None
    return holidays(rule.country, day.year).get(day)


def _spans_ms(spans: Spans) -> list[Interval]:
    return [(seconds_of(a) * 1000, seconds_of(b) * 1000) for a, b in spans]


def _cut(spans: Iterable[Interval], to: Iterable[Interval]) -> list[Interval]:
    """Intersection of two ordered unions of intervals."""
    to = list(to)
    both = [(max(a, c), min(b, d)) for a, b in spans for c, d in to]
    return sorted((a, b) for a, b in both if a < b)


def _join(spans: Iterable[Interval]) -> list[Interval]:
    """The same time with intervals that touch made one, in order."""
    joined: list[Interval] = []
    for a, b in sorted(spans):
        if joined and a <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(b, joined[-1][1]))
        else:
            joined.append((a, b))
    return joined


def _midnight_ms(day: datetime.date) -> int:
    """00:00 UTC of a day [ms since 1970]."""
    return (day.toordinal() - datetime.date(1970, 1, 1).toordinal()) * _DAY_MS


def _local(moment_ms: int, zone: ZoneInfo) -> datetime.datetime:
    utc = datetime.datetime(1970, 1, 1, tzinfo=_UTC) + datetime.timedelta(milliseconds=moment_ms)
    return utc.astimezone(zone)


def _offset_ms(moment_ms: int, zone: ZoneInfo) -> int:
    offset = _local(moment_ms, zone).utcoffset() or datetime.timedelta()
    return offset // datetime.timedelta(milliseconds=1)


def _pieces(begin: int, end: int, zone: ZoneInfo) -> list[tuple[int, int, int]]:
    """The stretches with one offset from UTC: begin, end, offset, all in ms.

    Clocks are taken to change at most once between `begin` and `end`, at a whole second.
    """
    early, late = _offset_ms(begin, zone), _offset_ms(end, zone)
    if early == late:
        return [(begin, end, early)]
    low, high = begin // 1000, end // 1000
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_ms(middle * 1000, zone) == early:
            low = middle
        else:
            high = middle
    return [(begin, high * 1000, early), (high * 1000, end, late)]


def _moments(day: datetime.date, spans: Iterable[Interval], zone: ZoneInfo) -> list[Interval]:
    """True time [ms since 1970] in which a day's clock in a zone shows one of the spans.

    Exact on the days on which clocks change: time that is skipped is not there, and time that is
    shown twice counts twice.
    """
    midnight = _midnight_ms(day)
    spans = list(spans)
    found: list[Interval] = []
    # the date begins between 14 h before and 12 h after 00:00 UTC
    for begin, end, offset in _pieces(midnight - 16 * 3_600_000, midnight + 40 * 3_600_000, zone):
        there = [(midnight + a - offset, midnight + b - offset) for a, b in spans]
        found += _cut(there, [(begin, end)])
    return _join(found)


def _permitted(rule: Rule, zone: ZoneInfo, around: Interval) -> list[Interval]:
    """When the rule lets calls ring in a zone, by the dates there [ms since 1970], cut."""
    day, last = (_local(moment, zone).date() for moment in around)
    found: list[Interval] = []
    while day <= last:
        found += _moments(day, _spans_ms(hours_of(rule, day)), zone)
        day += datetime.timedelta(1)
    return _cut(_join(found), [around])
