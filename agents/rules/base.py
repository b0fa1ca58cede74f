"""What rules have in common that run as controllers inside the kernel.

The formula of such a rule is compiled code in `envs.pacing.controllers`; a class here gives it the
form of a policy: a name, settings with units, and one knob by which it is tuned to a silent rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.policy import Policy
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.controllers.plug import (
    Controller,
    Setting,
    checked_setting,
    controller_of,
)
from quietdial.envs.pacing.params import Knowledge, knowledge_parts


class Card(NamedTuple):
    """What an operator must know of a rule.

    Attributes:
        settings: every number that can be set, with unit and limits.
        values: their values, in the same order; words and switches as numbers.
        tick_s: the rule acts so often [s]; None: at every decision of the scenario.
        sees: what it reads of the floor, in words.
        event: what makes it act besides, in words; empty: nothing.
        privileged: whether it is given hidden truth, so that no dialer can run it.
    """

    settings: tuple[Setting, ...]
    values: tuple[float, ...]
    tick_s: float | None
    sees: tuple[str, ...]
    event: str = ""
    privileged: bool = False


PRIVILEGED: tuple[Knowledge, ...] = (
    "true-rate",
    "true-parameters",
    "true-releases",
    "true-answers",
    "all",
)
"""Knowledge that no dialer can have: for the value of information only."""


def checked_knowledge(owner: str, knowledge: Knowledge) -> None:
    """Refuse knowledge that the world does not offer (ConfigError)."""
    try:
        knowledge_parts(knowledge)
    except ConfigError as error:
        raise ConfigError(f"{owner}: {error}") from None


def name_with(rule: str, knowledge: Knowledge) -> str:
    """The name of a rule, with what it knows behind it."""
    return rule if knowledge == "believed" else f"{rule}-{knowledge}"


_SEES = {
    "learnt": "lengths of talks, wrap-ups and ringing",
    "scores": "scores of the leads",
    "signal-5": "signals of agents 5 s before they are free",
    "signal-10": "signals of agents 10 s before they are free",
    "signal-20": "signals of agents 20 s before they are free",
    "speeds": "how fast each agent is",
    "ages-hidden": "no ages of calls and of agents' states",
    "wrap-hidden": "wrap-up as part of the conversation",
}


def card_with(card: Card, knowledge: Knowledge) -> Card:
    """The card of a rule that goes by such knowledge."""
    parts = [part for part in knowledge_parts(knowledge) if part != "believed"]
    sees = tuple(_SEES.get(part, f"hidden truth: {part}") for part in parts)
    hidden = any(part in PRIVILEGED for part in parts)
    return card._replace(sees=(*card.sees, *sees), privileged=card.privileged or hidden)


@runtime_checkable
class Rule(Policy, Protocol):
    """A hand-built policy whose action never changes; it acts inside the kernel.

    Besides what every policy has: `constant`, true, so that it may be played many decisions at a
    time (`World.hold`), `world_options`, what the world must be told, and `card`.
    """

    @property
    def constant(self) -> bool:
        """True: the action is the same at every decision."""
        ...

    @property
    def world_options(self) -> Mapping[str, Any]:
        """Further arguments of the World: its controller with settings, where tables come from."""
        ...

    @property
    def card(self) -> Card:
        """Settings, period and sight."""
        ...


@dataclass(frozen=True)
class ControllerRule:
    """A rule whose formula is a controller; a subclass has one field for each of its settings.

    Attributes:
        knob_name: the setting by which the rule is tuned; empty: the controller's own.
    """

    controller: ClassVar[str]
    """Name of the controller in `envs.pacing.controllers`; also the rule's name."""

    observation: str = field(default="none", init=False, repr=False)
    action: str = field(default="controller", init=False, repr=False)
    base_theta: float = field(default=0.02, init=False, repr=False)
    constant: bool = field(default=True, init=False, repr=False)
    knob_name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse settings that the controller does not allow."""
        described = self.described
        if not self.knob_name:
            object.__setattr__(self, "knob_name", described.knob)
        for setting in described.settings:
            checked_setting(self.name, setting, getattr(self, setting.name))
        self._setting(self.knob_name)

    @property
    def described(self) -> Controller:
        """The controller: its tick, settings with units and limits, and what it sees."""
        return controller_of(self.controller)

    @property
    def card(self) -> Card:
        """Settings, period and sight."""
        described, values = self.described, tuple(self.settings.values())
        return Card(described.settings, values, described.tick_s, described.sees)

    @property
    def name(self) -> str:
        """Short name for tables and files."""
        return self.controller

    @property
    def settings(self) -> dict[str, float]:
        """The value of every setting of the controller."""
        return {s.name: float(getattr(self, s.name)) for s in self.described.settings}

    @property
    def world_options(self) -> Mapping[str, Any]:
        """What the world must be told: the controller, its settings and its knob."""
        return {
            "controller": self.controller,
            "settings": self.settings,
            "knob": self.knob_name,
        }

    @property
    def knob(self) -> float:
        """Value of the knob."""
        return float(getattr(self, self.knob_name))

    @property
    def knob_range(self) -> tuple[float, float] | None:
        """Lowest and highest value of the knob."""
        setting = self._setting(self.knob_name)
        return setting.low, setting.high

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.float32], object | None]:
        """Return the knob for every campaign, float32 (B, 1)."""
        return np.full((len(obs), 1), self.knob, dtype=np.float32), state

    def with_knob(self, value: float) -> Self:
        """Return the rule with another value of its knob."""
        checked = checked_setting(self.name, self._setting(self.knob_name), value)
        changed: dict[str, Any] = {self.knob_name: checked}
        return replace(self, **changed)

    def _setting(self, name: str) -> Setting:
        for setting in self.described.settings:
            if setting.name == name:
                return setting
        raise ConfigError(
            f"{self.name} has no setting {name!r}; it has: "
            + ", ".join(s.name for s in self.described.settings)
        )
