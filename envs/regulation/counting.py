"""Counting silent calls: each regulator's rate, the dialer's own estimate, windows, small samples.

Everything here is arithmetic on counts and times; the world itself counts in its kernel. The true
rate knows what happened to each answered call. The estimate knows only what a dialer sees.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.calendar import window_number, zone_of
from quietdial.envs.regulation.rule import Rule, Window

Outcome = Literal["connected", "cut", "left", "amd"]
"""What became of an answered call: an agent in time; cut, message or late; left before the limit;
taken for a machine."""

_TOLERANCE = 1e-9  # cap x answered is rounded: 3 of 100 is not above 3 %
_HOUR_MS = 3_600_000
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Counts(NamedTuple):
    """Answered calls and what became of the silent ones, each call counted once.

    Attributes:
        answered: calls that a person picked up, silent ones included.
        cut: silent because no agent came in time: cut, message, or a late agent.
        left: silent because the callee left before the limit.
        amd: silent because the person was taken for a machine.
    """

    answered: int
    cut: int = 0
    left: int = 0
    amd: int = 0


class Seen(NamedTuple):
    """What a dialer sees of its calls, in Ofcom's letters.

    Attributes:
        dropped: X, pick-ups that reached the limit or left without an agent, people and machines.
        live: L, people whom an agent talked to in time.
        agent_machines: Ag, machines that went to an agent.
        amd_machines: M, calls that detection called machines and cut.
        audited_share: q, share of people among those verdicts, from an audit of recordings.
    """

    dropped: float
    live: float
    agent_machines: float = 0.0
    amd_machines: float = 0.0
    audited_share: float = 0.0


class OfcomEstimate(NamedTuple):
    """Ofcom's estimate of the rate of abandoned calls.

    Attributes:
        drops: D, dropped calls that hit a person.
        false_positives: F, people taken for machines.
        rate: ACR = (D + F) / (D + F + L); 0 without any call.
    """

    drops: float
    false_positives: float
    rate: float


def counted(rule: Rule, counts: Counts) -> int:
    """The numerator: silent calls of the causes that the rule counts."""
    total = counts.cut + counts.left + counts.amd
    if min(counts) < 0 or total > counts.answered:
        raise ConfigError(f"{counts}: counts must be at least 0 and no more silent than answered")
    return (
        counts.cut * rule.counts_cut + counts.left * rule.counts_left + counts.amd * rule.counts_amd
    )


def true_rate(rule: Rule, counts: Counts) -> float:
    """The rule's numerator over the answered calls; 0 without any. Raises `ConfigError`."""
    return _ratio(counted(rule, counts), counts.answered)


def italian_rate(
    silent: float, others: float, reading: Literal["share", "quotient"] = "share"
) -> float:
    """Italy's rate from class A (silent) and class B (all other successful calls).

    The injunction (Garante, 20 February 2014, n. 83) speaks of 3 silent calls per 100 successful
    ones; a privacy-audit questionnaire splits these into A and B. "share", the default, is
    A / (A + B); "quotient" is A / B, infinite if only B is 0.
    """
    if reading == "share":
        return _ratio(silent, silent + others)
    if others == 0:
        return math.inf if silent else 0.0
    return silent / others


def share_of_quotient(quotient: float) -> float:
    """A / (A + B) from A / B: a limit of 3/100 on the quotient is 2.913 % on the share."""
    return quotient / (1.0 + quotient)


def false_positives_from_share(misjudged: float, live: float, drops: float) -> float:
    """F = phi / (1 - phi) x (L + D), if phi is known as the misjudged share of live answers.

    Derived: the L + D people who passed detection are 1 - phi of all live answers.
    """
    if not 0 <= misjudged < 1:
        raise ConfigError(f"misjudged = {misjudged} must be a share in [0, 1)")
    return misjudged / (1.0 - misjudged) * (live + drops)


def ofcom(seen: Seen) -> OfcomEstimate:
    """Ofcom's abandoned-call rate from what a dialer sees.

    D = X L / (L + Ag): of the dropped calls as many hit machines as of those passed to agents.
    F = q M. ACR = (D + F) / (D + F + L). Without detection F = 0. If no call at all was passed to
    an agent, all drops are taken for people.

    Source: Ofcom 2010, paragraphs 4.70 to 4.74, and the drop rates of vendors (MaxContact,
    VICIdial); Ofcom's own annex with the formula was not seen.
    """
    if min(seen) < 0 or seen.audited_share > 1:
        raise ConfigError(f"{seen}: counts must be at least 0 and the audited share in [0, 1]")
    passed = seen.live + seen.agent_machines
    drops = seen.dropped * seen.live / passed if passed else seen.dropped
    false_positives = seen.audited_share * seen.amd_machines
    abandoned = drops + false_positives
    return OfcomEstimate(drops, false_positives, _ratio(abandoned, abandoned + seen.live))


