"""Webitel's formula: by hand, a transcription, and a world."""

import math
import random
from typing import Any

import pytest

from quietdial.agents.rules import Webitel
from quietdial.envs.pacing.controllers import webitel


@pytest.mark.parametrize(
    ("abandoned", "calls", "expected"),
    [
        (5, 200, 35.0),  # 2.5 % abandoned, on the target: 35 x 40^0
        (4, 200, 221.0),  # 2 %: s = .5; 35 x 6.3246 = 221.36
        (7, 200, 1.0),  # 3.5 %: s = -1; 35 / 40 = .875 -> 1
        (9, 200, 0.0),  # 4.5 %: s = -2; 35 / 1600 = .02
        (3, 200, 1000.0),  # 1.5 %: s = 1; 35 x 40 = 1400, at most 1000
        (0, 200, 1000.0),
    ],
)
def test_adjust__worked_by_hand(abandoned: int, calls: int, expected: float) -> None:
    assert webitel.webitel_adjust(abandoned, calls, 2.5, 35.0, 40.0) == expected


@pytest.mark.parametrize(
    ("agents", "busy", "bridged", "calls", "adjust", "expected"),
    [
        # c = 1 / 4: over = |3 / .25 - 3| = 9; 3 + 9 x 35 % = 6.15 -> 7; + 5 busy
        (3, 5, 50, 200, 35.0, 12),
        (3, 5, 50, 200, 0.0, 8),  # no over-dialing
        (3, 5, 50, 200, 100.0, 17),  # 3 / .25 = 12; + 5
        (0, 5, 50, 200, 1000.0, 5),  # nobody is free
        (2, 1, 60, 200, 100.0, 8),  # c = .3: 6.67 -> 7; + 1
    ],
)
def test_limit__worked_by_hand(
    agents: int, busy: int, bridged: int, calls: int, adjust: float, expected: int
) -> None:
    assert webitel.webitel_limit(agents, busy, bridged, calls, adjust) == expected


@pytest.mark.parametrize(
    ("picked", "failed", "connected", "dropped", "expected"),
    [
        (54, 146, 50, 4, 13),  # s = .5: 221 %; over = 9: 3 + 19.89 = 22.89 -> 23; 23 - 9 - 1
        (54, 145, 50, 4, 0),  # 199 calls: progressive; 3 free + 5 busy - 15
        (9, 191, 9, 0, 0),  # 9 bridged: progressive
        (10, 190, 10, 0, 563),  # c = 1 / 20: over = 57; 3 + 570 = 573; 573 - 9 - 1
    ],
)
def test_dials__worked_by_hand(
    desk: Any, seen: Any, picked: int, failed: int, connected: int, dropped: int, expected: int
) -> None:
    at = desk("webitel")
    at.begin(Webitel().settings)
    floor = seen(t_ms=1000, idle=3, talks_ms=(9,) * 5, waiting=1, in_flight=9)
    floor = floor._replace(picked=picked, failed=failed, connected=connected, dropped=dropped)
    assert at.ask(floor) == expected  # the 5 busy agents are in the limit and in the lines in use


class Plain:
    """The rule, written down a second time."""

    def __init__(self, rule: Webitel) -> None:
        self.rule = rule

    def dials(self, seen: Any) -> Any:
        rule, free, busy = self.rule, seen.idle, len(seen.talks_ms)
        limit = free + busy
        if seen.connected >= rule.min_bridged and seen.ended >= rule.min_calls:
            s = rule.target_pct - 100 * seen.dropped / seen.ended
            adjust = min(math.floor(rule.adjust_at_target * rule.growth**s + 0.5), 1000)
            over = free / (seen.connected / seen.ended) - free
            limit = math.ceil(round(free + over * adjust / 100, 7)) + busy
        return max(limit - busy - seen.waiting - seen.in_flight, 0)


def test_random_series__agree_with_a_transcription(desk: Any, same_series: Any) -> None:
    def drawn(draw: random.Random) -> Webitel:
        return Webitel(draw.choice((0.0, 2.5, 12.0)), min_calls=draw.choice((20.0, 100.0)))

    assert same_series(desk("webitel"), drawn, Plain, 1.0) > 1000


def test_world__places_what_the_formula_says(same_world: Any) -> None:
    assert same_world(Webitel(1.0), Plain, 40) > 200
