"""The same world as a plain SimPy model: a reference for speed and a check of the physics.

It shares no code with the compiled kernel: one SimPy process for each call, floating-point seconds,
numpy's own random numbers through the quantile functions of the scenario's laws. Days of the two
are therefore different days of one world, and agree in distribution (see the tests).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from quietdial.envs.errors import MissingExtraError
from quietdial.envs.laws import Law
from quietdial.envs.scenario import ConstantAnswer, Scenario

try:
    import simpy
except ImportError as error:  # pragma: no cover - the test set-up has it
    raise MissingExtraError("simpy", "bench", "the SimPy reference model") from error

Process = Generator[simpy.Event, Any, None]
Rule = Callable[["SimpyFloor"], int]
"""Number of calls to place now; it reads `n_idle`, `n_waiting`, `n_in_flight` of the floor."""

_BLOCK = 512
_LOWEST_P, _HIGHEST_P = 0.001, 0.95


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


@dataclass(frozen=True)
class Day:
    """What is hidden and differs from day to day.

    Attributes:
        level: Level p0 of the answer rate.
        phase: Phase of its season, in turns.
        drift: First value of the Ornstein-Uhlenbeck process.
        talk_factor: Factor of all talk times.
    """

    level: float
    phase: float = 0.0
    drift: float = 0.0
    talk_factor: float = 1.0

    @classmethod
    def drawn(
        cls, scenario: Scenario, random: np.random.Generator, level_at: float | None = None
    ) -> Day:
        """A random day; `level_at` in [0, 1] fixes the quantile of its answer rate's level."""
        talk_factor = math.exp(random.normal(0.0, scenario.floor.talk_day_sd))
        rate = scenario.calls.answer_rate
        if isinstance(rate, ConstantAnswer):
            return cls(rate.p, talk_factor=talk_factor)
        at = random.random() if level_at is None else level_at
        level = rate.p_low * (rate.p_high / rate.p_low) ** at
        return cls(level, random.random(), random.normal(0.0, rate.ou_sd), talk_factor)


