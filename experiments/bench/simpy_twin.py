"""The whole world as a plain SimPy model: a reference for speed and a check of the physics.

It is written from `docs/mechanisms.md` and shares no code with the compiled kernel: SimPy
processes, floating-point seconds, numpy's own random numbers through the quantile functions of the
scenario's laws. Days of the two are therefore different days of one world, and agree in
distribution (see the tests). The parts are in `simpy_reference/`; here they are put together: who
works on what next, when the dialer dials, and the totals.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from quietdial.envs.regulation.calendar import Session, sessions_of
from quietdial.envs.scenario import Scenario
from quietdial.experiments.bench.simpy_reference.agents import Agent, Team
from quietdial.experiments.bench.simpy_reference.base import (
    CONTROL,
    DECISION,
    STOP,
    Draws,
    Moment,
    Process,
    new_counts,
    simpy,
)
from quietdial.experiments.bench.simpy_reference.calls import Calls
from quietdial.experiments.bench.simpy_reference.hidden import Day, Levels
from quietdial.experiments.bench.simpy_reference.inbound import InboundCalls
from quietdial.experiments.bench.simpy_reference.people import PeopleList

__all__ = ["Day", "Rule", "SimpyFloor", "blend", "fixed_ratio", "progressive"]

Rule = Callable[["SimpyFloor"], int]
"""Number of calls to place now; it reads `n_idle`, `n_waiting`, `n_in_flight` of the floor.

