"""Dates and times, each with its expected verdict: hours, holidays, clock changes, pauses, caps.

Every row says what, when, what must come out, and what came out. Moments are asked twice: of the
calendar, and of the kernel, which is asked to dial at that very second on a small floor. Pauses,
caps and windows are read off the log of deterministic worlds (`calendar_worlds.py`), and the
kernel's windows are held against counting from the records (`calendar_windows.py`).

There is no chance in these rows (but for a fixed seed), so a row that differs is a bug.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator
from typing import Any, NamedTuple

from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.calendar import hours_of, verdict
from quietdial.envs.regulation.rule import load_rule
from quietdial.experiments.proof.calendar_windows import CAMPAIGNS, window_rows
from quietdial.experiments.proof.calendar_worlds import Ask, Played, constant, play, world_of
from quietdial.experiments.proof.parts import Figure, Report, failures


class Row(NamedTuple):
    """One line of the table."""

    what: str
    when: str
    expected: str
    found: str

    @property
    def line(self) -> str:
        """The row in words."""
        return f"{self.what}, {self.when}: expected {self.expected}, found {self.found}"


def run(scale: float, report: Report) -> list[Figure]:
    """Play every row.

    Args:
        scale: share of the campaigns whose windows are counted again; the table is always whole.
        report: progress callback.

    Returns:
        The number of rows that differ, which must be 0, for each part of the table.
    """
    parts = {
        "moments": moment_rows,
        "sessions": session_rows,
        "pauses": pause_rows,
        "attempts": attempt_rows,
        "midnight": midnight_rows,
    }
    figures = []
    for done, (name, rows) in enumerate(parts.items()):
        report(name, done / (len(parts) + 1))
        table = list(rows())
        off = [row.line for row in table if row.expected != row.found]
        figures.append(
            failures(
                f"calendar/{name}", off, len(table), "rows of dates and times, no chance in it"
            )
        )
    report("windows", len(parts) / (len(parts) + 1))
    return figures + window_rows(max(2, round(CAMPAIGNS * scale)))


# --- moments --------------------------------------------------------------------------------------

ROME, LONDON, PARIS, BERLIN = "Europe/Rome", "Europe/London", "Europe/Paris", "Europe/Berlin"
EAST, CENTRAL, PACIFIC = "America/New_York", "America/Chicago", "America/Los_Angeles"

MOMENTS: tuple[tuple[str, str, str, str, bool], ...] = (
    # what, rule, time zone of the callee, when, may ring
    ("Monday before nine", "it_2014", ROME, "2026-05-04 08:59:50", False),
    ("Monday at nine", "it_2014", ROME, "2026-05-04 09:00:00", True),
    ("Monday, ten seconds to nine p.m.", "it_2014", ROME, "2026-05-04 20:59:50", True),
    ("Monday at nine p.m.", "it_2014", ROME, "2026-05-04 21:00:00", False),
    ("Saturday before ten", "it_2014", ROME, "2026-05-09 09:59:50", False),
    ("Saturday at ten", "it_2014", ROME, "2026-05-09 10:00:00", True),
    ("Saturday before seven p.m.", "it_2014", ROME, "2026-05-09 18:59:50", True),
    ("Saturday at seven p.m.", "it_2014", ROME, "2026-05-09 19:00:00", False),
    ("Sunday", "it_2014", ROME, "2026-05-10 12:00:00", False),
    ("Good Friday is a weekday", "it_2014", ROME, "2026-04-03 12:00:00", True),
    ("Easter Monday", "it_2014", ROME, "2026-04-06 12:00:00", False),
    ("the day after Easter Monday", "it_2014", ROME, "2026-04-07 12:00:00", True),
    ("Easter Monday of another year", "it_2014", ROME, "2027-03-29 12:00:00", False),
    ("Liberation Day", "it_2014", ROME, "2028-04-25 12:00:00", False),
    ("2 June", "it_2014", ROME, "2026-06-02 12:00:00", False),
    ("eve of 2 June, no eves in 2014", "it_2014", ROME, "2026-06-01 20:30:00", True),
    ("eve of 2 June before ten", "it_2024", ROME, "2026-06-01 09:59:50", False),
    ("eve of 2 June at ten", "it_2024", ROME, "2026-06-01 10:00:00", True),
    ("eve of 2 June before seven", "it_2024", ROME, "2026-06-01 18:59:50", True),
    ("eve of 2 June at seven", "it_2024", ROME, "2026-06-01 19:00:00", False),
    ("2 June under the code", "it_2024", ROME, "2026-06-02 12:00:00", False),
    ("weekday before eight p.m.", "it_2024", ROME, "2026-06-03 19:59:50", True),
    ("weekday at eight p.m.", "it_2024", ROME, "2026-06-03 20:00:00", False),
    ("Christmas Eve, no eves in 2014", "it_2014", ROME, "2026-12-24 20:00:00", True),
    ("Christmas Eve under the code", "it_2024", ROME, "2026-12-24 19:30:00", False),
    ("Ferragosto on a Saturday", "it_2014", ROME, "2026-08-15 12:00:00", False),
    ("St Stephen's Day", "it_2014", ROME, "2026-12-26 12:00:00", False),
    ("New Year's Eve at seven, the code", "it_2024", ROME, "2026-12-31 19:00:00", False),
    ("leap day", "it_2014", ROME, "2028-02-29 12:00:00", True),
    ("Monday after the clocks went on", "it_2014", ROME, "2026-03-30 09:00:00", True),
    ("Monday after the clocks went back", "it_2014", ROME, "2026-10-26 20:59:50", True),
    ("any hour of a Sunday with a clock change", "uk_2010", LONDON, "2026-03-29 03:00:00", True),
    ("Christmas night", "uk_2010", LONDON, "2026-12-25 03:00:00", True),
    ("before the lunch gap", "fr", PARIS, "2026-06-01 12:59:50", True),
    ("the lunch gap begins", "fr", PARIS, "2026-06-01 13:00:00", False),
    ("the lunch gap ends soon", "fr", PARIS, "2026-06-01 13:59:50", False),
    ("after the lunch gap", "fr", PARIS, "2026-06-01 14:00:00", True),
    ("the evening ends", "fr", PARIS, "2026-06-01 20:00:00", False),
    ("Saturday in France", "fr", PARIS, "2026-06-06 12:00:00", False),
    ("14 July", "fr", PARIS, "2026-07-14 12:00:00", False),
    ("Saturday before six p.m.", "de", BERLIN, "2026-06-06 17:59:50", True),
    ("Saturday at six p.m.", "de", BERLIN, "2026-06-06 18:00:00", False),
    ("Whit Monday", "de", BERLIN, "2026-05-25 12:00:00", False),
    ("3 October on a Saturday", "de", BERLIN, "2026-10-03 12:00:00", False),
    ("Pacific, before eight there", "us_tsr", PACIFIC, "2026-05-04 07:59:50", False),
    ("Pacific, at eight there", "us_tsr", PACIFIC, "2026-05-04 08:00:00", True),
    ("Pacific, before nine p.m. there", "us_tsr", PACIFIC, "2026-05-04 20:59:50", True),
    ("Pacific, at nine p.m. there", "us_tsr", PACIFIC, "2026-05-04 21:00:00", False),
    ("Eastern, at nine p.m. there", "us_tsr", EAST, "2026-05-04 21:00:00", False),
    ("Eastern, before nine p.m. there", "us_tsr", EAST, "2026-05-04 20:59:50", True),
    ("Canada, Sunday at six p.m.", "ca", EAST, "2026-05-03 18:00:00", False),
    ("Canada, Sunday before six p.m.", "ca", EAST, "2026-05-03 17:59:50", True),
    ("Australia Day", "au", "Australia/Sydney", "2026-01-26 12:00:00", False),
    ("Australia, Saturday before five", "au", "Australia/Sydney", "2026-01-31 16:59:50", True),
)

STOPS: tuple[tuple[str, str, bool], ...] = (
    # with close_s = 70: a call counts when it rings, so dialing stops early enough
    ("2026-05-04 20:58:40", "in time", True),
    ("2026-05-04 20:58:50", "70 s before the close", False),
    ("2026-05-04 20:59:50", "within the last 70 s", False),
    ("2026-05-09 18:58:40", "in time on Saturday", True),
    ("2026-05-09 18:58:50", "70 s before Saturday's close", False),
)


def moment_rows() -> Iterator[Row]:
    """Single moments, asked of the calendar and of the kernel."""
    for what, rule, zone, when, may_ring in MOMENTS:
        moment = datetime.datetime.fromisoformat(when).replace(tzinfo=zoneinfo.ZoneInfo(zone))
        answer = "yes" if may_ring else "no"
        by_calendar = "yes" if verdict(load_rule(rule), moment).may_ring else "no"
        found = f"{by_calendar} by the calendar, {_dialed_at(rule, zone, moment)} by the kernel"
        expected = f"{answer} by the calendar, {answer} by the kernel"
        yield Row(f"{rule}: {what}", f"{when} {zone}", expected, found)
    for when, what, dials in STOPS:
        moment = datetime.datetime.fromisoformat(when).replace(tzinfo=zoneinfo.ZoneInfo(ROME))
        found = _dialed_at("it_2014", ROME, moment, close_s=70.0)
        yield Row(f"it_2014, close_s 70: {what}", when, "yes" if dials else "no", found)


def _dialed_at(rule: str, zone: str, moment: datetime.datetime, close_s: float = 1.0) -> str:
    """Whether the kernel dials at a moment when it is asked to: "yes" or "no"."""
    home = zone
    people = None
    if load_rule(rule).hours.callee_time and zone in (EAST, PACIFIC):
        home = CENTRAL  # the floor and the callees are in different zones
        people = {"n_people": 5, "segments": [{"share": 1, "time_zone": zone}]}
    there = moment.astimezone(zoneinfo.ZoneInfo(home))
    opens = (there - datetime.timedelta(minutes=2)).replace(second=0)
    try:
        scenario = world_of(
            rule,
            there.date().isoformat(),
            time_zone=home,
            start=opens.strftime("%H:%M"),
            duration_s=600.0,
            close_s=close_s,
            ending="busy",
            ends_s=1.0,
            people=people,
        )
        played = play(
            scenario,
            lambda now: int(now == moment),
            first_opening=_first_opening(rule, scenario.episode.start, opens, there, people),
        )
    except ConfigError as error:
        if "no time is left" in str(error) or "no segment may be dialed" in str(error):
            return "no"
        raise
    if any(dial.at != moment for dial in played.dials):
        return f"dials at {[str(dial.at) for dial in played.dials]}"
    return "yes" if played.dials else "no"


def _first_opening(
    rule: str, start: str, opens: datetime.datetime, there: datetime.datetime, people: Any
) -> str:
    """Local date and time at which the small floor around a moment opens."""
    if people is not None:
        return f"{there.date()} {start}:00"
    if not verdict(load_rule(rule), opens).may_ring:
        later = [
            there.replace(hour=int(span[0][:2]), minute=int(span[0][3:]), second=0)
            for span in hours_of(load_rule(rule), there.date())
        ]
        opens = min((begin for begin in later if begin > opens), default=opens)
    return opens.strftime("%Y-%m-%d %H:%M:%S")


# --- sessions -------------------------------------------------------------------------------------


def session_rows() -> Iterator[Row]:
    """When sessions open and end, read off the kernel's clock through UTC."""
    day: dict[str, Any] = {"start": "00:00", "duration_s": 86_400.0, "interval_s": 300.0}
    rome: dict[str, Any] = {"time_zone": ROME, **day}
    nobody: dict[str, Any] = {"p_answer": 0.0, **rome}
    for what, first, n_days, opening, openings, end in (
        (
            "the clocks go on",
            "2026-03-27",
            5,
            "09:00",
            "03-27 09:00+0100 03-28 10:00+0100 03-30 09:00+0200 03-31 09:00+0200",
            "03-31 21:00+0200",
        ),
        (
            "the clocks go back",
            "2026-10-23",
            4,
            "09:00",
            "10-23 09:00+0200 10-24 10:00+0200 10-26 09:00+0100",
            "10-26 21:00+0100",
        ),
        (
            "Easter",
            "2026-04-03",
            5,
            "09:00",
            "04-03 09:00+0200 04-04 10:00+0200 04-07 09:00+0200",
            "04-07 21:00+0200",
        ),
        (
            "2 June and the last session",
            "2026-06-01",
            2,
            "09:00",
            "06-01 09:00+0200",
            "06-01 21:00+0200",
        ),
        (
            "the turn of the year",
            "2026-12-31",
            3,
            "09:00",
            "12-31 09:00+0100 01-02 10:00+0100",
            "01-02 19:00+0100",
        ),
    ):
        played = play(
            world_of("it_2014", first, n_days=n_days, **nobody),
            lambda now: 0,
            first_opening=f"{first} {opening}:00",
        )
        yield Row(f"it_2014: {what}", f"{n_days} days from {first}", openings, _shown(played))
        yield Row(f"it_2014: {what}, the end", first, end, played.end.strftime("%m-%d %H:%M%z"))
    played = play(
        world_of("fr", "2026-06-01", **{**nobody, "time_zone": PARIS}),
        lambda now: 0,
        first_opening="2026-06-01 10:00:00",
    )
    yield Row(
        "fr: the lunch gap makes two sessions",
        "2026-06-01",
        "06-01 10:00+0200 06-01 14:00+0200",
        _shown(played),
    )
    for first, what, hours in (
        ("2026-03-29", "the clocks go on", 23.0),
        ("2026-10-25", "the clocks go back", 25.0),
        ("2026-10-26", "an ordinary day", 24.0),
    ):
        played = play(world_of("uk_2010", first, **{**nobody, "time_zone": LONDON}), lambda now: 0)
        passed = played.end.astimezone(datetime.UTC) - played.openings[0].astimezone(datetime.UTC)
        found = f"{passed.total_seconds() / 3600:g} h"
        yield Row(f"uk_2010: {what}, length of the day", first, f"{hours:g} h", found)
    yield _last_dial()


