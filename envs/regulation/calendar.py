"""Permitted hours as sessions: when the floor is open, when dialing stops, which windows run."""

from __future__ import annotations

import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.part import seconds_of
from quietdial.envs.scenario.world import Scenario


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


def sessions_of(scenario: Scenario) -> tuple[Session, ...]:
    """The sessions of a scenario's episode, at least one."""
    episode = scenario.episode
    end = round(episode.duration_s * 1000)
    stop = end - round(episode.close_s * 1000)
    wall = seconds_of(episode.start)
    dial = 0
    if episode.dial_from is not None:
        dial = max(0, seconds_of(episode.dial_from) - wall) * 1000
    if episode.dial_until is not None:
        stop = min(stop, (seconds_of(episode.dial_until) - wall) * 1000)
    windows = (0,) * len(scenario.rule.all_windows)
    return (Session(None, wall, 0, dial, stop, end, windows, 0, 0),)


def segment_hours(scenario: Scenario, sessions: tuple[Session, ...]) -> NDArray[np.int64]:
    """When each segment of the list may be dialed, (sessions, segments, 2) [ms], from and until."""
    n = len(scenario.people.segments) if scenario.people else 1
    hours = np.array([[s.dial_ms, s.stop_ms] for s in sessions], np.int64)
    return np.repeat(hours[:, None, :], n, axis=1)
