"""The heuristic of Shiwa45: by hand, a transcription, and a world."""

import math
import random
from typing import Any

import pytest

from quietdial.agents.rules import Shiwa45
from quietdial.envs.pacing.controllers import shiwa45


@pytest.mark.parametrize(
    ("dropped", "answered", "expected"),
    [
        (0, 0, 1.15),
        (2, 200, 1.15),  # 1 %
        (3, 200, 1.0),  # 1.5 %
        (6, 200, 1.0),  # 3 %
        (8, 200, 0.8),  # 4 %, half way: 1 - .4 / 2
        (10, 200, 0.5),  # 5 %
    ],
)
def test_abandon_factor__worked_by_hand(dropped: int, answered: int, expected: float) -> None:
    assert shiwa45.abandon_factor(dropped, answered) == pytest.approx(expected, abs=1e-12)


def test_availability_boost__worked_by_hand() -> None:
    # 10 busy, 12 s of 120 s: 10 x (1 - exp(-.1)) = .9516 released; 5 free: 1 + .9516 / 5
    assert shiwa45.availability_boost(5, 10, 12.0, 120.0) == pytest.approx(1.19033, abs=1e-5)
    assert shiwa45.availability_boost(1, 10, 12.0, 120.0) == 1.3
    assert shiwa45.availability_boost(5, 0, 12.0, 120.0) == 1.0


def test_calls_per_agent__worked_by_hand() -> None:
    assert shiwa45.calls_per_agent(0.85, 0.5, 1.0, 1.2, 1.0, 3.0) == pytest.approx(2.04)
    assert shiwa45.calls_per_agent(0.85, 0.2, 1.0, 1.0, 1.0, 3.0) == 3.0  # 4.25
    assert shiwa45.calls_per_agent(0.85, 0.9, 0.5, 1.0, 1.0, 3.0) == 1.0  # .47


@pytest.mark.parametrize(
    ("free", "wraps", "ratio", "flying", "expected"),
    [
        (4, 3, 2.04, 5, 6),  # 5.5 x 2.04 = 11.22 -> 11 - 5
        (4, 3, 2.04, 1, 8),  # 10, but at most 2 x 4
        (0, 6, 3.0, 0, 0),  # nobody free, no burst
        (1, 0, 2.9, 4, 0),
    ],
)
def test_dials__worked_by_hand(
    free: int, wraps: int, ratio: float, flying: int, expected: int
) -> None:
    assert shiwa45.shiwa_dials(free, wraps, ratio, flying) == expected


def test_tick__worked_by_hand(desk: Any, seen: Any) -> None:
    at = desk("shiwa45")
    at.begin(Shiwa45().settings)
    # p = 50 / 100; 2 of 50 dropped is 4 %: factor .8; 48 conversations of 120 s, ringing 12 s: 5
    # busy release .4758, of 4 free: boost 1.11895; .85 / .5 x .8 x 1.11895 = 1.52177; (4 + 1) x it
    # = 7.6 -> 7; less 1 in flight
    floor = seen(t_ms=1000, idle=4, talks_ms=(0,) * 5, wraps=2, in_flight=1, picked=50, failed=50)
    floor = floor._replace(connected=48, dropped=2, rings_s=600, talked_ms=48 * 120_000)
    assert at.ask(floor) == 6
    assert at.ask(floor._replace(failed=0)) == 4  # .85 x .8 x 1.12 is below 1: 5 - 1


class Plain:
    """The rule, written down a second time."""

    def __init__(self, rule: Shiwa45) -> None:
        self.rule = rule

    def dials(self, seen: Any) -> Any:
        rule, free = self.rule, max(seen.idle - seen.waiting, 0)
        ratio = rule.min_ratio
        if seen.picked and seen.ended >= rule.min_calls:
            talk = (seen.talked_ms + sum(seen.talks_ms)) / 1000 / max(seen.connected, 1)
            gone = 1 - math.exp(-seen.rings_s / seen.picked / max(talk, 1))
            boost = min(1 + len(seen.talks_ms) * gone / max(free, 1), 1.3)
            ratio = rule.aim * seen.ended / seen.picked * self._factor(seen) * boost
            ratio = min(max(ratio, rule.min_ratio), rule.max_ratio)
        wanted = math.floor((free + seen.wraps / 2) * ratio + 1e-9) - seen.in_flight
        return max(min(wanted, 2 * free), 0)

    def _factor(self, seen: Any) -> float:
        share = 100 * seen.dropped / max(seen.dropped + seen.connected, 1)
        for above, factor in ((5, 0.5), (3, 1 - 0.2 * (share - 3)), (1.5, 1.0)):
            if share >= above:
                return factor
        return 1.15


def test_random_series__agree_with_a_transcription(desk: Any, same_series: Any) -> None:
    def drawn(draw: random.Random) -> Shiwa45:
        return Shiwa45(draw.uniform(0.2, 3), min_calls=draw.choice((1, 50)))

    assert same_series(desk("shiwa45"), drawn, Plain, 1.0) > 1000


def test_world__places_what_the_formula_says(same_world: Any) -> None:
    assert same_world(Shiwa45(), Plain, 30) > 100
