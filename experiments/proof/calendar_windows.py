"""The kernel's windows against counting from the records of the same episodes.

Three things that are written apart must agree: the totals that the kernel keeps, the records made
of its log, and the arithmetic of `envs/regulation/counting.py`. For windows between midnights they
agree exactly. A rolling window of L hours is moved on by the kernel in steps of L / 60: it is held
against the same steps counted from the records, exactly, and against every position to the
millisecond, from which it can differ by the calls of one step at each end.
"""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.rules import FixedRatio
from quietdial.envs.pacing.state import BUCKETS
from quietdial.envs.records import Assembler, CallRecord
from quietdial.envs.regulation.calendar import sessions_of, window_number
from quietdial.envs.regulation.counting import (
    AnsweredCall,
    Outcome,
    Seen,
    WindowReport,
    estimated_rate,
    windows_of,
)
from quietdial.envs.regulation.rule import Window
from quietdial.envs.scenario import Scenario
from quietdial.experiments.bench.results import figure
from quietdial.experiments.evaluate import make_world
from quietdial.experiments.proof.parts import Figure, failures

CAMPAIGNS = 6
_CAP = 0.12
_ZONE = "Europe/Rome"
_MS = datetime.timedelta(milliseconds=1)
_FAMILIES: tuple[tuple[dict[str, Any], ...], ...] = (
    (
        {"kind": "day", "cap": _CAP},
        {"kind": "campaign", "cap": _CAP},
        {"kind": "days", "length": 2, "cap": _CAP},
        {"kind": "hours", "length": 1, "cap": _CAP},
    ),
    (
        {"kind": "month", "cap": _CAP},
        {"kind": "days", "length": 3, "cap": _CAP},
        {"kind": "hours", "length": 2, "cap": _CAP},
    ),
)


class Episode(NamedTuple):
    """One campaign: its call records and the kernel's own count of its windows, each (W,)."""

    calls: list[CallRecord]
    windows: dict[str, NDArray[np.float64]]
    end_ms: int


def window_world(windows: tuple[dict[str, Any], ...], estimate: str) -> Scenario:
    """A small floor across the end of a month, with detection that errs both ways.

    Args:
        windows: the rule's windows.
        estimate: "counted" or "ofcom".
    """
    exponential = {"kind": "exponential", "mean_s": 60.0}
    return Scenario.model_validate(
        {
            "name": "windows",
            "floor": {"n_agents": 5, "talk": exponential},
            "calls": {
                "answer_rate": {"kind": "constant", "p": 0.4},
                "time_to_answer": {"kind": "uniform", "low_s": 8.0, "high_s": 14.0},
                "unanswered": [
                    {
                        "outcome": "machine",
                        "share": 0.5,
                        "time": {"kind": "constant", "value_s": 15},
                    },
                    {"outcome": "busy", "share": 0.5, "time": {"kind": "constant", "value_s": 2}},
                ],
                "patience": {"kind": "exponential", "mean_s": 6.0},
                "detection": {
                    "kind": "amd",
                    "decision": {"kind": "uniform", "low_s": 0.5, "high_s": 1.5},
                    "p_false_machine": 0.03,
                    "p_false_person": 0.2,
                    "audited_share": 0.04 if estimate == "ofcom" else 0.0,
                    "machine_handling": {"kind": "constant", "value_s": 6},
                },
            },
            "rule": {
                "id": "windows",
                "cap": _CAP,
                "windows": list(windows),
                "wait_limit_s": 2,
                "estimate": estimate,
            },
            "episode": {
                "first_day": "2026-04-28",
                "n_days": 5,
                "time_zone": _ZONE,
                "start": "10:00",
                "duration_s": 10_800,
                "decision_interval_s": 5,
            },
            "observation": "none",
        }
    )


def play_windows(scenario: Scenario, n: int = CAMPAIGNS) -> list[Episode]:
    """Play `n` campaigns with their records, dialing more than the cap can bear."""
    policy = FixedRatio(2.0)
    world = make_world(policy, scenario, n, records=True)
    world.begin(np.ones(n, np.bool_), [3_000_000 + i for i in range(n)])
    assemblers = [Assembler(scenario, row) for row in range(n)]
    calls: list[list[CallRecord]] = [[] for _ in range(n)]
    active = np.ones(n, np.bool_)
    while active.any():
        actions, _ = policy.act(world.observe())
        active = world.step(actions, active)[:, 4] == 0
        for row, log in enumerate(world.drain_log()):
            assemblers[row].feed(log)
            calls[row] += assemblers[row].take().calls
    end_ms = round(1000 * float(world.clock_s()[0]))
    for row, assembler in enumerate(assemblers):
        assembler.close(end_ms)
        calls[row] += assembler.take().calls
    windows = world.windows()
    return [
        Episode(calls[row], {name: values[row] for name, values in windows.items()}, end_ms)
        for row in range(n)
    ]


