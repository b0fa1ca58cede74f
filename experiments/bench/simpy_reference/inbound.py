"""Inbound calls that share the agents with the dialer (blending)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from quietdial.envs.part import seconds_of
from quietdial.envs.regulation.calendar import Session
from quietdial.envs.scenario import Inbound
from quietdial.experiments.bench.simpy_reference.agents import Agent, Team
from quietdial.experiments.bench.simpy_reference.base import Counts, Draws, Process, simpy


@dataclass(slots=True, eq=False)
class Caller:
    """Somebody who waits for an agent; `agent_comes` succeeds with that agent."""

    since_s: float
    agent_comes: simpy.Event


class InboundCalls:
    """The inbound side of a floor.

    Args:
        env: SimPy's environment.
        inbound: the part of the scenario.
        draws: random numbers.
        team: the agents.
        counts: counters that are kept up to date here.
        served: called with an agent whose service has ended.
    """

    def __init__(
        self,
        env: simpy.Environment,
        inbound: Inbound,
        draws: Draws,
        team: Team,
        counts: Counts,
        served: Callable[[Agent], None],
    ) -> None:
        self._env, self._inbound, self._team, self._counts = env, inbound, team, counts
        self._served = served
        self._random, self._uniform = draws.random, draws.uniform
        self._talk, self._patience = draws.sampler(inbound.talk), draws.maybe(inbound.patience)
        self.queue: OrderedDict[Caller, None] = OrderedDict()
        self._waited_s = 0.0

    def waited_s(self) -> float:
        """Seconds that callers have waited so far, all together."""
        return self._waited_s + sum(self._env.now - caller.since_s for caller in self.queue)

    def take_next(self, agent: Agent) -> bool:
        """Give the longest waiting caller to the agent; whether there was one."""
        if not self.queue:
            return False
        caller = next(iter(self.queue))
        self._leave_queue(caller)
        caller.agent_comes.succeed(agent)
        return True

    def open(self, session: Session, day_factor: float) -> None:
        """A session opens: calls arrive until it closes."""
        open_s, close_s = session.open_ms / 1000.0, session.close_ms / 1000.0
        midnight_s = open_s - session.wall_s
        begins = [midnight_s + seconds_of(p.begins) for p in self._inbound.periods]
        ends = [*begins[1:], math.inf]
        for period, begin_s, end_s in zip(self._inbound.periods, begins, ends, strict=True):
            first_s, last_s = max(begin_s, open_s), min(end_s, close_s)
            rate_per_s = period.per_h * day_factor / 3600.0
            if first_s < last_s and rate_per_s > 0:
                self._env.process(self._arrivals(rate_per_s, first_s, last_s))

    def close(self) -> None:
        """The session closes: who waits leaves."""
        for caller in list(self.queue):
            self._leave_queue(caller)
            caller.agent_comes.succeed(None)

    def _arrivals(self, rate_per_s: float, first_s: float, last_s: float) -> Process:
        yield self._env.timeout(first_s - self._env.now)
        while True:
            gap_s = self._random.exponential(1.0 / rate_per_s)
            if self._env.now + gap_s >= last_s:
                return
            yield self._env.timeout(gap_s)
            self._env.process(self._call())

    def _call(self) -> Process:
        counts = self._counts
        counts["inbound_arrived"] += 1
        for idle in (self._team.idle_inbound, self._team.idle_outbound):
            if idle:
                counts["inbound_in_time"] += 1
                yield from self._serve(idle.popleft())
                return
        counts["inbound_waited"] += 1
        if self._uniform() < self._inbound.p_balk or len(self.queue) >= self._inbound.capacity:
            counts["inbound_lost"] += 1
            return
        caller = Caller(self._env.now, self._env.event())
        self.queue[caller] = None
        patience_s = math.inf if self._patience is None else self._patience()
        if patience_s < math.inf:
            yield caller.agent_comes | self._env.timeout(patience_s)
        else:
            yield caller.agent_comes
        agent = caller.agent_comes.value if caller.agent_comes.triggered else None
        if agent is None:
            counts["inbound_lost"] += 1
            if caller in self.queue:
                self._leave_queue(caller)
            return
        waited_s = self._env.now - caller.since_s
        counts["inbound_in_time"] += waited_s <= self._inbound.service_level_s
        yield from self._serve(agent)

    def _serve(self, agent: Agent) -> Process:
        self._counts["inbound_served"] += 1
        self._team.begin(agent, "inbound")
        yield self._env.timeout(self._talk())
        self._served(agent)

    def _leave_queue(self, caller: Caller) -> None:
        del self.queue[caller]
        self._waited_s += self._env.now - caller.since_s
