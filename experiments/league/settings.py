"""How long the league plays: rates, days for knobs and figures, by the size of the world."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.calendar import sessions_of
from quietdial.envs.scenario import Scenario
from quietdial.experiments.stats import Stopping

FEWEST_DAYS = 6
"""Test days of the largest worlds; an episode of a month counts as one."""

_FEWEST_TUNE_DAYS, _MOST_TUNE_DAYS = 2, 40
_BATCH_AGENT_H = 8000.0


class Plan(NamedTuple):
    """What is played on one scenario; a day is one episode.

    Attributes:
        agent_h: agent-hours of one day.
        tune_days: days for every knob that is tried.
        stopping: days for the figures.
        batch: days played side by side, for memory's sake.
    """

    agent_h: float
    tune_days: int
    stopping: Stopping
    batch: int


@dataclass(frozen=True)
class Settings:
    """Settings of a league; the same for all its jobs.

    Attributes:
        rates: silent / answered that every knob is tuned to, the highest first.
        half_width: wanted half-width of the difference to the reference rule, utilisation.
        least: test days of the first round.
        most: most test days.
        tune_agent_h: agent-hours for every knob that is tried.
        test_agent_h: agent-hours for the figures at one rate; large worlds get fewer days.
    """

    rates: tuple[float, ...] = (0.03, 0.01)
    half_width: float = 0.002
    least: int = 16
    most: int = 64
    tune_agent_h: float = 4_800.0
    test_agent_h: float = 24_000.0

    def __post_init__(self) -> None:
        """Refuse settings that make no league."""
        if not self.rates or not all(0.0 < rate < 1.0 for rate in self.rates):
            raise ConfigError(f"rates = {self.rates}: give at least one, each between 0 and 1")
        if len(set(self.rates)) != len(self.rates):
            raise ConfigError(f"rates = {self.rates}: each rate once")
        if not 2 <= self.least <= self.most:
            raise ConfigError(
                f"least = {self.least} and most = {self.most} days: 2 <= least <= most is allowed"
            )
        for name in ("tune_agent_h", "test_agent_h"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"{name} = {getattr(self, name)} must be above 0")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from plain values, as :meth:`to_dict` gives them."""
        return cls(**{**values, "rates": tuple(values["rates"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "rates": list(self.rates)}

    def plan(self, scenario: Scenario) -> Plan:
        """How many days are played on a scenario."""
        open_ms = sum(session.close_ms - session.open_ms for session in sessions_of(scenario))
        agent_h = scenario.floor.n_agents * open_ms / 3.6e6
        affordable = math.ceil(self.test_agent_h / agent_h)
        most = min(self.most, max(affordable, min(FEWEST_DAYS, self.most)))
        tune_days = math.ceil(self.tune_agent_h / agent_h)
        return Plan(
            agent_h=agent_h,
            tune_days=min(max(tune_days, _FEWEST_TUNE_DAYS), _MOST_TUNE_DAYS),
            stopping=Stopping(self.half_width, min(self.least, most), most),
            batch=min(max(round(_BATCH_AGENT_H / agent_h), 1), 64),
        )
