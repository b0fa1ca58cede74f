"""Sinch's increase ratio: by hand, a transcription, and a world."""

import random
from typing import Any

import pytest

from quietdial.agents.rules import Sinch
from quietdial.envs.pacing.controllers import ratios


@pytest.mark.parametrize(
    ("free", "busy", "ratio", "expected"),
    [
        (0, 2, 50.0, 1),  # the documented example: 50 % of 2 talking agents is 1 call
        (3, 2, 50.0, 4),  # and 3 free agents
        (3, 20, 0.0, 3),  # default: one call for each free agent
        (1, 3, 50.0, 2),  # 1.5 -> 1
        (0, 10, 30.0, 3),
    ],
)
def test_calls__worked_by_hand(free: int, busy: int, ratio: float, expected: int) -> None:
    assert ratios.sinch_calls(free, busy, ratio) == expected


@pytest.mark.parametrize(
    ("ratio", "dropped", "answered", "expected"),
    [
        (50.0, 0, 0, 55.0),  # nobody answered yet: up by 5
        (50.0, 1, 101, 55.0),  # .99 % is below 1 %
        (50.0, 1, 100, 45.0),  # 1 % is met: down by 5
        (58.0, 0, 100, 60.0),  # at most 60
        (3.0, 9, 100, 0.0),  # at least 0
    ],
)
def test_ratio__worked_by_hand(ratio: float, dropped: int, answered: int, expected: float) -> None:
    assert ratios.scaled_ratio(ratio, 60.0, 5.0, dropped, answered, 1.0) == expected


def test_ratio__moves_every_15_s(desk: Any, seen: Any) -> None:
    at = desk("sinch")
    at.begin(Sinch(60.0).settings)
    dials = []
    for second in range(1, 47):  # 2 of 100 answered calls were dropped, above 1 %
        floor = seen(t_ms=1000 * second, idle=1, talks_ms=(5,) * 20, picked=100, dropped=2)
        dials.append(at.ask(floor._replace(connected=98, in_flight=5)))
    # 60 - 5 = 55 %: 1 + 11 - 5 = 7; then 50 %: 1 + 10 - 5; 45 %: 1 + 9 - 5; 40 %: 1 + 8 - 5
    assert dials == [7] * 15 + [6] * 15 + [5] * 15 + [4]


class Plain:
    """The rule, written down a second time."""

    def __init__(self, rule: Sinch) -> None:
        self.rule, self.ratio, self.ticks = rule, rule.increase_pct, 0

    def dials(self, seen: Any) -> Any:
        rule, answered = self.rule, seen.connected + seen.dropped
        if self.ticks % rule.period_s == 0:
            if answered and 100 * seen.dropped / answered >= rule.abandon_pct - 1e-12:
                self.ratio = max(self.ratio - rule.step_pct, 0)
            else:
                self.ratio = min(self.ratio + rule.step_pct, rule.increase_pct)
        self.ticks += 1
        busy = int(self.ratio * len(seen.talks_ms) / 100 + 1e-9)
        return max(seen.idle - seen.waiting + busy - seen.in_flight, 0)


def test_random_series__agree_with_a_transcription(desk: Any, same_series: Any) -> None:
    def drawn(draw: random.Random) -> Sinch:
        return Sinch(
            draw.choice((0.0, 50.0, 300.0)),
            abandon_pct=draw.choice((0.0, 1.0, 10.0, 60.0)),
            step_pct=draw.choice((5.0, 33.0)),
            period_s=draw.choice((1, 4, 15)),
        )

    assert same_series(desk("sinch"), drawn, Plain, 1.0) > 1000


def test_world__places_what_the_formula_says(same_world: Any) -> None:
    assert same_world(Sinch(60.0, abandon_pct=5.0), Plain, 20) > 100
