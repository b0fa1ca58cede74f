"""The simplest rules: progressive, fixed ratio, and the threshold dialer of blended floors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.policy import checked_knob
from quietdial.agents.rules.base import Card
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.controllers.plug import Setting

_RATIO_RANGE = (0.2, 20.0)


@dataclass(frozen=True)
class Progressive:
    """One line per idle agent; never a silent call while no idle agent leaves.

    Formula: new dials = max(0, idle - in flight - waiting), every decision.
    Source: the usual meaning of progressive dialing; science study, section B.
    Knob: none. Units: agents and calls.
    """

    name: str = field(default="progressive", init=False, repr=False)
    observation: str = field(default="none", init=False, repr=False)
    action: str = field(default="progressive", init=False, repr=False)
    base_theta: float = field(default=0.02, init=False, repr=False)
    knob_name: str | None = field(default=None, init=False, repr=False)
    knob: float | None = field(default=None, init=False, repr=False)
    knob_range: tuple[float, float] | None = field(default=None, init=False, repr=False)
    constant: bool = field(default=True, init=False, repr=False)
    world_options: Mapping[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def card(self) -> Card:
        """Settings, period and sight."""
        return Card((), (), None, ("idle agents", "calls in flight", "waiting callees"))

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.int64], object | None]:
        """Return zeros, int64 (B,): the only action of kind `progressive`."""
        return np.zeros(len(obs), dtype=np.int64), state

    def with_knob(self, value: float) -> Progressive:
        """Refuse: this rule has nothing to tune."""
        raise ConfigError(f"progressive has no knob; it cannot be set to {value!r}")


@dataclass(frozen=True)
class _RatioRule:
    """What rules have in common whose one knob is a ratio to the idle agents."""

    ratio: float = 2.0

    name: str = field(default="", init=False, repr=False)
    observation: str = field(default="none", init=False, repr=False)
    action: str = field(default="", init=False, repr=False)
    base_theta: float = field(default=0.02, init=False, repr=False)
    knob_name: str | None = field(default="ratio", init=False, repr=False)
    knob_range: tuple[float, float] | None = field(default=_RATIO_RANGE, init=False, repr=False)
    constant: bool = field(default=True, init=False, repr=False)
    world_options: Mapping[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a ratio outside the knob's range."""
        checked_knob(self.name, "ratio", self.ratio, _RATIO_RANGE)

    @property
    def knob(self) -> float:
        """The ratio."""
        return self.ratio

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.float32], object | None]:
        """Return the ratio for every campaign, float32 (B, 1)."""
        return np.full((len(obs), 1), self.ratio, dtype=np.float32), state

    def with_knob(self, value: float) -> Self:
        """Return the rule with another ratio."""
        return replace(self, ratio=checked_knob(self.name, "ratio", value, _RATIO_RANGE))


@dataclass(frozen=True)
class FixedRatio(_RatioRule):
    """As many calls in flight as a fixed number of lines per idle agent.

    Formula: new dials = max(0, floor(ratio x idle + u) - in flight), every decision, with u uniform
    in [0, 1) and new every 33 s, so that the target is exact on average for any ratio.
    Source: the fixed lines-per-agent setting of common dialers; science study B, rule `ratio`.
    Knob: `ratio`, calls in flight per idle agent, 0.2 to 20.

    Attributes:
        ratio: calls in flight per idle agent.
    """

    name: str = field(default="fixed-ratio", init=False, repr=False)
    action: str = field(default="ratio", init=False, repr=False)

    @property
    def card(self) -> Card:
        """Settings, period and sight."""
        meaning = "calls in flight for each idle agent"
        ratio = Setting("ratio", "calls per agent", 2.0, *_RATIO_RANGE, meaning)
        return Card((ratio,), (self.ratio,), None, ("idle agents", "calls in flight"))


@dataclass(frozen=True)
class Blend(_RatioRule):
    """Dial when a service ends, a fixed number of calls for each idle outbound agent.

    Formula: whenever an agent has ended a call and looked at the queues, if enough agents
    are idle (`blend.min_free`, `blend.min_free_outbound` of the scenario), new dials =
    round(ratio x idle outbound agents) + `blend.extra`, less those in flight if the scenario says
    so. It is meant for floors that take inbound calls too.
    Source: ThresholdDialerPolicy of ContactCenters (L'Ecuyer and Buist), its example Blend has
    ratio 2.
    Knob: `ratio`, dials per idle outbound agent, 0.2 to 20.

    Attributes:
        ratio: dials per idle outbound agent.
    """

    name: str = field(default="blend", init=False, repr=False)
    action: str = field(default="blend", init=False, repr=False)

    @property
    def card(self) -> Card:
        """Settings, period and sight."""
        meaning = "dials for each idle outbound agent"
        ratio = Setting("ratio", "calls per agent", 2.0, *_RATIO_RANGE, meaning)
        sees = ("idle agents", "calls in flight", "ends of services")
        return Card((ratio,), (self.ratio,), None, sees, event="a service ends")