def estimated_rate(rule: Rule, seen: Seen) -> float:
    """The rate that the dialer reports under a rule (`rule.estimate`); 0 without any call.

    "counted": dropped / (dropped + conversations in time); "ofcom": see `ofcom`.
    """
    if rule.estimate == "ofcom":
        return ofcom(seen).rate
    return _ratio(seen.dropped, seen.dropped + seen.live)


def pacing_budget(cap: float, answered: float, false_positives: float) -> float:
    """Rate that is left for pacing after detection has taken its share; negative: over the cap.

    cap - F / answered. Source of the argument: Callmedia (http://www.callmedia.co.uk/blog), 1,000
    dials with 400 machines and 200 live answers: detection that errs on 1 % of the machines'
    number cuts off 4 people of the 6 allowed by 3 %, which leaves 1 % for pacing; 2 % errs 8 times.
    """
    if answered <= 0:
        raise ConfigError(f"answered = {answered} must be above 0")
    return cap - false_positives / answered


def p_above_cap(cap: float, rate: float, answered: int) -> float:
    """P(observed rate > cap) when each of `answered` calls is silent with probability `rate`.

    The upper tail of the binomial law: the calls are taken to be independent, so this is the noise
    of small samples only. A daily cap forces small campaigns far below it.
    """
    if answered < 0 or not (0 <= rate <= 1 and 0 <= cap <= 1):
        raise ConfigError(
            f"cap = {cap}, rate = {rate}, answered = {answered}: give shares in [0, 1] and a count"
        )
    allowed = math.floor(cap * answered + _TOLERANCE)
    if allowed >= answered:
        return 0.0
    return float(special.bdtrc(allowed, answered, rate))


class AnsweredCall(NamedTuple):
    """An answered call, at the moment at which its outcome is certain.

    Attributes:
        at: the moment, with a time zone.
        outcome: what became of it.
    """

    at: datetime.datetime
    outcome: Outcome


class WindowRate(NamedTuple):
    """The rate in one span of time.

    Attributes:
        number: number of the window from 0; rolling windows: in the order of time.
        begin: first moment in it.
        end: first moment after it.
        answered: answered calls.
        silent: silent calls in the rule's numerator.
        rate: silent / answered; 0 without any.
    """

    number: int
    begin: datetime.datetime
    end: datetime.datetime
    answered: int
    silent: int
    rate: float


class WindowReport(NamedTuple):
    """One of a rule's windows over a campaign.

    Attributes:
        window: the window and its cap.
        rates: each span in which a call was answered, in order.
        worst: the one with the highest rate (the earliest of them); None without any.
        breaches: those above the cap, in order.
    """

    window: Window
    rates: tuple[WindowRate, ...]
    worst: WindowRate | None
    breaches: tuple[WindowRate, ...]


def windows_of(
    rule: Rule, first_day: datetime.date, time_zone: str, calls: Iterable[AnsweredCall]
) -> tuple[WindowReport, ...]:
    """Split answered calls into the windows of a rule and rate each.

    Days, blocks of days and months run from midnight to midnight in `time_zone`, blocks and numbers
    from `first_day`; a call at midnight belongs to the new day. The campaign is everything. Rolling
    hours are exact to the millisecond: every position of [b, b + length) between the first and the
    last call is tried, one report for each different content (everything, if the campaign is
    shorter than the window).

    Args:
        rule: its windows and its numerator.
        first_day: first calendar day of the campaign.
        time_zone: IANA name.
        calls: answered calls in any order.

    Returns:
        A report for each of `rule.all_windows`.

    Raises:
        ConfigError: a call has no time zone or lies before `first_day`.
    """
    zone = zone_of(time_zone)
    at_ms, silent = _sorted(rule, calls)
    days = [_moment(int(t), zone).date() for t in at_ms]
    if days and days[0] < first_day:
        raise ConfigError(
            f"a call was answered on {days[0]}, before first_day = {first_day}; give the first "
            "calendar day of the campaign"
        )
    return tuple(
        _report(window, _rolling(window, at_ms, silent, zone))
        if window.kind == "hours"
        else _report(window, _fixed(window, first_day, zone, days, silent))
        for window in rule.all_windows
    )


