"""The multiplier of the silent-call constraint: a PI controller in log space (no torch).

After every rollout, from the rollout's sums of silent and answered calls::

    ema   = 0.7 ema + 0.3 silent / answered           (the first rollout sets it)
    e     = clip(ema / target - 1, -1, 1)
    I     = I + 0.03 e                                (starts at log 150)
    log L = clip(I + 0.3 e, log 5, log 3000)

L is in agent-seconds of idle time per silent call. Source: science study, section F.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quietdial.envs.errors import ConfigError

LOWEST: Final = 5.0
"""Smallest multiplier, agent-seconds per silent call."""

HIGHEST: Final = 3000.0
"""Largest multiplier, agent-seconds per silent call."""

_KEEP: Final = 0.7
_GAIN_I: Final = 0.03
_GAIN_P: Final = 0.3


@dataclass
class PiMultiplier:
    """Raise the price of a silent call while the silent rate is above target, lower it below.

    Attributes:
        target: silent / answered to hold, a fraction in (0, 1).
        initial: multiplier before the first update, agent-seconds per silent call.
        rate: silent rate of the last update, or None before the first answered call.
        rate_ema: smoothed silent rate, or None likewise.
    """

    target: float
    initial: float = 150.0
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
        error = min(max(self.rate_ema / self.target - 1.0, -1.0), 1.0)
        self._integral += _GAIN_I * error
        log_value = min(max(self._integral + _GAIN_P * error, math.log(LOWEST)), math.log(HIGHEST))
        self._value = math.exp(log_value)
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
        """Continue from a saved state; target and initial value stay as constructed.

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
