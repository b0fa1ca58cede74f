"""`quietdial simulate`: play any scenario with any rule or policy, and write down what happened."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from quietdial.agents.budget import decide
from quietdial.agents.exploring import Exploring
from quietdial.agents.policy import Policy
from quietdial.agents.rules import Blend, FixedRatio, Marginal, Progressive
from quietdial.agents.wrapped import shown_name
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.world import World
from quietdial.envs.records import Assembler, CallRecord, DecisionRecord, Records
from quietdial.envs.regulation.counting import (
    AnsweredCall,
    Counts,
    Seen,
    WindowCounter,
    estimated_rate,
    windows_of,
)
from quietdial.envs.regulation.rule import Rule, Window
from quietdial.envs.scenario import Scenario
from quietdial.envs.wall_clock import WallClock
from quietdial.experiments.decision_notes import DecisionNotes
from quietdial.experiments.evaluate import make_world
from quietdial.experiments.rundir import RESULT_SCHEMA
from quietdial.experiments.stats import Interval, mean_interval, ratio_interval

MOST_EPISODES: Final = 100_000
_RULES: Final[dict[str, Policy]] = {
    "progressive": Progressive(),
    "fixed-ratio": FixedRatio(),
    "ratio": FixedRatio(),
    "marginal": Marginal(),
    "theta": Marginal(),
    "blend": Blend(),
}
_NO_DATE: Final = datetime.date(2001, 1, 1)  # stands for the day of a scenario without a date

Totals = dict[str, NDArray[np.float64]]
Progress = Callable[[float], None]


class _Logging(Protocol):
    """A world that keeps a raw log."""

    def drain_log(self) -> list[NDArray[np.int64]]: ...


def exploring(policy: Policy, share: float | None, seed: int) -> Policy:
    """The policy, exploring in that share of its decisions; None: as it is."""
    return policy if share is None else Exploring(policy, share, seed)


def find_policy(text: str) -> Policy:
    """A rule, with its knob after a colon, or the policy in the folder of a run or checkpoint.

    `progressive`, `marginal`, `theta:0.02` (the same rule), `fixed-ratio`, `ratio:2.5`, `blend:2`.

    Raises:
        ConfigError: there is no such policy, or its knob is out of range.
    """
    name, colon, knob = text.partition(":")
    if name in _RULES:
        rule = _RULES[name]
        if not colon:
            return rule
        try:
            value = float(knob)
        except ValueError:
            raise ConfigError(f"policy {text!r}: {knob!r} is not a number") from None
        return rule.with_knob(value)
    if Path(text).is_dir():
        from quietdial.experiments.train import load_run_policy

        return load_run_policy(text)
    raise ConfigError(
        f"unknown policy {text!r}; use one of {', '.join(_RULES)} (with a knob: theta:0.02, "
        "ratio:2.5, blend:2), or the folder of a run or checkpoint"
    )


def policy_label(policy: Policy) -> str:
    """Name and knob of a policy, for titles and files."""
    name = shown_name(policy)
    if policy.knob_name is None or policy.knob is None:
        return name
    return f"{name}, {policy.knob_name} {policy.knob:g}"


@dataclass(slots=True)
class WindowTally:
    """How one of the rule's windows came out over all episodes.

    Attributes:
        window: the window and its cap.
        n: spans in which a call was answered.
        n_above: those above the cap.
        worst: highest silent rate of a span, fraction.
    """

    window: Window
    n: int = 0
    n_above: int = 0
    worst: float = 0.0

    def add(self, rates: list[float], n_above: int) -> None:
        """Take the spans of one episode."""
        self.n += len(rates)
        self.n_above += n_above
        self.worst = max([self.worst, *rates])

    @property
    def title(self) -> str:
        """The window in words."""
        length = self.window.length
        words = {
            "campaign": "whole campaign",
            "day": "calendar day",
            "days": f"block of {length} days",
            "month": "calendar month",
            "hours": f"any {length} hours",
        }
        return words[self.window.kind]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What came out of a simulation.

    Attributes:
        scenario: the world.
        policy: name and knob of the policy.
        seeds: seed of each episode, (E,).
        totals: totals of each episode by name, float64 (E,) each.
        windows: one for each of the rule's windows.
        files: files of records that were written.
    """

    scenario: Scenario
    policy: str
    seeds: NDArray[np.int64]
    totals: Totals
    windows: tuple[WindowTally, ...]
    files: tuple[Path, ...] = ()

    def figures(self) -> list[dict[str, Any]]:
        """Rows `{name, value, unit, lo, hi, n, note}`; `lo` and `hi` are None for one episode."""
        return [
            {"name": name, "unit": unit, "note": note, **_ends(value)}
            for name, value, unit, note in self._estimates()
        ]

    def _estimates(self) -> Iterator[tuple[str, Interval, str, str]]:
        t = self.totals
        busy_s = t["talk_s"] + t["wrap_s"]
        counted = t.get("counted", t["silent"])
        yield "utilisation", _ratio(busy_s, t["available_s"]), "1", "talk and wrap-up"
        hours = t["available_s"] / 3600
        conversations = _ratio(t["connected"], hours)
        yield "conversations_per_agent_h", conversations, "1/h", "connected in time"
        yield "silent_rate", _ratio(counted, t["answered"]), "1", "as the rule counts, of answered"
        if self.scenario.calls.detection.kind != "perfect":
            note = "by the dialer's own estimate, mean of episodes"
            yield "silent_rate/estimated", _mean(self._estimated_rates()), "1", note
        for cause in ("cut", "left", "amd"):
            share = _ratio(t[f"silent_{cause}"], t["answered"])
            yield f"silent_rate/{cause}", share, "1", "of answered"
        if "harm" in t:
            yield "harm_per_answered", _ratio(t["harm"], t["answered"]), "1", "weighted silent"
        yield "dials_per_answered", _ratio(t["dialed"], t["answered"]), "1", ""
        if self.scenario.inbound is not None:
            arrived = t["inbound_arrived"]
            yield "inbound_in_time", _ratio(t["inbound_in_time"], arrived), "1", "of arrived"
            yield "inbound_lost", _ratio(t["inbound_lost"], arrived), "1", "of arrived"
        for name in ("dialed", "answered", "connected", "silent"):
            yield f"{name}_per_episode", _mean(t[name]), "calls", "mean of episodes"

    def _estimated_rates(self) -> NDArray[np.float64]:
        """Silent rate of each episode as the dialer itself estimates it, (E,)."""
        rule, t = self.scenario.rule, self.totals
        dropped = (t["silent_cut"] + t["machine_dropped"]) * rule.counts_cut
        dropped = dropped + t["silent_left"] * rule.counts_left
        columns = (dropped, t["connected"], t["machine_agent"], t["amd_machine"])
        share = self.scenario.calls.detection.audited_share
        rates = [
            estimated_rate(rule, Seen(x, live, machines, verdicts, share))
            for x, live, machines, verdicts in zip(*columns, strict=True)
        ]
        return np.array(rates)

    def to_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "schema": RESULT_SCHEMA,
            "name": f"simulate-{self.scenario.name}",
            "scenario": self.scenario.name,
            "policy": self.policy,
            "seeds": [int(self.seeds[0]), int(self.seeds[-1])],
            "episodes": len(self.seeds),
            "figures": self.figures(),
            "windows": [
                {
                    "kind": tally.window.kind,
                    "length": tally.window.length,
                    "cap": tally.window.cap,
                    "n": tally.n,
                    "n_above": tally.n_above,
                    "worst": tally.worst,
                }
                for tally in self.windows
            ],
            "totals": {name: float(values.sum()) for name, values in self.totals.items()},
            "files": [str(path) for path in self.files],
        }

    def table(self) -> Table:
        """The summary for a terminal."""
        n = len(self.seeds)
        episodes = "1 episode" if n == 1 else f"{n} episodes, 95 % intervals"
        table = Table(
            "",
            f"{self.scenario.name}, {self.policy}",
            episodes if n > 1 else "",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for name, value, _, _ in self._estimates():
            title, scale, digits, unit = _SHOWN[name]
            lo, middle, hi = (f"{scale * v:,.{digits}f}" for v in (value.lo, value.value, value.hi))
            table.add_row(title, middle + unit, f"{lo} to {hi}" if n > 1 else "")
        for tally in self.windows:
            cap = "no cap" if tally.window.cap >= 1 else f"{tally.n_above} above"
            limit = "" if tally.window.cap >= 1 else f" {100 * tally.window.cap:g} %"
            table.add_row(
                f"window: {tally.title}",
                f"{cap}{limit} of {tally.n}",
                f"worst {100 * tally.worst:.2f} %",
            )
        return table


_SHOWN: Final = {
    "utilisation": ("utilisation", 100.0, 1, " %"),
    "conversations_per_agent_h": ("conversations per agent-hour", 1.0, 2, ""),
    "silent_rate": ("silent rate, as the rule counts", 100.0, 2, " %"),
    "silent_rate/estimated": ("  by the dialer's estimate", 100.0, 2, " %"),
    "silent_rate/cut": ("  cut at the limit", 100.0, 2, " %"),
    "silent_rate/left": ("  hung up before", 100.0, 2, " %"),
    "silent_rate/amd": ("  taken for a machine", 100.0, 2, " %"),
    "harm_per_answered": ("harm per 1,000 answered", 1000.0, 2, ""),
    "dials_per_answered": ("dials per answered call", 1.0, 2, ""),
    "inbound_in_time": ("inbound served in time", 100.0, 1, " %"),
    "inbound_lost": ("inbound lost", 100.0, 1, " %"),
    "dialed_per_episode": ("dials per episode", 1.0, 0, ""),
    "answered_per_episode": ("answered per episode", 1.0, 0, ""),
    "connected_per_episode": ("connected per episode", 1.0, 0, ""),
    "silent_per_episode": ("silent per episode", 1.0, 1, ""),
}
"""Title, factor, decimals and unit of each figure in the table."""


def _ends(value: Interval) -> dict[str, Any]:
    ends = value.to_dict()
    return ends if value.n > 1 else {**ends, "lo": None, "hi": None}


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> Interval:
    """Pooled ratio with its interval over episodes; without an interval for a single one."""
    total = float(whole.sum())
    if total <= 0:
        return Interval(0.0, 0.0, 0.0, len(whole))
    if len(whole) < 2:
        value = float(part.sum()) / total
        return Interval(value, value, value, 1)
    return ratio_interval(part, whole)


def _mean(values: NDArray[np.float64]) -> Interval:
    if len(values) < 2:
        return Interval(float(values[0]), float(values[0]), float(values[0]), 1)
    return mean_interval(values)


class _Watch:
    """Counts the silent calls of one episode in every window that sessions can tell."""

    _NAMES = ("answered", "silent_cut", "silent_left", "silent_amd")

    def __init__(self, rule: Rule, clock: WallClock) -> None:
        self.counter = WindowCounter(rule)
        self._clock = clock
        self._session = 0
        self._last = (0, 0, 0, 0)

    def look(self, now_ms: int, totals: dict[str, float], *, is_end: bool) -> None:
        """Book what happened since the last look to the session in which it happened."""
        session = int(self._clock.session_of(now_ms))
        if session == self._session and not is_end:
            return
        now = tuple(int(totals[name]) for name in self._NAMES)
        new = Counts(*(a - b for a, b in zip(now, self._last, strict=True)))
        self.counter.add(self._clock.sessions[self._session].windows, new)
        self._session, self._last = session, (now[0], now[1], now[2], now[3])


@dataclass(slots=True)
class _Episode:
    """One row of the batch."""

    watch: _Watch
    assembler: Assembler | None
    answered: list[AnsweredCall] = field(default_factory=list)


class _Player:
    """Plays batches of episodes and collects what they leave behind."""

    def __init__(
        self,
        policy: Policy,
        scenario: Scenario,
        sink: Callable[[Records], None] | None,
        note: Callable[[Sequence[DecisionRecord]], None] | None = None,
    ) -> None:
        self.policy, self.scenario, self.sink, self.note = policy, scenario, sink, note
        self.clock = WallClock(scenario)
        self.rolls = any(window.kind == "hours" for window in scenario.rule.all_windows)
        self.logs = sink is not None or self.rolls
        self.tallies = tuple(WindowTally(window) for window in scenario.rule.all_windows)

    def play(self, seeds: NDArray[np.int64], first: int, report: Progress) -> Totals:
        """Play one episode of each seed side by side; their records are numbered from `first`."""
        n = len(seeds)
        world = make_world(self.policy, self.scenario, n, records=self.logs)
        world.begin(np.ones(n, np.bool_), [int(seed) for seed in seeds])
        episodes = [
            _Episode(
                _Watch(self.scenario.rule, self.clock),
                Assembler(self.scenario, first + row) if self.logs else None,
            )
            for row in range(n)
        ]
        active = np.ones(n, np.bool_)
        state: object | None = None
        last = self.clock.sessions[-1]
        end_ms = max(last.close_ms, 1)
        session = np.zeros(n, np.int64)
        step = 0
        notes = None
        if self.note is not None:
            notes = DecisionNotes(self.policy, world, first, self.note)
        while active.any():
            before = state
            actions, state = decide(self.policy, world, state)
            if notes is not None:
                notes.decided(world.observe(), before, actions)
            out = world.step(actions, active)
            done = active & (out[:, 4] > 0)
            if self.logs:
                self._take(world, episodes, notes, active)
            now_ms = np.rint(1000 * world.clock_s()).astype(np.int64)
            now_session = self.clock.session_of(now_ms)
            if done.any() or (now_session != session).any():
                self._look(world, episodes, now_ms, active, done)
                session = now_session
            active &= ~done
            step += 1
            if step % 512 == 0:
                report(float(now_ms.mean()) / end_ms)
        return world.totals()

    def _take(
        self,
        world: World,
        episodes: list[_Episode],
        notes: DecisionNotes | None,
        active: NDArray[np.bool_],
    ) -> None:
        logs = cast(_Logging, world).drain_log()
        if notes is not None:
            notes.played(logs, active)
        for episode, rows in zip(episodes, logs, strict=True):
            if episode.assembler is not None and len(rows):
                episode.assembler.feed(rows)
                self._hand_over(episode)

    def _hand_over(self, episode: _Episode) -> None:
        if episode.assembler is None:
            return
        records = episode.assembler.take()
        if self.rolls:
            episode.answered += [call for call in map(self._answered, records.calls) if call]
        if self.sink is not None:
            self.sink(records)

    def _answered(self, call: CallRecord) -> AnsweredCall | None:
        """The call as windows count it, at the moment at which its outcome was certain."""
        if call.silent_ms is not None:
            return AnsweredCall(self._utc(call.silent_ms), cast(Any, call.silent))
        if call.outcome == "person" and call.connected_ms is not None:
            return AnsweredCall(self._utc(call.connected_ms), "connected")
        return None

    def _utc(self, time_ms: int) -> datetime.datetime:
        zero = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        if self.clock.has_date:
            return zero + datetime.timedelta(milliseconds=int(self.clock.utc_ms(time_ms)))
        zero = datetime.datetime.combine(_NO_DATE, datetime.time(), datetime.UTC)
        return zero + datetime.timedelta(milliseconds=time_ms)

    def _look(
        self,
        world: World,
        episodes: list[_Episode],
        now_ms: NDArray[np.int64],
        active: NDArray[np.bool_],
        done: NDArray[np.bool_],
    ) -> None:
        totals = world.totals()
        for row in np.flatnonzero(active).tolist():
            mine = {name: float(values[row]) for name, values in totals.items()}
            episode, is_end = episodes[row], bool(done[row])
            episode.watch.look(int(now_ms[row]), mine, is_end=is_end)
            if is_end:
                if episode.assembler is not None:
                    episode.assembler.close(int(now_ms[row]))
                    self._hand_over(episode)
                self._tally(episode)

    def _tally(self, episode: _Episode) -> None:
        counter = episode.watch.counter
        rates, above = counter.rates(), counter.breaches()
        for k, tally in enumerate(self.tallies):
            if tally.window.kind != "hours":
                tally.add(list(rates[k].values()), len(above[k]))
        if self.rolls:
            first = self.clock.sessions[0].date or _NO_DATE
            zone = self.scenario.episode.time_zone if self.clock.has_date else "UTC"
            reports = windows_of(self.scenario.rule, first, zone, episode.answered)
            for tally, report in zip(self.tallies, reports, strict=True):
                if tally.window.kind == "hours":
                    tally.add([r.rate for r in report.rates], len(report.breaches))


def _painter(scenario: Scenario, policy: str, path: Path) -> Callable[[Records], None]:
    """What writes the picture at the end; a missing matplotlib is noticed before the work."""
    from quietdial.experiments.plots import save_png
    from quietdial.experiments.timeline import floor_timeline

    def draw(records: Records) -> None:
        save_png(floor_timeline(records, scenario, policy=policy), path)

    return draw


def simulate(
    policy: Policy,
    scenario: Scenario,
    *,
    seed: int = 0,
    n_days: int = 1,
    n_campaigns: int = 1,
    records: Path | None = None,
    picture: Path | None = None,
    report: Progress | None = None,
) -> Simulation:
    """Play episodes of a scenario with one policy.

    There are `n_days` x `n_campaigns` episodes with the seeds `seed`, `seed` + 1, ...;
    `n_campaigns` of them are played side by side, which changes nothing but the speed. The record
    of an episode has the number of its seed minus `seed` in the column `campaign`.

    Args:
        policy: who decides.
        scenario: the world; an episode of it is one day, or all its calendar days.
        seed: seed of the first episode.
        n_days: episodes that are played one after the other.
        n_campaigns: episodes that are played side by side.
        records: folder for calls.parquet, agents.parquet, decisions.parquet and inbound.parquet;
            None: no records.
        picture: PNG file for the timeline of the first episode; None: no picture.
        report: called with the share of the work that is done.

    Raises:
        ConfigError: a number is out of range, or the policy does not fit the scenario.
        MissingExtraError: records need pyarrow, a picture needs matplotlib.
        RunFolderError: a file cannot be written.
    """
    for name, value, low in (("seed", seed, 0), ("days", n_days, 1), ("campaigns", n_campaigns, 1)):
        if value < low:
            raise ConfigError(f"{name} = {value} must be at least {low}")
    n_episodes = n_days * n_campaigns
    if n_episodes > MOST_EPISODES:
        raise ConfigError(f"days x campaigns = {n_episodes} must be at most {MOST_EPISODES}")
    seeds = seed + np.arange(n_episodes, dtype=np.int64)
    label = policy_label(policy)
    first_episode = Records([], [], [])
    draw = None if picture is None else _painter(scenario, label, picture)
    with ExitStack() as stack:
        writer: Any = None
        if records is not None:
            from quietdial.envs.record_files import RecordWriter

            writer = stack.enter_context(
                RecordWriter(records, scenario, policy=label, seed=seed, decisions=True)
            )

        def sink(new: Records) -> None:
            if writer is not None:
                writer.add(new)
            if draw is not None and new.agents + new.calls:
                number = (new.agents or new.calls)[0].campaign
                if number == 0:
                    first_episode.calls.extend(new.calls)
                    first_episode.agents.extend(new.agents)

        wants_log = writer is not None or draw is not None
        note = None if writer is None else writer.add_decisions
        player = _Player(policy, scenario, sink if wants_log else None, note)
        parts: list[Totals] = []
        for day in range(n_days):
            first = day * n_campaigns

            def on_progress(share: float, day: int = day) -> None:
                if report is not None:
                    report((day + min(share, 1.0)) / n_days)

            parts.append(player.play(seeds[first : first + n_campaigns], first, on_progress))
        files = tuple(writer.finish()) if writer is not None else ()
    if draw is not None:
        draw(first_episode)
    totals = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Simulation(scenario, label, seeds, totals, player.tallies, files)
