"""The small worlds of the cases that are worked out by hand, and how a case is written down.

All laws are constant: a person answers 10 s after set-up, a conversation lasts 30 s, a dial without
an answer ends after 20 s, an agent must be there within 3 s, and there is one agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from quietdial.envs.scenario import Scenario

Data = dict[str, Any]
Plan = Mapping[int, int]
Times = dict[float, dict[str, float]]
Expected = Mapping[float, Mapping[str, float]]

STEP_S = 0.25
"""Decision interval of the kernels here, so that totals can be read at every quarter second."""
EVERY_SECOND = dict.fromkeys(range(4000), 1)


class Case(NamedTuple):
    """One world worked out by hand.

    Attributes:
        scenario: the world.
        plan: dials placed at the decision so many seconds after the opening.
        expected: totals by time after the opening [s], a multiple of `STEP_S`.
    """

    scenario: Scenario
    plan: Plan
    expected: Expected


def constant(value_s: float) -> Data:
    """A law without chance."""
    return {"kind": "constant", "value_s": value_s}


def world(**parts: Any) -> Scenario:
    """The world of this file's heading over 300 s, with other values in its parts."""
    data: Data = {
        "name": "by-hand",
        "floor": {"n_agents": 1, "talk": constant(30)},
        "calls": {
            "answer_rate": {"kind": "constant", "p": 1.0},
            "time_to_answer": constant(10),
            "unanswered": [{"outcome": "no_answer", "share": 1, "time": constant(20)}],
            "max_dials_per_decision": 50,
        },
        "rule": {"id": "test", "cap": 0.03, "wait_limit_s": 3},
        "episode": {"duration_s": 300, "close_s": 0, "start": "10:00"},
    }
    for name, values in parts.items():
        if name in data:
            data[name] |= values
        else:
            data[name] = values
    return Scenario.model_validate(data)


def first(total: str, at_s: float, value: float = 1) -> Times:
    """The total reaches `value` from the one below exactly at `at_s`."""
    return {at_s - STEP_S: {total: value - 1}, at_s: {total: value}}


def dialed(at_s: float, value: float) -> Times:
    """The decision at `at_s` places the dial number `value`."""
    return {at_s: {"dialed": value - 1}, at_s + STEP_S: {"dialed": value}}


def no_one(ending: str = "no_answer", time_s: float = 20) -> Data:
    """Nobody answers; every dial has this ending."""
    endings = [{"outcome": ending, "share": 1, "time": constant(time_s)}]
    return {"answer_rate": {"kind": "constant", "p": 0.0}, "unanswered": endings}


def amd(decision_s: float, **more: Any) -> Data:
    """Answering-machine detection."""
    return {
        "detection": {
            "kind": "amd",
            "decision": constant(decision_s),
            "machine_handling": constant(6),
        }
        | more
    }
