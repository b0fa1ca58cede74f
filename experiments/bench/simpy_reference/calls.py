"""The life of a dial: set-up, ringing, detection, the queue, the conversation, the silent call."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quietdial.envs.scenario import Scenario
from quietdial.envs.scenario.calls import Leads
from quietdial.experiments.bench.simpy_reference.agents import Agent, Team
from quietdial.experiments.bench.simpy_reference.base import Counts, Draws, Process, simpy
from quietdial.experiments.bench.simpy_reference.hidden import Levels
from quietdial.experiments.bench.simpy_reference.people import PeopleList

LONGEST_DELAY_S = 1.0
"""A dial that could not start within this time is not placed."""
MOST_REPEATS = 8
"""Earlier silent calls that raise the harm, at most."""
_ROUNDING_S = 1e-6


@dataclass(slots=True, eq=False)
class Call:
    """A dial and what has become of it.

    Attributes:
        outcome: Who or what picks up, or how it ends without a pick-up.
        person: Number of the person; None: anonymous.
        agent: Set aside for this call; None: a policy's dial.
        rings_s: When it begins to ring [s].
        cancelled: Given up by the policy while it rang.
        queued_s: When it joined the queue [s].
        earlier: Silent calls that the person had before this one.
    """

    outcome: str
    person: int | None
    agent: Agent | None
    rings_s: float
    cancelled: bool = False
    queued_s: float = 0.0
    earlier: int = 0


class Calls:
    """All calls of the dialer.

    Args:
        env: SimPy's environment.
        scenario: the world.
        draws: random numbers.
        levels: the hidden answer rate and talk factor.
        team: the agents.
        people: the list; None: anonymous dials.
        counts: counters that are kept up to date here.
        served: called with an agent whose work on a call has ended.
        unused: called with an agent who was set aside for a call that nobody picked up.
    """

    def __init__(
        self,
        env: simpy.Environment,
        scenario: Scenario,
        draws: Draws,
        levels: Levels,
        team: Team,
        people: PeopleList | None,
        counts: Counts,
        served: Callable[[Agent], None],
        unused: Callable[[Agent], None],
    ) -> None:
        calls, floor = scenario.calls, scenario.floor
        self._env, self._levels, self._team, self._people = env, levels, team, people
        self._counts, self._served, self._unused = counts, served, unused
        self._uniform, self._normal = draws.uniform, draws.normal
        self._leads, self._scores = calls.leads, deque[float]()  # the next people's, in order
        self._rule, self._detection = scenario.rule, calls.detection

        self.n_in_flight = 0
        self.n_detecting = 0
        self.n_with_agent = 0  # conversations and machines
        self.n_messages = 0
        # Policies' dials on their way, oldest first; kept where they may be cancelled.
        self._on_their_way: dict[Call, None] = {}
        self._may_cancel = scenario.action == "dials_or_cancel"
        # Longest waiting first, each with the event that succeeds with the agent who takes it.
        self.queue: OrderedDict[Call, simpy.Event] = OrderedDict()
        self._waited_s = 0.0
        self._max_lines = calls.max_lines or 8 * floor.n_agents + 32
        self._trunks = calls.trunks
        self._gap_s = round(1000.0 / calls.calls_per_s) / 1000.0 if calls.calls_per_s else 0.0
        self.is_paced = self._gap_s > 0
        self._next_start_s = 0.0

        self._setup = draws.maybe(calls.setup)
        self._answer = draws.sampler(calls.time_to_answer)
        self._endings = [(u.share, u.outcome, draws.sampler(u.time)) for u in calls.unanswered]
        self._timeout_s = calls.ring_timeout_s or math.inf
        self._word = draws.maybe(calls.greeting.start if calls.greeting else None)
        self._greeting = draws.maybe(calls.greeting.length if calls.greeting else None)
        is_amd = self._detection.kind == "amd"
        self._verdict = draws.maybe(self._detection.decision if is_amd else None)
        self._machine = draws.maybe(self._detection.machine_handling)
        self._patience = draws.maybe(calls.patience)
        self._talk = draws.sampler(floor.talk)
        self._wrap = draws.maybe(floor.wrap)
        self._rest = draws.maybe(floor.breaks.duration if floor.breaks else None)
        self._p_rest = floor.breaks.p_after_wrap if floor.breaks else 0.0

    def waited_s(self) -> float:
        """Seconds that callees have waited in the queue so far, all together."""
        return self._waited_s + sum(self._env.now - call.queued_s for call in self.queue)

    def n_free_lines(self) -> int:
        """Dials for which there is a free line now."""
        busy = self.n_in_flight + self.n_detecting + len(self.queue) + self.n_messages
        free = self._max_lines - busy
        if self._trunks is not None:
            free = min(free, self._trunks - busy - self.n_with_agent)
        return free

    def may_start(self) -> bool:
        """Whether a dial that is placed now would start soon enough."""
        return self._next_start_s - self._env.now <= LONGEST_DELAY_S + _ROUNDING_S

    # ---------------------------------------------------------------------------------- a dial

    def dial(self, person: int | None = None, agent: Agent | None = None) -> None:
        """Place a dial, to a person of the list or anonymous; `agent` was set aside for it."""
        now = self._env.now
        delay_s = 0.0
        if self._gap_s:
            start_s = max(now, self._next_start_s)
            self._next_start_s = start_s + self._gap_s
            delay_s = start_s - now
        self._counts["dialed"] += 1
        self.n_in_flight += 1
        p = self._levels.p_answer
        if person is not None and self._people is not None:
            self._people.dial(person, now)
            p = self._people.p_answer(person, p, now)
        elif self._leads is not None and agent is None:
            p = self._p_of_lead(self._leads, p)
        outcome, time_s = self._fate(p)
        if self._setup is not None:
            delay_s += self._setup()
        call = Call(outcome, person, agent, rings_s=now + delay_s)
        if self._may_cancel and agent is None:
            self._on_their_way[call] = None
        self._env.process(self._life(call, delay_s + time_s))

    def cancel(self, n_calls: int) -> None:
        """Give up so many ringing calls, the youngest dials first, if there are so many."""
        now = self._env.now
        latest_s = now - (self._rule.min_ring_s or 0.0) + _ROUNDING_S
        ringing = [call for call in self._on_their_way if call.rings_s <= latest_s]
        for call in ringing[max(0, len(ringing) - n_calls) :]:
            del self._on_their_way[call]
            call.cancelled = True
            self.n_in_flight -= 1
            self._counts["cancelled"] += 1
            if self._people is not None and call.person is not None:
                self._people.after(call.person, "cancelled", now, reserved=False, verdict=False)

    def _p_of_lead(self, leads: Leads, p: float) -> float:
        """Probability that the next of the buffered leads answers now; another one takes the place.

        A score is normal, with mean d instead of 0 if the person would answer when it is drawn.
        """
        shift = leads.shift
        while len(self._scores) <= leads.buffer:
            self._scores.append(self._normal(1.0) + shift * (self._uniform() < p))
        odds = p / (1.0 - p) * math.exp(shift * self._scores.popleft() - 0.5 * shift**2)
        return odds / (1.0 + odds)

    def _fate(self, p: float) -> tuple[str, float]:
        """Outcome of a dial that a person answers with probability p, and its time after set-up."""
        if self._uniform() < p:
            outcome, time_s = "person", self._answer()
        else:
            outcome, time_s = self._ending()
        if time_s > self._timeout_s and outcome in ("person", "machine", "no_answer"):
            return "no_answer", self._timeout_s
        return outcome, time_s

    def _ending(self) -> tuple[str, float]:
        at = self._uniform()
        for share, outcome, time in self._endings:
            if at < share:
                return outcome, time()
            at -= share
        _, outcome, time = self._endings[-1]
        return outcome, time()

    def _life(self, call: Call, delay_s: float) -> Process:
        """A dial, and if an agent takes it, everything until that agent is free again."""
        yield self._env.timeout(delay_s)
        if call.cancelled:
            return
        self._on_their_way.pop(call, None)
        self.n_in_flight -= 1
        outcome = call.outcome
        if outcome == "person":
            self._counts["answered"] += 1
            yield from self._picked_up(call)
            return
        self._counts[outcome] += 1
        if outcome == "machine" and self._detection.kind != "perfect":
            yield from self._picked_up(call)
        else:
            self._over(call)
            if call.agent is not None:
                self._unused(call.agent)

    # ------------------------------------------------------------------------------- a pick-up

    def _picked_up(self, call: Call) -> Process:
        """A person or a machine is on the line, and perhaps nobody can tell which."""
        if call.agent is not None:
            yield from self._serve(call.agent, call)
            return
        limit_s, leaves_s = self._limit_s(), math.inf
        if call.outcome == "person" and self._patience is not None:
            leaves_s = self._patience()
        if self._verdict is not None:
            decision_s, ends_s = self._verdict(), min(limit_s, leaves_s)
            self.n_detecting += 1
            yield self._env.timeout(min(decision_s, ends_s))
            self.n_detecting -= 1
            if ends_s <= decision_s:
                self._unheard(call, "left" if leaves_s < limit_s else "cut")
                return
            if self._is_taken_for_machine(call):
                return
            limit_s, leaves_s = limit_s - decision_s, leaves_s - decision_s
        if self._team.idle_outbound:
            yield from self._serve(self._team.idle_outbound.popleft(), call)
        else:
            yield from self._wait(call, limit_s, leaves_s)

    def _limit_s(self) -> float:
        """Time from a pick-up to its deadline."""
        limit_s = self._rule.wait_limit_s
        if self._word is not None and self._greeting is not None:
            start_s, length_s = self._word(), self._greeting()
            if self._rule.clock != "answer":
                limit_s += start_s
            if self._rule.clock == "greeting_end":
                limit_s += length_s
        return limit_s

    def _unheard(self, call: Call, cause: str) -> None:
        """The callee leaves, or is cut, before the verdict."""
        self._dropped(call, cause)
        self._harm(call, self._rule.waiting_hears)
        self._over(call, dropped=True)

    def _is_taken_for_machine(self, call: Call) -> bool:
        """The verdict; a call that is taken for a machine is over."""
        detection = self._detection
        if call.outcome == "machine":
            taken = self._uniform() >= detection.p_false_person
        else:
            taken = self._uniform() < detection.p_false_machine
        if taken:
            self._counts["amd_machine"] += 1
            if call.outcome == "person":
                self._silent(call, "amd")
                self._harm(call, "silence")
            self._over(call, verdict=True)
        return taken

    # ------------------------------------------------------------------------------- the queue

    def give_next(self, agent: Agent) -> bool:
        """Give the longest waiting call to the agent; whether there was one."""
        if not self.queue:
            return False
        call, agent_comes = next(iter(self.queue.items()))
        self._leave_queue(call)
        agent_comes.succeed(agent)
        return True

    def _wait(self, call: Call, limit_s: float, leaves_s: float) -> Process:
        """Wait for an agent until the deadline or the callee's leaving, then as `at_limit` says."""
        agent: Any = self._env.event()
        call.queued_s = self._env.now
        self.queue[call] = agent
        ends_s = min(limit_s, leaves_s)
        if ends_s > 0:
            yield agent | self._env.timeout(ends_s)
        if agent.triggered:
            yield from self._serve(agent.value, call)
        elif leaves_s < limit_s:
            self._leave_queue(call)
            self._dropped(call, "left")
            self._harm(call, self._rule.waiting_hears)
            self._over(call, dropped=True)
        else:
            self._dropped(call, "cut")
            yield from self._past_limit(call, agent, leaves_s - limit_s)

    def _past_limit(self, call: Call, agent: Any, leaves_s: float) -> Process:
        """A call at its deadline, with a person or a machine: cut, message or hold."""
        rule = self._rule
        if rule.at_limit == "hold":
            rest_s = min(rule.hold_s, leaves_s)
            if rest_s > 0:
                yield agent | self._env.timeout(rest_s)
            if agent.triggered:
                self._harm(call, "late")
                yield from self._serve(agent.value, call, late=True)
                return
            self._leave_queue(call)
            self._harm(call, rule.waiting_hears)
        else:
            self._leave_queue(call)
            if rule.at_limit == "message":
                self._counts["message"] += call.outcome == "person"
                self._harm(call, "message")
                self.n_messages += 1
                yield self._env.timeout(rule.message_s)
                self.n_messages -= 1
            else:
                self._harm(call, rule.waiting_hears)
        self._over(call, dropped=True)

    def _leave_queue(self, call: Call) -> None:
        del self.queue[call]
        self._waited_s += self._env.now - call.queued_s

    # ------------------------------------------------------------------------------ with an agent

    def _serve(self, agent: Agent, call: Call, *, late: bool = False) -> Process:
        """The agent has the call, until free again."""
        env, team = self._env, self._team
        self.n_with_agent += 1
        if call.outcome == "machine":
            self._counts["machine_agent"] += 1
            team.begin(agent, "machine")
            if self._machine is not None:
                yield env.timeout(self._machine())
            self.n_with_agent -= 1
            self._over(call)
            self._served(agent)
            return
        self._counts["late" if late else "connected"] += 1
        team.begin(agent, "talk")
        yield env.timeout(self._talk() * self._levels.talk_factor * agent.speed)
        self.n_with_agent -= 1
        if agent.p_success and self._uniform() < agent.p_success:
            self._counts["successes"] += 1
        if self._people is not None and call.person is not None:
            self._people.after_conversation(call.person, env.now)
        if self._wrap is not None:
            team.begin(agent, "wrap")
            yield env.timeout(self._wrap() * agent.speed)
        may_rest = not agent.logout_due
        if may_rest and self._rest is not None and self._uniform() < self._p_rest:
            team.begin(agent, "break")
            yield env.timeout(self._rest())
        self._served(agent)

    # ------------------------------------------------------------------------------- what counts

    def _dropped(self, call: Call, cause: str) -> None:
        """A callee leaves, or is at the deadline; a machine's call is not silent."""
        if call.outcome == "machine":
            self._counts["machine_dropped"] += 1
        else:
            self._silent(call, cause)

    def _silent(self, call: Call, cause: str) -> None:
        """An answered call becomes silent; `cause` is cut, left or amd."""
        rule, counts = self._rule, self._counts
        counts[f"silent_{cause}"] += 1
        in_numerator = {"cut": rule.counts_cut, "left": rule.counts_left, "amd": rule.counts_amd}
        counts["counted"] += in_numerator[cause]
        if self._people is not None and call.person is not None:
            call.earlier = self._people.silent(call.person)

    def _harm(self, call: Call, heard: str) -> None:
        """What the callee of a dropped call heard is settled; machines take no harm."""
        if call.outcome == "machine":
            return
        harm = self._rule.harm
        bases = {
            "silence": harm.silence,
            "comfort_noise": harm.comfort_noise,
            "message": harm.message,
            "late": harm.late,
        }
        self._counts["harm"] += bases[heard] * harm.growth ** min(call.earlier, MOST_REPEATS)

    def _over(self, call: Call, *, verdict: bool = False, dropped: bool = False) -> None:
        """A call without a conversation is over.

        Args:
            call: the call.
            verdict: detection said 'machine'.
            dropped: the callee, a person or a machine, left or waited to the deadline in vain.
        """
        if self._people is None or call.person is None:
            return
        if dropped:
            self._people.after_silent(call.person, self._env.now)
        else:
            self._people.after(
                call.person,
                "machine" if verdict else call.outcome,
                self._env.now,
                reserved=call.agent is not None,
                verdict=verdict,
            )