Where calls may be cancelled, a negative number cancels so many ringing ones.
"""


def progressive(floor: SimpyFloor) -> int:
    """One line for every idle agent."""
    return floor.n_idle - floor.n_waiting - floor.n_in_flight


def fixed_ratio(ratio: float) -> Rule:
    """Keep `ratio` x idle agents calls in flight, rounded at random anew every 32.768 s."""
    block, share = -1, 0.0

    def rule(floor: SimpyFloor) -> int:
        nonlocal block, share
        now = int(floor.env.now / 32.768)
        if block != now:
            block, share = now, floor.uniform()
        return math.floor(ratio * floor.n_idle + share) - floor.n_in_flight

    return rule


def blend(ratio: float) -> Rule:
    """The event-triggered dialer, for scenarios with action `blend`; see `scenario.BlendDialer`."""

    def rule(floor: SimpyFloor) -> int:
        dialer, n_idle = floor.scenario.blend, floor.n_idle
        if n_idle + floor.n_idle_inbound < dialer.min_free or n_idle < dialer.min_free_outbound:
            return 0
        n_dials = math.floor(ratio * n_idle + 0.5) + dialer.extra
        return n_dials - floor.n_in_flight if dialer.less_in_flight else n_dials

    return rule


class SimpyFloor:
    """One campaign, event by event.

    Args:
        scenario: the world. With action `blend`, `rule` is asked whenever a service ends, and at
            a decision if nobody is at work and nothing in flight; otherwise at every decision,
            and whenever the scenario's inner controller acts.
        rule: says how many calls to place, or with action `dials_or_cancel` to cancel.
        seed: seed of numpy's generator.
        day: the first hidden day; None: a random one.

    Attributes:
        counts: Running counters by name, see `totals`.
    """

    def __init__(self, scenario: Scenario, rule: Rule, seed: int, day: Day | None = None) -> None:
        draws = Draws(seed)
        self.scenario, self.rule = scenario, rule
        self.sessions = sessions_of(scenario)
        self.env = simpy.Environment()
        self.uniform = draws.uniform
        self.counts = new_counts()
        self.day = day or Day.drawn(scenario, draws.random)
        self._draws = draws
        self._levels = Levels(self.env, scenario, draws)
        self._team = Team(self.env, scenario, draws, self._release)
        self._idle = self._team.idle_outbound
        self._people: PeopleList | None = None
        if scenario.people is not None:
            self._people = PeopleList(scenario, self.sessions, draws, self.counts)
        self._calls = Calls(
            self.env,
            scenario,
            draws,
            self._levels,
            self._team,
            self._people,
            self.counts,
            served=self._served,
            unused=self._release,
        )
        self._inbound: InboundCalls | None = None
        if scenario.inbound is not None:
            self._inbound = InboundCalls(
                self.env, scenario.inbound, draws, self._team, self.counts, self._served
            )
        self._queue = self._calls.queue
        self._most = scenario.max_dials
        self._dial_s = self._stop_s = 0.0
        self._on_service = scenario.action == "blend"
        self._on_release = scenario.episode.controller_on_release and not self._on_service
        self._may_cancel = scenario.action == "dials_or_cancel"
        self._playing = self.env.process(self._play())

    @property
    def n_idle(self) -> int:
        """Outbound agents who wait for a call."""
        return len(self._idle)

    @property
    def n_idle_inbound(self) -> int:
        """Inbound agents who wait for a call."""
        return len(self._team.idle_inbound)

    @property
    def n_waiting(self) -> int:
        """Answered calls in the queue, those held past the limit included."""
        return len(self._queue)

    @property
    def n_in_flight(self) -> int:
        """Dials without a verdict that no agent is set aside for (a reserved call has its own)."""
        return self._calls.n_in_flight + self._calls.n_detecting - self._team.n_held

    @property
    def n_reserved(self) -> int:
        """Reserved calls on their way, one for each held agent."""
        return self._team.n_held

    @property
    def n_detecting(self) -> int:
        """Pick-ups under answering-machine detection."""
        return self._calls.n_detecting

    def run(self, until_s: float | None = None) -> dict[str, float]:
        """Play until `until_s` (None: the last close) and return the totals so far.

        All events of that instant have happened then, but not its decision.
        """
        if until_s is None:
            self.env.run(until=self._playing)
            until_s = self.env.now
        self.env.run(until=Moment(self.env, until_s - self.env.now, STOP))
        return self.totals()

    def totals(self) -> dict[str, float]:
        """Running totals, named and meant as those of the environment (`docs/mechanisms.md`)."""
        totals = {name: float(count) for name, count in self.counts.items()}
        totals["silent"] = sum(totals[f"silent_{cause}"] for cause in ("cut", "left", "amd"))
        totals |= {f"{state}_s": spent for state, spent in self._team.spent_s().items()}
        totals["waiting_s"] = self._calls.waited_s()
        totals["inbound_wait_s"] = self._inbound.waited_s() if self._inbound else 0.0
        return totals

    # ------------------------------------------------------------------------------------- time

    def _play(self) -> Process:
        """One session after the other."""
        for index, session in enumerate(self.sessions):
            open_s, close_s = session.open_ms / 1000.0, session.close_ms / 1000.0
            if open_s > self.env.now:
                yield self.env.timeout(open_s - self.env.now)
            if index:
                same_day = self.sessions[index - 1].day == session.day
                self.day = (
                    self._levels.again(self.day)
                    if same_day
                    else Day.drawn(self.scenario, self._draws.random)
                )
            self._dial_s, self._stop_s = session.dial_ms / 1000.0, session.stop_ms / 1000.0
            self._levels.open(self.day, close_s)
            if self._people is not None:
                self._people.open(index)
            self._team.open(session)
            if self._inbound is not None:
                self._inbound.open(session, self.day.inbound_factor)
            self.env.process(self._decide(session))
            if self.scenario.episode.controller_period_s and not self._on_service:
                self.env.process(self._control(session, self.scenario.episode.controller_period_s))
            yield self.env.timeout(close_s - open_s)
            if self._inbound is not None:
                self._inbound.close()

    def _decide(self, session: Session) -> Process:
        """At the opening and after every decision interval, until the close."""
        interval_s = self.scenario.episode.decision_interval_s
        open_s, close_s = session.open_ms / 1000.0, session.close_ms / 1000.0
        n, at_s = 0, open_s
        while at_s < close_s:
            yield Moment(self.env, at_s - self.env.now, DECISION)
            if self._people is not None:
                while self._idle and self._reserve(self._idle[0]):
                    self._idle.popleft()
            if not self._on_service or self._is_at_rest():
                self._place()
            n += 1
            at_s = open_s + n * interval_s

    def _is_at_rest(self) -> bool:
        """Nobody is in a call or its wrap-up and nothing in flight: no service will end."""
        at_work = ("talk", "wrap", "machine", "inbound")
        return not self.n_in_flight and all(a.doing not in at_work for a in self._team.agents)

    def _control(self, session: Session, period_s: float) -> Process:
        """The inner controller's own period."""
        open_s, close_s = session.open_ms / 1000.0, session.close_ms / 1000.0
        n = 1
        while open_s + n * period_s <= close_s:
            yield Moment(self.env, open_s + n * period_s - self.env.now, CONTROL)
            self._place()
            n += 1

    def _place(self) -> None:
        """Place as many calls as the rule says and the limits allow, or cancel some."""
        is_open = self._dial_s <= self.env.now < self._stop_s
        if not (is_open or self._may_cancel):
            return
        calls, people = self._calls, self._people
        n_dials = max(-self._most, min(self.rule(self), self._most))
        if n_dials < 0 and self._may_cancel:
            calls.cancel(-n_dials)
        if not is_open:
            return
        if n_dials < 1:
            return
        for _ in range(min(n_dials, calls.n_free_lines())):
            if calls.is_paced and not calls.may_start():
                return
            person = None
            if people is not None:
                person = people.next_person(self.env.now)
                if person is None:
                    return
            calls.dial(person)

    # -------------------------------------------------------------------------- who does what

    def _release(self, agent: Agent) -> None:
        """The agent is free: goes off or to lunch, or takes what waits, or turns idle."""
        if self._team.leave_if_due(agent):
            return
        if agent.outbound and self._calls.give_next(agent):
            return
        if self._inbound is not None and self._inbound.take_next(agent):
            return
        if agent.outbound and self._reserve(agent):
            return
        self._team.turn_idle(agent)
        if agent.outbound and self._on_release:
            self._place()

    def _served(self, agent: Agent) -> None:
        """The agent's work on a call has ended."""
        self._release(agent)
        if self._on_service:
            self._place()

    def _reserve(self, agent: Agent) -> bool:
        """Hold the agent for a reserved call that is due, and place it; whether there was one."""
        if self._people is None or not self._dial_s <= self.env.now < self._stop_s:
            return False
        share = self.scenario.floor.reserved_share
        most = max(1, math.floor(share * self._team.n_logged_in)) if share else 0
        if self._team.n_held >= most:
            return False
        if self._calls.n_free_lines() < 1 or not self._calls.may_start():
            return False
        person = self._people.next_reserved(self.env.now)
        if person is None:
            return False
        self._team.begin(agent, "held")
        self.counts["reserved"] += 1
        self._calls.dial(person, agent)
        return True
