"""UNICOM's Predict1 and Predict1PI, and dctr: by hand, transcriptions, and worlds."""

import random
from typing import Any

import pytest

from quietdial.agents.rules import Dctr, Predict1, Predict1PI
from quietdial.envs.pacing.controllers import unicom


@pytest.mark.parametrize(
    ("waits", "failed", "answered", "adjust", "expected"),
    [
        (4, 75, 25, 100.0, 16),  # 4 x 100 attempts / 25 answers
        (4, 75, 25, 50.0, 10),  # 4 + 4 x .5 x 3
        (4, 75, 25, 0.0, 4),  # no over-dialing
        (1, 75, 25, 150.0, 5),  # 1 + 1.5 x 3 = 5.5 -> 5
        (0, 75, 25, 1000.0, 0),  # nobody waits
        (4, 75, 4, 100.0, 4),  # fewer than 5 answers
        (9, 75, 25, 300.0, 60),  # 9 + 81 = 90, at most 60
    ],
)
def test_predict1_calls__worked_by_hand(
    waits: int, failed: int, answered: int, adjust: float, expected: int
) -> None:
    calls = unicom.predict1_calls(waits, failed, answered, adjust, 5.0, 1.0, 60.0)
    assert calls == expected


def test_predict1_calls__needs_waiting_interviewers() -> None:
    assert unicom.predict1_calls(2, 75, 25, 100.0, 5.0, 3.0, 60.0) == 2
    assert unicom.predict1_calls(3, 75, 25, 100.0, 5.0, 3.0, 60.0) == 12


def test_pi_adjust__worked_by_hand() -> None:
    # gain 10, integral time 600 s, steps of 15 s; start 150; the rate is .5 % below its target
    adjust, integral = unicom.pi_adjust(150.0, 0.0, 0.5, 10.0, 600.0, 15.0)
    assert integral == 7.5  # .5 x 15
    assert adjust == pytest.approx(155.125)  # 150 + 10 x (.5 + 7.5 / 600)
    # then 2 % above it
    adjust, integral = unicom.pi_adjust(150.0, 7.5, -2.0, 10.0, 600.0, 15.0)
    assert integral == -22.5
    assert adjust == pytest.approx(129.625)  # 150 + 10 x (-2 - 22.5 / 600)


def test_pi_adjust__does_not_wind_up() -> None:
    # 50 + 10 x (-20 - 300 / 600) = -155 is below 0: the integral stays
    assert unicom.pi_adjust(50.0, 0.0, -20.0, 10.0, 600.0, 15.0) == (0.0, 0.0)
    assert unicom.pi_adjust(900.0, 0.0, 20.0, 10.0, 600.0, 15.0) == (1000.0, 0.0)
    # on the way back it moves: 50 + 10 x (2 - 6000 / 600) < 0, with 2 x 15 added
    assert unicom.pi_adjust(50.0, -6030.0, 2.0, 10.0, 600.0, 15.0) == (0.0, -6000.0)


def test_dctr_adjust__worked_by_hand() -> None:
    adjust, integral = unicom.dctr_adjust(150.0, 0.0, 0.5, 2.0, 0.05)
    assert (adjust, integral) == (pytest.approx(151.025), 0.5)  # 150 + 2 x .5 + .05 x .5
    adjust, integral = unicom.dctr_adjust(151.025, 0.5, -1.5, 2.0, 0.05)
    assert (adjust, integral) == (pytest.approx(147.975), -1.0)  # - 3 + .05 x -1
    assert unicom.dctr_adjust(999.0, 0.0, 2.5, 2.0, 0.05) == (1000.0, 2.5)


def test_dials__worked_by_hand(desk: Any, seen: Any) -> None:
    # 25 of 100 calls answered, 3 idle, 4 in flight; 1 of 25 silent is 4 %
    floor = seen(t_ms=500, idle=3, in_flight=4, picked=25, failed=75, connected=24, dropped=1)
    at = desk("predict1")
    at.begin(Predict1(100.0, max_silent_pct=4.0).settings)
    assert at.ask(floor) == 8  # 3 x 4 - 4; 4 % is not above 4 %
    at.begin(Predict1(100.0, max_silent_pct=3.9).settings)
    assert at.ask(floor) == 0  # progressive: 3 - 4
    assert at.ask(floor._replace(in_flight=1)) == 2
    at = desk("predict1-pi")
    at.begin(Predict1PI(60.0, max_silent_pct=100, target_silent_pct=5.0, gain=40).settings)
    # e = 5 - 4 = 1; 60 + 40 x (1 + 15 / 1800) = 100.33: 3 + 3 x 1.0033 x 3 = 12.03 -> 12
    assert at.ask(floor) == 8
    at = desk("dctr")
    at.begin(Dctr(5.0, max_abandon_pct=10, progressive_s=0, predict_adjust=98.0).settings)
    # e = 1: 98 + 2 + .05 = 100.05: 3 + 9 x 1.0005 = 12.0045 -> 12
    assert at.ask(floor) == 8
    assert at.ask(floor._replace(idle=2, in_flight=0)) == 0  # fewer than 3 idle
    at.begin(Dctr(5.0, max_abandon_pct=10).settings)
    assert at.ask(floor._replace(in_flight=1)) == 2  # progressive in the first 300 s


