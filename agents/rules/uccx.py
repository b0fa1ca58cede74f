"""Lines per agent with corrections, as Cisco's Unified Contact Center Express has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Uccx(ControllerRule):
    """Lines for each free agent, corrected after so many live answers.

    Formula: calls in flight = L x free agents, fractions carried to the next calls. Whenever
    `correction` more calls have been answered, with a the share of them that found no agent:
    L <- L + `gain` x `step_lines` x (limit - a), in percent, within 1 and `max_lines_per_agent`.
    Source: documentation of Cisco UCCX (survey of dialers, section 1.6) for the settings, their
    limits and defaults: lines per agent 1 to 3, the number of live answers considered for each
    iteration, a gain that controls the size of the corrections, the abandon limit. The law is not
    public; the one above, and `step_lines` in it, are our own reading. L goes on from day to day.
    Knob: `abandon_limit_pct`, 0 to 100 %. A quicker variant that the settings allow: `correction`
    10. With `gain` 0 the lines are fixed, and `lines_per_agent` is a knob.
    Acts every second.
    Sees: idle agents, callees waiting, calls in flight, live answers and drops.

    Attributes:
        lines_per_agent: L at first.
        max_lines_per_agent: most lines per agent.
        correction: live answers from one correction to the next.
        gain: size of the corrections, 0 to 1.
        abandon_limit_pct: limit of the abandoned share of live answers [%].
        step_lines: correction for each percent below the limit, at gain 1 [lines].
    """

    controller: ClassVar[str] = "uccx"

    lines_per_agent: float = 1.0
    max_lines_per_agent: float = 3.0
    correction: float = 100.0
    gain: float = 1.0
    abandon_limit_pct: float = 3.0
    step_lines: float = 0.05
