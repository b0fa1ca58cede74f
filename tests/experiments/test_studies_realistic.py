"""The study at 3 % silent: its opponents, its verdicts, its table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quietdial.agents.rules import Marginal
from quietdial.envs import load_scenario
from quietdial.experiments.stats import Interval, PolicyDays
from quietdial.experiments.studies import realistic
from quietdial.experiments.studies.paired import AtRate, Comparison, Facing


def _facing(name: str, gap: Interval, *, reached: bool = True) -> Facing:
    level = Interval(0.8, 0.79, 0.81, 4)
    against = None if reached else Interval(0.1, 0.09, 0.11, 4)
    matrix = np.full((3, 4), gap.value)
    return Facing(
        name, "knob", 1.0, reached, 0.03 if reached else 0.01, level, gap, matrix, against
    )


@pytest.fixture
def found() -> Comparison:
    """A comparison on four made-up days; `marginal` and the ratio miss what is asked."""
    totals = {"dialed": 400.0, "answered": 100.0, "connected": 97.0, "silent": 3.0}
    totals |= {"talk_s": 80.0, "wrap_s": 5.0, "available_s": 100.0}
    days = PolicyDays(
        "ppo-lagrangian", "theta", 0.02, np.arange(4), {k: np.full(4, v) for k, v in totals.items()}
    )
    gaps = {
        "fixed-ratio": Interval(0.07, -0.01, 0.15, 12),  # large enough, but may be 0
        "predict1": Interval(0.03, 0.02, 0.04, 12),
        "marginal": Interval(0.0, -0.005, 0.005, 12),
    }
    rows = [
        _facing(name, gaps.get(name, Interval(0.03, 0.02, 0.04, 12)), reached="shipped" not in name)
        for name in realistic.opponents(realistic.FLOORS[0])
    ]
    one = AtRate(Marginal(0.02), 0.03, True, 0.03, 1.0, days)
    return Comparison(0.03, (one, one, one), Interval(0.85, 0.84, 0.86, 12), tuple(rows))


def test_opponents__are_all_that_is_asked_for() -> None:
    names = realistic.opponents(realistic.FLOORS[0])
    assert {asked.rule for asked in realistic.ASKED} <= set(names)
    assert names["vicidial-average, shipped"].knob_range is None
    for mode in ("ratio", "hard-limit", "average", "tapered"):
        assert names[f"vicidial-{mode}"].knob_range is not None


def test_opponents__that_keep_their_limit_play_with_it_and_without_a_knob() -> None:
    for floor in realistic.FLOORS:
        for name in ("predict1, limit kept", "predict1-pi, limit kept"):
            rule: Any = realistic.opponents(floor)[name]
            assert rule.knob_range is None
            assert dict(rule.world_options)["settings"]["max_silent_pct"] == 3.0


def test_between__is_the_difference_of_two_opponents(found: Comparison) -> None:
    gap = realistic.between(found, "predict1", "fixed-ratio")
    assert gap.value == pytest.approx(0.07 - 0.03)
    assert gap.n == 4


def test_met__wants_the_size_and_a_sign_that_is_sure(found: Comparison) -> None:
    asked = {row.rule: row for row in realistic.ASKED}
    verdicts = {rule: realistic.met(row, 0, found.against(rule)) for rule, row in asked.items()}
    assert verdicts == {
        "fixed-ratio": False,
        "predict1, limit kept": True,
        "predict1-pi, limit kept": True,
        "predict1": True,
        "predict1-pi": True,
        "quantile-blind": True,
        "marginal": False,
    }


def test_markdown__has_a_row_for_each_opponent_and_says_what_was_met(found: Comparison) -> None:
    figures = [
        row
        for floor in realistic.FLOORS
        for row in realistic.figures_of(floor, load_scenario(floor), found)
    ]
    text = realistic.markdown(
        {"command": "c", "commit": {"commit": "0" * 40, "dirty": False}, "figures": figures}
    )
    for name in realistic.opponents(realistic.FLOORS[0]):
        assert text.count(f"| {name} |") == len(realistic.FLOORS)
    assert "| +7.00 (-1.00 to +15.00) | difference >= +6.0, not met |" in text
    assert "lower end >= -0.4, not met" in text
    assert "it stays at 1.00 %; `marginal` there is +10.00 (+9.00 to +11.00) points above" in text