def _last_dial() -> Row:
    """The last session of an episode ends like every other one: no dial in its last `close_s`."""
    played = play(
        world_of(
            "it_2014",
            "2026-05-08",
            time_zone=ROME,
            start="18:30",
            duration_s=9000.0,
            n_days=2,
            p_answer=0.0,
            close_s=70.0,
        )
    )
    last = [max(d.at for d in played.dials if d.at.day == day) for day in (8, 9)]
    found = " ".join(moment.strftime("%a %H:%M:%S") for moment in last)
    expected = "Fri 20:58:40 Sat 18:58:40"
    return Row("it_2014, close_s 70: last dial of each session", "2026-05-08", expected, found)


def _shown(played: Played) -> str:
    return " ".join(moment.strftime("%m-%d %H:%M%z") for moment in played.openings)


# --- pauses ---------------------------------------------------------------------------------------

AMD: dict[str, Any] = {
    "kind": "amd",
    "decision": constant(1.0),
    "p_false_machine": 0.0,
    "p_false_person": 0.0,
    "machine_handling": constant(10.0),
}


def _asking(*times: str, again_from: str = "9999-01-01") -> Ask:
    """Ask for a call at these local times, and at every decision from a later one on."""
    wanted = {datetime.datetime.fromisoformat(time) for time in times}
    begin = datetime.datetime.fromisoformat(again_from)

    def ask(now: datetime.datetime) -> int:
        local = now.replace(tzinfo=None)
        return int(local in wanted or local >= begin)

    return ask


