"""A dialer that keeps its own counters: one snapshot before each decision instead of events.

Counts alone are enough for the observation sets `counters` and `markov` with actions that need no
ages: number of calls, ratio, level. The base rule, thresholds and the set `full` need the ages of
calls and agents too (:class:`Ages`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.floor import rates
from quietdial.agents.runtime.tables import (
    BREAK,
    HELD,
    IDLE,
    INBOUND,
    MACHINE,
    OFF,
    SPARE,
    STATES,
    TALK,
    WRAP,
    PacingTables,
)
from quietdial.agents.runtime.view import Estimates, View
from quietdial.agents.runtime.windows import Session


class Ages(NamedTuple):
    """How long each call and each agent has been as it is, at the moment of the counters [s].

    Each field has as many numbers as its counter says, in any order.

    Attributes:
        in_flight: of the dials without an outcome, since the dial.
        talk: of the agents in conversation, since it began.
        wrap: of those in wrap-up.
        on_break: of those on break.
        held: of those set aside for a dial.
        machine: of those with a machine.
        inbound: of those in inbound conversations.
    """

    in_flight: tuple[float, ...] = ()
    talk: tuple[float, ...] = ()
    wrap: tuple[float, ...] = ()
    on_break: tuple[float, ...] = ()
    held: tuple[float, ...] = ()
    machine: tuple[float, ...] = ()
    inbound: tuple[float, ...] = ()


_AGED: Final = {
    "talk": TALK,
    "wrap": WRAP,
    "on_break": BREAK,
    "held": HELD,
    "machine": MACHINE,
    "inbound": INBOUND,
}
OLDEST_S: Final = 1e6
"""Longest time that a call or an agent is as it is [s]."""


class Counters(NamedTuple):
    """What a script can read from a dialer's tables at one moment.

    Attributes:
        at_ms: the moment [ms].
        idle: agents without a call.
        talk: agents in conversation.
        wrap: agents in wrap-up.
        on_break: agents on break.
        waiting: answered callees who wait for an agent.
        in_flight: dials without an outcome.
        picked_up: pick-ups presented to the queue since the campaign began, never less than before.
        finished: dials with an outcome since the campaign began, never less than before.
        windows: (silent, answered) of each of the rule's windows.
        lines_free: calls that may still be placed.
        leaving: agents whose log-out is at most five minutes away.
        list_left: share of the list that may still be dialed.
        held: agents set aside for a dial.
        machine: agents with a machine.
        inbound: agents in inbound conversations.
        spare: inbound-only agents without a call.
        ages: how long calls and agents have been as they are; None: not known.
    """

    at_ms: int
    idle: int
    talk: int
    wrap: int
    on_break: int
    waiting: int
    in_flight: int
    picked_up: int
    finished: int
    windows: tuple[tuple[float, float], ...]
    lines_free: int
    leaving: int = 0
    list_left: float = 1.0
    held: int = 0
    machine: int = 0
    inbound: int = 0
    spare: int = 0
    ages: Ages | None = None


class CounterFloor:
    """Views of a floor from successive counters.

    Args:
        tables: what is known of the floor.
        n_agents: agents of the roster; None: as in training.
    """

    def __init__(self, tables: PacingTables, n_agents: int | None = None) -> None:
        self.tables = tables
        self.n_agents = tables.n_agents if n_agents is None else n_agents
        self.estimates = Estimates(tables.keep, tables.prior_rate, tables.prior_weight)
        self.session: Session | None = None
        self._last: Counters | None = None

    def open_session(self, session: Session) -> None:
        """The floor opens; what the estimates know of an earlier day fades to a prior."""
        if self.session is not None:
            self.estimates.rest()
        self.session = session

    def warm(self, past: Iterable[tuple[int, int]]) -> None:
        """Before the first snapshot: the (picked up, finished) dials of past decision intervals.

        For a dialer that has them, oldest first, so that a restart does not start from the prior.

        Raises:
            PacerError: a snapshot was seen already.
        """
        if self._last is not None:
            raise PacerError("counters: past intervals come before the first snapshot")
        for picked_up, finished in past:
            self.estimates.settle(picked_up, finished)

    def view(self, seen: Counters) -> View:
        """What the dialer sees.

        The counts since the last snapshot are taken as those of one decision interval; where
        several have passed, the estimates fade for the others.

        Raises:
            PacerError: counters that cannot be, or no session is open.
        """
        session = self.session
        if session is None:
            raise PacerError("counters: open a session first")
        self._check(seen)
        self._settle(seen)
        agents = [0] * len(STATES)
        agents[IDLE], agents[TALK], agents[WRAP] = seen.idle, seen.talk, seen.wrap
        agents[BREAK], agents[HELD], agents[MACHINE] = seen.on_break, seen.held, seen.machine
        agents[INBOUND], agents[SPARE] = seen.inbound, seen.spare
        agents[OFF] = self.n_agents - sum(agents)
        rate, recent = rates(self.tables, self.estimates)
        worked = max(min(seen.at_ms, session.closes_ms) - session.opens_ms, 0)
        return View(
            now_ms=seen.at_ms,
            agents=agents,
            n_agents=self.n_agents,
            waiting=seen.waiting,
            in_flight=seen.in_flight,
            lines_free=seen.lines_free,
            rate=rate,
            recent=recent,
            windows=list(seen.windows),
            spent_ms=session.spent_ms + worked,
            span_ms=session.whole_ms,
            leaving=seen.leaving,
            list_left=seen.list_left,
            cohorts=None if seen.ages is None else self._cohorts(seen.ages),
            agent_rows=None if seen.ages is None else self._rows(seen.ages, seen),
        )

    def _cohorts(self, ages: Ages) -> NDArray[np.float64]:
        """Calls in flight by whole seconds since their dial; older ones count with the oldest."""
        n = len(self.tables.ring)
        seconds = np.minimum(np.array(ages.in_flight, np.float64), n - 1.0).astype(np.int64)
        return np.bincount(seconds, minlength=n).astype(np.float64)

    def _rows(self, ages: Ages, seen: Counters) -> NDArray[np.int64]:
        """Row of each agent in the flattened table of releases; those who are off come last."""
        bins, shift = self.tables.release.shape[1], self.tables.age_shift
        rows = [IDLE * bins] * (seen.idle + seen.spare)
        for name, state in _AGED.items():
            told = np.array(getattr(ages, name), np.float64)
            age = np.minimum((1000.0 * told).astype(np.int64) >> shift, bins - 1)
            rows += (state * bins + age).tolist()
        return np.array(rows + [OFF * bins] * (self.n_agents - len(rows)), np.int64)

    def _check(self, seen: Counters) -> None:
        there = seen.idle + seen.talk + seen.wrap + seen.on_break
        there += seen.held + seen.machine + seen.inbound + seen.spare
        if there > self.n_agents or min(seen[1:9]) < 0:
            raise PacerError(
                f"counters at {seen.at_ms} ms: {there} agents of {self.n_agents}, least count "
                f"{min(seen[1:9])}; give whole numbers >= 0 of a roster that holds all agents"
            )
        if len(seen.windows) != len(self.tables.windows):
            raise PacerError(
                f"counters: {len(seen.windows)} windows; the rule has {len(self.tables.windows)}"
            )
        if seen.ages is not None:
            _check_ages(seen.ages, seen)
        last = self._last
        if last is not None and (
            seen.at_ms < last.at_ms
            or seen.picked_up < last.picked_up
            or seen.finished < last.finished
        ):
            raise PacerError(
                f"counters at {seen.at_ms} ms are below those at {last.at_ms} ms; totals only grow"
            )

    def _settle(self, seen: Counters) -> None:
        last = self._last
        if last is not None:
            steps = max(round((seen.at_ms - last.at_ms) / self.tables.step_ms), 0)
            if steps == 0:
                return
            for _ in range(min(steps, 36_000) - 1):
                self.estimates.settle(0, 0)
            self.estimates.settle(seen.picked_up - last.picked_up, seen.finished - last.finished)
        self._last = seen


def _check_ages(ages: Ages, seen: Counters) -> None:
    for name, told in ages._asdict().items():
        n = getattr(seen, name)
        if len(told) != n or not all(0.0 <= age <= OLDEST_S for age in told):
            raise PacerError(
                f"counters: ages of {name!r}: {len(told)} of {n}; give one number of seconds from "
                f"0 to {OLDEST_S:g} for each"
            )
