"""Replay the raw log of full worlds with books of our own, and check everything that it says.

`LogCheck` reads what `World.drain_log` gives, keeps its own books of calls, agents, people and
callers, and compares them with the rule, with the calendar and with the totals. It shares no code
with the kernel but the draw of a person's segment. Errors are `ContractError`s.
"""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import chance, log
from quietdial.envs.pacing import params as columns
from quietdial.envs.pacing.state import (
    BREAK,
    DONE,
    HELD,
    IDLE,
    INBOUND_TALK,
    KEY,
    MACHINE_TALK,
    NOW,
    OFF,
    OUTCOME_CODES,
    TALK,
    WRAP,
)
from quietdial.envs.pacing.world import World
from quietdial.envs.part import seconds_of
from quietdial.envs.regulation.calendar import segment_hours, sessions_of
from quietdial.envs.testing import ContractError

_30_DAYS_MS = 30 * 86_400_000
_PERSON, _CANCELLED = 0, 6
_NAMES = {0: "answered", 6: "cancelled"} | {code: name for name, code in OUTCOME_CODES.items()}
_CAUSES = ("silent_cut", "silent_left", "silent_amd")
_SPENT = {
    int(IDLE): "idle_s",
    int(TALK): "talk_s",
    int(WRAP): "wrap_s",
    int(BREAK): "break_s",
    int(OFF): "off_s",
    int(HELD): "held_s",
    int(MACHINE_TALK): "machine_s",
    int(INBOUND_TALK): "inbound_s",
}
_WORKING = {int(s) for s in (IDLE, TALK, HELD, MACHINE_TALK, INBOUND_TALK)}
_COUNTED = (
    *("dialed", "connected", "late", "message", "machine_agent", "machine_dropped"),
    *("amd_machine", "reserved", "repeats", "successes", "inbound_arrived", "inbound_served"),
    *("inbound_lost", "inbound_waited", "inbound_in_time", *_CAUSES, *_NAMES.values()),
)


@dataclass
class _Call:
    person: int
    holder: int
    start: int
    place: str = "ringing"
    outcome: int = -1
    picked: int = 0
    silent_at: int = -1
    dropped_at: int = -1
    judged: bool = False


@dataclass
class _Person:
    dials: list[int] = field(default_factory=list)
    silents: int = 0
    earliest: int = 0
    owed: bool | None = False  # the world's call: must be, may be (None), must not be
    done: bool = False
    on_line: bool = False


@dataclass
class _Books:
    """What the log of one row has said so far."""

    key: Any
    agents: list[int]
    since: list[int]
    began: int
    time: int = 0
    session: int = -1
    counts: Counter[str] = field(default_factory=Counter)
    spent: Counter[int] = field(default_factory=Counter)
    calls: dict[int, _Call] = field(default_factory=dict)
    lines: int = 0
    messages: list[int] = field(default_factory=list)
    waiting: list[tuple[int, int]] = field(default_factory=list)
    waited: int = 0
    idle: list[int] = field(default_factory=list)
    spare: list[int] = field(default_factory=list)
    people: dict[int, _Person] = field(default_factory=dict)
    callers: list[tuple[int, int]] = field(default_factory=list)
    caller_now: int = -1
    caller_waits: int = 0
    last_start: int = -(10**15)
    harm: float = 0.0
    windows: list[list[int]] = field(default_factory=list)
    closed: list[list[int]] = field(default_factory=list)