def _dials_of(played: Played, person: int) -> str:
    return ", ".join(
        dial.at.strftime("%m-%d %H:%M:%S") + (" held" if dial.held else "")
        for dial in played.dials
        if dial.person == person
    )


def pause_rows() -> Iterator[Row]:
    """Rests after silent calls, machines and conversations.

    Person 0 is talked to for 600 s; person 1 is dialed ten seconds later, finds no agent, and is
    silent at the limit. Calls are asked for at every later decision of the episode.
    """
    two = {"n_people": 2}
    for what, day, again in (
        ("5 days later on Saturday", "2026-05-04", "05-09 10:30:20 held"),
        ("5 days later on a Sunday: Monday", "2026-05-05", "05-11 10:00:00 held"),
        ("5 days later on 2 June: 3 June", "2026-05-28", "06-03 10:00:00 held"),
    ):
        scenario = world_of("it_2014", day, time_zone=ROME, n_days=8, people=two)
        played = play(scenario, _asking(again_from=f"{day} 10:30:00"))
        silent = played.silent[0]
        yield Row(
            "it_2014: silent 3 s after the answer",
            day,
            f"{day} 10:30:14",
            silent.strftime("%Y-%m-%d %H:%M:%S"),
        )
        yield Row(f"it_2014: {what}", day, f"{day[5:]} 10:30:10, {again}", _dials_of(played, 1))
        rest = silent + datetime.timedelta(days=5)
        minute = datetime.timedelta(minutes=1)
        early = [dial for dial in played.dials if silent < dial.at < rest]
        yield Row("it_2014: dials within 5 days", day, "0", str(len(early)))
        if what.endswith("Saturday"):
            asked = sum(rest - minute <= now < rest for now in played.asked)
            yield Row(
                "it_2014: asked 4 d 23 h 59 min after",
                day,
                "6 times, 0 dials",
                (f"{asked} times, {sum(rest - minute <= d.at < rest for d in played.dials)} dials"),
            )
        yield Row(
            f"it_2014: an agent is held, {what}",
            day,
            again.removesuffix(" held"),
            ", ".join(moment.strftime("%m-%d %H:%M:%S") for moment in played.held),
        )
    yield _busy_when_due()
    yield from _british_rows(two)
    played = play(
        world_of(
            "fr",
            "2026-06-01",
            time_zone=PARIS,
            duration_s=600.0,
            n_days=62,
            talk_s=5.0,
            people={"n_people": 1},
        )
    )
    yield Row(
        "fr: 60 days after the conversation",
        "2026-06-01",
        "06-01 10:00:00, 07-31 10:00:10",
        _dials_of(played, 0),
    )


