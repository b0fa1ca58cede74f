"""Cisco UCCX' lines per agent: by hand, a transcription, and a world."""

import math
import random
from typing import Any

import pytest

from quietdial.agents.rules import Uccx
from quietdial.envs.pacing.controllers import ratios


@pytest.mark.parametrize(
    ("lines", "answered", "dropped", "gain", "expected"),
    [
        (1.5, 100, 0, 1.0, 1.65),  # 3 % below the limit of 3 %: up by 3 x .05
        (1.5, 100, 3, 1.0, 1.5),  # on the limit
        (1.5, 100, 6, 1.0, 1.35),  # 3 % above
        (1.5, 50, 3, 0.5, 1.425),  # 6 %, gain .5: down by 3 x .025
        (2.9, 100, 0, 1.0, 3.0),  # at most 3
        (1.1, 100, 9, 1.0, 1.0),  # at least 1
        (1.5, 100, 50, 0.0, 1.5),  # no gain, no correction
    ],
)
def test_corrected_lines__worked_by_hand(
    lines: float, answered: int, dropped: int, gain: float, expected: float
) -> None:
    moved = ratios.corrected_lines(lines, 3.0, answered, dropped, 3.0, gain, 0.05)
    assert moved == pytest.approx(expected, abs=1e-12)


def test_lines__are_corrected_after_100_answers(desk: Any, seen: Any) -> None:
    at = desk("uccx")
    at.begin(Uccx(2.0).settings)
    floor = seen(idle=10)
    assert at.ask(floor) == 20  # 2 x 10
    assert at.ask(floor._replace(picked=99, connected=99)) == 20
    # 100 answers, none dropped: 2.15 x 10 = 21.5; the rest of .5 is carried: 21.5 + .5
    assert at.ask(floor._replace(picked=100, connected=100)) == 21
    assert at.ask(floor._replace(picked=199, connected=194, dropped=5)) == 22
    # of the next 100, 5 dropped: 2.15 - .1 = 2.05; 20.5
    assert at.ask(floor._replace(picked=200, connected=195, dropped=5)) == 20


class Plain:
    """The rule, written down a second time."""

    def __init__(self, rule: Uccx) -> None:
        self.rule, self.rest, self.at = rule, 0.0, (0, 0)
        self.lines = min(rule.lines_per_agent, rule.max_lines_per_agent)

    def dials(self, seen: Any) -> Any:
        rule = self.rule
        answered = seen.connected + seen.dropped - self.at[0]
        dropped = seen.dropped - self.at[1]
        if answered >= rule.correction:
            self.at = (seen.connected + seen.dropped, seen.dropped)
            below = rule.abandon_limit_pct - 100 * dropped / answered
            self.lines += rule.gain * rule.step_lines * below
            self.lines = min(max(self.lines, 1), rule.max_lines_per_agent)
        exact = self.lines * (seen.idle - seen.waiting) - seen.in_flight + self.rest
        whole = math.floor(round(exact, 9))
        if whole <= 0:
            return 0
        self.rest = exact - whole
        return whole


def test_random_series__agree_with_a_transcription(desk: Any, same_series: Any) -> None:
    def drawn(draw: random.Random) -> Uccx:
        return Uccx(
            draw.uniform(1, 3),
            draw.choice((1.5, 3.0)),
            correction=draw.choice((10, 25)),
            gain=draw.choice((0.3, 1.0)),
            abandon_limit_pct=draw.choice((1.0, 3.0, 40.0)),
        )

    assert same_series(desk("uccx"), drawn, Plain, 1.0) > 1000


def test_world__places_what_the_formula_says(same_world: Any) -> None:
    assert same_world(Uccx(2.0, correction=10), Plain, 30) > 100
