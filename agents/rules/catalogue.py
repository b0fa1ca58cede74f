"""Who plays in the league: every rule, as shipped and as tuned as well as it can be.

A rule with several settings has one knob that is tuned to the wanted silent rate; the others have
the values that served it best on a search over six floors (the comments say what was tried). Where
a product has a limit of its own on the silent rate besides the knob, it is opened for the tuned
entry, because the limit would throw the rule out of its stride long before the wanted rate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, TypeVar

from quietdial.agents.rules.amazon import Amazon
from quietdial.agents.rules.base import Rule
from quietdial.agents.rules.feedback import MarginalBudget
from quietdial.agents.rules.genesys import Genesys
from quietdial.agents.rules.issabel import Issabel
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.patents import (
    CallsInProgress,
    HazardWindow,
    OccupancyQuantile,
    PickUpSum,
    WeightedForecast,
)
from quietdial.agents.rules.preview import Preview
from quietdial.agents.rules.quantile import QuantileAge, QuantileBlind
from quietdial.agents.rules.shiwa45 import Shiwa45
from quietdial.agents.rules.simple import Blend, FixedRatio, Progressive
from quietdial.agents.rules.sinch import Sinch
from quietdial.agents.rules.uccx import Uccx
from quietdial.agents.rules.unicom import Dctr, Predict1, Predict1PI
from quietdial.agents.rules.vicidial import OSDial, RatioManager, VICIdial
from quietdial.agents.rules.webitel import Webitel
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.params import Knowledge


class Listed(NamedTuple):
    """A participant.

    Attributes:
        name: its name in tables.
        rule: the rule, with the knob to begin with.
        tuned: whether its knob is tuned to the rates; else it plays as it is shipped.
        privileged: whether it sees hidden truth.
    """

    name: str
    rule: Rule
    tuned: bool = True
    privileged: bool = False


def catalogue() -> tuple[Listed, ...]:
    """Every rule of the league."""
    return (*_simple(), *_as_shipped(), *_products(), *_patents(), *_index_rules(), *_privileged())


def rule_named(name: str) -> Rule:
    """The rule that the list has under this name (ConfigError: there is none)."""
    listed = catalogue()
    for entry in listed:
        if entry.name == name:
            return entry.rule
    raise ConfigError(
        f"rule {name!r} is not known; use one of: {', '.join(entry.name for entry in listed)}"
    )


def _simple() -> tuple[Listed, ...]:
    return (
        Listed("progressive", Progressive(), tuned=False),
        Listed("preview", Preview(), tuned=False),
        Listed("fixed-ratio", FixedRatio(3.0)),
        Listed("blend", Blend(2.0)),
    )


def _as_shipped() -> tuple[Listed, ...]:
    """Products with the documented defaults."""
    return tuple(
        Listed(f"{rule.name}, shipped", rule, tuned=False)
        for rule in (
            VICIdial(dial_method="ADAPT_HARD_LIMIT"),
            VICIdial(dial_method="ADAPT_AVERAGE"),
            VICIdial(dial_method="ADAPT_TAPERED"),
            OSDial(),
            RatioManager(),
            Predict1(),
            Predict1PI(),
            Webitel(),
            Issabel(),
            Sinch(),
            Uccx(),
            Amazon(),
            Dctr(),
            Shiwa45(),
            Marginal(),
            MarginalBudget(),
        )
    )


def _products() -> tuple[Listed, ...]:
    """Products with the settings that served them best.

    VICIdial and its kin: counting available agents only is worth 5 to 10 points in every mode; with
    the drop limit above the wanted rate the three modes play nearly alike. Tried: intensity -40, 0
    and 40; highest level 3 to 20; limit 3 to 100 %; each of target, highest level and limit as the
    knob. The entries that end in "target only" tune the target alone.
    """
    return (
        Listed("vicidial-ratio", VICIdial("RATIO", 2.5, available_only_ratio_tally=True)),
        Listed("vicidial-hard-limit", _best(VICIdial("ADAPT_HARD_LIMIT"))),
        Listed("vicidial-average", _best(VICIdial("ADAPT_AVERAGE"))),
        Listed("vicidial-tapered", _best(VICIdial("ADAPT_TAPERED"))),
        Listed("vicidial-ratio, all lines", VICIdial("RATIO", 1.5)),
        Listed("vicidial-hard-limit, target only", VICIdial("ADAPT_HARD_LIMIT")),
        Listed("osdial", _best(OSDial())),
        Listed(
            "ratio-manager",
            RatioManager(
                lowest_level=1.0,
                adaptive_dropped_percentage=4.0,
                available_only_ratio_tally=True,
                knob_name="highest_level",
            ),
        ),
        # carried rests: without them the knob is a staircase on floors of 10 agents
        Listed("genesys", Genesys(2.0, carry_rest=1.0)),
        Listed("predict1", Predict1(50.0, max_silent_pct=100.0)),
        Listed("predict1-pi", Predict1PI(30.0, max_silent_pct=100.0, gain=3.0)),
        Listed(
            "dctr",
            Dctr(
                min_idle=1.0,
                max_abandon_pct=100.0,
                gain=0.2,
                integral_gain=0.0,
                predict_adjust=40.0,
            ),
        ),
        Listed("dctr, its own gains", Dctr(min_idle=1.0, max_abandon_pct=100.0)),
        Listed("webitel", Webitel(0.5, growth=4.0)),
        Listed("webitel, its own growth", Webitel()),
        Listed("issabel", Issabel()),
        Listed("issabel, over-commit", Issabel(1e-6, overcommit=1.0, knob_name="max_overcommit")),
        Listed("sinch", Sinch(20.0, abandon_pct=100.0)),
        Listed("uccx", Uccx(correction=10.0, step_lines=0.02)),
        Listed("uccx, fixed lines", Uccx(1.7, gain=0.0, knob_name="lines_per_agent")),
        Listed("amazon", Amazon(0.03, gain=0.1, start_margin=2.5)),
        Listed("shiwa45", Shiwa45(0.4)),
    )


_Adaptive = TypeVar("_Adaptive", VICIdial, OSDial)


def _best(rule: _Adaptive) -> _Adaptive:
    """An adaptive mode with its best settings; the target is the knob."""
    return replace(
        rule,
        available_only_ratio_tally=True,
        adaptive_intensity=-40.0,
        adaptive_maximum_level=12.0,
        adaptive_dropped_percentage=12.0,
    )


def _patents() -> tuple[Listed, ...]:
    return (
        Listed("calls-in-progress", CallsInProgress()),
        Listed("occupancy-quantile", OccupancyQuantile()),
        Listed("pick-up-sum", PickUpSum()),
        Listed("weighted-forecast", WeightedForecast()),
        Listed("hazard-window", HazardWindow()),
    )


def _index_rules() -> tuple[Listed, ...]:
    """Rules with a model of the floor, by believed tables; the strongest by learnt ones too.

    All of them take learnt tables (`knowledge="learnt"`); what that changes is shown once.
    """
    return (
        Listed("quantile-blind", QuantileBlind()),
        Listed("quantile-age", QuantileAge(0.006, 11.0)),
        Listed("marginal", Marginal()),
        Listed("marginal-learnt", Marginal(knowledge="learnt")),
        # the default threshold of .02 cannot be brought to 1 % on small floors
        Listed("marginal-budget", MarginalBudget(theta=0.01)),
    )


def _privileged() -> tuple[Listed, ...]:
    """The value of information: the strongest index rule, told hidden truth."""
    told: tuple[Knowledge, ...] = ("true-rate", "true-parameters", "true-releases", "true-answers")
    return (
        *(Listed(f"marginal-{known}", Marginal(0.02, known), privileged=True) for known in told),
        Listed("marginal-all", Marginal(0.02, "all"), privileged=True),
    )
