"""The budget loop: every 15 s the policy's knob follows what is left of the allowed silent calls.

factor = exp(clip(kappa (target (A + 50) - S - 50 target) / 50, -4, 2.5)), with S silent and A
answered calls of the first window (science study, part D). No guarantee; the shield comes after it.
The exponential function is read from a table rounded to 2^-30, as in the simulator, so that the
factor has the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from quietdial.agents.runtime.errors import PacerError

PERIOD_MS: Final = 15_000
_CALLS: Final = 50.0
_LOW, _HIGH, _PER_UNIT = -12.0, 4.0, 256
_LAST: Final = int((_HIGH - _LOW) * _PER_UNIT)
_EXP: Final[list[float]] = (
    np.rint(np.exp(_LOW + np.arange(_LAST + 1) / _PER_UNIT) * 2.0**30) / 2.0**30
).tolist()


def _exp(x: float) -> float:
    """exp(x) from the table, x cut to [-12, 4]."""
    position = min(max((x - _LOW) * _PER_UNIT, 0.0), float(_LAST))
    cell = min(int(position), _LAST - 1)
    low = _EXP[cell]
    return low + (_EXP[cell + 1] - low) * (position - cell)


@dataclass(frozen=True)
class BudgetSettings:
    """How the loop follows the budget.

    Attributes:
        kappa: strength, 0 to 200; 0 changes nothing.
        target: silent rate to keep, 1e-4 to 0.2.
    """

    kappa: float = 10.0
    target: float = 0.027

    def __post_init__(self) -> None:
        """Refuse settings out of their range."""
        for name, value, low, high in (
            ("kappa", self.kappa, 0.0, 200.0),
            ("target", self.target, 1e-4, 0.2),
        ):
            if not (math.isfinite(value) and low <= value <= high):
                raise PacerError(f"budget: {name} = {value!r} must lie in [{low:g}, {high:g}]")


class BudgetLoop:
    """The loop of one campaign."""

    def __init__(self, settings: BudgetSettings) -> None:
        self._settings = settings
        self._moved_ms: int | None = None
        self.factor = 1.0

    def told(self, now_ms: int, silent: float, answered: float) -> float:
        """The factor of now; moved when it is due.

        Args:
            now_ms: the clock [ms].
            silent: silent calls of the first window.
            answered: answered calls of it.
        """
        if self._moved_ms is None or not 0 <= now_ms - self._moved_ms < PERIOD_MS:
            kappa, target = self._settings.kappa, self._settings.target
            left = target * (answered + _CALLS) - silent - _CALLS * target
            self.factor = _exp(min(max(kappa * left / _CALLS, -4.0), 2.5))
            self._moved_ms = now_ms
        return self.factor
