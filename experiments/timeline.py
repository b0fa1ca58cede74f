"""A floor's day as one picture: what the agents did, the calls, and every silent call.

Made from records (`envs/records.py`), in memory or from a folder of Parquet files. Time runs along
the clock on the wall; the hours in which the floor was closed are cut out.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.raster import FLIGHT_COLOUR, STATE_COLOURS, STATE_TITLES
from quietdial.envs.records import CAUSES, Records
from quietdial.envs.scenario import Scenario
from quietdial.envs.wall_clock import WallClock
from quietdial.experiments.plots import (
    FAINT,
    FORBIDDEN,
    GRID,
    INK,
    axes_at,
    dress,
    head,
    legend_beside,
    new_figure,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CALL_COLUMNS: Final = (
    "dialed_ms",
    "ended_ms",
    "outcome",
    "picked_up_ms",
    "queued_ms",
    "waited_ms",
    "silent_ms",
    "silent",
)
_AGENT_COLUMNS: Final = ("state", "from_ms", "to_ms")
_BUSY: Final = ("talk", "wrap")
_AWAY: Final = ("break", "off")
_CAUSE_STYLE: Final = {
    "cut": ("#D55E00", "cut at the limit"),
    "left": ("#0072B2", "hung up before"),
    "amd": ("#CC79A7", "taken for machine"),
}
_CELLS = 420
_GAP = 0.012  # between sessions, share of the axis
_MOST_HOURED = 3  # sessions that get hours on the axis; more get dates
_STEADY = 100  # answered calls from which on the running rate sets the scale


@dataclass(frozen=True, eq=False, slots=True)
class FloorLog:
    """One episode of one floor; every time in ms since the first opening.

    Attributes:
        state: state of every stretch of agent time, text, (K,).
        state_from_ms: its begin, (K,).
        state_to_ms: its end, (K,).
        dialed_ms: begin of every call, (C,).
        ended_ms: end of ringing, the end of the episode if it never ended, (C,).
        queued_ms: callees who began to wait, (W,).
        served_ms: when they were served, cut, or left, (W,).
        answered_ms: pick-ups by a person, rising, (A,).
        silent_ms: silent calls, rising, (S,).
        cause: their causes, text, (S,).
    """

    state: NDArray[np.str_]
    state_from_ms: IntArray
    state_to_ms: IntArray
    dialed_ms: IntArray
    ended_ms: IntArray
    queued_ms: IntArray
    served_ms: IntArray
    answered_ms: IntArray
    silent_ms: IntArray
    cause: NDArray[np.str_]

    @classmethod
    def of(cls, records: Records) -> FloorLog:
        """From the complete records of one episode."""
        calls = {name: _column(records.calls, name) for name in _CALL_COLUMNS}
        agents = {name: _column(records.agents, name) for name in _AGENT_COLUMNS}
        return cls._made(calls, agents)

    @classmethod
    def read(cls, folder: Path, campaign: int = 0) -> FloorLog:
        """From a folder of Parquet files; raises `ConfigError` if the campaign is not in it."""
        from quietdial.envs.record_files import AGENTS_FILE, CALLS_FILE, read_columns

        calls = read_columns(folder / CALLS_FILE, _CALL_COLUMNS, campaign)
        agents = read_columns(folder / AGENTS_FILE, _AGENT_COLUMNS, campaign)
        return cls._made(calls, agents)

    @classmethod
    def _made(cls, calls: dict[str, NDArray[Any]], agents: dict[str, NDArray[Any]]) -> FloorLog:
        if len(agents["to_ms"]) == 0:
            raise ConfigError("the floor's picture needs records of at least one agent")
        end_ms = int(agents["to_ms"].max())
        ended = np.where(calls["ended_ms"] < 0, end_ms, calls["ended_ms"])
        waits = calls["queued_ms"] >= 0
        queued, waited = calls["queued_ms"][waits], calls["waited_ms"][waits]
        silent = calls["silent_ms"][waits]
        until = np.where(silent >= 0, silent, end_ms)
        served = np.where(waited >= 0, queued + waited, until)
        by_person = calls["outcome"] == "person"
        went_silent = calls["silent"] != ""
        order = np.argsort(calls["silent_ms"][went_silent], kind="stable")
        return cls(
            state=agents["state"],
            state_from_ms=agents["from_ms"],
            state_to_ms=agents["to_ms"],
            dialed_ms=calls["dialed_ms"],
            ended_ms=ended,
            queued_ms=queued,
            served_ms=served,
            answered_ms=np.sort(calls["picked_up_ms"][by_person]),
            silent_ms=calls["silent_ms"][went_silent][order],
            cause=calls["silent"][went_silent][order],
        )

    def agent_ms(self, states: Sequence[str]) -> int:
        """Agent time in these states [ms]."""
        inside = np.isin(self.state, states)
        return int((self.state_to_ms - self.state_from_ms)[inside].sum())

    @property
    def utilisation(self) -> float:
        """Talk and wrap-up over available agent time, fraction; 0 if nobody was there."""
        total = int((self.state_to_ms - self.state_from_ms).sum())
        available = total - self.agent_ms(_AWAY)
        return self.agent_ms(_BUSY) / available if available else 0.0


def _column(rows: Sequence[Any], name: str) -> NDArray[Any]:
    """One field of many records: times int64 with -1 for none, text with "" for none."""
    values = [getattr(row, name) for row in rows]
    if name in ("outcome", "silent", "state"):
        return np.array([value or "" for value in values], np.str_)
    return np.array([-1 if value is None else value for value in values], np.int64)


class _Axis:
    """Hours along the picture: the sessions one after the other, the gaps cut out."""

    def __init__(self, clock: WallClock, end_ms: int) -> None:
        self.clock = clock
        self.sessions = [s for s in clock.sessions if s.open_ms < max(end_ms, 1)]
        self.open_ms = np.array([s.open_ms for s in self.sessions], np.int64)
        self.close_ms = np.minimum([s.close_ms for s in self.sessions], end_ms)
        lengths = (self.close_ms - self.open_ms) / 3_600_000
        gap = min(_GAP, 0.1 / len(lengths)) * float(lengths.sum())
        self.left = np.concatenate([[0.0], np.cumsum(lengths + gap)[:-1]])
        self.lengths = lengths

    @property
    def right(self) -> float:
        """End of the axis [h]."""
        return float(self.left[-1] + self.lengths[-1])

    def x(self, time_ms: IntArray) -> FloatArray:
        """Place of each time [h]; what happens after a close stands at the close."""
        session = np.clip(
            np.searchsorted(self.open_ms, time_ms, side="right") - 1, 0, len(self.open_ms) - 1
        )
        inside = np.clip(time_ms, self.open_ms[session], self.close_ms[session])
        place: FloatArray = self.left[session] + (inside - self.open_ms[session]) / 3_600_000
        return place

    def edges(self, session: int) -> IntArray:
        """Edges of the cells of one session [ms]."""
        share = float(self.lengths[session] / self.lengths.sum())
        n = max(2, round(_CELLS * share))
        span = np.linspace(self.open_ms[session], self.close_ms[session], n + 1)
        return np.unique(span.round().astype(np.int64))


def _mean_count(begin: IntArray, end: IntArray, edges: IntArray) -> FloatArray:
    """Mean number of intervals that are open in each cell, (cells,)."""

    def area(times: IntArray) -> FloatArray:
        ordered = np.sort(times)
        sums = np.concatenate([[0], np.cumsum(ordered)])
        n = np.searchsorted(ordered, edges, side="right")
        total: FloatArray = (n * edges - sums[n]).astype(np.float64)
        return total

    open_time = np.diff(area(begin) - area(end))
    return np.maximum(open_time / np.diff(edges), 0.0)


def _range_count(begin: IntArray, end: IntArray, edges: IntArray) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest number of intervals that are open in each cell, (cells,) each."""
    times = np.concatenate([end, begin])  # at one time an interval ends before another begins
    order = np.argsort(times, kind="stable")
    level = np.cumsum(np.repeat([-1, 1], [len(end), len(begin)])[order])
    level = np.concatenate([[0], level])
    place = np.searchsorted(times[order], edges, side="right")
    cells = [level[a : b + 1] for a, b in itertools.pairwise(place)]
    lo = np.array([cell.min() for cell in cells], np.float64)
    hi = np.array([cell.max() for cell in cells], np.float64)
    return lo, hi


