"""Webitel's formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Webitel(ControllerRule):
    """A limit on the calls in the queue, exponential in what is left of the target.

    Formula: every second, from today's ended calls, s = target - 100 x abandoned / calls;
    PredictAdjust = round(35 x 40^s) within 0 and 1000 %; c = bridged / calls; over = |free / c -
    free|; most calls in the queue = ceil(free + over x PredictAdjust / 100) + busy agents. Before
    10 bridged and 200 ended calls: one call for each free agent.
    Source: source code of Webitel's engine-nodejs (survey of dialers, section 1.3). Its share of
    abandoned calls is one of *all* calls, those that nobody answers too: at an answer rate of 0.25
    the target of 2.5 % is 10 % of the answered ones.
    Knob: `target_pct`, -10 to 20 % of all calls. PredictAdjust is `adjust_at_target` there, and
    `growth` times as large one point below. All three are constants of the source; a smaller growth
    is gentler.
    Acts every second.
    Sees: idle and busy agents, calls in the queue, today's ended, bridged and abandoned calls.
    Interpreted: busy agents are those with a call, not those in wrap-up; statistics are today's.
    The product's longest wait for an agent, 10 s, is the scenario's limit here.

    Attributes:
        target_pct: abandoned share of all calls at which PredictAdjust is `adjust_at_target` [%].
        adjust_at_target: PredictAdjust there [%].
        growth: factor of PredictAdjust for each percent below.
        min_bridged: progressive before so many bridged calls.
        min_calls: progressive before so many ended calls.
    """

    controller: ClassVar[str] = "webitel"

    target_pct: float = 2.5
    adjust_at_target: float = 35.0
    growth: float = 40.0
    min_bridged: float = 10.0
    min_calls: float = 200.0
