"""The target-rate controller in the style of Amazon Connect: by hand, a transcription, a world."""

import math
import random
from typing import Any

import pytest

from quietdial.agents.rules import Amazon
from quietdial.envs.pacing.controllers import amazon
from quietdial.envs.pacing.params import LIMIT_MS


@pytest.mark.parametrize(
    ("abandoned", "answered", "expected"),
    [
        (0, 0, 2.0),
        (3, 100, 2.0),  # on the target
        (5, 100, 2.2),  # 2 calls too many, .1 each
        (0, 100, 1.7),  # 3 calls left
        (99, 100, 6.0),  # at most 6
        (0, 10_000, -2.0),  # at least -2
    ],
)
def test_margin__worked_by_hand(abandoned: int, answered: int, expected: float) -> None:
    found = amazon.margin(2.0, 0.1, 0.03, abandoned, answered)
    assert found == pytest.approx(expected, abs=1e-12)


def test_expected_releases__worked_by_hand() -> None:
    # 10 busy, 18 s of 180 s: 10 x (1 - exp(-.1)) = .9516; variance .9516 x exp(-.1) = .8611
    mean, variance = amazon.expected_releases(10, 18.0, 180.0)
    assert mean == pytest.approx(0.9516, abs=1e-4)
    assert variance == pytest.approx(0.8611, abs=1e-4)


def test_still_ringing__worked_by_hand() -> None:
    # mean 12 s, so 1 / 6 of a stage leaves it in a second; 2 answers expected of 8 new calls
    first, second = amazon.still_ringing(3.0, 1.2, 2.0, 12.0)
    assert first == pytest.approx(4.5)  # 3 x 5 / 6 + 2
    assert second == pytest.approx(1.5)  # 1.2 x 5 / 6 + 3 / 6
    assert amazon.still_ringing(3.0, 1.0, 0.0, 0.0) == (0.0, 3.0)  # no ringing seen: 1 s a stage


@pytest.mark.parametrize(
    ("spare", "flying", "pending", "releases", "margin_sd", "expected"),
    [
        # answers 0, .25, .5, .75, 1.0, 1.25, 1.5 (six calls more) + .5 <= 2; then 1.75 + .5 is not
        (2, 0, 0.0, 0.0, 0.0, 7),
        # 1 answer is pending: 1.0 + .5 <= 2, 1.25, 1.5; then not
        (2, 4, 1.0, 0.0, 0.0, 3),
        # with an expected release up to 2.5 + .5
        (2, 4, 1.0, 1.0, 0.0, 7),
        # n calls: .25 n + .5 + sqrt(.1875 n) <= 2: n = 3: .75 + .5 + .75 = 2.0; n = 4: 2.37
        (2, 0, 0.0, 0.0, 1.0, 4),
        # pending 1: 1 + .25 n + .5 + sqrt(.75 + .1875 n) <= 3: n = 1: 2.72; n = 2: 3.06
        (3, 9, 1.0, 0.0, 1.0, 2),
        # a margin of 6: no more than one for each spare agent
        (2, 0, 0.0, 0.0, 6.0, 2),
        (2, 3, 0.5, 0.0, 6.0, 0),
        (-1, 0, 0.0, 0.5, 0.0, 0),  # 0 + .5 > -.5
    ],
)
def test_dials_within__worked_by_hand(
    spare: int, flying: int, pending: float, releases: float, margin_sd: float, expected: int
) -> None:
    dials = amazon.dials_within(spare, flying, pending, 0.25, releases, 0.0, margin_sd)
    assert dials == expected


def test_dials__worked_by_hand(desk: Any, seen: Any) -> None:
    at = desk("amazon")
    at.begin(Amazon(gain=0.1, start_margin=0.0).settings)
    # no conversation yet: progressive
    assert at.ask(seen(t_ms=1000, idle=2)) == 2
    # 19 of 76 calls answered: (19 + 1) / (76 + 4) = .25, none abandoned: z = -.1 x .57 = -.057.
    # Nothing in flight. 1 busy of m = 190 s / 19 = 10 s; ringing 19 x 7 s, limit 3 s: released
    # 1 - exp(-10 / 10) = .632, variance .2325. 2 + .632 = 2.632;
    # n = 9: 2.25 + .5 - .057 x sqrt(.2325 + 9 x .1875) = 2.671; n = 8: 2.424
    floor = seen(t_ms=2000, idle=2, talks_ms=(0,), picked=19, failed=57, connected=19, rings_s=133)
    assert at.params.n[LIMIT_MS] == 3000
    assert at.ask(floor._replace(talked_ms=190_000)) == 9


class Plain:
    """The rule, written down a second time; the window from a list of all ticks."""

    def __init__(self, rule: Amazon, books: Any) -> None:
        self.rule, self.books = rule, books()
        self.past: list[Any] = []
        self.stages = [0.0, 0.0]

    def dials(self, seen: Any) -> Any:
        rule = self.rule
        self.books.note(seen)
        p = (self.books.lately("picked", 900) + 1) / (self.books.lately("ended", 900) + 4)
        ring = seen.rings_s / max(seen.picked, 1)
        fresh = p * (seen.dialed - (self.past[-1].dialed if self.past else 0))
        left = 1 - min(2 / max(ring, 2), 1)
        first, second = self.stages
        self.stages = [first * left + fresh, second * left + first * (1 - left)]
        pending = min(sum(self.stages), seen.in_flight)
        self.past.append(seen)
        spare = seen.idle - seen.waiting
        if seen.connected < 10:
            return max(spare - seen.in_flight, 0)
        total_ms = seen.talked_ms + sum(seen.talks_ms) + seen.wrapped_ms
        handle = max(total_ms / 1000 / seen.connected, 1)
        share = 1 - math.exp(-(ring + 3) / handle)
        busy = len(seen.talks_ms) + seen.wraps
        margin = rule.start_margin + rule.gain * self._above()
        margin = min(max(margin, -2), 6)
        for n in range(501):
            mean = pending + n * p
            spread = math.sqrt(busy * share * (1 - share) + (pending + n * p) * (1 - p))
            if mean + 0.5 + margin * spread > spare + busy * share and n >= spare - seen.in_flight:
                return n
        return 500

    def _above(self) -> float:
        """Abandoned calls above the target, since the first tick of the window's first slot."""
        slot_ms = self.rule.window_h * 3_600_000 / 24
        now = self.past[-1]
        first = int(now.t_ms / slot_ms) - 23
        begin = next((x for x in self.past if int(x.t_ms / slot_ms) >= first), now)
        dropped, connected = now.dropped, now.connected
        if first > 0:
            dropped, connected = dropped - begin.dropped, connected - begin.connected
        return float(dropped - self.rule.target_rate * (dropped + connected))


def drawn(draw: random.Random) -> Amazon:
    return Amazon(
        draw.choice((0.01, 0.03, 0.3)),
        window_h=draw.choice((1.0, 24.0)),
        gain=draw.choice((0.1, 1.0)),
        start_margin=draw.choice((-1.0, 0.0, 1.5)),
    )


def test_random_series__agree_with_a_transcription(desk: Any, same_series: Any, books: Any) -> None:
    assert same_series(desk("amazon"), drawn, lambda rule: Plain(rule, books), 1.0) > 1000


@pytest.mark.parametrize("rule", [Amazon(), Amazon(0.05, window_h=1.0, start_margin=0.5)])
def test_world__places_what_the_formula_says(same_world: Any, books: Any, rule: Amazon) -> None:
    assert same_world(rule, lambda rule: Plain(rule, books), 90) > 100
