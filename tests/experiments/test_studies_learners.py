"""The study of learners: its rows, its verdicts, its page; and the choice of a checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quietdial.agents.learners.config import ALGORITHM_NAMES
from quietdial.agents.rules import Marginal
from quietdial.envs import load_scenario
from quietdial.envs.errors import ConfigError
from quietdial.experiments.stats import Interval, PolicyDays
from quietdial.experiments.studies import learners
from quietdial.experiments.studies.chosen import best_at_rate
from quietdial.experiments.studies.paired import AtRate, Comparison, Facing


def at_rate(busy: float, *, reached: bool = True) -> AtRate:
    """A policy at exactly 3 % silent on four days."""
    totals = {"dialed": 400.0, "answered": 100.0, "connected": 97.0, "silent": 3.0}
    days = {name: np.full(4, value) for name, value in totals.items()}
    days |= {"available_s": np.full(4, 100.0), "wrap_s": np.zeros(4)}
    days["talk_s"] = np.full(4, 100.0 * busy)
    played = PolicyDays("learner", "theta", 0.02, np.arange(4), days)
    return AtRate(Marginal(0.02), 0.03, reached, 0.03, 0.0, played)


def comparison(ratio: tuple[float, float], base: tuple[float, float], reached: bool) -> Comparison:
    """Three seeds with these ends of the differences to the fixed ratio and to the base rule."""
    facing = tuple(
        Facing(
            name=name,
            knob_name="theta",
            knob=0.02,
            reached=True,
            rate=0.03,
            utilisation=Interval(0.8, 0.79, 0.81, 4),
            difference=Interval((lo + hi) / 2, lo, hi, 12),
            matrix=np.full((3, 4), (lo + hi) / 2),
        )
        for name, (lo, hi) in ((learners.RATIO, ratio), (learners.BASE, base))
    )
    learned = tuple(at_rate(0.8, reached=reached) for _ in range(3))
    return Comparison(0.03, learned, Interval(0.8, 0.79, 0.81, 12), facing)


@pytest.mark.parametrize(
    ("ratio", "base", "reached", "other", "said"),
    [
        ((0.05, 0.08), (-0.001, 0.001), True, 0.0, "its base rule, never left"),
        ((0.05, 0.08), (-0.003, 0.001), True, 0.2, "recommended: as good as `marginal`"),
        ((0.05, 0.08), (-0.02, -0.01), True, 0.2, "beats the fixed ratio, but is below"),
        ((0.05, 0.08), (-0.02, 0.01), True, 0.2, "not shown to be as good"),
        ((-0.01, 0.08), (-0.08, -0.01), True, 0.2, "not shown to beat the fixed ratio"),
        ((0.05, 0.08), (-0.02, -0.01), False, 0.2, "cannot be set to the rate"),
    ],
)
def test_verdict__goes_by_the_intervals(
    ratio: tuple[float, float], base: tuple[float, float], reached: bool, other: float, said: str
) -> None:
    assert said in learners.verdict(comparison(ratio, base, reached), other)


def test_lines__are_all_algorithms_with_settings_that_fit() -> None:
    assert {line.algorithm for line in learners.LINES} == set(ALGORITHM_NAMES)
    jobs = [
        job for line in learners.LINES for job in learners.jobs_of(line, load_scenario("markov-5"))
    ]
    assert len({job.key for job in jobs}) == 3 * len(learners.LINES)


def test_markdown__has_a_row_for_each_learner_and_says_who_missed_the_rate() -> None:
    found = comparison((0.05, 0.08), (-0.02, -0.01), False)
    costs: list[dict[str, Any]] = [{"steps": 500_000, "cpu_s": 20.0}] * 3
    rows = learners.figures_of("dqn, residual", found, [0.1, 0.2, 0.3], costs)
    rows += learners.figures_of("evolution, predict1-pi", found, [], [])
    page = learners.markdown({"command": "c", "commit": None, "figures": rows})
    dqn, evolved = (line for line in page.splitlines() if line.startswith(("| dqn", "| evol")))
    assert dqn.split(" | ")[1:3] == ["0.5", "20"]
    assert "+6.50 (+5.00 to +8.00)" in dqn
    assert dqn.split(" | ")[6] == "20.0"
    assert evolved.split(" | ")[1:3] == ["", ""]
    assert "3 % not reached by seeds [1, 2, 3]" in page


def test_best_at_rate__takes_the_busiest_that_reaches_the_rate() -> None:
    policies: dict[int, Any] = {0: "start", 100: "middle", 200: "end"}
    judged = {0: at_rate(0.80), 100: at_rate(0.82), 200: at_rate(0.9, reached=False)}
    assert best_at_rate(policies, judged) == (100, "middle")
    judged[100] = at_rate(0.80)
    assert best_at_rate(policies, judged) == (100, "middle"), "of equals the longer trained"
    judged = {step: at_rate(0.5, reached=False) for step in policies}
    assert best_at_rate(policies, judged).step == 200, "none reaches it"
    with pytest.raises(ConfigError, match="no checkpoint"):
        best_at_rate({}, {})
