"""Multipliers of the silent-call constraint: feedback on the silent rate in log space (no torch).

After every rollout, from the rollout's sums of silent and answered calls::

    rate  = silent / answered
    ema   = 0.7 ema + 0.3 rate                        (the first rollout sets it)
    e     = clip(ema / target - 1, -1, 1)             (`gradient`: rate in place of ema)
    d     = clip((ema - previous ema) / target, 0, 1) (only a rising rate counts)
    I     = clip(I + ki e, log 5, log 3000)           (starts at log initial)
    log L = clip(I + kp e + kd d, log 5, log 3000)

L is in agent-seconds of idle time per silent call. The kinds differ in their gains:

========== ==== ==== ==== ==========================================================
kind        kp   ki   kd  meaning
========== ==== ==== ==== ==========================================================
pi          .3  .03   0   the science study's controller (section F); the default
pid         .3  .03   1   the same with the derivative of Stooke et al. 2020
gradient    0   .1    0   dual ascent with a constant step on log L
fixed       0    0    0   the initial value throughout
========== ==== ==== ==== ==========================================================

`pid`: Stooke, Achiam and Abbeel 2020, "Responsive Safety in Reinforcement Learning by PID
Lagrangian Methods", algorithm 2: the derivative acts on the smoothed cost and is cut at zero from
below, so it brakes a rate on its way up and never lets go early on the way down. They add the terms
to L itself; here they are added to log L.

`gradient`: the dual function's gradient in L is the expected excess, silent - target x answered.
The step is taken on log L (an exponentiated gradient): L must stay positive, it spans three decades
between worlds, and the silent rate falls about as a power of L, so that a step on log L has the
same effect everywhere, while one on L that is right at 100 is lost at 1000. Dividing by target x
answered takes out the unit. It reads the rollout's own rate, since an integrator smooths already
and the lag of a second average makes it swing. The step is constant and not Adam's: Adam divides
the step by the size of past gradients, so that a small violation moves L as far as a large one.

Both limits of I keep it from winding up: after any time at a bound, L leaves it with the first
error of the other sign. Nothing else depends on them, so inside them `pi` is the study's formula.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from quietdial.envs.errors import ConfigError

LOWEST: Final = 5.0
"""Smallest multiplier, agent-seconds per silent call."""

HIGHEST: Final = 3000.0
"""Largest multiplier, agent-seconds per silent call."""

MultiplierKind = Literal["pi", "pid", "gradient", "fixed"]
"""How the multiplier follows the silent rate."""

_KEEP: Final = 0.7


class Multiplier(Protocol):
    """A price of silent calls that follows the measured rate."""

    @property
    def target(self) -> float:
        """Silent / answered to hold, a fraction in (0, 1)."""
        ...

    @property
    def value(self) -> float:
        """The multiplier now, agent-seconds per silent call."""
        ...

    @property
    def rate(self) -> float | None:
        """Silent rate of the last update, or None before the first answered call."""
        ...

    @property
    def rate_ema(self) -> float | None:
        """Smoothed silent rate, or None likewise."""
        ...

    def update(self, silent: float, answered: float) -> float:
        """Move by one step on the counts since the last update and return the new value."""
        ...

    def state_dict(self) -> dict[str, float | None]:
        """Everything that :meth:`load_state_dict` needs, as JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a saved state (ConfigError when it is damaged)."""
        ...


@dataclass(frozen=True)
class Gains:
    """How strongly a multiplier answers to the error, in log L per unit of relative error.

    Attributes:
        proportional: gain of the error now.
        integral: gain of the sum of errors, per update.
        derivative: gain of the rise of the smoothed rate per update.
        smoothed: the error is that of the smoothed rate, else of the last rollout's.
    """

    proportional: float
    integral: float
    derivative: float
    smoothed: bool = True


GAINS: Final[Mapping[MultiplierKind, Gains]] = {
    "pi": Gains(0.3, 0.03, 0.0),
    "pid": Gains(0.3, 0.03, 1.0),
    "gradient": Gains(0.0, 0.1, 0.0, smoothed=False),
    "fixed": Gains(0.0, 0.0, 0.0),
}
"""The gains of every kind."""


def make_multiplier(
    kind: MultiplierKind, target: float, initial: float = 150.0
) -> FeedbackMultiplier:
    """Make a multiplier of one kind.

    Args:
        kind: "pi", "pid", "gradient" or "fixed".
        target: silent / answered to hold, a fraction in (0, 1).
        initial: multiplier before the first update, agent-seconds per silent call.

    Raises:
        ConfigError: unknown kind, or a number out of range.
    """
    if kind not in GAINS:
        raise ConfigError(
            f"multiplier kind = {kind!r} must be one of {', '.join(get_args(MultiplierKind))}"
        )
    return FeedbackMultiplier(target, initial, GAINS[kind])


@dataclass
class FeedbackMultiplier:
    """Raise the price of a silent call while the silent rate is above target, lower it below.

    Attributes:
        target: silent / answered to hold, a fraction in (0, 1).
        initial: multiplier before the first update, agent-seconds per silent call.
        gains: how strongly it answers; the default is `pi`.
        rate: silent rate of the last update, or None before the first answered call.
        rate_ema: smoothed silent rate, or None likewise.
    """

    target: float
    initial: float = 150.0
    gains: Gains = GAINS["pi"]
    rate: float | None = None
    rate_ema: float | None = None

    def __post_init__(self) -> None:
        """Check the settings and start at `initial`."""
        if not 0 < self.target < 1:
            raise ConfigError(f"target silent rate = {self.target!r} must be between 0 and 1")
        if not LOWEST <= self.initial <= HIGHEST:
            raise ConfigError(
                f"initial multiplier = {self.initial!r} must be between "
                f"{LOWEST:g} and {HIGHEST:g} agent-seconds per silent call"
            )
        self._integral = math.log(self.initial)
        self._value = self.initial

    @property
    def value(self) -> float:
        """The multiplier now, agent-seconds per silent call."""
        return self._value

    def update(self, silent: float, answered: float) -> float:
        """Move the multiplier by one step and return it.

        Args:
            silent: silent calls since the last update; in a short window these may be more than the
                answered ones, because a callee answers before the call goes silent. A rate above
                1 counts as 1.
            answered: answered calls since the last update; with none nothing changes.
        """
        if not (math.isfinite(silent) and math.isfinite(answered) and min(silent, answered) >= 0):
            raise ConfigError(
                f"silent = {silent!r} of answered = {answered!r}: both must be finite counts >= 0"
            )
        if answered == 0:
            return self._value
        self.rate = min(silent / answered, 1.0)
        previous = self.rate if self.rate_ema is None else self.rate_ema
        self.rate_ema = _KEEP * previous + (1.0 - _KEEP) * self.rate
        gains = self.gains
        if gains.proportional == gains.integral == gains.derivative == 0.0:
            return self._value
        judged = self.rate_ema if gains.smoothed else self.rate
        error = min(max(judged / self.target - 1.0, -1.0), 1.0)
        rise = min(max((self.rate_ema - previous) / self.target, 0.0), 1.0)
        self._integral = _within_limits(self._integral + gains.integral * error)
        self._value = math.exp(
            _within_limits(self._integral + gains.proportional * error + gains.derivative * rise)
        )
        return self._value

    def state_dict(self) -> dict[str, float | None]:
        """Everything that :meth:`load_state_dict` needs, as JSON values."""
        return {
            "target": self.target,
            "initial": self.initial,
            "integral": self._integral,
            "value": self._value,
            "rate": self.rate,
            "rate_ema": self.rate_ema,
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a saved state; target, initial value and gains stay as constructed.

        Raises:
            ConfigError: a number is missing, not finite or out of its range.
        """
        integral = _number(state, "integral", -math.inf, math.inf)
        value = _number(state, "value", LOWEST, HIGHEST)
        shares = [
            None if state.get(key) is None else _number(state, key, 0.0, 1.0)
            for key in ("rate", "rate_ema")
        ]
        self._integral, self._value = integral, value
        self.rate, self.rate_ema = shares


def _within_limits(log_value: float) -> float:
    return min(max(log_value, math.log(LOWEST)), math.log(HIGHEST))


def _number(state: Mapping[str, object], key: str, low: float, high: float) -> float:
    number = state.get(key)
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not math.isfinite(number)
        or not low * (1 - 1e-12) <= number <= high * (1 + 1e-12)
    ):
        raise ConfigError(
            f"multiplier state: {key} = {number!r} must be a number between {low:g} and {high:g}"
        )
    return float(number)