def _busy_when_due() -> Row:
    """A reserved call waits until an agent can be held for it."""
    scenario = world_of("it_2014", "2026-05-04", time_zone=ROME, n_days=6, people={"n_people": 3})
    played = play(
        scenario,
        _asking("2026-05-04 10:30:00", "2026-05-04 10:30:10", "2026-05-09 10:30:10"),
    )
    return Row(
        "it_2014: nobody free when 5 days are over",
        "2026-05-04",
        "05-04 10:30:10, 05-09 10:40:11 held",
        _dials_of(played, 1),
    )


def _british_rows(two: dict[str, Any]) -> Iterator[Row]:
    day = "2026-05-04"
    london: dict[str, Any] = {"time_zone": LONDON, "n_days": 4}
    played = play(
        world_of("uk_2010", day, people=two, **london), _asking(again_from=f"{day} 10:30:00")
    )
    yield Row(
        "uk_2010: silent 2 s after the first word",
        day,
        "05-04 10:30:13.5",
        played.silent[0].strftime("%m-%d %H:%M:%S.%f")[:-5],
    )
    # the message of 8 s ends at 10:30:21.5
    yield Row(
        "uk_2010: 72 h after the message",
        day,
        "05-04 10:30:10, 05-07 10:30:30 held",
        _dials_of(played, 1),
    )
    ask = _asking(again_from=f"{day} 10:30:00")
    one = {"n_people": 1, "retry": {"machine_s": 3600}}
    every_day = "05-04 10:30:00, 05-05 10:30:10, 05-06 10:30:20, 05-07 10:30:30"
    machine = world_of(
        "uk_2010",
        day,
        people=one,
        detection=AMD,
        p_answer=0.0,
        ending="machine",
        ends_s=1.0,
        **london,
    )
    yield Row("uk_2010: 24 h after a machine", day, every_day, _dials_of(play(machine, ask), 0))
    mistaken = world_of(
        "uk_2010", day, people=one, detection={**AMD, "p_false_machine": 1.0}, **london
    )
    played = play(mistaken, ask)
    yield Row("uk_2010: 24 h after taken for a machine", day, every_day, _dials_of(played, 0))
    yield Row("uk_2010: taken for a machine is silent", day, "4", str(len(played.silent)))
    mistaken = world_of(
        "uk_2017", day, people=one, detection={**AMD, "p_false_machine": 1.0}, **london
    )
    yield Row(
        "uk_2017: no pause of its own, one hour by the list",
        day,
        "05-04 10:30:00, 05-05 10:00:00, 05-05 11:00:10, 05-06 10:00:00, 05-06 11:00:10, "
        "05-07 10:00:00, 05-07 11:00:10",
        _dials_of(play(mistaken, ask), 0),
    )