def floor_timeline(
    records: Records | FloorLog | Path,
    scenario: Scenario,
    *,
    policy: str = "",
    campaign: int = 0,
) -> Figure:
    """The picture of one episode that a supervisor understands.

    Args:
        records: complete records of one episode, or a folder of Parquet files.
        scenario: the world that was played.
        policy: name of the policy for the title.
        campaign: which campaign of a folder.

    Returns:
        Agents by state over the day, calls in flight and waiting, silent calls with the running
        silent rate of the rule's first window against its cap. `plots.save_png` writes it.

    Raises:
        ConfigError: there are no records.
    """
    log = (
        FloorLog.read(records, campaign)
        if isinstance(records, Path)
        else FloorLog.of(records)
        if isinstance(records, Records)
        else records
    )
    axis = _Axis(WallClock(scenario), int(log.state_to_ms.max()))
    figure = new_figure(10.0, 7.0)
    upper = axes_at(figure, 0.77, 1.95, 3.85, 0.85)
    middle = axes_at(figure, 0.77, 1.95, 2.33, 3.4)
    lower = axes_at(figure, 0.77, 1.95, 0.72, 4.92)
    for panel, label in ((upper, "agents"), (middle, "calls"), (lower, "silent rate (%)")):
        dress(panel, "", label)
        panel.set_xlim(0.0, axis.right)
    head(figure, *_titles(log, scenario, policy))
    _draw_agents(upper, axis, log)
    _draw_calls(middle, axis, log)
    _draw_silent(lower, axis, log, scenario)
    _mark_time(axis, (upper, middle, lower))
    return figure


