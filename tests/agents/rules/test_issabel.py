"""Issabel's prediction: by hand, a transcription, and a world."""

import math
import random
from typing import Any

import pytest

from quietdial.agents.rules import Issabel
from quietdial.envs.pacing.controllers import issabel


def test_soon_free__worked_by_hand() -> None:
    # m = 120 s, A = 12 s: -120 ln(.03) - 12 = 120 x 3.5066 - 12 = 408.8 s, about 3.5 m - A
    assert issabel.soon_free_after_s(120.0, 12.0, 0.03) == pytest.approx(408.787, abs=1e-3)
    # at that time 1 - exp(-(408.787 + 12) / 120) = .97
    assert 1 - math.exp(-(408.787 + 12) / 120) == pytest.approx(0.97, abs=1e-6)
    # every talking agent
    assert issabel.soon_free_after_s(120.0, 12.0, 1.0) == -12.0


@pytest.mark.parametrize(
    ("free", "soon", "callers", "forced", "most", "flying", "expected"),
    [
        (2, 1, 0, 0, 99, 1, 2),  # 2 + 1 - 1
        (2, 1, 1, 0, 99, 1, 1),  # a caller waits
        (2, 1, 0, 3, 99, 1, 5),  # 3 + 3 forced - 1
        (0, 1, 1, 3, 99, 0, 0),  # nothing is forced on top of nothing
        (5, 4, 0, 0, 6, 2, 4),  # 6 channels
        (1, 0, 0, 0, 99, 4, -3),
    ],
)
def test_calls__worked_by_hand(
    free: int, soon: int, callers: int, forced: int, most: int, flying: int, expected: int
) -> None:
    assert issabel.issabel_calls(free, soon, callers, forced, most, flying) == expected


@pytest.mark.parametrize(("n", "asr", "expected"), [(1, 0.25, 4), (3, 0.4, 8), (1, 0.2, 5)])
def test_overcommitted__worked_by_hand(n: int, asr: float, expected: int) -> None:
    assert issabel.overcommitted(n, asr) == expected  # 3 / .4 = 7.5 -> 8


def test_dials__worked_by_hand(desk: Any, seen: Any) -> None:
    at = desk("issabel")
    # 10 conversations of 100 s: m = 100 s. 10 pick-ups after 16 s, 10 calls of 8 s: A = 12 s.
    # Soon free from -100 ln(.03) - 12 = 338.7 s on: two of the four who talk.
    floor = seen(t_ms=5000, idle=1, talks_ms=(20_000, 338_600, 338_700, 500_000), waiting=0)
    floor = floor._replace(picked=10, connected=14, failed=30, rings_s=160, talked_ms=1_000_000)
    at.begin(Issabel().settings)
    assert at.ask(floor) == 3  # 1 + 2
    assert [at.ask(floor) for _ in range(4)] == [0] * 4  # 5 s pass
    assert at.ask(floor._replace(in_flight=2)) == 1  # 3 - 2
    at.begin(Issabel(overcommit=1).settings)
    assert at.ask(floor) == 12  # 10 of 40 calls were answered: 3 / .25
    at.begin(Issabel().settings)
    assert at.ask(floor._replace(connected=13)) == 1  # 9 finished conversations: progressive


class Plain:
    """The rule, written down a second time."""

    def __init__(self, rule: Issabel, books: Any) -> None:
        self.rule, self.books, self.ticks = rule, books(), 0

    def dials(self, seen: Any) -> Any:
        rule = self.rule
        self.books.note(seen)
        acts, self.ticks = self.ticks % rule.period_s == 0, self.ticks + 1
        if not acts:
            return 0
        n = seen.idle + self._soon(seen) - seen.waiting
        n = min(n + rule.forced if n > 0 else n, rule.max_channels) - seen.in_flight
        ended = self.books.lately("ended", rule.asr_window_s)
        if n > 0 and rule.overcommit and ended >= rule.asr_min_calls:
            asr = self.books.lately("picked", rule.asr_window_s) / ended
            n = math.floor(n / max(asr, 1 / rule.max_overcommit) + 0.5)
        return int(max(n, 0))

    def _soon(self, seen: Any) -> int:
        rule, finished = self.rule, seen.connected - len(seen.talks_ms)
        if finished < rule.min_finished:
            return 0
        m = seen.talked_ms / 1000 / finished
        answer = (seen.rings_s + 8 * rule.answer_pad) / (seen.picked + rule.answer_pad)
        served = [1 - math.exp(-(t / 1000 + answer) / m) if m else 1.0 for t in seen.talks_ms]
        return sum(q >= 1 - rule.miss_pct / 100 for q in served)


def test_random_series__agree_with_a_transcription(desk: Any, same_series: Any, books: Any) -> None:
    def drawn(draw: random.Random) -> Issabel:
        return Issabel(
            draw.choice((0.1, 3.0, 30.0, 90.0)),
            period_s=draw.choice((1, 3, 5)),
            min_finished=draw.choice((1, 10)),
            forced=draw.choice((0, 2)),
            overcommit=draw.choice((0, 1)),
            asr_window_s=draw.choice((60, 300)),
            max_channels=draw.choice((5, 1000)),
        )

    dialed = same_series(desk("issabel"), drawn, lambda rule: Plain(rule, books), 1.0)
    assert dialed > 1000


@pytest.mark.parametrize("rule", [Issabel(10.0), Issabel(3.0, overcommit=1)])
def test_world__places_what_the_formula_says(same_world: Any, books: Any, rule: Issabel) -> None:
    assert same_world(rule, lambda rule: Plain(rule, books), 40) > 100