def window_rows(campaigns: int = CAMPAIGNS) -> list[Figure]:
    """All comparisons, as figures of the proof; `campaigns` for each of four rules."""
    off: list[str] = []
    n = 0
    gaps: list[int] = []
    for estimate in ("counted", "ofcom"):
        for windows in _FAMILIES:
            scenario = window_world(windows, estimate)
            for row, episode in enumerate(play_windows(scenario, campaigns)):
                found = differences(scenario, episode)
                n += found.n
                off += [f"{estimate}, campaign {row}: {line}" for line in found.lines]
                gaps += found.gaps
    largest = float(max(gaps))
    return [
        failures(
            "calendar/windows",
            off,
            n,
            "windows over, above the cap in truth and by the estimate, of every kind, against "
            "counting from the records; rolling hours also at every position to the millisecond",
        ),
        figure(
            "calendar/rolling_gap",
            largest,
            "calls",
            0.0,
            largest,
            len(gaps),
            "largest difference in answered calls between a window at any millisecond and the "
            "last step of 1/60 before its end; at most the calls of one step at each end",
        ),
    ]


class Differences(NamedTuple):
    """What disagrees in one campaign, out of `n` comparisons, and the gaps of rolling windows."""

    lines: list[str]
    n: int
    gaps: list[int]


def differences(scenario: Scenario, episode: Episode) -> Differences:
    """Hold the kernel's windows of one campaign against its records."""
    lines: list[str] = []
    gaps: list[int] = []
    n = 0
    calls = _answered_calls(episode)
    first_day = scenario.episode.first_day
    if first_day is None:
        raise AssertionError("the world of the windows has a date")
    reports = windows_of(scenario.rule, first_day, _ZONE, calls)
    for w, (window, report) in enumerate(zip(scenario.rule.all_windows, reports, strict=True)):
        kernel = {k: float(episode.windows[k][w]) for k in ("closed", "breached", "seen_breached")}
        if window.kind == "hours":
            other = _rolling(scenario, window, episode)
            wide, mine = _any_position(window, report, episode)
            gaps += mine
            lines += wide
            n += len(mine)
        else:
            other = _fixed(scenario, window, report, episode)
        for name, value in kernel.items():
            n += 1
            if value != other[name]:
                lines.append(
                    f"{window.kind} {window.length}, {name}: {value:g} in the kernel, "
                    f"{other[name]:g} from the records"
                )
    return Differences(lines, n, gaps)


def _at(time_ms: int) -> datetime.datetime:
    """Local time of the kernel's clock, which begins on 28 April 2026 at 10:00."""
    begin = datetime.datetime(2026, 4, 28, 10, tzinfo=zoneinfo.ZoneInfo(_ZONE))
    moment = begin.astimezone(datetime.UTC) + time_ms * _MS
    return moment.astimezone(zoneinfo.ZoneInfo(_ZONE))


def _answered_calls(episode: Episode) -> list[AnsweredCall]:
    """Answered calls with their outcomes, at the moment at which they are settled."""
    found = []
    for call in episode.calls:
        settled_ms = _settled_ms(call)
        if settled_ms is None:
            continue
        outcome: Outcome = call.silent if call.silent is not None else "connected"  # type: ignore[assignment]
        found.append(AnsweredCall(_at(settled_ms), outcome))
    return found


def _settled_ms(call: CallRecord) -> int | None:
    """When an answered call becomes a conversation in time or silent; None: never, or a machine."""
    if call.outcome != "person":
        return None
    return call.silent_ms if call.silent is not None else call.connected_ms


def _settled_times(episode: Episode) -> NDArray[np.int64]:
    """Times at which answered calls are settled, in order [ms]."""
    found = [_settled_ms(call) for call in episode.calls]
    return np.sort(np.array([time for time in found if time is not None], np.int64))


