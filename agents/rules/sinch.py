"""Sinch Contact Center's increase ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Sinch(ControllerRule):
    """Calls for the free agents, and for a share of the busy ones.

    Formula: calls in progress = free agents + ratio x busy agents, rounded down. Every `period_s`
    the ratio falls by `step_pct` if today's abandoned share of the answered calls is at least
    `abandon_pct`, and else rises by as much, up to `increase_pct`; it begins there.
    Source: documentation of Sinch Contact Center (survey of dialers, section 1.6): the sum, its
    two settings and their defaults, and that the ratio is lowered when the abandon ratio is met.
    How fast it is lowered and raised again is not public: step and period are our own reading.
    Knob: `increase_pct`, calls per 100 busy agents, 0 to 2000. Also useful: `abandon_pct`.
    Acts every second.
    Sees: idle and busy agents, callees waiting, calls in flight, today's answered and dropped
    calls.

    Attributes:
        increase_pct: most calls per 100 busy agents [%].
        abandon_pct: the ratio falls while today's abandoned share is at least this [%].
        step_pct: change of the ratio at an adjustment [%].
        period_s: time between adjustments, whole seconds [s].
    """

    controller: ClassVar[str] = "sinch"

    increase_pct: float = 0.0
    abandon_pct: float = 1.0
    step_pct: float = 5.0
    period_s: float = 15.0
