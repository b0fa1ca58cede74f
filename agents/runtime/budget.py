"""The budget loop: every 15 s the policy's knob follows what is left of the allowed silent calls.

factor = exp(clip(kappa (r A - S) / n, -4, h)), with S silent and A answered calls of the first
window. Without a margin r = target, n = 50 calls and h = 2.5 (science study, part D). With one,
r = target - m / max(A + A', 50), n = min(max(A' / 10, 1), 50) and h = 1, where
A' = A (T - t) / max(t, 60 s) answered calls are still to come at the pace so far, t of T open time
being over, and m = margin sqrt((1 - q) / (3 q)) with q = clip(p, .05, .6) and the estimated
probability p that a dial is answered. No guarantee; the shield comes after it.
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
_NEAR_SHARE: Final = 0.1
_SHORTEST_MS: Final = 60_000
_LEAST_SHARE, _MOST_SHARE = 0.05, 0.6
_MOST, _MOST_PLANNED = 2.5, 1.0
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
        margin: silent calls to be left below the target at the window's end where one dial in four
            is answered, 0 to 1000; 0: no plan.
    """

    kappa: float = 10.0
    target: float = 0.027
    margin: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings out of their range."""
        for name, value, low, high in (
            ("kappa", self.kappa, 0.0, 200.0),
            ("target", self.target, 1e-4, 0.2),
            ("margin", self.margin, 0.0, 1000.0),
        ):
            if not (math.isfinite(value) and low <= value <= high):
                raise PacerError(f"budget: {name} = {value!r} must lie in [{low:g}, {high:g}]")


class BudgetLoop:
    """The loop of one campaign."""

    def __init__(self, settings: BudgetSettings) -> None:
        self._settings = settings
        self._moved_ms: int | None = None
        self.factor = 1.0

    def told(
        self,
        now_ms: int,
        silent: float,
        answered: float,
        spent_ms: int,
        span_ms: int,
        p_answer: float,
    ) -> float:
        """The factor of now; moved when it is due.

        Args:
            now_ms: the clock [ms].
            silent: silent calls of the first window.
            answered: answered calls of it.
            spent_ms: open time of it so far [ms].
            span_ms: its open time in all [ms].
            p_answer: estimated probability that a dial is answered.
        """
        if self._moved_ms is None or not 0 <= now_ms - self._moved_ms < PERIOD_MS:
            rate, calls, most = self._settings.target, _CALLS, _MOST
            if self._settings.margin > 0.0:
                to_come = answered * max(span_ms - spent_ms, 0) / max(spent_ms, _SHORTEST_MS)
                share = min(max(p_answer, _LEAST_SHARE), _MOST_SHARE)
                kept = self._settings.margin * math.sqrt((1.0 - share) / (3.0 * share))
                rate -= kept / max(answered + to_come, _CALLS)
                calls = min(max(_NEAR_SHARE * to_come, 1.0), _CALLS)
                most = _MOST_PLANNED
            left = rate * (answered + calls) - silent - calls * rate
            self.factor = _exp(min(max(self._settings.kappa * left / calls, -4.0), most))
            self._moved_ms = now_ms
        return self.factor