def _seen(scenario: Scenario, calls: list[CallRecord]) -> Seen:
    """What the dialer saw of calls that are over."""
    machine = [call for call in calls if call.outcome == "machine"]
    return Seen(
        dropped=sum(call.silent in ("cut", "left") for call in calls)
        + sum(call.dropped_ms is not None for call in machine),
        live=sum(
            call.outcome == "person" and call.connected_ms is not None and not call.late
            for call in calls
        ),
        agent_machines=sum(call.connected_ms is not None for call in machine),
        amd_machines=sum(call.verdict == "machine" for call in calls),
        audited_share=scenario.calls.detection.audited_share,
    )


def _fixed(
    scenario: Scenario, window: Window, report: WindowReport, episode: Episode
) -> dict[str, float]:
    """Windows between midnights, from the records; a call belongs to the day of its dial."""
    first_day = scenario.episode.first_day
    if first_day is None:
        raise AssertionError("the world of the windows has a date")
    mine: dict[int, list[CallRecord]] = {}
    for call in episode.calls:
        number = window_number(window, first_day, _at(call.dialed_ms).date())
        mine.setdefault(number, []).append(call)
    above = [
        estimated_rate(scenario.rule, _seen(scenario, calls)) > window.cap + 1e-12
        for calls in mine.values()
    ]
    return {
        "closed": len(report.rates),
        "breached": len(report.breaches),
        "seen_breached": sum(above),
    }


def _times(calls: list[CallRecord], *names: str) -> NDArray[np.int64]:
    """Times of these kinds of all calls that have them, in order [ms]."""
    found = [getattr(call, name) for call in calls for name in names]
    return np.sort(np.array([time for time in found if time is not None], np.int64))


def _rolling(scenario: Scenario, window: Window, episode: Episode) -> dict[str, float]:
    """A rolling window at the kernel's steps, from the records.

    Step k judges the events of (k - 60, k] steps, each counted at the moment at which it happens.
    """
    step = window.length * 3_600_000 // BUCKETS
    persons = [call for call in episode.calls if call.outcome == "person"]
    machines = [call for call in episode.calls if call.outcome == "machine"]
    lost = [call for call in persons if call.silent in ("cut", "left")]
    said_machine = [call for call in episode.calls if call.verdict == "machine"]
    events = {
        "answered": _settled_times(episode),
        "silent": _times(persons, "silent_ms"),
        "dropped": np.sort(
            np.concatenate([_times(lost, "silent_ms"), _times(machines, "dropped_ms")])
        ),
        "live": _times(persons, "connected_ms"),
        "agent_machines": _times(machines, "connected_ms"),
        "amd_machines": _times(said_machine, "verdict_ms"),
    }
    last = episode.end_ms // step
    ends = step * np.arange(1, last + 1)
    sessions = sessions_of(scenario)
    ends = ends[[any(s.open_ms < end <= s.close_ms for s in sessions) for end in ends]]
    n = {
        name: np.searchsorted(times, ends, "right")
        - np.searchsorted(times, ends - BUCKETS * step, "right")
        for name, times in events.items()
    }
    share = scenario.calls.detection.audited_share
    names = ("dropped", "live", "agent_machines", "amd_machines")
    rates = np.array(
        [
            estimated_rate(scenario.rule, Seen(x, live, ag, m, share))
            for x, live, ag, m in zip(*(n[name] for name in names), strict=True)
        ]
    )
    return {
        "closed": float(len(ends)),
        "breached": float((n["silent"] > window.cap * n["answered"] + 1e-9).sum()),
        "seen_breached": float((rates > window.cap + 1e-12).sum()),
    }


def _any_position(
    window: Window, report: WindowReport, episode: Episode
) -> tuple[list[str], list[int]]:
    """How far any position of a rolling window is from the last step before its end.

    The two differ by less than one step at each end, so by no more answered calls than there are
    in these two spans, and in any two steps of the campaign at most.
    """
    step_ms = window.length * 3_600_000 // BUCKETS
    zero = _at(0)
    times = _settled_times(episode)
    bins = np.bincount(times // step_ms)
    most = 2 * int((bins[:-1] + bins[1:]).max())  # a step anywhere lies within two bins
    lines, gaps = [], []
    for rate in report.rates:
        end = (rate.end - zero) // _MS
        last = end // step_ms * step_ms
        inside = np.searchsorted(times, [last - BUCKETS * step_ms, last], "right")
        gap = abs(int(inside[1] - inside[0]) - rate.answered)
        gaps.append(gap)
        if gap > most:
            lines.append(f"rolling window to {rate.end}: {gap} calls off, bound {most}")
    return lines, gaps or [0]