class LogCheck:
    """Checks the log of every row of a world; call `begin` after `World.begin`, then `check`.

    Args:
        world: made with `records=True`.
    """

    def __init__(self, world: World) -> None:
        if not world.state.log.shape[1]:
            raise ConfigError("there is no log to check; make the World with records=True")
        self.world = world
        scenario = self.scenario = world.scenario
        self.sessions = sessions_of(scenario)
        self.hours = segment_hours(scenario, self.sessions)
        self.n = scenario.floor.n_agents
        shifts = scenario.floor.shifts
        self.group = [shift.group == "inbound" for shift in shifts for _ in range(shift.n_agents)]
        self.group = self.group or [False] * self.n
        self.shift = [shift for shift in shifts for _ in range(shift.n_agents)]
        rule, calls = scenario.rule, scenario.calls
        tables = world.params.tables
        low = high = round(1000 * rule.wait_limit_s)
        laws: dict[str, list[int]] = {"answer": [], "greeting_start": [columns.LAW_GREETING_START]}
        laws["greeting_end"] = [columns.LAW_GREETING_START, columns.LAW_GREETING]
        for law in laws[rule.clock]:
            low, high = low + int(tables[law, 0]), high + int(tables[law, -1])
        self.deadline = low, high
        self.gap = round(1000 / calls.calls_per_s) if calls.calls_per_s else 0
        harm = rule.harm
        hears = harm.comfort_noise if rule.waiting_hears == "comfort_noise" else harm.silence
        self.hears = hears
        self.heard = {0: harm.silence, 1: harm.comfort_noise, 2: harm.message}
        ring = tables[[columns.LAW_ANSWER, *range(columns.LAW_ENDING, columns.N_PLAIN_LAWS)]]
        self.longest = int(ring[:, -1].max())
        if calls.setup:
            self.longest += int(tables[columns.LAW_SETUP, -1])
        people = scenario.people
        self.segments = len(people.segments) if people else 1
        caps = rule.attempts
        self.most = min(people.max_attempts, caps.per_campaign or 10**9) if people else 0
        self.books: list[_Books] = [self._blank(b) for b in range(world.n_campaigns)]

    def begin(self, which: NDArray[np.bool_]) -> None:
        """The rows of `which` (B,) have just begun an episode."""
        for b in np.flatnonzero(which):
            self.books[b] = self._blank(int(b))

    def check(self, number: int) -> None:
        """Read the log since the last call and compare with the totals and windows."""
        logs = self.world.drain_log()
        totals = self.world.totals()
        windows = self.world.windows()
        for b, rows in enumerate(logs):
            books = self.books[b]
            for row in rows.tolist():
                try:
                    self._row(books, *row)
                except (LookupError, ValueError) as error:
                    raise ContractError(f"step {number}, row {b}: {row}: {error!r}") from error
                except ContractError as error:
                    raise ContractError(f"step {number}, row {b}: {error}, log row {row}") from None
            now = int(self.world.state.head[b, NOW])
            try:
                self._compare(books, {n: float(v[b]) for n, v in totals.items()}, now)
                self._compare_windows(books, {n: v[b] for n, v in windows.items()}, b)
            except ContractError as error:
                raise ContractError(f"step {number}, row {b}: {error}") from None

    # --- one row ----------------------------------------------------------------------------------

    def _blank(self, b: int) -> _Books:
        began = int(self.world.state.head[b, NOW])
        key = np.uint64(self.world.state.head[b, KEY])
        n_windows = len(self.scenario.rule.all_windows)
        books = _Books(key, [int(OFF)] * self.n, [began] * self.n, began, began)
        books.windows = [[0, 0] for _ in range(n_windows)]
        books.closed = [[0, 0] for _ in range(n_windows)]
        return books

    def _row(self, k: _Books, t: int, code: int, number: int, x: int, y: int, z: int) -> None:
        _must(t >= k.time, "the clock goes back from {} to {}", k.time, t)
        k.time = t
        caller, k.caller_now = k.caller_now, -1
        while k.messages and k.messages[0] <= t:
            k.messages.pop(0)
        if code == log.DIAL:
            self._dial(k, t, number, x, y, z)
        elif code == log.ENDED:
            self._ended(k, t, number, x)
        elif code == log.JUDGED:
            self._judged(k, t, number, bool(x))
        elif code == log.QUEUED_UP:
            _must(not k.idle, "dial {} waits although agent {} is idle", number, k.idle[:1])
            call = k.calls[number]
            _must(call.place == "picked", "dial {} waits at place {}", number, call.place)
            call.place = "waiting"
            k.waiting.append((number, t))
        elif code == log.CONNECT:
            self._connect(k, t, number, x, bool(y), bool(z))
        elif code == log.SILENT:
            self._silent(k, t, number, x, y, z)
        elif code == log.DROPPED:
            self._dropped(k, t, number)
        elif code == log.GONE:
            call = k.calls[number]
            _must(call.place == "late", "dial {} goes from place {}", number, call.place)
            if call.outcome != OUTCOME_CODES["machine"]:
                k.harm += self._harm(self.hears, self._silents(k, call) - 1)
            self._leave(k, t, number, call)
            self._after_silence(k, call, t)
        elif code == log.AGENT_STATE_CHANGE:
            self._agent(k, t, number, x, y)
        elif code == log.CALLER_IN:
            k.counts["inbound_arrived"] += 1
            k.callers.append((number, t))
            k.caller_now = number
            closes = self.sessions[k.session].close_ms
            _must(t <= closes, "caller {} comes after the close", number)
        elif code in (log.CALLER_SERVED, log.CALLER_LOST):
            self._caller(k, t, number, x, code == log.CALLER_SERVED, caller == number)
        elif code == log.OVER:
            k.counts["successes"] += x
            self._over(k, t, number, bool(y))
        elif code == log.SESSION_CHANGE:
            self._session(k, t, number, bool(x))

    def _dial(self, k: _Books, t: int, number: int, person: int, holder: int, delay: int) -> None:
        scenario = self.scenario
        _must(number == k.counts["dialed"], "dial {} follows {}", number, k.counts["dialed"] - 1)
        k.counts["dialed"] += 1
        session = self.sessions[k.session]
        _must(session.dial_ms <= t < session.stop_ms, "dial {} outside the hours", number)
        calls, talks = scenario.calls, k.agents.count(int(TALK)) + k.agents.count(int(MACHINE_TALK))
        used = k.lines + len(k.messages)
        lines = int(self.world.params.n[columns.N_LINES])
        _must(used < lines, "{} of {} lines are in use", used, lines)
        if calls.trunks:
            _must(used + talks < calls.trunks, "{} trunks are in use", used + talks)
        start = t + delay
        if self.gap:
            _must(start - k.last_start >= self.gap, "dial {} starts too early", number)
            _must(delay <= 1000, "dial {} starts {} ms late", number, delay)
            k.last_start = start
        if holder >= 0:
            k.counts["reserved"] += 1
            _must(scenario.floor.reserved_share > 0, "dial {} is reserved", number)
            inside = self.n - k.agents.count(int(OFF))
            most = max(1, int(scenario.floor.reserved_share * inside))
            held = k.agents.count(int(HELD))
            _must(held < most, "{} agents are held, {} may be", held, most)
        if person >= 0:
            self._attempt(k, t, person, holder)
        k.calls[number] = _Call(person, holder, start)
        k.lines += 1

    def _attempt(self, k: _Books, t: int, person: int, holder: int) -> None:
        who = k.people.setdefault(person, _Person())
        _must(not who.on_line, "person {} is on the line", person)
        _must(not who.done, "person {} is done and dialed", person)
        _must(t >= who.earliest, "person {} rests until {}", person, who.earliest)
        if holder < 0:
            _must(who.owed is not True, "person {} is not for actions to dial", person)
        else:
            _must(who.owed is not False, "the world dials person {} unasked", person)
        caps, sessions = self.scenario.rule.attempts, self.sessions
        _must(len(who.dials) < self.most, "person {} has no attempt left", person)
        session = sessions[k.session]
        days = [sessions[self._session_at(d)] for d in who.dials]
        if caps.per_day:
            _must(sum(s.day == session.day for s in days) < caps.per_day, "cap a day: {}", person)
        if caps.per_week:
            n = sum(s.week == session.week for s in days)
            _must(n < caps.per_week, "cap a week: {}", person)
        if caps.per_30_days:
            n = sum(t - d < _30_DAYS_MS for d in who.dials)
            _must(n < caps.per_30_days, "cap in 30 days: {}", person)
        begins, ends = self.hours[k.session, self._segment(k, person)][:2]
        _must(begins <= t < ends, "person {} outside the hours of its segment", person)
        who.dials.append(t)
        who.on_line = True

    def _session_at(self, t: int) -> int:
        return bisect.bisect_right([s.open_ms for s in self.sessions], t) - 1

    def _segment(self, k: _Books, person: int) -> int:
        if self.segments == 1:
            return 0
        with np.errstate(over="ignore"):
            u = int(chance.draw(k.key, chance.SEGMENT, np.int64(person))) >> 32
        return int(np.flatnonzero(u < self.world.params.shares)[0])

    def _ended(self, k: _Books, t: int, number: int, outcome: int) -> None:
        call, calls, rule = k.calls[number], self.scenario.calls, self.scenario.rule
        _must(call.place == "ringing", "dial {} ends at place {}", number, call.place)
        k.counts[_NAMES[outcome]] += 1
        call.outcome = outcome
        detects = calls.detection.kind != "perfect"
        rings = t - call.start
        if outcome == _CANCELLED:
            least = round(1000 * (rule.min_ring_s or 0))
            _must(rings >= least, "dial {} cancelled after {} ms", number, rings)
        else:
            _must(0 < rings <= self.longest, "dial {} rings {} ms", number, rings)
        if calls.ring_timeout_s and calls.setup is None and outcome in (0, 1, 3):
            most = round(1000 * calls.ring_timeout_s)
            _must(rings <= most, "dial {} rings {} ms, {} allowed", number, rings, most)
        if outcome == _PERSON or (outcome == OUTCOME_CODES["machine"] and detects):
            call.place, call.picked = "picked", t
            return
        call.place = "over"
        k.lines -= 1
        self._nobody(k, call, t)

    def _judged(self, k: _Books, t: int, number: int, person: bool) -> None:
        call = k.calls[number]
        _must(call.place == "picked", "verdict on dial {} at {}", number, call.place)
        _must(t < call.picked + self.deadline[1], "verdict on dial {} after its limit", number)
        call.judged = True
        if not person:
            k.counts["amd_machine"] += 1
            if call.outcome != _PERSON:
                self._leave(k, t, number, call)
                self._nobody(k, call, t, machine=True, said=True)

    def _dropped(self, k: _Books, t: int, number: int) -> None:
        """A machine at its deadline: treated like a person, but silent it is not."""
        call, rule = k.calls[number], self.scenario.rule
        _must(call.outcome == OUTCOME_CODES["machine"], "dial {} is no machine", number)
        self._deadline_now(call, t, number)
        call.dropped_at = t
        k.counts["machine_dropped"] += 1
        if rule.at_limit == "hold" and call.place == "waiting":
            call.place = "late"
            return
        under_detection = self.scenario.calls.detection.kind == "amd" and not call.judged
        self._leave(k, t, number, call)
        end = t
        if rule.at_limit == "message" and not under_detection:
            end = t + round(1000 * rule.message_s)
            k.messages.append(end)
        self._after_silence(k, call, end)

    def _over(self, k: _Books, t: int, number: int, asks: bool) -> None:
        """A talk, or the handling of a machine, ends: what becomes of the person?"""
        call = k.calls[number]
        if call.outcome != _PERSON:
            self._nobody(k, call, t, machine=True)
        elif call.person >= 0:
            who, pause = k.people[call.person], round(1000 * self.scenario.rule.refusal_pause_s)
            who.on_line = False
            who.owed = asks
            who.done = not asks and not pause
            soonest = self.world.params.tables[columns.LAW_CALLBACK, 0] if asks else pause
            who.earliest = t + int(soonest)

    def _deadline_now(self, call: _Call, t: int, number: int) -> None:
        low, high = self.deadline
        waited = t - call.picked
        _must(low <= waited <= high, "dial {} at its limit after {} ms", number, waited)

    def _connect(self, k: _Books, t: int, number: int, agent: int, late: bool, mach: bool) -> None:
        call = k.calls[number]
        _must(mach == (call.outcome != _PERSON), "dial {}: machine or not?", number)
        _must(late == (call.silent_at >= 0), "dial {}: late or not?", number)
        held_at = max(call.silent_at, call.dropped_at)
        _must(call.place in ("picked", "waiting", "late"), "dial {} at {}", number, call.place)
        if call.holder >= 0:
            _must(agent == call.holder, "dial {} belongs to agent {}", number, call.holder)
            _must(t == call.picked, "the held agent is not there for dial {}", number)
        elif call.place == "picked":
            _must(agent == k.idle[0], "agent {} is idle for longer than {}", k.idle[0], agent)
        else:
            first = k.waiting[0][0]
            _must(number == first, "dial {} waits for longer than {}", first, number)
        if held_at >= 0:
            most = held_at + round(1000 * self.scenario.rule.hold_s)
            _must(t <= most, "dial {} held for too long", number)
        if late:
            k.harm += self._harm(self.scenario.rule.harm.late, self._silents(k, call) - 1)
        elif held_at < 0:
            _must(t <= call.picked + self.deadline[1], "dial {} is late", number)
        k.counts["machine_agent" if mach else "late" if late else "connected"] += 1
        self._leave(k, t, number, call)

    def _silent(self, k: _Books, t: int, number: int, cause: int, repeats: int, heard: int) -> None:
        call, rule = k.calls[number], self.scenario.rule
        _must(call.outcome == _PERSON and call.silent_at < 0, "dial {} silent?", number)
        call.silent_at = t
        k.counts[_CAUSES[cause]] += 1
        earlier = self._silents(k, call)
        _must(repeats == earlier, "{} earlier silent calls, logged {}", earlier, repeats)
        k.counts["repeats"] += earlier > 0
        if call.person >= 0:
            k.people[call.person].silents += 1
        if cause == 0:
            self._deadline_now(call, t, number)
        else:
            _must(t < call.picked + self.deadline[1], "dial {} silent too late", number)
        if heard == log.HEARD_LATE:
            _must(call.place == "waiting", "dial {} is held at {}", number, call.place)
            call.place = "late"
            return
        k.harm += self._harm(self.heard[heard], earlier)
        self._leave(k, t, number, call)
        if cause == int(log.CAUSE_AMD):
            self._nobody(k, call, t, machine=True, said=True)
        elif heard == log.HEARD_MESSAGE:
            end = t + round(1000 * rule.message_s)
            k.counts["message"] += 1
            k.messages.append(end)
            self._after_silence(k, call, end)
        else:
            self._after_silence(k, call, t)

    def _silents(self, k: _Books, call: _Call) -> int:
        return k.people[call.person].silents if call.person >= 0 else 0

    def _harm(self, base: float, earlier: int) -> float:
        return base * float(self.scenario.rule.harm.growth) ** min(max(earlier, 0), 8)

    def _leave(self, k: _Books, t: int, number: int, call: _Call) -> None:
        """A call gives its line back, and its place in the queue."""
        if call.place in ("waiting", "late"):
            place = [n for n, _ in k.waiting].index(number)
            k.waited += t - k.waiting.pop(place)[1]
        call.place = "over"
        k.lines -= 1

    def _nobody(
        self, k: _Books, call: _Call, t: int, *, machine: bool = False, said: bool = False
    ) -> None:
        people, rule = self.scenario.people, self.scenario.rule
        if people is None or call.person < 0:
            return
        who, retry = k.people[call.person], people.retry
        who.on_line = False
        name = "machine" if machine else _NAMES[call.outcome]
        if name == "invalid":
            who.done = True
            return
        pause_s = {
            "busy": retry.busy_s,
            "failure": retry.failure_s,
            "machine": max(retry.machine_s, rule.machine_pause_s if said else 0.0),
        }.get(name, retry.no_answer_s)
        who.earliest = t + round(1000 * pause_s)
        who.owed = call.holder >= 0

    def _after_silence(self, k: _Books, call: _Call, t: int) -> None:
        people, rule = self.scenario.people, self.scenario.rule
        if people is None or call.person < 0:
            return
        who = k.people[call.person]
        who.on_line = False
        rest_s = rule.quarantine_s
        if not rule.reserved_after_silent:
            rest_s = max(rest_s, people.retry.no_answer_s)
        who.earliest = t + round(1000 * rest_s)
        who.owed = rule.reserved_after_silent

    def _agent(self, k: _Books, t: int, agent: int, old: int, new: int) -> None:
        _must(k.agents[agent] == old, "agent {} was {}, not {}", agent, k.agents[agent], old)
        k.spent[old] += t - k.since[agent]
        ring = k.spare if self.group[agent] else k.idle
        if old == IDLE:
            busy = new not in (OFF, BREAK)
            _must(not busy or ring[0] == agent, "agent {} before {}", agent, ring[0])
            ring.remove(agent)
        if new == IDLE:
            ring.append(agent)
        if new == WRAP:
            _must(old == TALK, "agent {} wraps up after {}", agent, old)
        if self.group[agent]:
            _must(new in (IDLE, OFF, BREAK, INBOUND_TALK), "inbound agent in state {}", new)
        if new in _WORKING and old != HELD and self.shift and t > k.began:
            begins, ends = self._shift(k, agent)
            _must(begins <= t <= ends, "agent {} works outside its shift", agent)
        k.agents[agent], k.since[agent] = new, t

    def _shift(self, k: _Books, agent: int) -> tuple[int, int]:
        session, shift = self.sessions[k.session], self.shift[agent]
        opens = session.open_ms
        begins = opens + 1000 * (seconds_of(shift.login) - session.wall_s)
        ends = opens + 1000 * (seconds_of(shift.logout) - session.wall_s)
        return begins, min(ends, session.close_ms)

    def _caller(self, k: _Books, t: int, number: int, x: int, served: bool, at_once: bool) -> None:
        inbound = self.scenario.inbound
        place = [n for n, _ in k.callers].index(number)
        arrived = k.callers.pop(place)[1]
        k.caller_waits += t - arrived
        k.counts["inbound_waited"] += not (served and at_once and t == arrived)
        capacity = inbound.capacity if inbound else 0
        if served:
            _must(place == 0, "caller {} is not the first", number)
            k.counts["inbound_served"] += 1
            limit = 1000 * inbound.service_level_s if inbound else 0
            k.counts["inbound_in_time"] += t - arrived <= limit
            return
        k.counts["inbound_lost"] += 1
        if x == log.BLOCKED:
            _must(len(k.callers) == capacity, "blocked with {} callers", len(k.callers))

    def _session(self, k: _Books, t: int, number: int, opens: bool) -> None:
        if not opens:
            return
        if k.session >= 0:
            _must(t == self.sessions[number].open_ms, "session {} opens at {}", number, t)
            before, after = self.sessions[k.session].windows, self.sessions[number].windows
            for w, window in enumerate(self.scenario.rule.all_windows):
                if window.kind != "hours" and before[w] != after[w]:
                    self._close_window(k, w)
        k.session = number

    def _close_window(self, k: _Books, w: int) -> None:
        now = self._tally(k)
        silent, answered = (a - b for a, b in zip(now, k.windows[w], strict=True))
        cap = self.scenario.rule.all_windows[w].cap
        k.closed[w][0] += 1
        k.closed[w][1] += silent > cap * answered
        k.windows[w] = now

    def _tally(self, k: _Books) -> list[int]:
        rule = self.scenario.rule
        flags = (rule.counts_cut, rule.counts_left, rule.counts_amd)
        silent = sum(k.counts[name] for name, flag in zip(_CAUSES, flags, strict=True) if flag)
        settled = k.counts["connected"] + sum(k.counts[name] for name in _CAUSES)
        return [silent, settled]

    # --- against the totals -----------------------------------------------------------------------

    def _compare(self, k: _Books, totals: dict[str, float], now: int) -> None:
        for name in _COUNTED:
            known = k.counts[name]
            if name == "inbound_waited":
                known += len(k.callers)
            what = "the log has {} {}, the total is {}"
            _must(known == totals[name], what, known, name, totals[name])
        silent, _ = self._tally(k)
        _must(silent == totals["counted"], "counted {} by the log, {}", silent, totals["counted"])
        spent = Counter(k.spent)
        for agent, state in enumerate(k.agents):
            spent[state] += now - k.since[agent]
        for state, name in _SPENT.items():
            _close(spent[state] / 1000, totals[name], name)
        waited = k.waited + sum(now - since for _, since in k.waiting)
        _close(waited / 1000, totals["waiting_s"], "waiting_s")
        waits = k.caller_waits + sum(now - since for _, since in k.callers)
        _close(waits / 1000, totals["inbound_wait_s"], "inbound_wait_s")
        capacity = self.scenario.inbound.capacity if self.scenario.inbound else 0
        _must(len(k.callers) <= capacity, "{} callers wait", len(k.callers))
        silents = sum(k.counts[name] for name in _CAUSES)
        tolerance = 1e-6 * (silents + 1) + 1e-9 * k.harm
        _must(abs(k.harm - totals["harm"]) <= tolerance, "harm {}, {}", k.harm, totals["harm"])

    def _compare_windows(self, k: _Books, windows: dict[str, Any], b: int) -> None:
        now = self._tally(k)
        done = bool(self.world.state.head[b, DONE])
        for w, window in enumerate(self.scenario.rule.all_windows):
            if window.kind == "hours":
                continue
            if done and windows["closed"][w] == k.closed[w][0] + 1:
                begin = k.windows[w]
                self._close_window(k, w)
                k.windows[w] = begin  # the last window stays to be seen
            for i, name in enumerate(("silent", "answered")):
                _close(now[i] - k.windows[w][i], windows[name][w], f"window {w} {name}")
            for i, name in enumerate(("closed", "breached")):
                _close(k.closed[w][i], windows[name][w], f"window {w} {name}")


def _must(holds: bool, what: str, *values: object) -> None:
    if not holds:
        raise ContractError(what.format(*values))


def _close(known: float, total: float, name: str) -> None:
    if abs(known - total) > 1e-6:
        raise ContractError(f"{name} is {known} by the log, the total is {total}")