def _counted(scenario: Scenario, log: FloorLog) -> NDArray[np.bool_]:
    """Which silent calls enter the rule's numerator."""
    rule = scenario.rule
    enters = (rule.counts_cut, rule.counts_left, rule.counts_amd)
    return np.isin(log.cause, [cause for cause, on in zip(CAUSES, enters, strict=True) if on])


def _titles(log: FloorLog, scenario: Scenario, policy: str) -> tuple[str, str]:
    silent, answered = int(_counted(scenario, log).sum()), len(log.answered_ms)
    rate = f"{100 * silent / answered:.2f} %" if answered else "none"
    cap = scenario.rule.cap
    limit = f" (cap {100 * cap:g} %)" if cap < 1 else ""
    title = f"{scenario.name}{', ' + policy if policy else ''}"
    return title, (
        f"utilisation {100 * log.utilisation:.1f} %;  "
        f"silent {silent:,} of {answered:,} answered = {rate}{limit};  "
        f"{len(log.dialed_ms):,} dials"
    )


def _draw_agents(axes: Axes, axis: _Axis, log: FloorLog) -> None:
    present = [name for name in STATE_COLOURS if name != "off" and np.any(log.state == name)]
    colours = [STATE_COLOURS[name] for name in present]
    top = 0.0
    for session in range(len(axis.sessions)):
        edges = axis.edges(session)
        layers = [
            _mean_count(
                log.state_from_ms[log.state == name], log.state_to_ms[log.state == name], edges
            )
            for name in present
        ]
        middles = axis.x((edges[:-1] + edges[1:]) // 2)
        x = np.concatenate(
            [axis.x(edges[:1]), middles, [axis.left[session] + axis.lengths[session]]]
        )
        padded = [np.concatenate([layer[:1], layer, layer[-1:]]) for layer in layers]
        labels = [STATE_TITLES[name] for name in present] if session == 0 else []
        axes.stackplot(x, *padded, colors=colours, labels=labels, linewidth=0)
        top = max(top, float(np.sum(layers, axis=0).max()))
    axes.set_ylim(0, 1.03 * max(top, 1.0))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    handles, names = axes.get_legend_handles_labels()
    legend_beside(axes, handles[::-1], names[::-1])


def _draw_calls(axes: Axes, axis: _Axis, log: FloorLog) -> None:
    top = 1.0
    for session in range(len(axis.sessions)):
        first = session == 0
        edges = axis.edges(session)
        x = axis.x((edges[:-1] + edges[1:]) // 2)
        lo, hi = _range_count(log.dialed_ms, log.ended_ms, edges)
        mean = _mean_count(log.dialed_ms, log.ended_ms, edges)
        _, waiting = _range_count(log.queued_ms, log.served_ms, edges)
        axes.fill_between(
            x,
            lo,
            hi,
            color=FLIGHT_COLOUR,
            alpha=0.22,
            linewidth=0,
            label="its range" if first else None,
        )
        axes.plot(x, mean, color=FLIGHT_COLOUR, linewidth=1.4, label="in flight" if first else None)
        axes.fill_between(
            x,
            0,
            waiting,
            color=FORBIDDEN,
            step="mid",
            linewidth=0,
            label="most waiting" if first else None,
        )
        top = max(top, min(float(hi.max()), 1.4 * float(np.percentile(hi, 98))))
    axes.set_ylim(0, 1.08 * top)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    handles, names = axes.get_legend_handles_labels()
    order = [names.index(name) for name in ("in flight", "its range", "most waiting")]
    legend_beside(axes, [handles[k] for k in order], [names[k] for k in order])


def _draw_silent(axes: Axes, axis: _Axis, log: FloorLog, scenario: Scenario) -> None:
    cap = scenario.rule.cap
    shown = [cause for cause in CAUSES if np.any(log.cause == cause)]
    steady = 0.0
    for k, (times, rate, answered) in enumerate(_running_rate(axis, log, scenario)):
        axes.step(
            axis.x(times),
            100 * rate,
            where="post",
            color=INK,
            linewidth=1.4,
            label=None if k else "rate so far",
        )
        late = rate[answered >= _STEADY]
        steady = max(steady, float(late.max()) if len(late) else 0.0)
    top = 100 * max(1.25 * steady, 1.8 * cap if cap < 1 else 0.0, 0.005)
    row = 0.13 * top
    for k, cause in enumerate(shown):
        colour, title = _CAUSE_STYLE[cause]
        x = axis.x(log.silent_ms[log.cause == cause])
        alpha = min(1.0, max(0.08, 300 / len(x)))  # many marks: their density
        axes.vlines(
            x,
            -(k + 0.95) * row,
            -(k + 0.2) * row,
            color=colour,
            linewidth=0.9,
            alpha=alpha,
        )
        axes.plot([], [], color=colour, linewidth=1.4, label=title)
    axes.set_ylim(-max(len(shown), 0.3) * row, top)
    if cap < 1:
        axes.axhspan(100 * cap, top, color=FORBIDDEN, alpha=0.10, linewidth=0, zorder=0)
        axes.axhline(
            100 * cap,
            color=FORBIDDEN,
            linewidth=1.4,
            linestyle=(0, (5, 3)),
            label=f"cap {100 * cap:g} %",
        )
    axes.axhline(0, color=FAINT, linewidth=0.8)
    ticks = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, top)
    axes.set_yticks([tick for tick in ticks if 0 <= tick <= top])
    legend_beside(axes, *axes.get_legend_handles_labels())


def _running_rate(
    axis: _Axis, log: FloorLog, scenario: Scenario
) -> list[tuple[IntArray, FloatArray, IntArray]]:
    """The silent rate so far in each span of the rule's first window: times, rate, answered."""
    counted = log.silent_ms[_counted(scenario, log)]
    window = np.array([s.windows[0] if s.windows else 0 for s in axis.sessions])
    spans = []
    for number in np.unique(window):
        mine = np.flatnonzero(window == number)
        begin = axis.open_ms[mine[0]] if mine[0] else -1
        end = axis.open_ms[mine[-1] + 1] if mine[-1] + 1 < len(window) else np.iinfo(np.int64).max
        answered = log.answered_ms[(log.answered_ms >= begin) & (log.answered_ms < end)]
        silent = counted[(counted >= begin) & (counted < end)]
        times = np.unique(np.concatenate([answered, silent]))
        n_answered = np.searchsorted(answered, times, side="right")
        n_silent = np.searchsorted(silent, times, side="right")
        close = axis.close_ms[mine[-1]]
        if len(times):
            rate = n_silent / np.maximum(n_answered, 1)
            spans.append(
                (
                    np.append(times, max(close, times[-1])),
                    np.append(rate, rate[-1]),
                    np.append(n_answered, n_answered[-1]),
                )
            )
    return spans


def _mark_time(axis: _Axis, panels: Sequence[Axes]) -> None:
    """Ticks at wall-clock hours, or one per session with its date."""
    places, labels = _hours(axis) if len(axis.sessions) <= _MOST_HOURED else _dates(axis)
    for panel in panels:
        panel.set_xticks(places)
        panel.set_xticklabels([])
        panel.grid(axis="x", color=GRID, linewidth=0.8)
        for left in axis.left[1:]:
            panel.axvline(float(left), color=GRID, linewidth=0.8, zorder=0.5)
    panels[-1].set_xticklabels(labels)
    panels[-1].set_xlabel(_time_label(axis), fontsize=12, color=INK)


def _time_label(axis: _Axis) -> str:
    first = axis.sessions[0].date
    if first is None or len(axis.sessions) > 1:
        return "time of day" if len(axis.sessions) <= _MOST_HOURED else "day"
    return f"time of day, {_day(first)} {first.year}"


def _day(date: datetime.date) -> str:
    return f"{date:%a} {date.day} {date:%b}"


def _hours(axis: _Axis) -> tuple[list[float], list[str]]:
    total = float(axis.lengths.sum())
    most = 12 if len(axis.sessions) == 1 else 8
    steps_s = (300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
    step_s = next((s for s in steps_s if total * 3600 / s <= most), 864_000)
    places, labels = [], []
    for session, left, length in zip(axis.sessions, axis.left, axis.lengths, strict=True):
        first = -(-session.wall_s // step_s) * step_s
        last = session.wall_s + round(3600 * length)
        if session is not axis.sessions[-1]:
            last -= step_s // 2  # leave room for the next session's first label
        for wall_s in range(first, last + 1, step_s):
            places.append(float(left) + (wall_s - session.wall_s) / 3600)
            label = f"{wall_s // 3600 % 24:02d}:{wall_s // 60 % 60:02d}"
            if session.date is not None and len(axis.sessions) > 1 and wall_s == first:
                label += f"\n{_day(session.date)}"
            labels.append(label)
    return places, labels


def _dates(axis: _Axis) -> tuple[list[float], list[str]]:
    every = -(-len(axis.sessions) // 7)
    places = [float(left) for left in axis.left[::every]]
    labels = [_day(s.date) if s.date else str(s.day + 1) for s in axis.sessions[::every]]
    return places, labels
