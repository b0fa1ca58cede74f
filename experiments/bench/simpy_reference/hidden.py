"""The hidden levels: answer rate, talk factor and inbound factor of each day, and their drift."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from quietdial.envs.scenario import ConstantAnswer, Drift, Scenario
from quietdial.experiments.bench.simpy_reference.base import Draws, Process, simpy

LOWEST_P, HIGHEST_P = 0.001, 0.95


@dataclass(frozen=True)
class Day:
    """What is hidden and differs from day to day.

    Attributes:
        level: Level p0 of the answer rate.
        phase: Phase of its season, in turns.
        drift: First value of its Ornstein-Uhlenbeck process.
        talk_factor: Factor of all talk times.
        talk_phase: Phase of the season of the talk factor, in turns.
        talk_drift: First value of the talk factor's Ornstein-Uhlenbeck process.
        inbound_factor: Factor of all rates of inbound calls.
    """

    level: float
    phase: float = 0.0
    drift: float = 0.0
    talk_factor: float = 1.0
    talk_phase: float = 0.0
    talk_drift: float = 0.0
    inbound_factor: float = 1.0

    @classmethod
    def drawn(
        cls, scenario: Scenario, random: np.random.Generator, level_at: float | None = None
    ) -> Day:
        """A random day; `level_at` in [0, 1] fixes the quantile of its answer rate's level."""
        floor, rate, inbound = scenario.floor, scenario.calls.answer_rate, scenario.inbound
        day = cls(level=0.0, talk_factor=math.exp(random.normal(0.0, floor.talk_day_sd)))
        if isinstance(rate, ConstantAnswer):
            day = replace(day, level=rate.p)
        else:
            at = random.random() if level_at is None else level_at
            level = rate.p_low * (rate.p_high / rate.p_low) ** at
            drift = random.normal(0.0, rate.ou_sd)
            day = replace(day, level=level, phase=random.random(), drift=drift)
        if floor.talk_drift is not None:
            drift = random.normal(0.0, floor.talk_drift.ou_sd)
            day = replace(day, talk_phase=random.random(), talk_drift=drift)
        if inbound is not None and inbound.day_factor is not None:
            factor = float(inbound.day_factor.quantile_s(np.array(random.random())))
            day = replace(day, inbound_factor=factor)
        return day


class Levels:
    """The levels as they are now.

    Attributes:
        p_answer: Probability that a dial is answered by a person, before people's own factors.
        talk_factor: Factor of the length of a conversation that begins now.
    """

    def __init__(self, env: simpy.Environment, scenario: Scenario, draws: Draws) -> None:
        self._env, self._draws = env, draws
        self._rate, self._talk = scenario.calls.answer_rate, scenario.floor.talk_drift
        self.p_answer = 0.0
        self.talk_factor = 1.0

    def open(self, day: Day, close_s: float) -> None:
        """A session of this day opens; the levels drift until it closes."""
        self.p_answer, self.talk_factor = day.level, day.talk_factor
        if not isinstance(self._rate, ConstantAnswer):

            def set_p(factor: float) -> None:
                self.p_answer = min(max(day.level * factor, LOWEST_P), HIGHEST_P)

            self._env.process(self._drift(self._rate, day.phase, day.drift, set_p, close_s))
        if self._talk is not None:

            def set_talk(factor: float) -> None:
                self.talk_factor = day.talk_factor * factor

            phase, x = day.talk_phase, day.talk_drift
            self._env.process(self._drift(self._talk, phase, x, set_talk, close_s))

    def again(self, day: Day) -> Day:
        """The same day for a further session: the same levels and phases, the drifts anew."""
        rate, talk = self._rate, self._talk
        x = 0.0 if isinstance(rate, ConstantAnswer) else self._draws.normal(rate.ou_sd)
        y = 0.0 if talk is None else self._draws.normal(talk.ou_sd)
        return replace(day, drift=x, talk_drift=y)

    def _drift(
        self,
        drift: Drift,
        phase: float,
        x: float,
        set_factor: Callable[[float], None],
        close_s: float,
    ) -> Process:
        """Season x exp(x), held for `update_s` at a time; see `scenario.Drift`."""
        env, normal = self._env, self._draws.normal
        keep = math.exp(-drift.update_s / drift.ou_tau_s)
        noise_sd = drift.ou_sd * math.sqrt(1.0 - keep**2)
        p_jump = -math.expm1(-drift.jumps_per_h * drift.update_s / 3600.0)
        opened = env.now
        while env.now < close_s:
            turns = (env.now - opened) / drift.season_period_s + phase
            season = 1.0 + drift.season_amplitude * math.sin(2.0 * math.pi * turns)
            set_factor(season * math.exp(x))
            yield env.timeout(drift.update_s)
            x = keep * x + normal(noise_sd)
            if p_jump and self._draws.uniform() < p_jump:
                x += normal(drift.jump_sd)