class Plain:
    """Predict1 and Predict1PI, written down a second time."""

    def __init__(self, rule: Any, books: Any) -> None:
        self.rule, self.books, self.ticks, self.integral = rule, books(), 0, 0.0
        self.adjust = rule.predict_adjust

    def dials(self, seen: Any) -> Any:
        rule = self.rule
        self.books.note(seen)
        talked = seen.connected + seen.dropped
        silent_pct = 100 * seen.dropped / talked if talked else 0.0
        self.steer(silent_pct, seen)
        answered = self.books.lately("picked", rule.window_s)
        failed = self.books.lately("failed", rule.window_s)
        waits = max(seen.idle - seen.waiting, 0)
        calls = waits
        if self.over_dials(silent_pct, waits, answered):
            calls = int(waits * (1 + self.adjust / 100 * failed / answered) + 1e-9)
        if isinstance(rule, Dctr):
            return max(calls - seen.in_flight, 0) if waits >= rule.min_idle else 0
        return max(min(calls, int(rule.max_calls)) - seen.in_flight, 0)

    def over_dials(self, silent_pct: float, waits: int, answered: int) -> Any:
        rule = self.rule
        return (
            silent_pct <= rule.max_silent_pct + 1e-12
            and answered >= max(rule.min_answered, 1)
            and waits >= max(rule.min_waiting, 1)
        )

    def steer(self, silent_pct: float, _seen: Any) -> None:
        rule = self.rule
        if isinstance(rule, Predict1PI) and self.ticks % (rule.pi_period_s / 0.5) == 0:
            error = rule.target_silent_pct - silent_pct
            longer = self.integral + error * rule.pi_period_s
            if 0 <= self._raw(error, longer) <= 1000 or self._raw(error, longer) * error < 0:
                self.integral = longer
            self.adjust = min(max(self._raw(error, self.integral), 0), 1000)
        self.ticks += 1

    def _raw(self, error: float, integral: float) -> float:
        rule = self.rule
        return float(rule.predict_adjust + rule.gain * (error + integral / rule.integral_s))


class PlainDctr(Plain):
    """dctr, written down a second time."""

    ready = False

    def over_dials(self, silent_pct: float, waits: int, answered: int) -> Any:
        return self.ready and answered >= 1

    def steer(self, silent_pct: float, seen: Any) -> None:
        rule = self.rule
        self.ready = (
            self.ticks * 0.5 >= rule.progressive_s
            and seen.connected + seen.dropped >= rule.min_answered
            and silent_pct <= rule.max_abandon_pct + 1e-12
        )
        if self.ready and self.ticks % (rule.pi_period_s * 2) == 0:
            error = rule.target_abandon_pct - silent_pct
            self.integral += error
            step = rule.gain * error + rule.integral_gain * self.integral
            self.adjust = min(max(self.adjust + step, 0), 1000)
        self.ticks += 1


def drawn_predict1(draw: random.Random) -> Predict1:
    return Predict1(
        draw.choice((30.0, 150.0, 700.0)),
        max_silent_pct=draw.choice((3.0, 30.0, 100.0)),
        min_answered=draw.choice((1, 10)),
        min_waiting=draw.choice((1, 4)),
        max_calls=draw.choice((20, 1000)),
        window_s=draw.choice((60, 120, 900)),
    )


def drawn_pi(draw: random.Random) -> Predict1PI:
    return Predict1PI(
        draw.choice((20.0, 150.0, 800.0)),
        max_silent_pct=draw.choice((3.0, 100.0)),
        window_s=draw.choice((60, 900)),
        target_silent_pct=draw.choice((2.5, 15.0, 40.0)),
        gain=draw.choice((3.0, 10.0, 60.0)),
        integral_s=draw.choice((30.0, 600.0)),
        pi_period_s=draw.choice((0.5, 2, 15)),
    )


def drawn_dctr(draw: random.Random) -> Dctr:
    return Dctr(
        draw.choice((2.5, 15.0, 40.0)),
        max_abandon_pct=draw.choice((3.0, 30.0, 100.0)),
        min_idle=draw.choice((1, 3)),
        progressive_s=draw.choice((0, 5)),
        pi_period_s=draw.choice((0.5, 2)),
        window_s=draw.choice((60, 900)),
    )


@pytest.mark.parametrize(
    ("name", "drawn", "plain"),
    [
        ("predict1", drawn_predict1, Plain),
        ("predict1-pi", drawn_pi, Plain),
        ("dctr", drawn_dctr, PlainDctr),
    ],
)
def test_random_series__agree_with_a_transcription(
    desk: Any, same_series: Any, books: Any, name: str, drawn: Any, plain: Any
) -> None:
    assert same_series(desk(name), drawn, lambda rule: plain(rule, books), 0.5) > 1000


@pytest.mark.parametrize(
    ("rule", "plain"),
    [
        (Predict1(60.0, max_silent_pct=5.0), Plain),
        (Predict1PI(60.0, max_silent_pct=100.0, gain=30.0), Plain),
        (Dctr(min_idle=1, max_abandon_pct=5.0), PlainDctr),
    ],
)
def test_world__places_what_the_formula_says(
    same_world: Any, books: Any, rule: Any, plain: Any
) -> None:
    assert same_world(rule, lambda rule: plain(rule, books), 40) > 100
