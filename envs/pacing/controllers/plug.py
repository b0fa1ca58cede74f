"""How a controller is described, and how it gets into the kernel.

A controller is a function (address of the world's book, row) -> number of calls to place now, which
the kernel calls at every tick. It is compiled on its own when a world first needs it, so that
worlds without it pay nothing. What it may remember is the row's `State.memo`; what it may see is in
sight.py. Every number that an operator sets is a `Setting`; one of them is the knob, which the
action sets.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.jit import entry_point

MODULES: dict[str, str] = {
    "amazon": "amazon",
    "calls-in-progress": "patents",
    "dctr": "unicom",
    "genesys": "ratios",
    "hazard-window": "patents",
    "issabel": "issabel",
    "marginal-budget": "feedback",
    "occupancy-quantile": "patents",
    "osdial": "vicidial",
    "pick-up-sum": "patents",
    "predict1": "unicom",
    "predict1-pi": "unicom",
    "preview": "preview",
    "quantile-age": "quantile",
    "quantile-blind": "quantile",
    "ratio-manager": "vicidial",
    "shiwa45": "shiwa45",
    "sinch": "ratios",
    "uccx": "ratios",
    "vicidial": "vicidial",
    "webitel": "webitel",
    "weighted-forecast": "patents",
}
"""Name of each controller and the file of this folder that describes it in `CONTROLLERS`."""


class Setting(NamedTuple):
    """A number that an operator sets."""

    name: str
    unit: str
    default: float
    low: float
    high: float
    meaning: str


class Controller(NamedTuple):
    """A pacing rule inside the time loop."""

    name: str
    tick_s: float  # the kernel calls it so often, a multiple of 0.25 s
    knob: str  # the setting that tunes it to a silent rate: more means more dials
    settings: tuple[Setting, ...]
    sees: tuple[str, ...]  # what it reads of the floor, in words
    tick: Callable[[Any, Any], Any]  # (address of the book, row) -> dials
    memo: int = 0  # numbers that it remembers, those of sight.py included
    tape: bool = False  # whether it needs the totals of the last hour


@dataclass(frozen=True)
class Plugged:
    """A controller with values for its settings, as a world plays it.

    Attributes:
        controller: the controller.
        settings: one value for each of its settings, in order.
        knob_at: place of the setting that the action sets.
    """

    controller: Controller
    settings: tuple[float, ...]
    knob_at: int

    @property
    def address(self) -> int:
        """Where the compiled code is, in this process; compiled at the first call."""
        return int(entry_point(self.controller.tick).address)

    @property
    def tick_ms(self) -> int:
        """Period of the controller [ms]."""
        return round(self.controller.tick_s * 1000)

    @property
    def knob_range(self) -> tuple[float, float]:
        """Limits of the setting that the action sets."""
        knob = self.controller.settings[self.knob_at]
        return knob.low, knob.high

    @property
    def memo(self) -> int:
        """Numbers that the controller remembers."""
        return self.controller.memo

    @property
    def tape(self) -> bool:
        """Whether it needs the tape of totals."""
        return self.controller.tape


def controller_of(name: str) -> Controller:
    """The controller of that name. Raises `ConfigError` for an unknown name."""
    if name not in MODULES:
        raise ConfigError(f"unknown controller {name!r}; use one of: " + ", ".join(MODULES))
    module = importlib.import_module(f"quietdial.envs.pacing.controllers.{MODULES[name]}")
    found: Controller = module.CONTROLLERS[name]
    return found


def checked_setting(owner: str, setting: Setting, value: object) -> float:
    """`value` as a float; `ConfigError` names it if it is no finite number within the limits."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not math.isfinite(value)
        or not setting.low <= float(value) <= setting.high
    ):
        raise ConfigError(
            f"{owner}: {setting.name} = {value!r} must be a number between {setting.low:g} and "
            f"{setting.high:g} ({setting.unit}: {setting.meaning})"
        )
    return float(value)


def plug(name: str, settings: Mapping[str, float], knob: str | None = None) -> Plugged:
    """A controller with settings by name; missing ones have their defaults.

    Raises:
        ConfigError: an unknown controller, setting or knob, or a value that is not allowed.
    """
    controller = controller_of(name)
    names = [setting.name for setting in controller.settings]
    for given in (*settings, *([knob] if knob is not None else [])):
        if given not in names:
            raise ConfigError(f"{name} has no setting {given!r}; it has: " + ", ".join(names))
    values = tuple(
        checked_setting(name, setting, settings.get(setting.name, setting.default))
        for setting in controller.settings
    )
    return Plugged(controller, values, names.index(knob or controller.knob))