# --- attempts -------------------------------------------------------------------------------------


def attempt_rows() -> Iterator[Row]:
    """Caps on attempts; one person who never answers is asked for all the time."""
    one: dict[str, Any] = {"n_people": 1, "max_attempts": 100, "retry": {"no_answer_s": 0}}
    short: dict[str, Any] = {"duration_s": 600.0, "p_answer": 0.0, "people": one}
    played = play(world_of("de", "2026-06-08", time_zone=BERLIN, n_days=20, **short))
    by_day = [sum(dial.at.day == day for dial in played.dials) for day in range(8, 28)]
    for what, slots, expected in (
        ("3 a day, 15 a week: first week", slice(0, 7), "3 3 3 3 3 0 0"),
        ("3 a day, 15 a week: second week", slice(7, 14), "3 3 3 3 3 0 0"),
        ("30 in all: third week", slice(14, 20), "0 0 0 0 0 0"),
    ):
        yield Row(f"de: {what}", "2026-06-08", expected, " ".join(map(str, by_day[slots])))
    played = play(world_of("fr", "2026-06-01", time_zone=PARIS, n_days=62, **short))
    yield Row(
        "fr: 4 in any 30 days",
        "2026-06-01",
        "06-01 10:00:00, 06-01 10:00:20, 06-01 10:00:40, 06-01 10:01:00, "
        "07-01 10:00:00, 07-01 10:00:20, 07-01 10:00:40, 07-01 10:01:00, "
        "07-31 10:00:00, 07-31 10:00:20, 07-31 10:00:40, 07-31 10:01:00",
        _dials_of(played, 0),
    )
    times = [dial.at for dial in played.dials]
    month = datetime.timedelta(days=30)
    most = max(sum(begin <= at < begin + month for at in times) for begin in times)
    yield Row("fr: most dials in any 30 days", "2026-06-01", "4", str(most))