class SimpyFloor:
    """One campaign day, event by event.

    Args:
        scenario: the world.
        rule: asked at every decision, and whenever the scenario's inner controller acts.
        seed: seed of numpy's generator.
        day: the hidden day; None: a random one.
    """

    def __init__(self, scenario: Scenario, rule: Rule, seed: int, day: Day | None = None) -> None:
        random = np.random.default_rng(seed)
        self.scenario = scenario
        self.rule = rule
        self.day = day or Day.drawn(scenario, random)
        self.env = simpy.Environment()
        self.idle = simpy.Store(self.env)  # agents by number, longest idle first
        self.idle.items.extend(range(scenario.floor.n_agents))
        self.n_waiting = 0
        self.n_in_flight = 0
        names = ("dialed", "answered", "connected", "silent_cut", "silent_left", "machine", "busy")
        self.counts: dict[str, int] = dict.fromkeys((*names, "no_answer", "invalid"), 0)
        self.spent_s: dict[str, float] = dict.fromkeys(
            ("idle", "talk", "wrap", "break", "waiting"), 0.0
        )
        self._doing = ["idle"] * scenario.floor.n_agents
        self._since = [0.0] * scenario.floor.n_agents
        self._silence_began: dict[int, float] = {}

        floor, calls = scenario.floor, scenario.calls
        self._uniforms = _uniforms(random)
        self._normals = random.normal
        self._talk = _durations(floor.talk, random)
        self._wrap = _durations(floor.wrap, random) if floor.wrap else None
        self._rest = _durations(floor.breaks.duration, random) if floor.breaks else None
        self._p_break = floor.breaks.p_after_wrap if floor.breaks else 0.0
        self._answer = _durations(calls.time_to_answer, random)
        self._patience = _durations(calls.patience, random) if calls.patience else None
        self._endings = [(u.share, u.outcome, _durations(u.time, random)) for u in calls.unanswered]
        self._most = scenario.max_dials
        self._lines = calls.max_lines or 8 * floor.n_agents + 32
        self._limit_s = scenario.rule.wait_limit_s
        self._close_s = scenario.episode.duration_s - scenario.episode.close_s
        self._on_release = scenario.episode.controller_on_release
        self._p_answer = self.day.level

        if not isinstance(calls.answer_rate, ConstantAnswer):
            self.env.process(self._drift())
        self.env.process(self._decide(scenario.episode.decision_interval_s))
        if scenario.episode.controller_period_s:
            self.env.process(self._control(scenario.episode.controller_period_s))

    @property
    def n_idle(self) -> int:
        """Agents who wait for a call."""
        return len(self.idle.items)

    def uniform(self) -> float:
        """A random number in [0, 1)."""
        return next(self._uniforms)

    def run(self, until_s: float | None = None) -> dict[str, float]:
        """Play until `until_s` (None: the end of the day) and return the totals so far."""
        self.env.run(until=self.scenario.episode.duration_s if until_s is None else until_s)
        return self.totals()

    def totals(self) -> dict[str, float]:
        """Running totals, named and meant as those of the environment."""
        now = float(self.env.now)
        spent = dict(self.spent_s)
        for doing, since in zip(self._doing, self._since, strict=True):
            spent[doing] += now - since
        spent["waiting"] += sum(now - began for began in self._silence_began.values())
        totals = {name: float(count) for name, count in self.counts.items()}
        totals["silent"] = totals["silent_cut"] + totals["silent_left"]
        totals |= {f"{name}_s": value for name, value in spent.items()}
        totals["available_s"] = spent["idle"] + spent["talk"] + spent["wrap"]
        return totals

    # ------------------------------------------------------------------------------ processes

    def _decide(self, interval_s: float) -> Process:
        while True:
            self._place()
            yield self.env.timeout(interval_s)

    def _control(self, period_s: float) -> Process:
        while True:
            yield self.env.timeout(period_s)
            self._place()

    def _drift(self) -> Process:
        rate = self.scenario.calls.answer_rate
        if isinstance(rate, ConstantAnswer):
            return
        keep = math.exp(-rate.update_s / rate.ou_tau_s)
        noise_sd = rate.ou_sd * math.sqrt(1.0 - keep**2)
        drift = self.day.drift
        while True:
            turns = self.env.now / rate.season_period_s + self.day.phase
            season = 1.0 + rate.season_amplitude * math.sin(2.0 * math.pi * turns)
            p = self.day.level * season * math.exp(drift)
            self._p_answer = min(max(p, _LOWEST_P), _HIGHEST_P)
            yield self.env.timeout(rate.update_s)
            drift = keep * drift + self._normals(0.0, noise_sd)

    def _call(self) -> Process:
        """A dial, and if an agent takes it, everything until that agent is free again."""
        if self.uniform() >= self._p_answer:
            outcome, time_s = self._ending()
            yield self.env.timeout(time_s)
            self.n_in_flight -= 1
            self.counts[outcome] += 1
            return
        yield self.env.timeout(next(self._answer))
        self.n_in_flight -= 1
        self.counts["answered"] += 1
        agent: Any = self.idle.get()
        if not agent.triggered:
            yield from self._silence(agent)
            if not agent.triggered:
                agent.cancel()
                return
        yield from self._serve(agent.value)

    def _ending(self) -> tuple[str, float]:
        at = self.uniform()
        for share, outcome, time in self._endings:
            if at < share:
                return outcome, next(time)
            at -= share
        _, outcome, time = self._endings[-1]
        return outcome, next(time)

    def _silence(self, agent: simpy.Event) -> Process:
        """Wait in silence for an agent, until the limit or the callee's patience ends."""
        patience_s = next(self._patience) if self._patience else math.inf
        limit_s = min(self._limit_s, patience_s)
        began = self.env.now
        if limit_s > 0:
            self.n_waiting += 1
            self._silence_began[id(agent)] = began
            yield agent | self.env.timeout(limit_s)
            self.n_waiting -= 1
            del self._silence_began[id(agent)]
            self.spent_s["waiting"] += self.env.now - began
        if not agent.triggered:
            self.counts["silent_left" if patience_s < self._limit_s else "silent_cut"] += 1

    def _serve(self, agent: int) -> Process:
        self.counts["connected"] += 1
        self._begin(agent, "talk")
        yield self.env.timeout(next(self._talk) * self.day.talk_factor)
        if self._wrap:
            self._begin(agent, "wrap")
            yield self.env.timeout(next(self._wrap))
        if self._rest and self.uniform() < self._p_break:
            self._begin(agent, "break")
            yield self.env.timeout(next(self._rest))
        self._begin(agent, "idle")
        self.idle.put(agent)
        if self._on_release and self.n_idle:
            self._place()

    # ---------------------------------------------------------------------------------- parts

    def _begin(self, agent: int, doing: str) -> None:
        now = self.env.now
        self.spent_s[self._doing[agent]] += now - self._since[agent]
        self._doing[agent], self._since[agent] = doing, now

    def _place(self) -> None:
        if self.env.now >= self._close_s:
            return
        free = self._lines - self.n_in_flight - self.n_waiting
        for _ in range(min(self.rule(self), self._most, free)):
            self.counts["dialed"] += 1
            self.n_in_flight += 1
            self.env.process(self._call())


def _uniforms(random: np.random.Generator) -> Iterator[float]:
    while True:
        yield from random.random(_BLOCK).tolist()


def _durations(law: Law, random: np.random.Generator) -> Iterator[float]:
    """Independent durations of a law [s], drawn in blocks by inversion."""
    while True:
        yield from law.quantile_s(random.random(_BLOCK)).tolist()
