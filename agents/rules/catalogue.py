"""Who plays in the league: every rule, as shipped and as tuned as well as it can be.

A rule with several settings has one knob that is tuned to the wanted silent rate; the others have
the values that were best on the tuning days (see the comment at each entry).
"""

from __future__ import annotations

from typing import NamedTuple

from quietdial.agents.rules.base import Rule
from quietdial.agents.rules.genesys import Genesys
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.simple import FixedRatio, Progressive
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
    return (*_simple(), *_vendors(), *_index_rules(), *_privileged())


def _simple() -> tuple[Listed, ...]:
    return (
        Listed("progressive", Progressive(), tuned=False),
        Listed("fixed-ratio", FixedRatio(3.0)),
    )


def _vendors() -> tuple[Listed, ...]:
    return (Listed("genesys", Genesys(2.0)),)


def _index_rules() -> tuple[Listed, ...]:
    return (
        Listed("marginal", Marginal(0.02)),
        Listed("marginal, theta .02", Marginal(0.02), tuned=False),
        Listed("marginal-learnt", Marginal(0.02, "learnt")),
    )


def _privileged() -> tuple[Listed, ...]:
    """The value of information: `marginal` with hidden truth."""
    told: tuple[Knowledge, ...] = (
        "true-rate",
        "true-parameters",
        "true-releases",
        "true-answers",
        "all",
    )
    return tuple(
        Listed(f"marginal-{knowledge}", Marginal(0.02, knowledge), privileged=True)
        for knowledge in told
    )
