"""Small worlds for the table of dates and times: constant laws, one agent, few people.

The kernel's own log says what happened and when. Its clock is turned into dates and times of day
through UTC and the elapsed time, not through the world's own calendar, so that a session at a wrong
hour is found.

Nothing is left to chance but one thing: a person of a list answers with a probability of .95 at
most. `SEED` is a campaign in which all those who should answer do.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.pacing.log import AGENT_STATE_CHANGE, DIAL, SESSION_CHANGE, SILENT
from quietdial.envs.pacing.state import HELD
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario

Ask = Callable[[datetime.datetime], int]
"""How many calls to dial at a decision, by local time."""

SEED = 2
_MS = datetime.timedelta(milliseconds=1)


class Dial(NamedTuple):
    """One dial: local time, person (-1: anonymous), and whether an agent was held for it."""

    at: datetime.datetime
    person: int
    held: bool


class Played(NamedTuple):
    """What the kernel's log says of one episode; all times are local.

    Attributes:
        dials: every dial, in order.
        silent: when each silent call became one.
        openings: when each session opened.
        end: the end of the episode.
        asked: decisions at which a call was asked for.
        held: when an agent was set aside.
        windows: `World.windows()` at the end, each (W,).
    """

    dials: list[Dial]
    silent: list[datetime.datetime]
    openings: list[datetime.datetime]
    end: datetime.datetime
    asked: list[datetime.datetime]
    held: list[datetime.datetime]
    windows: dict[str, NDArray[np.float64]]


def constant(seconds: float) -> dict[str, Any]:
    """The law of a time that is always the same."""
    return {"kind": "constant", "value_s": seconds}


def world_of(
    rule: str | dict[str, Any],
    first_day: str,
    *,
    time_zone: str,
    start: str = "10:00",
    duration_s: float = 5400.0,
    n_days: int = 1,
    interval_s: float = 10.0,
    close_s: float = 20.0,
    p_answer: float = 1.0,
    ends_s: float = 20.0,
    ending: str = "no_answer",
    answer_s: float = 1.0,
    talk_s: float = 600.0,
    detection: dict[str, Any] | None = None,
    people: dict[str, Any] | None = None,
) -> Scenario:
    """A floor with one agent on which nothing is left to chance.

    Args:
        rule: profile, or a mapping.
        first_day: date.
        time_zone: of the floor.
        start: opening, if the rule allows it.
        duration_s: length of a day [s].
        n_days: calendar days.
        interval_s: decision interval [s].
        close_s: no dials in the last ... of a session [s].
        p_answer: 0 or 1.
        ends_s: time to `ending` [s].
        ending: what becomes of a dial that nobody answers.
        answer_s: time from a dial to the answer [s].
        talk_s: length of a conversation [s].
        detection: answering-machine detection; None: perfect.
        people: the list; None: endless and anonymous.
    """
    calls: dict[str, Any] = {
        "answer_rate": {"kind": "constant", "p": p_answer},
        "time_to_answer": constant(answer_s),
        "unanswered": [{"outcome": ending, "share": 1, "time": constant(ends_s)}],
        "greeting": {"start": constant(0.5), "length": constant(0.5)},
        "max_dials_per_decision": 2,
    }
    if detection is not None:
        calls["detection"] = detection
    data: dict[str, Any] = {
        "name": "calendar",
        "floor": {"n_agents": 1, "talk": constant(talk_s)},
        "calls": calls,
        "rule": rule,
        "episode": {
            "first_day": first_day,
            "n_days": n_days,
            "time_zone": time_zone,
            "start": start,
            "duration_s": duration_s,
            "decision_interval_s": interval_s,
            "close_s": close_s,
        },
        "observation": "none",
        "action": "dials",
    }
    if people is not None:
        data["people"] = people
    return Scenario.model_validate(data)


def always(when: datetime.datetime) -> int:
    """Ask for a call at every decision."""
    return 1


def play(scenario: Scenario, ask: Ask = always, *, first_opening: str | None = None) -> Played:
    """Play an episode, asking for calls.

    Args:
        scenario: the world.
        ask: how many calls to ask for at each decision.
        first_opening: local date and time of the first opening; None: `first_day` at `start`.
    """
    episode = scenario.episode
    zone = zoneinfo.ZoneInfo(episode.time_zone)
    local = datetime.datetime.fromisoformat(
        first_opening or f"{episode.first_day} {episode.start}:00"
    ).replace(tzinfo=zone)
    origin = local.astimezone(datetime.UTC)

    def at(ms: int) -> datetime.datetime:
        return (origin + int(ms) * _MS).astimezone(zone)

    world = World(1, scenario, records=True)
    active = np.ones(1, np.bool_)
    world.begin(active, [SEED])
    rows: list[NDArray[np.int64]] = []
    asked: list[datetime.datetime] = []
    over = False
    while not over:
        now = at(round(1000 * float(world.clock_s()[0])))
        calls = ask(now)
        if calls:
            asked.append(now)
        over = bool(world.step(np.array([calls], np.int64), active)[0, 4])
        rows.append(world.drain_log()[0])
    log = np.concatenate(rows)

    def times(code: np.int64, column: int = -1, value: int = 0) -> list[datetime.datetime]:
        chosen = log[:, 1] == code
        if column >= 0:
            chosen &= log[:, column] == value
        return [at(ms) for ms in log[chosen, 0].tolist()]

    return Played(
        dials=[Dial(at(row[0]), int(row[3]), bool(row[4] >= 0)) for row in log[log[:, 1] == DIAL]],
        silent=times(SILENT),
        openings=times(SESSION_CHANGE, 3, 1),
        end=at(round(1000 * float(world.clock_s()[0]))),
        asked=asked,
        held=times(AGENT_STATE_CHANGE, 4, int(HELD)),
        windows={name: values[0] for name, values in world.windows().items()},
    )