# --- midnight -------------------------------------------------------------------------------------


def midnight_rows() -> Iterator[Row]:
    """Silent calls around midnight and the windows that they fall into.

    The only agent talks from 23:50 on; calls dialed at 23:59:52 and 23:59:54 are picked up 4.5 s
    later, silent 2.5 s after that: at 23:59:59 and at 00:00:01.
    """
    three = ("23:50:00", "23:59:52", "23:59:54")
    kinds = ("day", "month", "days", "campaign")
    windows: list[dict[str, Any]] = [{"kind": kind, "cap": 0.03, "length": 2} for kind in kinds]
    windows[0].pop("length")
    for what, first, months in (
        ("within a month", "2026-05-04", 1),
        ("month end", "2026-04-30", 2),
        ("end of February, leap year", "2028-02-28", 1),
        ("end of February", "2026-02-28", 2),
        ("year end", "2026-12-31", 2),
    ):
        scenario = world_of(
            {"profile": "uk_2010", "windows": windows},
            first,
            time_zone=LONDON,
            start="00:00",
            duration_s=86_400.0,
            n_days=2,
            interval_s=2.0,
            close_s=0.0,
            answer_s=4.5,
            talk_s=3600.0,
        )
        played = play(scenario, _asking(*(f"{first} {time}" for time in three)))
        silent = " ".join(moment.strftime("%d %H:%M:%S") for moment in played.silent)
        day = datetime.date.fromisoformat(first)
        after = day + datetime.timedelta(days=1)
        yield Row(
            f"uk_2010, {what}: silent calls",
            first,
            f"{day:%d} 23:59:59 {after:%d} 00:00:01",
            silent,
        )
        for w, (kind, over) in enumerate(zip(kinds, (2, months, 1, 1), strict=True)):
            counts = (played.windows[name][w] for name in ("closed", "breached"))
            yield Row(
                f"uk_2010, {what}: windows of kind {kind}",
                first,
                f"{over} over, {over} above the cap",
                "{:g} over, {:g} above the cap".format(*counts),
            )
    yield from _blocks()


def _blocks() -> Iterator[Row]:
    """Blocks of 30 days and months over 62 days with a short session each."""
    windows = [{"kind": "days", "length": 30, "cap": 0.03}, {"kind": "month", "cap": 0.03}]
    for first, expected in (("2026-06-15", (3, 3)), ("2026-07-01", (3, 2)), ("2028-02-01", (3, 3))):
        scenario = world_of(
            {"profile": "uk_2010", "windows": windows},
            first,
            time_zone=LONDON,
            duration_s=60.0,
            n_days=62,
            talk_s=30.0,
        )
        played = play(scenario, lambda now: 2 * (now.second == 0))
        for w, (name, n) in enumerate(zip(("blocks of 30 days", "months"), expected, strict=True)):
            counts = (played.windows[what][w] for what in ("closed", "breached"))
            found = "{:g} over, {:g} above the cap".format(*counts)
            yield Row(f"{name} in 62 days", first, f"{n} over, {n} above the cap", found)
