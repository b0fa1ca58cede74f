"""The list of people: who is dialed next, when a person may be dialed again, who is done."""

from __future__ import annotations

import datetime
import heapq
import math
import zoneinfo
from collections.abc import Callable, Sequence

from quietdial.envs.regulation.calendar import Session, segment_hours
from quietdial.envs.scenario import Scenario
from quietdial.experiments.bench.simpy_reference.base import Counts, Draws

THIRTY_DAYS_S = 30 * 86_400.0
HIGHEST_P = 0.95
_Heap = list[tuple[float, int]]
"""(time from which the person is due [s], number of the person)."""


class PeopleList:
    """A finite list of people.

    Args:
        scenario: a world with `people`.
        sessions: the sessions of its episode.
        draws: random numbers.
        counts: counters that are kept up to date here: callbacks, repeats, people_done.
    """

    def __init__(
        self, scenario: Scenario, sessions: Sequence[Session], draws: Draws, counts: Counts
    ) -> None:
        people, rule = scenario.people, scenario.rule
        if people is None:
            raise ValueError("a scenario without `people` has no list")
        self._people, self._rule, self._sessions = people, rule, sessions
        self._uniform, self._counts = draws.uniform, counts
        self._callback_after = draws.maybe(people.callback_after)
        self._time_zone = scenario.episode.time_zone
        self._hours: list[list[list[float]]] = (
            segment_hours(scenario, tuple(sessions)) / 1000.0
        ).tolist()
        shares = [segment.share for segment in people.segments]
        n = people.n_people
        self._segment = draws.random.choice(len(shares), size=n, p=shares).tolist()
        self._most = min(people.max_attempts, rule.attempts.per_campaign or people.max_attempts)
        self._attempts_s: list[list[float]] = [[] for _ in range(n)]
        self._attempts_at: list[list[tuple[int, int]]] = [[] for _ in range(n)]  # (day, week)
        self.n_silent = [0] * n
        self._next_new = 0
        self._retries: _Heap = []
        self._reserved: _Heap = []
        self._session = 0
        self._callee_wall_s = [0.0] * len(shares)

    def open(self, index: int) -> None:
        """Session number `index` opens; from here the callee's time of day is counted."""
        self._session = index
        session = self._sessions[index]
        for number, segment in enumerate(self._people.segments):
            ahead_s = 0.0
            if session.date is not None and segment.time_zone is not None:
                midnight = datetime.datetime.combine(session.date, datetime.time())
                local = midnight + datetime.timedelta(seconds=session.wall_s)
                opening = local.replace(tzinfo=zoneinfo.ZoneInfo(self._time_zone))
                there = opening.astimezone(zoneinfo.ZoneInfo(segment.time_zone))
                ahead_s = (there.replace(tzinfo=None) - local).total_seconds()
            self._callee_wall_s[number] = session.wall_s + ahead_s

    # ------------------------------------------------------------------------- who is dialed

    def next_person(self, now: float) -> int | None:
        """The person whom a policy's dial goes to: due retries first, then the next new one."""
        person = self._due(self._retries, now)
        while person is None and self._next_new < self._people.n_people:
            candidate = self._next_new
            self._next_new += 1
            if self._may_dial(candidate, now, self._retries):
                person = candidate
        return person

    def next_reserved(self, now: float) -> int | None:
        """The person whom the world's own next dial goes to."""
        return self._due(self._reserved, now)

    def _due(self, heap: _Heap, now: float) -> int | None:
        while heap and heap[0][0] <= now:
            _, person = heapq.heappop(heap)
            if self._may_dial(person, now, heap):
                return person
        return None

    def _may_dial(self, person: int, now: float, heap: _Heap) -> bool:
        """Whether the person may be dialed now; if only later, the person is due again then."""
        at = self._by_hours(self._segment[person], self._by_caps(person, now))
        if at == math.inf:
            self._counts["people_done"] += 1
        elif now < at:
            heapq.heappush(heap, (at, person))
        return at <= now

    def _by_caps(self, person: int, now: float) -> float:
        """First time from now on at which the caps on attempts allow a dial."""
        caps, at = self._rule.attempts, now
        today = self._sessions[self._session]
        days = self._attempts_at[person]
        if caps.per_day is not None and sum(d == today.day for d, _ in days) >= caps.per_day:
            at = max(at, self._opening(lambda session: session.day > today.day))
        if caps.per_week is not None and sum(w == today.week for _, w in days) >= caps.per_week:
            at = max(at, self._opening(lambda session: session.week > today.week))
        if caps.per_30_days is not None:
            recent = [t for t in self._attempts_s[person] if t + THIRTY_DAYS_S > now]
            if len(recent) >= caps.per_30_days:
                at = max(at, recent[-caps.per_30_days] + THIRTY_DAYS_S)
        return at

    def _opening(self, fits: Callable[[Session], bool]) -> float:
        for session in self._sessions[self._session :]:
            if fits(session):
                return session.open_ms / 1000.0
        return math.inf

    def _by_hours(self, segment: int, at: float) -> float:
        """First time from `at` on that lies within the segment's permitted hours."""
        for hours in self._hours[self._session :]:
            begin_s, end_s = hours[segment]
            if at < end_s and begin_s < end_s:
                return max(at, begin_s)
        return math.inf

    def dial(self, person: int, now: float) -> None:
        """An attempt is made now."""
        session = self._sessions[self._session]
        self._attempts_s[person].append(now)
        self._attempts_at[person].append((session.day, session.week))

    def p_answer(self, person: int, p: float, now: float) -> float:
        """Probability that this person answers, if the general one is `p`."""
        number = self._segment[person]
        segment = self._people.segments[number]
        since_s = now - self._sessions[self._session].open_ms / 1000.0
        hour = int((self._callee_wall_s[number] + since_s) // 3600) % 24
        factor: float = segment.reach * segment.by_hour[hour]
        return min(p * factor, HIGHEST_P)

    # -------------------------------------------------------------------- what becomes of them

    def after_conversation(self, person: int, now: float) -> None:
        """A conversation ends (late ones too)."""
        if self._uniform() < self._people.p_callback and self._callback_after is not None:
            self._counts["callbacks"] += 1
            self._again(person, now + self._callback_after(), reserved=True)
        elif self._rule.refusal_pause_s > 0:
            self._again(person, now + self._rule.refusal_pause_s, reserved=False)
        else:
            self._counts["people_done"] += 1

    def silent(self, person: int) -> int:
        """A silent call happens; how many this person had before."""
        earlier = self.n_silent[person]
        self.n_silent[person] = earlier + 1
        self._counts["repeats"] += earlier > 0
        return earlier

    def after_silent(self, person: int, now: float) -> None:
        """A silent call is over, or a machine's that waited to its deadline without an agent."""
        reserved, pause_s = self._rule.reserved_after_silent, self._rule.quarantine_s
        if not reserved:
            pause_s = max(pause_s, self._people.retry.no_answer_s)
        self._again(person, now + pause_s, reserved=reserved)

    def after(
        self, person: int, outcome: str, now: float, *, reserved: bool, verdict: bool
    ) -> None:
        """Any other call is over.

        Args:
            person: number of the person.
            outcome: machine, busy, no_answer, failure, cancelled or invalid.
            now: time [s].
            reserved: the world had placed the call, with an agent set aside.
            verdict: answering-machine detection said 'machine'.
        """
        if outcome == "invalid":
            self._counts["people_done"] += 1
            return
        retry = self._people.retry
        pauses = {
            "machine": retry.machine_s,
            "busy": retry.busy_s,
            "no_answer": retry.no_answer_s,
            "failure": retry.failure_s,
            "cancelled": retry.no_answer_s,
        }
        pause_s = pauses[outcome]
        if verdict:
            pause_s = max(pause_s, self._rule.machine_pause_s)
        self._again(person, now + pause_s, reserved=reserved)

    def _again(self, person: int, at: float, *, reserved: bool) -> None:
        if len(self._attempts_s[person]) >= self._most:
            self._counts["people_done"] += 1
        else:
            heapq.heappush(self._reserved if reserved else self._retries, (at, person))
