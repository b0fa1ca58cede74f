"""Scenarios: everything that describes one world, as validated, frozen data.

`world.py` holds the whole and its loading, the other files its parts.
"""

from quietdial.envs.part import Probability, describe_validation_error
from quietdial.envs.regulation.rule import Rule, Window, load_rule, profile_names
from quietdial.envs.scenario.calls import (
    AnswerRate,
    Calls,
    ConstantAnswer,
    Detection,
    DriftingAnswer,
    Greeting,
    Unanswered,
    UnansweredOutcome,
)
from quietdial.envs.scenario.floor import (
    Break,
    Drift,
    Floor,
    Inbound,
    InboundPeriod,
    Lunch,
    Shift,
)
from quietdial.envs.scenario.people import People, Retry, Segment
from quietdial.envs.scenario.world import (
    ActionName,
    Belief,
    BlendDialer,
    Episode,
    ObservationName,
    Scenario,
    changed,
    load_scenario,
    preset_names,
)

__all__ = [
    "ActionName",
    "AnswerRate",
    "Belief",
    "BlendDialer",
    "Break",
    "Calls",
    "ConstantAnswer",
    "Detection",
    "Drift",
    "DriftingAnswer",
    "Episode",
    "Floor",
    "Greeting",
    "Inbound",
    "InboundPeriod",
    "Lunch",
    "ObservationName",
    "People",
    "Probability",
    "Retry",
    "Rule",
    "Scenario",
    "Segment",
    "Shift",
    "Unanswered",
    "UnansweredOutcome",
    "Window",
    "changed",
    "describe_validation_error",
    "load_rule",
    "load_scenario",
    "preset_names",
    "profile_names",
]
