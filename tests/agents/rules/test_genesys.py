"""Genesys' progressive mode with over-dial: by hand, a transcription, and a world."""

import math
import random
from typing import Any

import pytest

from quietdial.agents.rules import Genesys
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.controllers import ratios


@pytest.mark.parametrize(
    ("over_dial", "ready", "queued", "dialed", "expected"),
    [
        (0.7, 4, 0, 1, 1),  # the documented example: .7 x (4 - 0 - 1 / .7) = 1.8 -> 1
        (1.0, 4, 0, 1, 3),  # progressive: 4 - 1
        (1.0, 4, 2, 1, 1),  # two callees wait: 4 - 2 - 1
        (2.5, 3, 0, 0, 7),  # 7.5 -> 7
        (2.5, 3, 0, 7, 0),  # .5 -> 0
        (2.5, 3, 1, 2, 3),  # 2.5 x 2 - 2 = 3
        (1.1, 10, 0, 4, 7),  # 11 - 4, though 1.1 x 10 is no exact 11
        (2.0, 0, 3, 5, 0),  # never negative
        (2.0, 0, 0, 0, 0),
    ],
)
def test_dials__worked_by_hand(
    desk: Any, seen: Any, over_dial: float, ready: int, queued: int, dialed: int, expected: int
) -> None:
    at = desk("genesys")
    at.begin(Genesys(over_dial).settings)
    for _ in range(3):  # nothing is carried
        assert at.ask(seen(idle=ready, waiting=queued, in_flight=dialed)) == expected


def test_rest__is_carried_to_the_next_calls(desk: Any, seen: Any) -> None:
    at = desk("genesys")
    at.begin(Genesys(1.7, carry_rest=1).settings)
    # one ready agent, whose calls end one after the other
    assert at.ask(seen(idle=1)) == 1  # 1.7 -> 1, rest .7
    assert at.ask(seen(idle=1, in_flight=1)) == 1  # .7 + .7 = 1.4 -> 1, rest .4
    assert at.ask(seen(idle=1, in_flight=2)) == 0  # -.3 + .4 = .1; the rest stays
    assert at.ask(seen(idle=1, in_flight=1)) == 1  # .7 + .4 = 1.1 -> 1, rest .1
    assert at.ask(seen(idle=1, in_flight=1)) == 0  # .7 + .1 = .8
    assert at.ask(seen(idle=1, in_flight=0)) == 1  # 1.7 + .1 = 1.8 -> 1, rest .8


def test_whole_dials__carries_what_it_drops() -> None:
    dials, rest = ratios.whole_dials(2.75, 0.5)
    assert (dials, rest) == (3, 0.25)
    assert ratios.whole_dials(-4.0, 0.5) == (0, 0.5)


class Plain:
    """The rule, written down a second time."""

    def __init__(self, rule: Genesys) -> None:
        self.rule, self.rest = rule, 0.0

    def dials(self, seen: Any) -> Any:
        exact = self.rule.over_dial * (seen.idle - seen.waiting) - seen.in_flight + self.rest
        whole = math.floor(round(exact, 9))
        if whole <= 0:
            return 0
        self.rest = exact - whole if self.rule.carry_rest == 1 else 0.0
        return whole


def test_random_series__agree_with_a_transcription(desk: Any, same_series: Any) -> None:
    def drawn(draw: random.Random) -> Genesys:
        return Genesys(draw.choice((0.7, 1.0, 1.3, 2.5, 6.0)), carry_rest=draw.choice((0, 1)))

    assert same_series(desk("genesys"), drawn, Plain, 1.0) > 1000


@pytest.mark.parametrize("rule", [Genesys(2.5), Genesys(2.5, carry_rest=1)])
def test_world__places_what_the_formula_says(same_world: Any, rule: Genesys) -> None:
    assert same_world(rule, Plain, 20) > 100


def test_settings__are_checked() -> None:
    with pytest.raises(ConfigError, match=r"genesys: over_dial = 0.1 must be a number between 0.2"):
        Genesys(0.1)
    assert Genesys().with_knob(3).over_dial == 3.0