class WindowCounter:
    """Adds up counts by window, for worlds that are counted by session.

    Add each session's counts under the numbers of its windows (`Session.windows`), then read the
    rates. Rolling hours cannot be told from sessions: `windows_of` does those.
    """

    def __init__(self, rule: Rule) -> None:
        """Start empty."""
        self._rule = rule
        self._counts: tuple[dict[int, list[int]], ...] = tuple({} for _ in rule.all_windows)

    def add(self, numbers: tuple[int, ...], counts: Counts) -> None:
        """Add the counts of a stretch of time that lies in one window of each kind.

        Args:
            numbers: number of the window, for each of `rule.all_windows`.
            counts: what happened.

        Raises:
            ConfigError: there are more or fewer numbers than windows, or impossible counts.
        """
        if len(numbers) != len(self._counts):
            raise ConfigError(
                f"{len(numbers)} window numbers for rule {self._rule.id}; "
                f"give {len(self._counts)}, one for each of its windows"
            )
        silent = counted(self._rule, counts)
        for number, of_window in zip(numbers, self._counts, strict=True):
            total = of_window.setdefault(number, [0, 0])
            total[0] += counts.answered
            total[1] += silent

    def rates(self) -> tuple[dict[int, float], ...]:
        """For each window of the rule: number to silent / answered."""
        return tuple(
            {number: _ratio(s, a) for number, (a, s) in sorted(of_window.items())}
            for of_window in self._counts
        )

    def breaches(self) -> tuple[tuple[int, ...], ...]:
        """For each window of the rule: numbers of those above its cap (none for rolling hours)."""
        return tuple(
            tuple(
                number
                for number, (answered, silent) in sorted(of_window.items())
                if window.kind != "hours" and _above(window, answered, silent)
            )
            for window, of_window in zip(self._rule.all_windows, self._counts, strict=True)
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _above(window: Window, answered: int, silent: int) -> bool:
    return silent > window.cap * answered + _TOLERANCE


def _moment(at_ms: int, zone: ZoneInfo) -> datetime.datetime:
    return (_EPOCH + datetime.timedelta(milliseconds=at_ms)).astimezone(zone)


def _sorted(
    rule: Rule, calls: Iterable[AnsweredCall]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Times in order [ms since 1970] and whether each call is in the numerator (0 or 1)."""
    enters = {
        "connected": False,
        "cut": rule.counts_cut,
        "left": rule.counts_left,
        "amd": rule.counts_amd,
    }
    rows: list[tuple[int, int]] = []
    for call in calls:
        if call.at.utcoffset() is None:
            raise ConfigError(f"call at {call.at.isoformat()}: give the moment with a time zone")
        if call.outcome not in enters:
            raise ConfigError(f"outcome {call.outcome!r}: use one of " + ", ".join(enters))
        at_ms = (call.at - _EPOCH) // datetime.timedelta(milliseconds=1)
        rows.append((at_ms, int(enters[call.outcome])))
    table = np.array(sorted(rows), np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _report(window: Window, rates: list[WindowRate]) -> WindowReport:
    worst = max(rates, key=lambda r: r.rate, default=None)
    above = tuple(r for r in rates if _above(window, r.answered, r.silent))
    return WindowReport(window, tuple(rates), worst, above)


def _fixed(
    window: Window,
    first_day: datetime.date,
    zone: ZoneInfo,
    days: list[datetime.date],
    silent: NDArray[np.int64],
) -> list[WindowRate]:
    if not days:
        return []
    found: dict[int, list[int]] = {}
    for day, is_silent in zip(days, silent, strict=True):
        total = found.setdefault(window_number(window, first_day, day), [0, 0])
        total[0] += 1
        total[1] += int(is_silent)
    rates = []
    for number, (answered, n_silent) in found.items():
        begin, end = _bounds(window, first_day, days[-1], number)
        at = [datetime.datetime.combine(day, datetime.time(), zone) for day in (begin, end)]
        rates.append(WindowRate(number, at[0], at[1], answered, n_silent, n_silent / answered))
    return rates


def _bounds(
    window: Window, first_day: datetime.date, last_day: datetime.date, number: int
) -> tuple[datetime.date, datetime.date]:
    """First day of a window and first day after it; the campaign ends with its last call's day."""
    one = datetime.timedelta(1)
    if window.kind == "campaign":
        return first_day, last_day + one
    if window.kind == "month":
        first, after = (
            datetime.date(first_day.year + m // 12, m % 12 + 1, 1)
            for m in (first_day.month - 1 + number, first_day.month + number)
        )
        return max(first, first_day), after
    length = window.length if window.kind == "days" else 1
    begin = first_day + one * length * number
    return begin, begin + one * length


def _rolling(
    window: Window, at_ms: NDArray[np.int64], silent: NDArray[np.int64], zone: ZoneInfo
) -> list[WindowRate]:
    if not at_ms.size:
        return []
    length = window.length * _HOUR_MS
    # The content of [b, b + length) changes when a call leaves (b = t + 1) or enters
    # (b = t - length + 1).
    first, last = int(at_ms[0]), max(int(at_ms[0]), int(at_ms[-1]) - length + 1)
    begins = np.unique(
        np.clip(np.concatenate([at_ms + 1, at_ms - length + 1, [first]]), first, last)
    )
    low = np.searchsorted(at_ms, begins, side="left")
    high = np.searchsorted(at_ms, begins + length, side="left")
    distinct = np.ones(begins.size, bool)
    distinct[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    sums = np.concatenate([[0], np.cumsum(silent)])
    rates: list[WindowRate] = []
    for begin, a, b in zip(begins[distinct], low[distinct], high[distinct], strict=True):
        answered, n_silent = int(b - a), int(sums[b] - sums[a])
        if answered:
            at = [_moment(int(t), zone) for t in (begin, begin + length)]
            rate = n_silent / answered
            rates.append(WindowRate(len(rates), at[0], at[1], answered, n_silent, rate))
    return rates
