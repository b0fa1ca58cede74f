"""The agents: what they do now, who is idle longest, their shifts and lunches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quietdial.envs.part import seconds_of
from quietdial.envs.regulation.calendar import Session
from quietdial.envs.scenario import Scenario, Shift
from quietdial.experiments.bench.simpy_reference.base import Draws, Process, simpy

STATES = ("idle", "talk", "wrap", "break", "off", "held", "machine", "inbound")
UNAVAILABLE = ("break", "off")


@dataclass(slots=True, eq=False)
class Agent:
    """One agent.

    Attributes:
        number: From 0, through the shifts in order.
        outbound: Takes answered dials (and inbound calls); otherwise inbound calls only.
        speed: Factor of the agent's talk and wrap-up times.
        p_success: Probability that a conversation with this agent reaches its aim.
        doing: One of `STATES`.
        since_s: Time from which the agent does it [s].
        logout_due: Goes off when next released.
        lunch_due_s: Length of a lunch that is taken when next released; 0: none.
    """

    number: int
    outbound: bool
    speed: float
    p_success: float
    doing: str = "off"
    since_s: float = 0.0
    logout_due: bool = False
    lunch_due_s: float = 0.0


class Team:
    """All agents of a floor.

    Args:
        env: SimPy's environment.
        scenario: the world.
        draws: random numbers.
        release: gives work to an agent who has just become free (or came in).
    """

    def __init__(
        self,
        env: simpy.Environment,
        scenario: Scenario,
        draws: Draws,
        release: Callable[[Agent], None],
    ) -> None:
        self._env, self._release = env, release
        floor = scenario.floor
        self._shifts: list[tuple[Shift | None, list[Agent]]] = []
        self.agents: list[Agent] = []
        shifts = floor.shifts or (None,)
        for shift in shifts:
            outbound = shift is None or shift.group == "outbound"
            members = [
                Agent(
                    number=len(self.agents) + i,
                    outbound=outbound,
                    speed=draws.factor(floor.speed_sd) if floor.speed_sd else 1.0,
                    p_success=min(1.0, floor.p_success * draws.factor(floor.skill_sd)),
                )
                for i in range(floor.n_agents if shift is None else shift.n_agents)
            ]
            self.agents += members
            self._shifts.append((shift, members))
        self.idle_outbound: deque[Agent] = deque()  # longest idle first
        self.idle_inbound: deque[Agent] = deque()
        self.n_logged_in = 0
        self.n_held = 0
        self._spent_s: dict[str, float] = dict.fromkeys(STATES, 0.0)

    def begin(self, agent: Agent, doing: str) -> None:
        """The agent does something else from now on."""
        before, now = agent.doing, self._env.now
        self._spent_s[before] += now - agent.since_s
        agent.doing, agent.since_s = doing, now
        self.n_logged_in += (before == "off") - (doing == "off")
        self.n_held += (doing == "held") - (before == "held")

    def turn_idle(self, agent: Agent) -> None:
        """The agent waits for a call."""
        self.begin(agent, "idle")
        (self.idle_outbound if agent.outbound else self.idle_inbound).append(agent)

    def leave_if_due(self, agent: Agent) -> bool:
        """Whether a freed agent goes off or to lunch instead of working on."""
        if agent.logout_due:
            agent.logout_due, agent.lunch_due_s = False, 0.0
            self.begin(agent, "off")
            return True
        if agent.lunch_due_s:
            length_s, agent.lunch_due_s = agent.lunch_due_s, 0.0
            self._env.process(self._lunch(agent, length_s))
            return True
        return False

    def spent_s(self) -> dict[str, float]:
        """Agent-seconds in each state so far, and `available`."""
        spent, now = dict(self._spent_s), self._env.now
        for agent in self.agents:
            spent[agent.doing] += now - agent.since_s
        spent["available"] = sum(spent[name] for name in STATES if name not in UNAVAILABLE)
        return spent

    # --------------------------------------------------------------------------------- shifts

    def open(self, session: Session) -> None:
        """A session opens: its log-ins, lunches and log-outs are on their way."""
        open_s, close_s = session.open_ms / 1000.0, session.close_ms / 1000.0
        for shift, members in self._shifts:
            login_s, logout_s, lunch_at_s, lunch_s = open_s, close_s, None, 0.0
            if shift is not None:
                midnight_s = open_s - session.wall_s
                login_s = max(open_s, midnight_s + seconds_of(shift.login))
                logout_s = min(close_s, midnight_s + seconds_of(shift.logout))
                if shift.lunch is not None:
                    lunch_at_s = midnight_s + seconds_of(shift.lunch.at)
                    lunch_s = shift.lunch.duration
            if login_s >= logout_s:
                continue
            if lunch_at_s is not None and not login_s <= lunch_at_s < logout_s:
                lunch_at_s = None
            self._env.process(self._shift(members, login_s, logout_s, lunch_at_s, lunch_s))

    def _shift(
        self,
        members: Sequence[Agent],
        login_s: float,
        logout_s: float,
        lunch_at_s: float | None,
        lunch_s: float,
    ) -> Process:
        env = self._env
        if login_s > env.now:
            yield env.timeout(login_s - env.now)
        for agent in members:
            agent.logout_due, agent.lunch_due_s = False, 0.0
            if agent.doing == "off":  # otherwise still busy with work of an earlier session
                self._release(agent)
        if lunch_at_s is not None:
            yield env.timeout(lunch_at_s - env.now)
            for agent in members:
                if self._was_idle(agent):
                    env.process(self._lunch(agent, lunch_s))
                elif agent.doing != "off":
                    agent.lunch_due_s = lunch_s
        yield env.timeout(logout_s - env.now)
        for agent in members:
            if self._was_idle(agent):
                self.begin(agent, "off")
            elif agent.doing != "off":
                agent.logout_due = True

    def _was_idle(self, agent: Agent) -> bool:
        """Take the agent out of the idle ones, if it is among them."""
        if agent.doing != "idle":
            return False
        (self.idle_outbound if agent.outbound else self.idle_inbound).remove(agent)
        return True

    def _lunch(self, agent: Agent, length_s: float) -> Process:
        self.begin(agent, "break")
        yield self._env.timeout(length_s)
        self._release(agent)
